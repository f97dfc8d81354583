"""Masks of detections (He et al. 2017, arXiv 1703.06870): predicted in cells, pasted into images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from resnest_core.devices import check_finite
from resnest_core.errors import InputError
from resnest_core.models.rcnn import boxes as box
from resnest_core.models.rcnn.heads import Labelled
from resnest_core.models.rcnn.proposals import Target
from resnest_core.models.rcnn.pyramid import Convolution, begin_small
from resnest_core.models.rcnn.settings import Detection

POOLED = 14  # cells of a box, each way; the mask has twice as many
MASK_SIZE = 2 * POOLED
MOST_SAMPLED = 2**22  # pixels at once, of which each takes some thirty bytes
INSIDE = 0.5  # the probability from which a pixel belongs to the object


class MaskHead(nn.Module):
    """Pooled boxes (n, C, 14, 14) to logits of masks (n, classes, 28, 28)."""

    def __init__(self, row: Detection) -> None:
        super().__init__()
        self.canonical_box = row.canonical_box
        self.convolutions = range(1, row.mask_convolutions + 1)
        for number in self.convolutions:
            setattr(self, f"mask_fcn{number}", Convolution(row.channels, row.channels, 3, norm=row.mask_norm))
        self.deconv = nn.ConvTranspose2d(row.channels, row.channels, 2, stride=2)
        self.predictor = nn.Conv2d(row.channels, len(row.categories), 1)
        begin_small(self.predictor, 0.001)

    def forward(self, x: Tensor) -> Tensor:
        for number in self.convolutions:
            x = functional.relu(getattr(self, f"mask_fcn{number}")(x))
        return self.predictor(functional.relu(self.deconv(x)))

    def logits(self, features: list[Tensor], boxes: list[Tensor], labels: Tensor) -> Tensor:
        """The logits (n, 28, 28) of the masks of `boxes` (a list, one tensor an image) in their classes (n,)."""
        pooled = box.pool(features, boxes, POOLED, self.canonical_box)
        of_all = self(pooled)
        if not self.training:  # whose loss tells
            check_finite(of_all)
        return of_all[torch.arange(len(labels), device=labels.device), labels]

    def loss(self, features: list[Tensor], labelled: list[Labelled], targets: list[Target]) -> Tensor:
        """Mean cross-entropy of the cells of the proposals that show something."""
        shown = [image.labels < self.predictor.out_channels for image in labelled]
        boxes = [image.boxes[s] for image, s in zip(labelled, shown, strict=True)]
        labels = torch.cat([image.labels[s] for image, s in zip(labelled, shown, strict=True)])
        wanted = torch.cat(
            [
                masks_in(target.masks, image.index[s], b)
                for target, image, s, b in zip(targets, labelled, shown, boxes, strict=True)
            ]
        )
        logits = self.logits(features, boxes, labels)
        if len(labels) == 0:
            return logits.sum() * 0
        return functional.binary_cross_entropy_with_logits(logits, wanted)


def masks_in(masks: Tensor | None, index: Tensor, boxes: Tensor) -> Tensor:
    """What box i (of n) sees of mask `index[i]` of `masks` (m, h, w), as 0 or 1 in cells (n, 28, 28)."""
    if masks is None:
        raise InputError("targets have no masks; a network with a mask head is trained with masks")
    regions = torch.cat([torch.arange(len(boxes), device=boxes.device)[:, None].to(boxes), boxes], dim=1)
    seen = roi_align(masks[index][:, None].to(boxes), regions, (MASK_SIZE, MASK_SIZE), aligned=True, sampling_ratio=0)
    return (seen[:, 0] >= INSIDE).to(boxes)


@dataclass(frozen=True)
class Masks(Sequence[Tensor]):
    """Masks (height, width) of bool of an image of `size`, each pasted when it is asked for.

    All of a large photograph fill any memory. `cells` (n, 28, 28) and `boxes` (n, 4) are as in `paste`.
    """

    cells: Tensor
    boxes: Tensor
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Any:
        one = [range(len(self))[index]]  # IndexError ends an iteration
        return paste(self.cells[one], self.boxes[one], self.size)[0]

    def all(self) -> Tensor:
        """(n, height, width)."""
        return paste(self.cells, self.boxes, self.size)


def paste(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (n, height, width) of bool of an image of `size`, from probabilities (n, 28, 28) in `boxes` (n, 4).

    A pixel takes the bilinear value at its centre, the box being real-valued, and belongs from one half on.
    """
    height, width = size
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool, device=boxes.device)
    for mask, cells, corners in zip(masks, probabilities, boxes, strict=True):
        x0, y0, x1, y1 = corners.tolist()
        left, top = max(int(x0) - 1, 0), max(int(y0) - 1, 0)
        right, bottom = min(int(x1) + 2, width), min(int(y1) + 2, height)
        if right > left and bottom > top:
            x = (torch.arange(left, right, device=boxes.device) + 0.5 - corners[0]) / (corners[2] - corners[0])
            y = (torch.arange(top, bottom, device=boxes.device) + 0.5 - corners[1]) / (corners[3] - corners[1])
            rows = max(MOST_SAMPLED // (right - left), 1)
            for first in range(0, len(y), rows):
                seen = _sampled(cells, x * 2 - 1, y[first : first + rows] * 2 - 1) >= INSIDE
                mask[top + first : top + first + len(seen), left:right] = seen
    return masks


def _sampled(cells: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear values (h, w) of `cells` at columns x (w,) and rows y (h,), from -1 to 1, and 0 outside."""
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([columns, rows], dim=2)[None].nan_to_num(0.0, 0.0, 0.0)  # (1, h, w, 2)
    return functional.grid_sample(cells[None, None], grid, align_corners=False)[0, 0]
