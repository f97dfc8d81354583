"""Solvers: an optimiser, and how its rate falls; the authors' differ from task to task."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class Solver:
    """An optimiser of groups of parameters, and its rate after a part of the training, as a part of the highest."""

    optimiser: Callable[[Groups, float], torch.optim.Optimizer]
    decayed: Callable[[float], float]

    def relative_rate(self, part: float, step: int, warmup: int) -> float:
        """The rate as a part of the highest: rising for `warmup` steps, then decayed."""
        return self.decayed(min(part, 1.0)) * min((step + 1) / (warmup + 1), 1.0)


def momentum(groups: Groups, rate: float) -> torch.optim.Optimizer:
    """The optimiser of all the authors' recipes."""
    return torch.optim.SGD(groups, lr=rate, momentum=0.9)


# Learns more in few steps.
ADAMW = Solver(
    lambda groups, rate: torch.optim.AdamW(groups, lr=rate, fused=True),
    lambda part: 0.5 * (1 + math.cos(math.pi * part)),
)
