"""Box heads: what each proposal shows and where exactly, in one stage or in three (Cai and Vasconcelos 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, box_iou

from resnest_core.devices import check_finite
from resnest_core.models.rcnn import boxes as box
from resnest_core.models.rcnn.matching import match, sample
from resnest_core.models.rcnn.proposals import Sizes, Target
from resnest_core.models.rcnn.pyramid import Convolution, begin_small
from resnest_core.models.rcnn.settings import Detection

POOLED = 7  # cells of a proposal, each way


@dataclass(frozen=True)
class Detected:
    """What was found in an image: boxes (n, 4), scores (n,), best first, and classes (n,)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Labelled:
    """Proposals (n, 4) of an image with the class that each should get (n,), and the index of its target (n,).

    The class is the number of classes for those that show nothing.
    """

    boxes: Tensor
    labels: Tensor
    index: Tensor


class BoxHead(nn.Module):
    """Pooled proposals (n, C, 7, 7) to features (n, hidden)."""

    def __init__(self, row: Detection) -> None:
        super().__init__()
        self.convolutions = range(1, row.box_convolutions + 1)
        for number in self.convolutions:
            setattr(self, f"conv{number}", Convolution(row.channels, row.channels, 3))
        self.fc1 = nn.Linear(row.channels * POOLED**2, row.hidden)

    def forward(self, x: Tensor) -> Tensor:
        for number in self.convolutions:
            x = functional.relu(getattr(self, f"conv{number}")(x))
        return functional.relu(self.fc1(x.flatten(1)))


