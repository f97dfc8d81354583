"""What the weights of split attention are like: their spread, and how they vary with channel, class and image."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from resnest_core.errors import InputError
from resnest_core.statistics import CONFIDENCE, Interval

BINS = 1000  # of the histogram of weights, from 0 to 1
# Components of the variation: of channels and splits, of classes, and of images within a class.
PARTS = ["constant", "class", "image"]


class Sums:
    """Sums of the weights of one block over the images of each half and class, and their histogram, batch by batch."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.sums: Tensor | None = None  # (2 * classes, R, C)
        self.counts = torch.zeros(2 * classes, dtype=torch.float64)
        self.histogram = torch.zeros(BINS, dtype=torch.float64)

    def add(self, weights: Tensor, targets: Tensor, halves: Tensor) -> None:
        """Add the weights (N, R, C) of images of classes `targets` (N,) in the `halves` (N,), 0 or 1."""
        weights = weights.cpu().double()
        if self.sums is None:
            self.sums = torch.zeros(2 * self.classes, *weights.shape[1:], dtype=torch.float64)
        groups = halves * self.classes + targets
        self.sums.index_add_(0, groups, weights)
        self.counts.index_add_(0, groups, torch.ones(len(groups), dtype=torch.float64))
        self.histogram += torch.histc(weights, BINS, 0, 1)

    def means(self) -> "Means":
        assert self.sums is not None, "no weights were added"
        sums = self.sums.unflatten(0, (2, self.classes))
        counts = self.counts.unflatten(0, (2, self.classes))[:, :, None, None]
        return Means(sums.sum(dim=1) / counts.sum(dim=1), sums / counts)


@dataclass(frozen=True)
class Means:
    """Means of the weights of one block over each half of the images (2, R, C), and over each of its classes
    (2, classes, R, C), NaN where it has none of them.
    """

    halves: Tensor
    classes: Tensor

    def over_others(self, halves: Tensor) -> Tensor:
        """For images in `halves` (N,), 0 or 1, the mean over the other half: (N, R, C)."""
        return self.halves[1 - halves]

    def over_class(self, targets: Tensor, halves: Tensor) -> Tensor:
        """The same over those images of the other half that are of their class."""
        return self.classes[1 - halves, targets]


def quantile(histogram: Tensor, share: float) -> float:
    """The weight below which that share of all weights lies, to within a bin of their `histogram` (BINS,)."""
    below = np.concatenate([[0.0], histogram.cumsum(0).numpy()])
    return float(np.interp(share * below[-1], below, np.linspace(0, 1, BINS + 1)))


def halves_of(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The half, 0 or 1, that each image (N,) belongs to: those of a class take turns."""
    return np.array(pd.Series(targets).groupby(targets).cumcount() % 2, np.int64)


def entropy(weights: Tensor) -> Tensor:
    """Entropy of the weights (N, R, C) over the splits, over log R, in the mean of the channels: (N,), 0 to 1.

    A single weight is the probability of a gate to be open; its entropy is that of the two states, over log 2.
    """
    shares = weights if weights.shape[1] > 1 else torch.cat([weights, 1 - weights], dim=1)
    return torch.special.entr(shares.double()).sum(dim=1).mean(dim=1) / math.log(shares.shape[1])


def variation(weights: Tensor, mean: Tensor, class_mean: Tensor) -> Tensor:
    """What each image contributes to the `PARTS` of the variation: (N, 3), in squared weights.

    The weights x (N, R, C) deviate from their mean over channels and splits, c (1 / R if R > 1), by
    (m - c) + (k - m) + (x - k), with the means m over images and k over images of the same class. The product of x - c
    with each term, in the mean over channels and splits, adds up to the squared deviation. As m and k are `mean` and
    `class_mean` (N, R, C) over images of the other half, which err independently of x, the mean over images is
    unbiased for the components of the analysis of variance with fixed classes, whose shares are omega squared (Hays).
    """
    centre = mean.mean(dim=(1, 2), keepdim=True)
    terms = (mean - centre, class_mean - mean, weights - class_mean)
    return torch.stack([((weights - centre) * term).mean(dim=(1, 2)) for term in terms], dim=1)


def shares(parts: pd.DataFrame, targets: pd.Series) -> dict[str, Interval]:
    """Each of the `PARTS` in percent of their sum, from a row an image as `variation` gives them; rows with gaps do not
    count.

    The interval is that of a ratio of means by linearisation, for images drawn within their classes. An image moves the
    means too, so that it acts twice on the constant part and that of classes, and once less on that of images.
    """
    rows = parts[PARTS].dropna()
    values, classes = rows.to_numpy(), targets[rows.index].to_numpy()
    total = float(values.mean(axis=0).sum())
    if not total > 0:
        raise InputError("the attention does not vary among channels, splits or images; there is nothing to divide")
    share = values.mean(axis=0) / total
    influence = values @ np.array([[2, 0, -1], [0, 2, -1], [0, 0, 1]])
    effect = pd.DataFrame((influence - share * values.sum(axis=1, keepdims=True)) / total)
    within = effect - effect.groupby(classes).transform("mean")
    n, freedom = len(rows), len(rows) - len(np.unique(classes))
    error = np.sqrt((within**2).sum() / freedom / n)
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error.to_numpy()
    limits = 100 * np.stack([share, share - margin, share + margin], axis=1)
    return {
        part: Interval(value, low, high, n) for part, (value, low, high) in zip(PARTS, limits.tolist(), strict=True)
    }
