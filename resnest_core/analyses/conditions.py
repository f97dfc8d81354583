"""Ways from a stored image to what a network is given: crop rule, filter, decoder and size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from resnest_core.data import FashionMNIST
from resnest_core.data.transforms import FASHION_MNIST_MEAN, FASHION_MNIST_STD, Preprocessing
from resnest_core.experiments.finished import Finished
from resnest_core.ranges import check, check_fields

REFERENCE, CROSSED, RESOLUTION = "reference", "crossed", "resolution"
STORED = "stored"  # instead of a decoder: the pixels of a data set that has no files
WHOLE = "whole"  # instead of a rule: all of a square image is resized
# Images of 28 pixels as their networks were trained with them: resizing leaves every pixel as it is.
AS_IT_IS = Preprocessing(
    "resize_then_crop", 28, mean=(FASHION_MNIST_MEAN,) * 3, std=(FASHION_MNIST_STD,) * 3, ratio=1.0
)


@dataclass(frozen=True)
class Sweep:
    """What is varied: rules and filters, crossed with decoders, and crop sizes; `quality` of JPEG data made here."""

    rules: Sequence[str] = ("centre_square", "resize_then_crop")
    interpolations: Sequence[str] = ("bicubic", "bilinear")
    decoders: Sequence[str] = ("pillow", "torchvision", "draft")
    sizes: Sequence[int] = ()
    quality: int = 90

    def __post_init__(self) -> None:
        check_fields(self)
        for size in self.sizes:
            check(sizes=size)


@dataclass(frozen=True)
class Condition:
    """A way from a stored image to what a network is given; `part` is the reference, the crossing or the sizes."""

    part: str
    decoder: str
    preprocessing: Preprocessing

    @property
    def rule(self) -> str:
        return WHOLE if self.preprocessing.ratio == 1 else self.preprocessing.rule

    @property
    def name(self) -> str:
        """As it stands in the names of metrics."""
        names = {REFERENCE: REFERENCE, RESOLUTION: f"size_{self.preprocessing.crop_size}"}
        return names.get(self.part, f"{self.rule}-{self.preprocessing.interpolation}-{self.decoder}")

    @property
    def factors(self) -> dict[str, Any]:
        """What is varied, and in which part."""
        size, interpolation = self.preprocessing.crop_size, self.preprocessing.interpolation
        ways = {"rule": self.rule, "interpolation": interpolation, "decoder": self.decoder}
        return {"part": self.part, **ways, "size": size}

    @property
    def description(self) -> dict[str, Any]:
        """What a result file tells of it: beside the factors the share of an image's short side that is `kept`."""
        return {"name": self.name, **self.factors, "kept": kept_share(self.preprocessing)}

    def differences(self, other: "Condition") -> list[str]:
        """The factors in which two conditions differ."""
        return [name for name, value in self.factors.items() if name != "part" and value != other.factors[name]]


def reference(run: Finished) -> Condition:
    """How the experiment of a run gave its images: those of Fashion-MNIST whole, from stored pixels."""
    if isinstance(run.test_set, FashionMNIST):
        return Condition(REFERENCE, STORED, AS_IT_IS)
    return Condition(REFERENCE, "pillow", run.settings.rule)


def conditions(own: Condition, sweep: Sweep) -> list[Condition]:
    """The reference `own`, the crossing of rules, filters and decoders, and the sizes, in ascending order.

    Where images are given whole, from stored pixels, that is crossed with the decoders too.
    """
    whole = own.rule == WHOLE
    base = replace(own.preprocessing, ratio=Preprocessing.ratio) if whole else own.preprocessing
    cropped = [replace(base, rule=rule, interpolation=name) for rule in sweep.rules for name in sweep.interpolations]
    ways = [own.preprocessing, *cropped] if whole else cropped
    decoders = [STORED, *sweep.decoders] if own.decoder == STORED else sweep.decoders
    crossed = [Condition(CROSSED, decoder, preprocessing) for preprocessing in ways for decoder in decoders]
    sizes = [replace(own.preprocessing, crop_size=size) for size in sorted(set(sweep.sizes))]
    others = [condition for condition in crossed if condition.differences(own)]
    return [own, *others, *(Condition(RESOLUTION, own.decoder, size) for size in sizes)]


def contrasts(plan: Sequence[Condition]) -> list[tuple[Condition, Condition]]:
    """Conditions of the crossing that differ in one factor, each against those before it: (later, earlier).

    Rules and filters are compared with the decoder of the reference, decoders with its rule and filter.
    """
    own, *others = [condition for condition in plan if condition.part != RESOLUTION]
    pairs = [(later, earlier) for n, later in enumerate(others) for earlier in others[:n]]
    return [(a, b) for a, b in pairs if len(a.differences(b)) == 1 and _plain(a, b, own)]


def _plain(a: Condition, b: Condition, own: Condition) -> bool:
    if a.differences(b) == ["decoder"]:
        return a.preprocessing == own.preprocessing
    return a.decoder == own.decoder


def needed_side(preprocessing: Preprocessing) -> int:
    """The short side of an image of which the rule's square has no fewer pixels than the network is given."""
    if preprocessing.rule == "centre_square":
        return preprocessing.crop_size + 32
    return int(preprocessing.crop_size / preprocessing.ratio)


def kept_share(preprocessing: Preprocessing) -> float:
    """The share of the short side of an image that the rule keeps."""
    return preprocessing.crop_size / needed_side(preprocessing)
