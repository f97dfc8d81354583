"""The whole detector: images in, detections or losses out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnest_core.devices import check_finite
from resnest_core.errors import InputError
from resnest_core.models.rcnn import boxes as box
from resnest_core.models.rcnn.heads import BoxStages, Detected
from resnest_core.models.rcnn.masks import MaskHead, Masks
from resnest_core.models.rcnn.panoptic import SemanticHead, combine
from resnest_core.models.rcnn.proposals import ProposalNetwork, Sizes, Target
from resnest_core.models.rcnn.pyramid import Pyramid
from resnest_core.models.rcnn.settings import Detection

STAGES_WITH_STEM = ("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(count))


class RegionHeads(BoxStages):
    """The heads that look at proposals: boxes, and masks if the row has any."""

    def __init__(self, row: Detection) -> None:
        super().__init__(row)
        if row.mask_convolutions:
            self.mask_head = MaskHead(row)


class Detector(nn.Module):
    """A list of images (3, h, w), RGB from 0 to 255, to a list of what is found in them.

    Images are at network scale; `sizes` are the (height, width) that results are scaled to, their own if not given.
    A result holds `boxes` (n, 4), `scores` (n,), best first, `labels` (n,), indices into `categories`, and, of
    networks with masks, `masks` (n, height, width) of bool, or `Masks` if `pasting` is off. A panoptic network adds
    `semantic` (height, width), classes into `row.stuff`, and `panoptic` (height, width) with its `segments`.

    In training, `targets` are needed, dicts of `boxes`, `labels`, `masks` and `semantic` at network scale as a network
    needs them, and the losses come out as a dict.

    `categories` replaces the names that the network was published with, `num_classes` their number alone.
    """

    pasting = True
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, row: Detection, *, num_classes: int | None = None, categories: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; it must be 1 or more")
        if categories is None and num_classes not in (None, len(row.categories)):
            categories = _numbered(num_classes or 0)
        self.row = row = replace(row, categories=tuple(categories)) if categories else row
        self.backbone = Pyramid(row.trunk, row.channels)
        self.proposal_generator = ProposalNetwork(row.channels, row.proposing)
        self.roi_heads = RegionHeads(row)
        if row.stuff:
            self.sem_seg_head = SemanticHead(row.channels, self.backbone.levels, len(row.stuff))
        mean, std = (torch.tensor(values)[:, None, None] for values in (row.pixels.mean, row.pixels.std))
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)
        for module in self._frozen():
            module.requires_grad_(False)

    @property
    def categories(self) -> tuple[str, ...]:
        """What the labels of detections mean."""
        return self.row.categories

    @property
    def is_nameless(self) -> bool:
        """Whether only the number of the categories is known."""
        return self.categories == _numbered(len(self.categories))

    def learn(self, categories: Sequence[str]) -> None:
        """Let the labels mean other categories, of the same number, from now on."""
        self.row = replace(self.row, categories=tuple(categories))

    def train(self, mode: bool = True) -> Self:
        """As of any module, but frozen stages keep their statistics."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Mapping[str, Tensor]] | None = None,
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Any:
        _check(images, targets if self.training else None, sizes, training=self.training)
        batch, shown = self.batch(images)
        features = self.backbone(batch)
        if self.training and targets is not None:
            return self._losses(features, shown, targets)
        detected = self._detected(features, shown)
        wanted = [(int(height), int(width)) for height, width in sizes or shown]
        results = self._results(features, detected, shown, wanted)
        if self.row.stuff:
            self._add_panoptic(features, results, shown, wanted)
        if self.row.mask_convolutions and self.pasting:
            results = [result | {"masks": result["masks"].all()} for result in results]
        return results

    def batch(self, images: Sequence[Tensor]) -> tuple[Tensor, Sizes]:
        """Normalised images, padded with 0 to a common size that the trunk divides, and the size of each."""
        stride = box.FIRST_STRIDE * 2 ** (len(self.backbone.levels) - 1)
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        height, width = (-(-max(side) // stride) * stride for side in zip(*sizes, strict=True))
        batch = self.pixel_mean.new_zeros(len(images), 3, height, width)
        for place, image in zip(batch, images, strict=True):
            ordered = image.to(batch) if self.row.pixels.order == "RGB" else image.to(batch).flip(0)
            place[:, : image.shape[1], : image.shape[2]] = (ordered - self.pixel_mean) / self.pixel_std
        return batch, sizes

    def load_backbone(self, state_dict: Mapping[str, Tensor]) -> None:
        """Begin with the trunk of a classifier's `state_dict`, whose last layer is left out; else strictly."""
        from resnest_core import checkpoints

        checkpoints.load_trunk(self.backbone.bottom_up, state_dict)

    def optional_keys(self) -> set[str]:
        """Keys that a file may lack, all at once: the authors trained without norms in the semantic head."""
        return {key for key in self.state_dict() if key.startswith("sem_seg_head.") and ".norm." in key}

    def adapt_to(self, keys: Collection[str]) -> None:
        """Become the network that a file with these keys holds."""
        if self.optional_keys().isdisjoint(keys) and self.row.stuff:
            self.sem_seg_head.drop_norms()

    def _frozen(self) -> list[nn.Module]:
        names = [name for stage in STAGES_WITH_STEM[: self.row.frozen_stages] for name in stage]
        return [self.backbone.bottom_up.get_submodule(name) for name in names]

    def _losses(
        self, features: list[Tensor], sizes: Sizes, targets: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        wanted = [Target(t["boxes"].float(), t["labels"], t.get("masks")) for t in targets]
        proposals, losses = self.proposal_generator(features, sizes, wanted)
        labelled = [self.roi_heads.label(p, target) for p, target in zip(proposals, wanted, strict=True)]
        pooled_from = features[: len(self.backbone.levels)]
        losses |= self.roi_heads.losses(pooled_from, labelled, wanted, sizes)
        if self.row.mask_convolutions:
            losses["loss_mask"] = self.roi_heads.mask_head.loss(pooled_from, labelled, wanted)
        if self.row.stuff:
            losses["loss_semantic"] = self.sem_seg_head.loss(features, _padded(targets, features[0]))
        return losses

    def _detected(self, features: list[Tensor], sizes: Sizes) -> list[Detected]:
        proposals, _ = self.proposal_generator(features, sizes)
        return self.roi_heads.detect(features[: len(self.backbone.levels)], proposals, sizes)

    def _results(
        self, features: list[Tensor], detected: list[Detected], shown: Sizes, wanted: Sizes
    ) -> list[dict[str, Any]]:
        results = []
        cells = self._cells(features, detected)
        for image, cell, (height, width), size in zip(detected, cells, shown, wanted, strict=True):
            scale = image.boxes.new_tensor([size[1] / width, size[0] / height]).repeat(2)
            boxes = box.clip(image.boxes * scale, size)
            kept = box.nonempty(boxes)
            result: dict[str, Any] = {
                "boxes": boxes[kept],
                "scores": image.scores[kept],
                "labels": image.labels[kept],
            }
            if cell is not None:
                result["masks"] = Masks(cell[kept], boxes[kept], size)
            results.append(result)
        return results

    def _cells(self, features: list[Tensor], detected: list[Detected]) -> Sequence[Tensor | None]:
        """The probabilities (n, 28, 28) of the masks of each image, if the network has masks."""
        if not self.row.mask_convolutions:
            return [None] * len(detected)
        labels = torch.cat([image.labels for image in detected])
        boxes = [image.boxes for image in detected]
        logits = self.roi_heads.mask_head.logits(features[: len(self.backbone.levels)], boxes, labels)
        return logits.sigmoid().split([len(b) for b in boxes])

    def _add_panoptic(self, features: list[Tensor], results: list[dict[str, Any]], shown: Sizes, wanted: Sizes) -> None:
        logits = self.sem_seg_head(features)
        check_finite(logits)
        for result, scores, size, out in zip(results, logits, shown, wanted, strict=True):
            result["semantic"] = self.sem_seg_head.classes(scores, size, out)
            result["panoptic"], result["segments"] = combine(
                result["scores"], result["labels"], result["masks"], result["semantic"]
            )


def _padded(targets: Sequence[Mapping[str, Tensor]], finest: Tensor) -> Tensor:
    """The classes of all pixels of a batch (N, H, W), 255 beyond the images."""
    height, width = (side * box.FIRST_STRIDE for side in finest.shape[2:])
    return torch.stack(
        [
            functional.pad(
                t["semantic"], (0, width - t["semantic"].shape[1], 0, height - t["semantic"].shape[0]), value=255
            )
            for t in targets
        ]
    )


def _check(
    images: Sequence[Tensor], targets: Sequence[Any] | None, sizes: Sequence[Any] | None, *, training: bool
) -> None:
    """InputError unless there is an image, each (3, h, w), and as many targets and sizes."""
    if not images:
        raise InputError("there are no images; give a list of one or more")
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise InputError(f"image {number} has the shape {tuple(image.shape)}; valid: (3, height, width)")
    if training and targets is None:
        raise InputError("there are no targets; a detector in training mode needs them")
    for what, given in (("targets", targets), ("sizes", sizes)):
        if given is not None and len(given) != len(images):
            raise InputError(f"there are {len(given)} {what} for {len(images)} images; give one for each")