class BoxPredictor(nn.Module):
    """Features (n, hidden) to logits (n, classes + 1), the last for background, and offsets (n, 4 * box_classes)."""

    def __init__(self, hidden: int, classes: int, box_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(hidden, classes + 1)
        self.bbox_pred = nn.Linear(hidden, 4 * box_classes)
        begin_small(self.cls_score, 0.01)
        begin_small(self.bbox_pred, 0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class BoxStages(nn.Module):
    """The stages of a detector's box heads: each refines the boxes of the one before.

    A single stage has boxes of its own for each class; those of a cascade serve all classes.
    """

    def __init__(self, row: Detection) -> None:
        super().__init__()
        self.row = row
        self.num_classes = len(row.categories)
        box_classes = 1 if row.cascade else self.num_classes
        self.box_head = nn.ModuleList(BoxHead(row) for _ in row.stages)
        self.box_predictor = nn.ModuleList(BoxPredictor(row.hidden, self.num_classes, box_classes) for _ in row.stages)

    def stage(self, number: int, features: list[Tensor], proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and offsets of a stage for all proposals of all images, in their order."""
        pooled = box.pool(features, proposals, POOLED, self.row.canonical_box)
        if pooled.requires_grad and self.row.cascade:  # each stage moves the trunk by its share
            pooled.register_hook(lambda gradient: gradient / len(self.row.stages))
        logits, offsets = self.box_predictor[number](self.box_head[number](pooled))
        return logits, offsets

    def detect(self, features: list[Tensor], proposals: list[Tensor], sizes: Sizes) -> list[Detected]:
        """The best detections of each image; InputError if the weights make numbers that are not finite."""
        probabilities, boxes = self.predict(features, proposals, sizes)
        check_finite(*probabilities, *boxes)
        return [self.best(p, b, size) for p, b, size in zip(probabilities, boxes, sizes, strict=True)]

    def predict(
        self, features: list[Tensor], proposals: list[Tensor], sizes: Sizes
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For each image probabilities (n, classes + 1), the mean over the stages, and boxes (n, 4 * box_classes) of
        the last one, before they are clipped.
        """
        probabilities = []
        boxes = proposals
        for number, (_, weights) in enumerate(self.row.stages):
            if number > 0:
                boxes = [box.clip(b, size) for b, size in zip(boxes, sizes, strict=True)]
            logits, offsets = self.stage(number, features, boxes)
            probabilities.append(logits.softmax(dim=1))
            counts = [len(b) for b in boxes]
            boxes = list(box.decode(offsets, torch.cat(boxes), weights).split(counts))
        mean = sum(probabilities[1:], probabilities[0]) / len(probabilities)
        return list(mean.split(counts)), boxes

    def best(self, probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Detected:
        """The detections of an image from its probabilities and boxes: a box may be found in several classes."""
        scores = probabilities[:, :-1]
        clipped = box.clip(boxes.reshape(-1, 4), size).reshape(box.grouped(boxes).shape)  # (n, box_classes, 4)
        proposal, label = (scores > self.row.least_score).nonzero().unbind(1)
        found = clipped[proposal, label if clipped.shape[1] > 1 else 0]
        score = scores[proposal, label]
        kept = batched_nms(found, score, label, self.row.overlap)[: self.row.detections]
        return Detected(found[kept], score[kept], label[kept])

    @torch.no_grad()
    def label(self, proposals: Tensor, target: Target) -> Labelled:
        """A sample of the proposals and targets of an image, with the class of each."""
        candidates = torch.cat([proposals, target.boxes])
        labelled, positive = self._matched(candidates, target, self.row.stages[0][0])
        foreground, background = sample(positive, self.row.sampled, self.row.positive_part)
        seen = torch.cat([foreground, background])
        return Labelled(candidates[seen], labelled.labels[seen], labelled.index[seen])

    def losses(
        self, features: list[Tensor], labelled: list[Labelled], targets: list[Target], sizes: Sizes
    ) -> dict[str, Tensor]:
        """The losses of each stage on labelled proposals; later stages see the boxes of the one before."""
        losses: dict[str, Tensor] = {}
        for number, (_, weights) in enumerate(self.row.stages):
            proposals = [image.boxes for image in labelled]
            logits, offsets = self.stage(number, features, proposals)
            suffix = f"_stage{number}" if self.row.cascade else ""
            losses[f"loss_classifier{suffix}"], losses[f"loss_box_reg{suffix}"] = self._loss(
                logits, offsets, labelled, targets, weights
            )
            if number + 1 < len(self.row.stages):
                next_least = self.row.stages[number + 1][0]
                moved = box.decode(offsets.detach(), torch.cat(proposals), weights).split([len(p) for p in proposals])
                labelled = [
                    self._refined(boxes, target, size, next_least)
                    for boxes, target, size in zip(moved, targets, sizes, strict=True)
                ]
        return losses

    def _refined(self, boxes: Tensor, target: Target, size: tuple[int, int], least: float) -> Labelled:
        clipped = box.clip(boxes, size)
        return self._matched(clipped[box.nonempty(clipped)], target, least)[0]

    def _matched(self, boxes: Tensor, target: Target, least: float) -> tuple[Labelled, Tensor]:
        """The boxes with their classes, and whether each stands for a target (n,)."""
        index, positive = match(box_iou(target.boxes, boxes), least, least)
        if len(target.labels) == 0:
            return Labelled(boxes, torch.full_like(index, self.num_classes), index), positive
        labels = torch.where(positive == 1, target.labels[index], self.num_classes)
        return Labelled(boxes, labels, index), positive

    def _loss(
        self,
        logits: Tensor,
        offsets: Tensor,
        labelled: list[Labelled],
        targets: list[Target],
        weights: tuple[float, ...],
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy, and absolute error of the offsets of those that show something, an average proposal."""
        labels = torch.cat([image.labels for image in labelled])
        shown = (labels < self.num_classes).nonzero().squeeze(1)
        wanted = torch.cat([_targets_of(image, target) for image, target in zip(labelled, targets, strict=True)])
        boxes = torch.cat([image.boxes for image in labelled])
        by_class = box.grouped(offsets)[shown]  # (shown, box_classes, 4)
        own = by_class[torch.arange(len(shown)), labels[shown] if by_class.shape[1] > 1 else 0]
        missed = (own - box.encode(boxes[shown], wanted[shown], weights)).abs().sum()
        wrong = functional.cross_entropy(logits, labels) if len(labels) else logits.sum()  # 0 without proposals
        return wrong, missed / max(len(labels), 1)


def _targets_of(labelled: Labelled, target: Target) -> Tensor:
    """The boxes (n, 4) of the targets of proposals; of an image without targets the proposals themselves."""
    return target.boxes[labelled.index] if len(target.boxes) else labelled.boxes
