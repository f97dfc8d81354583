"""How a network is carried out: exactly, fast, or as fast as a stated difference from exact allows.

Nothing here changes an answer in silence: `exact` is float32 throughout, and what the other modes chose is recorded.
"""

import copy
import os
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from resnest_core.compiling import Forward, compiled, unloadable
from resnest_core.devices import PRECISIONS, autocast, check_finite, usable
from resnest_core.dilated import spare_far
from resnest_core.errors import InputError, unknown
from resnest_core.folding import folded
from resnest_core.profiling import seconds_of

MODES = ("exact", "fast", "auto")
TOLERANCE = 0.05  # of the deviation of the exact outputs: the largest difference that auto wants of any image
ACCEPTED = TOLERANCE / 2  # the largest on the batch that it measures: among more images there are larger ones
SECONDS = 1.0  # of passes with each candidate of auto
WORTH_COMPILING = 600.0  # seconds of evaluation at the fastest rate without; compiling takes one to two minutes
COMPILERS = ("default", "reduce-overhead", "max-autotune")  # torch.compile's modes; the last two use CUDA graphs


@dataclass(frozen=True)
class Execution:
    """One way of carrying out a network; `compiled` is torch.compile's mode, or empty."""

    precision: str = "fp32"
    channels_last: bool = True
    folded: bool = True
    compiled: str = ""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.compiled and self.compiled not in COMPILERS:
            raise unknown("way of compiling", self.compiled, COMPILERS)

    def __str__(self) -> str:
        parts = [self.precision, "channels last" if self.channels_last else "channels first"]
        parts += ["folded"] if self.folded else []
        parts += [f"compiled ({self.compiled})"] if self.compiled else []
        return ", ".join(parts)


PLAIN = Execution(channels_last=False, folded=False)  # as a network is built, with nothing done to it


@dataclass(frozen=True)
class Trial:
    """What auto measured of one way: seconds a batch, and the largest difference in deviations of the exact outputs."""

    execution: Execution
    seconds: float
    difference: float


