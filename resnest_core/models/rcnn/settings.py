"""The row of a detector: every number that distinguishes one from another."""

from dataclasses import dataclass

from resnest_core.models.resnet import Architecture

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# Each stage of a cascade: the IoU from which a proposal counts as its target, and the scales of its offsets.
CASCADE = (
    (0.5, BOX_WEIGHTS),
    (0.6, (20.0, 20.0, 10.0, 10.0)),
    (0.7, (30.0, 30.0, 15.0, 15.0)),
)


@dataclass(frozen=True)
class Pixels:
    """What a network sees of an image: order of the colours, and mean and deviation of pixels from 0 to 255."""

    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Proposing:
    """How regions are proposed: anchors, and how many are kept, in training and at test."""

    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)  # one a level, finest first
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height to width
    per_level_train: int = 2000
    train: int = 1000
    per_level_test: int = 1000
    test: int = 1000
    overlap: float = 0.7  # IoU from which the weaker of two proposals is dropped
    negative: float = 0.3  # an anchor below this IoU is background, one from `positive` on an object
    positive: float = 0.7
    sampled: int = 256  # anchors an image that the loss sees, half of them positive where there are as many
    positive_part: float = 0.5


@dataclass(frozen=True)
class Detection:
    """What distinguishes one detector from another; the defaults are what the 21 published ones share."""

    trunk: Architecture
    pixels: Pixels
    categories: tuple[str, ...]
    cascade: bool = False
    mask_convolutions: int = 0  # of the mask head; 0: no masks
    mask_norm: bool = True
    stuff: tuple[str, ...] = ()  # classes beside `categories` of a panoptic network, whose class 0 is every thing
    frozen_stages: int = 2  # whose weights training leaves alone: the stem is the first, the first stage the second
    proposing: Proposing = Proposing()
    channels: int = 256
    hidden: int = 1024
    box_convolutions: int = 4
    canonical_box: float = 224.0  # side of the box that is pooled from the third level
    sampled: int = 512  # proposals an image that the losses of the heads see
    positive_part: float = 0.25
    least_score: float = 0.05
    overlap: float = 0.5  # IoU from which the weaker of two detections of a class is dropped
    detections: int = 100
    short_side: int = 800  # of an image at test, unless its long one would be longer than `long_side`
    long_side: int = 1333

    @property
    def stages(self) -> tuple[tuple[float, tuple[float, ...]], ...]:
        """The stages of the box heads."""
        return CASCADE if self.cascade else CASCADE[:1]
