"""The range of every number that a user can set: on the command line, in Python, in a notebook and in a profile.

Standard library only: ./run_all.sh reads its arguments before anything is installed.
"""

from dataclasses import dataclass, fields
from numbers import Integral, Real
from reprlib import repr as shortened
from typing import Any

from resnest_core.errors import InputError

LONGEST = 40  # characters of a value that a message shows as they are
NUMBERS = (int, float)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `whole` ones only, or any. `zero` is what 0 stands for."""

    low: float
    high: float
    whole: bool = True
    zero: str = ""

    def __contains__(self, value: object) -> bool:
        fits = isinstance(value, Integral if self.whole else Real) and not isinstance(value, bool)
        return fits and self.low <= value <= self.high  # type: ignore[operator]  # false for NaN

    def __str__(self) -> str:
        text = f"a {'whole ' if self.whole else ''}number from {self.low:,} to {self.high:,}"
        return f"{text} (0 for {self.zero})" if self.zero else text


_IMAGES = Range(0, 10**12, zero="all")
_BATCH = Range(1, 100_000)
_NORMALISED = Range(2, 100_000)  # pooled values are one a channel and image, which normalisation needs two of
_SIDE = Range(1, 16_384)  # pixels
_OWN_SIDE = Range(0, 16_384, zero="the network's own")
_INPUT = Range(1, 4_096)  # pixels
_EPOCHS = Range(0, 10_000, whole=False)
_FACTOR = Range(0, 10_000, whole=False)
_PART = Range(0, 1, whole=False)

RANGES = {
    "auxiliary": _FACTOR,
    "base_size": _SIDE,
    "batch_size": _BATCH,
    "bins": Range(1, 10_000),
    "cores": Range(1, 100_000),
    "crop_size": Range(0, 4_096, zero="the network's own"),
    "dropblock": _PART,
    "dropout": _PART,
    "epochs": _EPOCHS,
    "examples": Range(0, 10_000),
    "gpus": Range(0, 10_000),
    "head_rate": _FACTOR,
    "height": _SIDE,
    "images": Range(1, 10**9),
    "images_per_shard": Range(1, 10**9),
    "jobs": Range(1, 10_000),
    "label_smoothing": _PART,
    "learning_rate": Range(0, 1_000_000, whole=False),
    "least_score": _PART,
    "limit": _IMAGES,
    "long_side": _OWN_SIDE,
    "memory_budget": Range(0, 100_000, whole=False, zero="the device's default"),  # GiB
    "minutes": Range(1, 10_000_000),
    "mixup": _FACTOR,
    "momentum": _PART,
    "most_evaluated": Range(0, 10**12),
    "per_kind": Range(1, 1_000),
    "quality": Range(1, 95),
    "ratio": Range(0.01, 1, whole=False),
    "rounds": Range(1, 100_000),
    "seed": Range(0, 2**32 - 1),
    "short_side": _OWN_SIDE,
    "sizes": _INPUT,
    "stage": Range(0, 4, zero="the last with maps of 4 x 4 pixels or more"),
    "timeout": Range(1, 10**9),  # seconds
    "train_batch_size": _BATCH,
    "train_crop_size": _INPUT,
    "train_limit": _IMAGES,
    "trial_seconds": Range(0, 3_600, whole=False),
    "warmup": Range(0, 10**9),  # steps
    "warmup_epochs": _EPOCHS,
    "weight_decay": _FACTOR,
    "width": _SIDE,
    "workers": Range(0, 1_024),
}
_DETECTION = {"batch_size": _NORMALISED, "train_batch_size": _NORMALISED, "smallest": _SIDE, "largest": _SIDE}
_SCALE = Range(0.001, 100, whole=False)
_SEGMENTATION = {
    "batch_size": _NORMALISED,
    "train_batch_size": _NORMALISED,
    "crop_size": _INPUT,
    "smallest": _SCALE,
    "largest": _SCALE,
}
# Where a name means something else: a command (main: `python -m benchmarks`), a notebook, or settings of the core.
SPECIAL = {
    "benchmark": {"crop_size": _INPUT},
    "main": {"batch_size": Range(0, 100_000, zero="32 on a CPU, 256 on a GPU"), "limit": Range(1, 10**9)},
    "efficiency": {"crop_size": _INPUT},
    "evaluate": {"crop_size": _INPUT},
    "instance_segmentation": _DETECTION,
    "object_detection": _DETECTION,
    "preprocessing": {"crop_size": _INPUT},
    "semantic_segmentation": _SEGMENTATION,
    "train": {"batch_size": _BATCH},
    "view": {"base_size": _SIDE, "crop_size": Range(0, 16_384, zero="whole images")},
}


def find(name: str, where: str = "") -> Range | None:
    """The range of a number, which may differ by `where` it is given; None if none is declared."""
    return SPECIAL.get(where, {}).get(name) or RANGES.get(name)


def range_of(name: str, where: str = "") -> Range:
    """As `find`, of a number of the project's own, all of which are declared."""
    found = find(name, where)
    assert found is not None, f"ranges.py declares no range of '{name}'"
    return found


def refusal(name: str, value: object, valid: Range) -> InputError:
    """The error for a `value` that is not among the `valid` ones; `name` as the user wrote it."""
    plain = isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST and name.startswith("-")
    return InputError(f"{name} {value if plain else shortened(value)} is not possible; valid: {valid}")


def check(where: str = "", /, **values: object) -> None:
    """InputError for the first of the named `values` that is not in its range, which must be declared above."""
    for name, value in values.items():
        if value not in (valid := range_of(name, where)):
            raise refusal(name, value, valid)


def check_fields(settings: Any, where: str = "") -> None:
    """As `check`, of every field of a dataclass that is annotated as a number."""
    check(where, **{field.name: getattr(settings, field.name) for field in fields(settings) if field.type in NUMBERS})
