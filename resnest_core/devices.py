"""Where a network runs, with what precision, and how its numbers are seeded."""

from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from resnest_core import distributed
from resnest_core.errors import InputError, NotFiniteError, unknown

Model = TypeVar("Model", bound=nn.Module)
PRECISIONS = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device `name`; "auto" is this process's GPU where there are any, the first for one process, else the CPU."""
    if name == "auto":
        return _own_gpu() if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device '{name}' cannot be used ({reason}); valid: auto, cpu, cuda, cuda:N") from None
    return device


def _own_gpu() -> torch.device:
    own, there = distributed.local_rank(), torch.cuda.device_count()
    if own >= there:
        raise InputError(f"process {own} of this machine has no GPU of its own; valid: up to {there} processes, or cpu")
    return torch.device("cuda", own) if distributed.world() > 1 else torch.device("cuda")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a forward pass has `precision`; TF32 is used, on GPUs that have it, for "tf32" alone."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    dtype = PRECISIONS[precision]
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def usable(precision: str, device: torch.device) -> str:
    """What `precision` comes to on a device: without TF32, which GPUs have since Ampere, that is "fp32"."""
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
    return "fp32" if precision == "tf32" and not has_tf32 else precision


def place(model: Model, device: torch.device) -> Model:
    """Move `model` to `device`, channels last on a CPU, where grouped convolutions of small maps are faster so."""
    model = model.to(device)
    return model.to(memory_format=torch.channels_last) if device.type == "cpu" else model


def check_finite(*values: Tensor, what: str = "the network's numbers") -> None:
    """NotFiniteError if a number is not, as those of a network whose training diverged."""
    if values and not torch.stack([torch.isfinite(value).all() for value in values]).all():
        raise NotFiniteError(f"{what} are not finite; check the weights")


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done all it was asked for, so that a clock shows its time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seed_everything(seed: int) -> None:
    """Seed torch's generators and ask for deterministic kernels: the same numbers again on the same machine."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
