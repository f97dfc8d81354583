"""How fast a step of training is: ours, channels last, with half precision, and the authors' way, by turns."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import authors_way
from benchmarks.speed import CROP_SIZE, LITERAL, by_turns, compared
from resnest_core.devices import autocast, place
from resnest_core.models import create_model
from resnest_core.modes import has_bf16


def steps(name: str, device: torch.device, batch: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each way of a step of stochastic gradient descent on random images: images a second, and ratios."""
    torch.manual_seed(0)
    model = create_model(name).train()
    images = torch.randn(batch, 3, CROP_SIZE, CROP_SIZE).to(device)
    targets = torch.randint(0, 1000, (batch,)).to(device)
    ours = place(copy.deepcopy(model), device)
    calls = {
        LITERAL: _step(authors_way.with_lists(copy.deepcopy(model)).to(device), images, targets, "fp32"),
        "fp32": _step(ours, images, targets, "fp32"),
    }
    if has_bf16(device):
        calls["bf16"] = _step(ours, images, targets, "bf16")
    seconds = by_turns(calls, rounds, device)
    facts = {"network": name, "crop_size": CROP_SIZE, "batch_size": batch}
    return [facts | compared(way, batch, seconds) for way in calls]


def _step(model: nn.Module, images: Tensor, targets: Tensor, precision: str) -> Callable[[], None]:
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        with autocast(images.device, precision):
            loss = cross_entropy(model(images).float(), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step
