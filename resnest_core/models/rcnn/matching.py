"""Which boxes stand for which targets in training, and which of them the losses see."""

import torch
from torch import Tensor


def match(iou: Tensor, negative: float, positive: float, *, keep_best: bool = False) -> tuple[Tensor, Tensor]:
    """For each box the index of its target (n,), and 1 if it stands for it, 0 if for none, -1 if it does not count.

    `iou` is (targets, n). A box stands for the target it overlaps most if their IoU is `positive` or more, for none
    if it is less than `negative`. With `keep_best` so does the best box of each target, however small their IoU.
    """
    if iou.shape[0] == 0:
        nothing = torch.zeros(iou.shape[1], dtype=torch.int64, device=iou.device)
        return nothing, nothing.clone()
    best, index = iou.max(dim=0)
    labels = torch.full_like(index, -1)
    labels[best < negative] = 0
    labels[best >= positive] = 1
    if keep_best:
        of_target = iou.max(dim=1, keepdim=True).values  # (targets, 1)
        labels[((iou == of_target) & (of_target > 0)).any(dim=0)] = 1
    return index, labels


def sample(labels: Tensor, n: int, positive_part: float) -> tuple[Tensor, Tensor]:
    """Indices of positive and of negative boxes, drawn at random: `n` in all, at most `positive_part` of them
    positive.
    """
    positive, negative = (labels == 1).nonzero().squeeze(1), (labels == 0).nonzero().squeeze(1)
    taken = min(len(positive), int(n * positive_part))
    return _some(positive, taken), _some(negative, min(len(negative), n - taken))


def _some(indices: Tensor, n: int) -> Tensor:
    return indices[torch.randperm(len(indices), device=indices.device)[:n]]
