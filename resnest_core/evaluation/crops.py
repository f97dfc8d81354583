"""Logits of many crops in batches that fit into a memory budget."""

import psutil
import torch
from torch import Tensor

from resnest_core.errors import InputError
from resnest_core.memory import peak_memory
from resnest_core.models.deeplab import Segmenter
from resnest_core.modes import Execution, Runner
from resnest_core.ranges import check

CPU_BUDGET = 2 * 2**30
GPU_SHARE = 0.8
GIB = 2**30
SMALL = 65  # side of the image that shows what normalisation follows
BYTES = 4  # of a number


class CropRunner:
    """Crops (N, 3, h, w) to logits (N, classes, h', w') of `model`, carried out in one way on `device`.

    The logits stay on the device unless `keep` says otherwise.

    As many crops go through the network at once as `budget` GiB hold (0: 2 GiB on a CPU, 80 % of what is free on a
    GPU), by what the first one took; where memory runs out all the same, half as many from then on.
    """

    def __init__(self, model: Segmenter, device: torch.device, execution: Execution, budget: float) -> None:
        check(memory_budget=budget)
        self.run, self.device = Runner(model, device, execution, torch.zeros(1, 3, SMALL, SMALL), "logits"), device
        self.budget = budget * GIB if budget else default_budget(device)
        self.memory_per_pixel = 0.0
        self.keep = device
        self.most: int | None = None  # crops at once, once memory has run out

    def __call__(self, crops: Tensor) -> Tensor:
        parts: list[Tensor] = []
        done = 0
        while done < len(crops):
            size = 1
            try:
                if not self.memory_per_pixel:
                    self._measure(crops[:1])
                size = self.batch_size(crops)
                parts.append(self._forward(crops[done : done + size]))
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                self._halve(size, error)
                continue
            done += size
        return torch.cat(parts)

    def batch_size(self, crops: Tensor) -> int:
        """How many of `crops` (N, 3, h, w) go through at once."""
        fits = int(self.budget // (self.memory_per_pixel * crops.shape[2] * crops.shape[3]))
        return min(max(fits, 1), self.most or len(crops), len(crops))

    def make_room(self, values: int) -> None:
        """Keep what follows on the device if so many numbers take half of the budget at the most, else on the CPU."""
        self.keep = self.device if values * BYTES <= self.budget / 2 else torch.device("cpu")

    def at_once(self, pixels: int) -> int:
        """Classes whose scores at so many pixels, and as many to be added, take half of the budget at the most."""
        return max(int(self.budget / 2 // (2 * BYTES * pixels)), 1)

    def _measure(self, crop: Tensor) -> None:
        self._forward(crop)  # sets up the kernels
        memory = peak_memory(lambda: self._forward(crop), self.device).bytes
        self.memory_per_pixel = max(memory, 1) / (crop.shape[2] * crop.shape[3])

    def _forward(self, crops: Tensor) -> Tensor:
        return self.run(crops).float().to(self.keep)

    def _halve(self, size: int, error: RuntimeError) -> None:
        if not is_memory_error(error):
            raise error
        if size == 1:
            raise InputError(
                "memory ran out on a single crop; use a device with more, or a smaller crop size"
            ) from None
        self.most = size // 2


def is_memory_error(error: RuntimeError) -> bool:
    """Whether torch raised `error` because memory ran out; on a CPU it has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def default_budget(device: torch.device) -> float:
    """Bytes."""
    if device.type == "cuda":
        return GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    return min(CPU_BUDGET, psutil.virtual_memory().available / 2)
