"""Region proposals (Ren et al. 2015, arXiv 1506.01497): anchors, their scores and offsets, and what is kept."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, box_iou

from resnest_core.devices import check_finite
from resnest_core.models.rcnn import boxes as box
from resnest_core.models.rcnn.matching import match, sample
from resnest_core.models.rcnn.pyramid import begin_small
from resnest_core.models.rcnn.settings import Proposing

WEIGHTS = (1.0, 1.0, 1.0, 1.0)
Sizes = list[tuple[int, int]]  # height and width of each image, without padding


@dataclass(frozen=True)
class Target:
    """What is to be found in an image: boxes (n, 4), classes (n,), and masks (n, h, w) where there are any."""

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None


def anchors(size: tuple[int, int], stride: int, side: float, ratios: tuple[float, ...]) -> Tensor:
    """Boxes (H * W * ratios, 4) of the area of a square of `side`, around the corner of each cell of a map (H, W).

    `ratios` are height to width. Nothing is rounded, as in detectron2.
    """
    height, width = size
    widths = [math.sqrt(side**2 / ratio) for ratio in ratios]
    cell = torch.tensor([[-w / 2, -w * r / 2, w / 2, w * r / 2] for w, r in zip(widths, ratios, strict=True)])
    y, x = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
    corners = torch.stack([x, y, x, y], dim=2).reshape(-1, 1, 4)  # (H * W, 1, 4)
    return (corners + cell).reshape(-1, 4)


class ProposalHead(nn.Module):
    """For each map (N, C, H, W) of a pyramid the logits (N, A, H, W) and the offsets (N, 4 * A, H, W) of A anchors a
    cell.
    """

    def __init__(self, channels: int, anchors_per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness_logits = nn.Conv2d(channels, anchors_per_cell, 1)
        self.anchor_deltas = nn.Conv2d(channels, 4 * anchors_per_cell, 1)
        for layer in (self.conv, self.objectness_logits, self.anchor_deltas):
            begin_small(layer, 0.01)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        hidden = [functional.relu(self.conv(feature)) for feature in features]
        return [self.objectness_logits(h) for h in hidden], [self.anchor_deltas(h) for h in hidden]


class ProposalNetwork(nn.Module):
    """Regions that may hold an object, from the maps of a pyramid whose finest has stride 4."""

    def __init__(self, channels: int, row: Proposing) -> None:
        super().__init__()
        self.row = row
        self.rpn_head = ProposalHead(channels, len(row.ratios))

    def forward(
        self, features: list[Tensor], sizes: Sizes, targets: list[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The proposals (n, 4) of each image, best first, and the losses if there are targets.

        Raises InputError, but in training, if the weights make numbers that are not finite.
        """
        all_logits, all_offsets = self.rpn_head(features)
        if not self.training:  # whose losses tell
            check_finite(*all_logits, *all_offsets)
        per_level = [self.anchors(feature, level) for level, feature in enumerate(features)]
        logits = [level.permute(0, 2, 3, 1).flatten(1) for level in all_logits]  # (N, H * W * A)
        offsets = [_by_anchor(level) for level in all_offsets]
        losses = {} if targets is None else self.losses(per_level, logits, offsets, targets)
        with torch.no_grad():
            return self.propose(per_level, logits, offsets, sizes), losses

    def anchors(self, feature: Tensor, level: int) -> Tensor:
        """The anchors of the map of a level, 0 for the finest."""
        size, stride = (feature.shape[2], feature.shape[3]), box.FIRST_STRIDE * 2**level
        return anchors(size, stride, self.row.anchor_sizes[level], self.row.ratios).to(feature)

    def propose(
        self, per_level: list[Tensor], logits: list[Tensor], offsets: list[Tensor], sizes: Sizes
    ) -> list[Tensor]:
        """The best of each level, of which those that overlap a better one of their level are dropped."""
        row = self.row
        most, kept = (row.per_level_train, row.train) if self.training else (row.per_level_test, row.test)
        found, scores, level_of = [], [], []
        for level, (around, scored, moved) in enumerate(zip(per_level, logits, offsets, strict=True)):
            best, index = scored.topk(min(most, scored.shape[1]), dim=1)  # (N, k)
            chosen = torch.stack([box.decode(m[i], around[i], WEIGHTS) for m, i in zip(moved, index, strict=True)])
            found.append(chosen)  # (N, k, 4)
            scores.append(best)
            level_of.append(torch.full_like(index[0], level))
        together = zip(torch.cat(found, 1), torch.cat(scores, 1), sizes, strict=True)
        return [self._best(boxes, score, torch.cat(level_of), size, kept) for boxes, score, size in together]

    def _best(self, boxes: Tensor, scores: Tensor, level: Tensor, size: tuple[int, int], kept: int) -> Tensor:
        boxes = box.clip(boxes, size)
        whole = box.nonempty(boxes)
        boxes, scores, level = boxes[whole], scores[whole], level[whole]
        return boxes[batched_nms(boxes, scores, level, self.row.overlap)[:kept]]

    def losses(
        self, per_level: list[Tensor], logits: list[Tensor], offsets: list[Tensor], targets: list[Target]
    ) -> dict[str, Tensor]:
        """How wrong the logits and the offsets of a sample of the anchors are, an anchor of the sample."""
        row, around = self.row, torch.cat(per_level)  # (n, 4)
        scored, moved = torch.cat(logits, dim=1), torch.cat(offsets, dim=1)  # (N, n), (N, n, 4)
        objectness, placement = scored.sum() * 0, moved.sum() * 0
        for image, target in enumerate(targets):
            iou = box_iou(target.boxes, around)
            index, labels = match(iou, row.negative, row.positive, keep_best=True)
            positive, negative = sample(labels, row.sampled, row.positive_part)
            seen = torch.cat([positive, negative])
            objectness = objectness + functional.binary_cross_entropy_with_logits(
                scored[image, seen], labels[seen].to(scored), reduction="sum"
            )
            wanted = box.encode(around[positive], target.boxes[index[positive]], WEIGHTS)
            placement = placement + (moved[image, positive] - wanted).abs().sum()
        n = row.sampled * len(targets)
        return {"loss_objectness": objectness / n, "loss_rpn_box_reg": placement / n}


def _by_anchor(offsets: Tensor) -> Tensor:
    """From (N, 4 * A, H, W) to (N, H * W * A, 4)."""
    n, channels, height, width = offsets.shape
    by_anchor = offsets.reshape(n, channels // 4, 4, height, width)  # (N, A, 4, H, W)
    return by_anchor.permute(0, 3, 4, 1, 2).reshape(n, -1, 4)
