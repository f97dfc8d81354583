"""What a machine can do at the most: its large matrix products in each precision, and its copies of memory."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from resnest_core.devices import PRECISIONS, autocast
from resnest_core.evaluation.results import Metric, quartiles
from resnest_core.modes import has_bf16, seconds_a_call

SIDE = {"cpu": 4096, "cuda": 8192}  # of the matrices
COPIED = 2**30  # bytes, more than any cache holds


def ceilings(device: torch.device) -> dict[str, Any]:
    """Operations a second (two a multiply-add) of matrix products, and bytes a second read and written by a copy."""
    precisions = [p for p in PRECISIONS if device.type == "cuda" or p == "fp32" or (p == "bf16" and has_bf16(device))]
    return {
        "matrix_product": {
            precision: _a_second(operations(device), product(device, precision), device, "operations/s")
            for precision in precisions
        },
        "copy": _copy(device),
    }


def operations(device: torch.device) -> int:
    """Of one of the large matrix products on `device`."""
    return 2 * SIDE[device.type] ** 3


def product(device: torch.device, precision: str) -> Callable[[], torch.Tensor]:
    """A large matrix product in a precision, each time that it is called."""
    side, dtype = SIDE[device.type], PRECISIONS[precision] or torch.float32
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    @torch.inference_mode()
    def call() -> torch.Tensor:
        with autocast(device, "tf32" if precision == "tf32" else "fp32"):
            return left @ right

    return call


def _copy(device: torch.device) -> Metric:
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return _a_second(2 * COPIED, lambda: target.copy_(source), device, "bytes/s")


def _a_second(amount: float, call: Callable[[], object], device: torch.device, unit: str) -> Metric:
    return quartiles([amount / seconds for seconds in seconds_a_call(call, device)], unit)


@torch.inference_mode()
def traffic(model: nn.Module, image: torch.Tensor, batch: int) -> float:
    """Numbers that the layers read and write for each image of a batch: inputs, outputs and weights, no cache helping.

    `image` is one (1, 3, H, W); weights are read once for the whole batch.
    """
    total = 0.0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        total += sum(tensor.numel() for tensor in (*inputs, output) if isinstance(tensor, torch.Tensor))
        total += sum(weight.numel() for weight in module.parameters(recurse=False)) / batch

    leaves = [m for m in model.modules() if not list(m.children()) and not isinstance(m, nn.Identity)]
    watched(leaves, count, model, image)
    return total


def watched(modules: Iterable[nn.Module], note: Callable[..., None], model: nn.Module, image: torch.Tensor) -> None:
    """One pass of `model`, in which `note` is called with each of `modules`, its inputs and its output."""
    hooks = [module.register_forward_hook(note) for module in modules]
    model(image)
    for hook in hooks:
        hook.remove()
