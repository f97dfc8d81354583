"""Semantic segmentation: DeepLabV3 (Chen et al. 2017) and FCN (Long et al. 2015) heads on a dilated trunk.

As in the authors' PyTorch-Encoding (`encoding/models/sseg`, commit ac748410): every interpolation is bilinear with
aligned corners, and an auxiliary head looks at the last but one stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from resnest_core.errors import InputError
from resnest_core.models.resnet import EXPANSION, Architecture, ResNet


@dataclass(frozen=True)
class Segmentation:
    """What distinguishes one segmentation network from another."""

    trunk: Architecture
    num_classes: int
    rates: tuple[int, ...] = (12, 24, 36)  # dilations of the pyramid (ASPP); none for FCN
    output_stride: int = 8
    dropout: float = 0.5  # of the joined pyramid's channels


class Segmenter(nn.Module):
    """Images (N, 3, H, W) to logits `out` and `aux`, each (N, num_classes, H, W), as torchvision's segmenters do."""

    def __init__(self, row: Segmentation, *, num_classes: int | None = None) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; it must be 1 or more")
        self.num_classes = num_classes or row.num_classes
        self.backbone = ResNet(row.trunk, output_stride=row.output_stride)
        self.backbone.fc = nn.Identity()  # published without it
        *_, before, last = (planes * EXPANSION for planes in row.trunk.planes[: len(row.trunk.layers)])
        head = DeepLabHead(last, self.num_classes, row) if row.rates else FCNHead(last, self.num_classes)
        self.head: nn.Module = head
        self.auxiliary = FCNHead(before, self.num_classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        *_, before, last = self.backbone.features(x)
        return {"out": _resized(self.head(last), x), "aux": _resized(self.auxiliary(before), x)}

    def logits(self, x: Tensor) -> Tensor:
        """What `out` is enlarged from: (N, num_classes, h, w) at the stride of the trunk, without the auxiliary
        head.
        """
        logits: Tensor = self.head(self.backbone.features(x)[-1])
        return logits

    def load_backbone(self, state_dict: Mapping[str, Tensor]) -> None:
        """Begin with the trunk of a classifier's `state_dict`, whose last layer is left out; else strictly."""
        from resnest_core import checkpoints

        checkpoints.load_trunk(self.backbone, state_dict)


class FCNHead(nn.Module):
    """A 3x3 convolution to a quarter of the channels and a classifier of each place: (N, C, h, w) to (N, K, h, w)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv5 = _classifier(channels, channels // 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv5(x)


class DeepLabHead(nn.Module):
    """The pyramid to an eighth of the channels, and a classifier of each place: (N, C, h, w) to (N, K, h, w)."""

    def __init__(self, channels: int, num_classes: int, row: Segmentation) -> None:
        super().__init__()
        self.aspp = ASPP(channels, channels // 8, row.rates, row.dropout)
        self.block = _classifier(channels // 8, channels // 8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.aspp(x))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 convolution `b0`, a dilated 3x3 one a rate, and the pooled image, joined.

    Maps (N, in_channels, h, w) to (N, channels, h, w).
    """

    def __init__(self, in_channels: int, channels: int, rates: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.b0 = nn.Sequential(*_convolution(in_channels, channels, 1))
        for i, rate in enumerate(rates, start=1):
            setattr(self, f"b{i}", nn.Sequential(*_convolution(in_channels, channels, 3, rate)))
        setattr(self, f"b{len(rates) + 1}", PooledImage(in_channels, channels))
        joined = (len(rates) + 2) * channels
        self.project = nn.Sequential(*_convolution(joined, channels, 1), nn.Dropout2d(dropout))

    def forward(self, x: Tensor) -> Tensor:
        branches = [branch(x) for name, branch in self.named_children() if name != "project"]
        return self.project(torch.cat(branches, dim=1))  # (N, branches * channels, h, w)


class PooledImage(nn.Module):
    """What the whole map holds, at every place: (N, in_channels, h, w) to (N, channels, h, w)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_convolution(in_channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.gap(x).expand(-1, -1, x.shape[2], x.shape[3])  # (N, channels, 1, 1) to (N, channels, h, w)


def _convolution(in_channels: int, channels: int, kernel: int, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


def _classifier(in_channels: int, channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(in_channels, channels, 3), nn.Dropout(0.1), nn.Conv2d(channels, num_classes, 1))


def _resized(scores: Tensor, like: Tensor) -> Tensor:
    """Scores (N, K, h, w) at the size of `like` (N, C, H, W)."""
    return interpolate(scores, like.shape[2:], mode="bilinear", align_corners=True)
