"""Boxes (n, 4), corners x0, y0, x1, y1 in pixels: offsets between them, clipping, pooling. No rounding, no +1."""

import math

import torch
from torch import Tensor
from torchvision.ops import roi_align

LARGEST_SCALE = math.log(1000 / 16)  # exponents of width and height are cut there, from above alone
CANONICAL_LEVEL = 2  # of the levels beginning with stride 4: the third
FIRST_STRIDE = 4


def area(boxes: Tensor) -> Tensor:
    """Areas (n,), negative where corners are crossed once."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The parts of the boxes in an image of `size` (height, width)."""
    height, width = size
    return torch.stack(
        [
            boxes[:, 0].clamp(0, width),
            boxes[:, 1].clamp(0, height),
            boxes[:, 2].clamp(0, width),
            boxes[:, 3].clamp(0, height),
        ],
        dim=1,
    )


def nonempty(boxes: Tensor) -> Tensor:
    """Whether each box has a width and a height (n,)."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def encode(boxes: Tensor, targets: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Offsets (n, 4) that lead from `boxes` to `targets`: of the centre in widths, and logarithms of the scale."""
    centres, sizes = _centres_and_sizes(boxes)
    target_centres, target_sizes = _centres_and_sizes(targets)
    offsets = torch.cat([(target_centres - centres) / sizes, torch.log(target_sizes / sizes)], dim=1)
    return offsets * offsets.new_tensor(weights)


def decode(offsets: Tensor, boxes: Tensor, weights: tuple[float, ...]) -> Tensor:
    """The boxes (n, 4 * k) to which k offsets each (n, 4 * k) lead from `boxes` (n, 4)."""
    centres, sizes = _centres_and_sizes(boxes)
    scaled = grouped(offsets) / offsets.new_tensor(weights)  # (n, k, 4)
    moved = scaled[..., :2] * sizes[:, None] + centres[:, None]  # (n, k, 2)
    half = 0.5 * torch.exp(scaled[..., 2:].clamp(max=LARGEST_SCALE)) * sizes[:, None]
    return torch.cat([moved - half, moved + half], dim=2).reshape(offsets.shape)


def grouped(values: Tensor) -> Tensor:
    """Values (n, 4 * k) as k fours each (n, k, 4); n may be 0, for which torch finds no k by itself."""
    return values.unflatten(1, (values.shape[1] // 4, 4))


def _centres_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres (n, 2) and widths and heights (n, 2)."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * sizes, sizes


def levels(boxes: Tensor, count: int, canonical: float = 224.0) -> Tensor:
    """The level (n,), 0 to count - 1, that each box is pooled from: larger boxes from coarser ones.

    A square of `canonical` pixels belongs to the third (Lin et al. 2017, equation 1).
    """
    sides = area(boxes).sqrt()
    level = torch.floor(CANONICAL_LEVEL + torch.log2(sides / canonical + 1e-8))
    return level.clamp(0, count - 1).to(torch.int64)


def pool(features: list[Tensor], boxes: list[Tensor], size: int, canonical: float = 224.0) -> Tensor:
    """What lies in the boxes (a list, one tensor an image) of maps at strides 4, 8, ...: (n, C, size, size).

    RoIAlign (He et al. 2017) with corners at pixel centres and as many samples as a bin has pixels.
    """
    flat = torch.cat(boxes)
    image = torch.repeat_interleave(
        torch.arange(len(boxes), device=flat.device), torch.tensor([len(b) for b in boxes], device=flat.device)
    )
    regions = torch.cat([image[:, None].to(flat.dtype), flat], dim=1)  # (n, 5)
    level = levels(flat, len(features), canonical)
    pooled = features[0].new_zeros(len(flat), features[0].shape[1], size, size)
    for index, feature in enumerate(features):
        here = (level == index).nonzero().squeeze(1)
        scale = 1 / (FIRST_STRIDE * 2**index)
        found = roi_align(feature, regions[here], (size, size), scale, sampling_ratio=0, aligned=True)
        pooled = pooled.index_put((here,), found)
    return pooled
