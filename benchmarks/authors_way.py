"""What we measure ourselves against: split attention and evaluation as the authors' scripts do them.

The block splits and sums lists of tensors (their `resnest/torch/models/splat.py`), the evaluation of classifiers is a
plain loop over a DataLoader that counts right answers (their `scripts/torch/verify.py`), and that of segmentation
networks takes one crop at a time (PyTorch-Encoding's `encoding/models/sseg/base.py`). Written anew from what they do.
"""

import math
from typing import TypeVar, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, ToTensor

from resnest_core.data.imagenet import ImageFiles
from resnest_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from resnest_core.evaluation.views import View
from resnest_core.models.deeplab import Segmenter
from resnest_core.models.split_attention import SplitAttentionConv2d

Network = TypeVar("Network", bound=nn.Module)


class ListSplitAttention(nn.Module):
    """A `SplitAttentionConv2d` of the same weights, (N, in, H, W) to (N, C, H', W'), by lists of splits."""

    def __init__(self, block: SplitAttentionConv2d) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        x = block.relu(block.bn0(block.conv(x)))
        splits = torch.split(x, x.shape[1] // block.radix, dim=1)  # R of (N, C, H, W)
        pooled = nn.functional.adaptive_avg_pool2d(cast(Tensor, sum(splits)), 1)  # (N, C, 1, 1)
        logits = block.fc2(block.relu(block.bn1(block.fc1(pooled))))
        if block.radix == 1:
            return torch.sigmoid(logits) * splits[0]
        logits = logits.view(x.shape[0], block.cardinality, block.radix, -1).transpose(1, 2)
        weights = nn.functional.softmax(logits, dim=1).reshape(x.shape[0], -1, 1, 1)
        parts = torch.split(weights, x.shape[1] // block.radix, dim=1)  # R of (N, C, 1, 1)
        return cast(Tensor, sum(part * split for part, split in zip(parts, splits, strict=True)))


def with_lists(model: Network) -> Network:
    """Put the list form in place of every split-attention block of `model`, and return it."""
    for name, child in model.named_children():
        if isinstance(child, SplitAttentionConv2d):
            setattr(model, name, ListSplitAttention(child))
        else:
            with_lists(child)
    return model


class _Pairs(Dataset):
    """Images as tensors (3, S, S), by Pillow and torchvision's transforms, with their targets."""

    def __init__(self, images: ImageFiles, crop_size: int) -> None:
        self.images, self.crop_size = images, crop_size
        self.to_tensor = Compose([ToTensor(), Normalize(IMAGENET_MEAN, IMAGENET_STD)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images.load(index)
        side = self.crop_size / (self.crop_size + 32) * min(image.size)
        left, top = round((image.width - side) / 2), round((image.height - side) / 2)
        square = image.crop((left, top, round(left + side), round(top + side)))
        resized = square.resize((self.crop_size, self.crop_size), Image.Resampling.BICUBIC)
        return self.to_tensor(resized), int(self.images.targets[index])


@torch.no_grad()
def evaluate(
    model: nn.Module, images: ImageFiles, *, crop_size: int, batch_size: int, workers: int
) -> tuple[float, float]:
    """Top-1 and top-5 accuracy (%) in the authors' way."""
    loader = DataLoader(_Pairs(images, crop_size), batch_size=batch_size, num_workers=workers)
    top1 = top5 = 0
    model.eval()
    for batch, targets in loader:
        best = model(batch).topk(5, dim=1).indices  # (N, 5)
        right = best == targets[:, None]
        top1 += int(right[:, 0].sum())
        top5 += int(right.sum())
    return 100 * top1 / len(images), 100 * top5 / len(images)


@torch.no_grad()
def multi_scale(model: Segmenter, image: Tensor, view: View, black: Tensor) -> Tensor:
    """Scores (classes, H, W) of a normalised image (3, H, W), step by step; `black` (3,) is a black pixel."""
    height, width = image.shape[1:]
    total = torch.zeros(1, model.num_classes, height, width)
    for scale in view.scales:
        long = math.ceil(view.base_size * scale)
        tall = height > width
        size = (long, int(width * long / height + 0.5)) if tall else (int(height * long / width + 0.5), long)
        resized = interpolate(image[None], size, mode="bilinear", align_corners=True)
        part = _one_scale(model, resized, view, black)
        total += interpolate(part, (height, width), mode="bilinear", align_corners=True)
    return total[0]


def _one_scale(model: Segmenter, image: Tensor, view: View, black: Tensor) -> Tensor:
    """Scores (1, classes, h, w) of an image (1, 3, h, w) at one scale."""
    height, width = image.shape[2:]
    crop, step = view.crop_size, int(view.crop_size * 2 / 3)
    if max(height, width) <= crop:
        return _one_crop(model, _filled(image, crop, crop, black), view.flip)[:, :, :height, :width]
    whole = _filled(image, max(height, crop), max(width, crop), black)
    rows, columns = (math.ceil((side - crop) / step) + 1 for side in whole.shape[2:])
    total = torch.zeros(1, model.num_classes, *whole.shape[2:])
    visits = torch.zeros(1, 1, *whole.shape[2:])
    for i in range(rows):
        for j in range(columns):
            top, left = i * step, j * step
            piece = whole[:, :, top : top + crop, left : left + crop]
            h, w = piece.shape[2:]
            found = _one_crop(model, _filled(piece, crop, crop, black), view.flip)
            total[:, :, top : top + h, left : left + w] += found[:, :, :h, :w]
            visits[:, :, top : top + h, left : left + w] += 1
    return (total / visits)[:, :, :height, :width]


def _one_crop(model: Segmenter, crop: Tensor, flip: bool) -> Tensor:
    logits = model(crop)["out"]
    return (logits + model(crop.flip(3))["out"].flip(3) if flip else logits).exp()


def _filled(image: Tensor, height: int, width: int, black: Tensor) -> Tensor:
    result = black.view(1, 3, 1, 1).repeat(1, 1, height, width)
    result[:, :, : image.shape[2], : image.shape[3]] = image
    return result
