"""What we measure ourselves against: split attention and evaluation as the authors' scripts do them.

The block splits and sums lists of tensors (their `resnest/torch/models/splat.py`), and the evaluation is a plain loop
over a DataLoader that counts right answers (their `scripts/torch/verify.py`). Written anew from what they do.
"""

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, ToTensor

from resnest_core.data.imagenet import ImageFiles
from resnest_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from resnest_core.models.split_attention import SplitAttentionConv2d


class ListSplitAttention(nn.Module):
    """A `SplitAttentionConv2d` of the same weights, (N, in, H, W) to (N, C, H', W'), by lists of splits."""

    def __init__(self, block: SplitAttentionConv2d) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        x = block.relu(block.bn0(block.conv(x)))
        splits = torch.split(x, x.shape[1] // block.radix, dim=1)  # R of (N, C, H, W)
        pooled = nn.functional.adaptive_avg_pool2d(sum(splits), 1)  # (N, C, 1, 1)
        logits = block.fc2(block.relu(block.bn1(block.fc1(pooled))))
        if block.radix == 1:
            return torch.sigmoid(logits) * splits[0]
        logits = logits.view(x.shape[0], block.cardinality, block.radix, -1).transpose(1, 2)
        weights = nn.functional.softmax(logits, dim=1).reshape(x.shape[0], -1, 1, 1)
        weights = torch.split(weights, x.shape[1] // block.radix, dim=1)  # R of (N, C, 1, 1)
        return sum(weight * split for weight, split in zip(weights, splits, strict=True))


def with_lists(model: nn.Module) -> nn.Module:
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
