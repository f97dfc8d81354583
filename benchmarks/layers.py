"""The convolutions of a network one by one: how much of the distance to a machine's ceiling they explain."""

import statistics
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.ceilings import operations, product, watched
from resnest_core.devices import PRECISIONS
from resnest_core.modes import seconds_a_call
from resnest_core.profiling import seconds_of


@torch.inference_mode()
def convolutions(model: nn.Module, image: Tensor, batch: int, precision: str, device: torch.device) -> dict[str, Any]:
    """Operations a second of all convolutions together, each timed alone on random images; a row for each kind.

    A large matrix product is timed between them. `image` (1, 3, H, W) shows what each one takes; two of the same shape
    are timed once.
    """
    rows, ceiling, products = [], product(device, precision), []
    for (module, shape), number in tqdm(_kinds(model, image).items(), desc="convolutions", leave=False):
        rows.append(_timed(module, shape, number, batch, precision, device))
        products.append(seconds_of(ceiling, device))
    amount, seconds = (sum(row["number"] * row[name] for row in rows) for name in ("operations", "seconds"))
    return {
        "precision": precision,
        "operations_per_second": amount / seconds,
        "product_per_second": operations(device) / statistics.median(products),
        "seconds": seconds,
        "kinds": rows,
    }


def _kinds(model: nn.Module, image: Tensor) -> dict[tuple[nn.Conv2d, torch.Size], int]:
    """One convolution of each kind with the shape (1, C, H, W) of its input, and how many there are."""
    kinds: dict[str, tuple[nn.Conv2d, torch.Size]] = {}
    numbers: dict[str, int] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name = f"{module} of {tuple(inputs[0].shape)}"
        kinds.setdefault(name, (module, inputs[0].shape))  # type: ignore[arg-type]
        numbers[name] = numbers.get(name, 0) + 1

    watched((module for module in model.modules() if isinstance(module, nn.Conv2d)), note, model, image)
    return {kind: numbers[name] for name, kind in kinds.items()}


def _timed(
    module: nn.Conv2d, shape: torch.Size, number: int, batch: int, precision: str, device: torch.device
) -> dict[str, Any]:
    dtype = PRECISIONS[precision] or torch.float32
    own = nn.Conv2d(**_settings(module)).to(device, dtype).to(memory_format=torch.channels_last)
    images = torch.randn(batch, *shape[1:], device=device).to(dtype, memory_format=torch.channels_last)
    output = own(images)
    amount = 2 * output.numel() * module.in_channels // module.groups * module.kernel_size[0] ** 2
    taken = statistics.median(seconds_a_call(lambda: own(images), device, 0.2))
    return {
        "convolution": str(module),
        "side": shape[-1],
        "number": number,
        "operations": amount,
        "seconds": taken,
        "operations_per_second": amount / taken,
    }


def _settings(module: nn.Conv2d) -> dict[str, Any]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    return {name: getattr(module, name) for name in names}