@dataclass(frozen=True)
class Choice:
    """The way that a mode stands for on this machine, with what was measured to find it."""

    mode: str
    execution: Execution
    trials: tuple[Trial, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The choice as a result file holds it."""
        trials = [asdict(trial) | {"execution": str(trial.execution)} for trial in self.trials]
        return {"mode": self.mode, "execution": asdict(self.execution), "trials": trials}


def exact(precision: str = "fp32", device: torch.device | str = "cpu") -> Execution:
    """The default: `precision` throughout, normalisation folded, channels last on a CPU, where that is faster."""
    return Execution(precision, channels_last=torch.device(device).type == "cpu")


def fast(device: torch.device, *, compiling: bool = True) -> Execution:
    """Half precision where the device has instructions for it, compiled where there is a compiler and it is wanted."""
    precision = "bf16" if has_bf16(device) else "fp32"
    if not (compiling and can_compile(device)):
        return Execution(precision)
    return Execution(precision, compiled="default" if device.type == "cpu" else "max-autotune")


def settled(mode: str, precision: str, device: torch.device, *, compiling: bool = True) -> Execution:
    """The way that a mode other than auto stands for; only exact is carried out in the `precision` that is asked."""
    check_mode(mode, precision)
    return exact(usable(precision, device), device) if mode == "exact" else fast(device, compiling=compiling)


def possible(way: Execution, device: torch.device, out: object) -> Execution:
    """The way in which an evaluation in `out` was begun, maybe elsewhere; InputError if this machine has none such."""
    if (way.compiled and not can_compile(device)) or usable(way.precision, device) != way.precision:
        raise InputError(
            f"the evaluation in '{out}' was begun as '{way}', which this machine cannot do; "
            "resume it on one that can, or give another output directory"
        )
    return way


def check_mode(mode: str, precision: str) -> None:
    """InputError for an unknown mode, or one that sets the precision itself where another was asked."""
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    if mode != "exact" and precision != "fp32":
        raise InputError(f"mode '{mode}' sets the precision itself; give '{precision}' with mode exact alone")


def candidates(device: torch.device, *, compiling: bool) -> list[Execution]:
    """The ways that auto tries on `device`, exact the first."""
    precisions = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16", "fp16")}[device.type]
    precisions = precisions if has_bf16(device) else ("fp32",)
    if not compiling:
        others = [Execution(precision, last) for precision in precisions for last in (True, False)]
        return [exact("fp32", device), *(way for way in others if way != exact("fp32", device))]
    kinds = COMPILERS if device.type == "cuda" else COMPILERS[:1]
    return [Execution(precision, compiled=kind) for precision in precisions for kind in kinds]


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 by instructions of its own; without them it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile finds its compiler: g++ or $CXX, and on a GPU Triton."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return has_triton()
    return shutil.which(os.environ.get("CXX", "g++")) is not None


class Runner:
    """A network on a device in one way: calls go to `method` of a copy, and give the tensor or detections it gives.

    Where normalisation is to be folded, a small `example` (N, 3, H, W) goes once through the method or part `through`.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        execution: Execution,
        example: Tensor,
        method: str = "forward",
        through: str = "forward",
    ) -> None:
        model = folded(model, example, through) if execution.folded else copy.deepcopy(model).eval()
        if device.type == "cpu" and execution.precision in ("bf16", "fp16"):
            model = spare_far(model)
        layout = torch.channels_last if execution.channels_last else torch.contiguous_format
        self.model = model.to(device).to(memory_format=layout)
        self.device, self.execution, self.layout = device, execution, layout
        call = self.model if method == "forward" else getattr(self.model, method)
        self.most = 0  # images in a pass so far
        self.call: Forward = compiled(self.model, call, execution.compiled) if execution.compiled else call

    @torch.no_grad()
    def __call__(self, images: Any, **options: Any) -> Any:
        """What the network gives for images (N, 3, H, W), or a detector's list of images, on the device."""
        with autocast(self.device, self.execution.precision):
            if not isinstance(images, Tensor):
                return self.call(images, **options)
            return self.call(self._filled(self.placed(images)), **options)[: len(images)]

    def placed(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) on the device, in the layout that the network takes."""
        return images.to(self.device, memory_format=self.layout, non_blocking=True)

    def _filled(self, images: Tensor) -> Tensor:
        """A smaller batch filled with zeros to the largest so far: for each new size a network is compiled again."""
        self.most = max(self.most, len(images))
        lacking = self.most - len(images)
        if not (self.execution.compiled and lacking):
            return images
        return torch.cat([images, images.new_zeros(lacking, *images.shape[1:])]).contiguous(memory_format=self.layout)


def choose(
    mode: str,
    precision: str,
    device: torch.device,
    build: Callable[[Execution], Forward],
    sample: Callable[[], tuple[Tensor, int]],
    *,
    seconds: float = SECONDS,
) -> Choice:
    """The way that `mode` stands for; of auto the fastest candidate within `ACCEPTED`.

    `build` makes a way's network, which is timed for `seconds`. `sample` gives what the ways are measured on (N, ...)
    and how many passes of that size are to come: where they would take more than `WORTH_COMPILING` seconds, compiled
    candidates are tried, too.
    """
    if mode != "auto":
        return Choice(mode, settled(mode, precision, device))
    check_mode(mode, precision)
    images, batches = sample()
    reference = build(exact("fp32", device))(images)
    check_finite(reference)
    trials = _tried(candidates(device, compiling=False), build, images, reference, seconds)
    if can_compile(device) and batches * best(trials).seconds > WORTH_COMPILING and not unloadable():
        trials += _tried(candidates(device, compiling=True), build, images, reference, seconds)
    return Choice("auto", best(trials).execution, tuple(trials))


def best(trials: list[Trial]) -> Trial:
    """The fastest within `ACCEPTED`; the first, which is exact, always is, even where a single output has no spread."""
    within = [trials[0], *(trial for trial in trials[1:] if trial.difference <= ACCEPTED)]
    return min(within, key=lambda trial: trial.seconds)


def difference(output: Tensor, reference: Tensor) -> Tensor:
    """How far outputs are from those of exact, element by element, in deviations of the latter."""
    return (output - reference).abs() / reference.std()


def seconds_a_call(call: Callable[[], object], device: torch.device, least: float = SECONDS) -> list[float]:
    """The seconds of single calls, three or more, until they took `least` together; one before warms up."""
    call()
    found: list[float] = []
    while len(found) < 3 or sum(found) < least:
        found.append(seconds_of(call, device))
    return found


def _tried(
    ways: list[Execution],
    build: Callable[[Execution], Forward],
    images: Tensor,
    reference: Tensor,
    seconds: float,
) -> list[Trial]:
    trials = []
    for way in tqdm(ways, desc="trying modes", unit="way", leave=False):
        run = build(way)
        largest = float(difference(run(images).float(), reference).max())
        times = seconds_a_call(lambda: run(images), reference.device, seconds)  # noqa: B023
        trials.append(Trial(way, statistics.median(times), largest))
    return trials
