"""Panoptic FPN (Kirillov et al. 2019, arXiv 1901.02446): classes of all pixels, and their union with the instances."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnest_core.models.rcnn.pyramid import Convolution

CHANNELS = 128
COMMON_STRIDE = 4
IGNORED = 255
LOSS_WEIGHT = 0.5
LEAST_INSTANCE_SCORE = 0.5
MOST_HIDDEN = 0.5  # part of an instance that better ones may cover
LEAST_STUFF_AREA = 4096  # pixels
MOST_VALUES = 2**28  # that are resized at once; all classes of a large photograph fill any memory


@dataclass(frozen=True)
class Segment:
    """A region of a panoptic map: its number there and its class, into `categories` for a thing, else into `stuff`."""

    id: int
    is_thing: bool
    label: int
    score: float | None = None  # of a thing
    instance: int | None = None  # the detection that a thing is
    area: int | None = None  # pixels of stuff


class SemanticHead(nn.Module):
    """Maps at strides 4, 8, ... to logits (N, classes, H / 4, W / 4): each brought to the finest by convolutions and
    doublings, and summed.
    """

    def __init__(self, channels: int, levels: Collection[int], classes: int) -> None:
        super().__init__()
        self.levels = levels
        for level in levels:
            setattr(self, f"p{level}", _doubling(channels, max(1, level - int(math.log2(COMMON_STRIDE))), level))
        self.predictor = nn.Conv2d(CHANNELS, classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        brought = [getattr(self, f"p{level}")(x) for level, x in zip(self.levels, features, strict=False)]
        return self.predictor(sum(brought[1:], brought[0]))

    def loss(self, features: list[Tensor], wanted: Tensor) -> Tensor:
        """Cross-entropy with classes (N, H, W), 255 where none counts."""
        logits = functional.interpolate(self(features), scale_factor=COMMON_STRIDE, mode="bilinear")
        counted = (wanted != IGNORED).sum().clamp(min=1)  # a batch may lack labels altogether
        return LOSS_WEIGHT * functional.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum") / counted

    def classes(self, logits: Tensor, shown: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Classes (height, width) of an image of `size`, from logits (C, h, w) in which it fills `shown` pixels."""
        large = functional.interpolate(logits[None], scale_factor=COMMON_STRIDE, mode="bilinear")
        cut = large[:, :, : shown[0], : shown[1]]
        best = logits.new_full(size, -math.inf)
        classes = torch.zeros(size, dtype=torch.int64, device=logits.device)
        at_once = max(MOST_VALUES // math.prod(size), 1)
        for first in range(0, len(logits), at_once):
            resized = functional.interpolate(cut[:, first : first + at_once], size, mode="bilinear")
            values, places = resized[0].max(dim=0)
            higher = values > best
            best[higher], classes[higher] = values[higher], places[higher] + first
        return classes

    def drop_norms(self) -> None:
        """Leave the normalisation out, as the authors' code did though their configuration asks for it."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.norm = nn.Identity()


def _doubling(channels: int, convolutions: int, level: int) -> nn.Sequential:
    layers = nn.Sequential()
    for number in range(convolutions):
        rectified = _Rectified(channels if number == 0 else CHANNELS, CHANNELS, 3, bias=False)
        layers.append(rectified)
        if 2**level != COMMON_STRIDE:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return layers


class _Rectified(Convolution):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(super().forward(x))


def combine(
    scores: Tensor,
    labels: Tensor,
    masks: Sequence[Tensor] | Tensor,
    classes: Tensor,
    *,
    least_score: float = LEAST_INSTANCE_SCORE,
) -> tuple[Tensor, list[Segment]]:
    """A map (H, W) with the number of the segment of each pixel, 0 for none, and the segments.

    Instances come first, the best on top, unless better ones cover too much of them; then the stuff of `classes`
    (H, W) wherever enough of it is left.
    """
    found = torch.zeros_like(classes)
    segments: list[Segment] = []
    for instance in scores.argsort(descending=True).tolist():
        if scores[instance] < least_score:
            break
        mask = masks[instance]
        free, area = mask & (found == 0), int(mask.sum())
        if area == 0 or (area - int(free.sum())) / area > MOST_HIDDEN:
            continue
        segments.append(Segment(len(segments) + 1, True, int(labels[instance]), float(scores[instance]), instance))
        found[free] = len(segments)
    for label in classes.unique().tolist():
        free = (classes == label) & (found == 0)
        if label == 0 or (area := int(free.sum())) < LEAST_STUFF_AREA:
            continue
        segments.append(Segment(len(segments) + 1, False, label, area=area))
        found[free] = len(segments)
    return found, segments
