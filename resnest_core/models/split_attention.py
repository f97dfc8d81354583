"""The split-attention block (Zhang et al. 2020, arXiv 2004.08955, section 3.1).

Parameter names are those of the authors' `resnest/torch/models/splat.py`, so that their files load as they are.
"""

import torch
from torch import Tensor, nn

from resnest_core.models.dropblock import DropBlock2d

REDUCTION = 4
LEAST_ATTENTION_CHANNELS = 32
DROPBLOCK_SIZE = 3


class SplitAttentionConv2d(nn.Module):
    """A grouped 3x3 convolution into `radix` splits, which are summed with one attention weight per channel and split.

    Maps (N, in_channels, H, W) to (N, channels, H / stride, W / stride). The splits lie radix-major: channel
    r * channels + c of the convolution is channel c of split r. The attention comes from a pooled sum of the splits,
    through two 1x1 convolutions in `cardinality` groups: a softmax over the splits, or a sigmoid where there is one.

    `deformable` is the number of groups of offsets of a deformable 3x3 convolution, `dropblock` the probability of
    DropBlock after the first normalisation; 0 leaves either out.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        radix: int,
        cardinality: int = 1,
        stride: int = 1,
        dilation: int = 1,
        deformable: int = 0,
        dropblock: float = 0.0,
    ) -> None:
        super().__init__()
        if radix < 1:
            raise ValueError(f"radix is {radix}; split attention needs 1 or more")
        self.radix = radix
        self.cardinality = cardinality
        hidden = max(in_channels * radix // REDUCTION, LEAST_ATTENTION_CHANNELS)
        self.conv = _convolution(in_channels, channels * radix, stride, dilation, cardinality * radix, deformable)
        self.bn0 = nn.BatchNorm2d(channels * radix)
        self.dropblock = dropblock_layer(dropblock)
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1, groups=cardinality)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.fc2 = nn.Conv2d(hidden, channels * radix, kernel_size=1, groups=cardinality)
        self.keep: nn.Module = nn.Identity()  # of the attention; `resnest_core.compiling` puts something else here

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.dropblock(self.bn0(self.conv(x))))
        splits = x.reshape(x.shape[0], self.radix, x.shape[1] // self.radix, x.shape[2], x.shape[3])  # (N, R, C, H, W)
        pooled = splits.mean(dim=(3, 4)).sum(dim=1)  # (N, C)
        attention = self.keep(self.attention(pooled).to(x.dtype))  # (N, R, C)
        return weighted_sum(splits, attention[:, :, :, None, None])  # (N, C, H, W)

    def attention(self, pooled: Tensor) -> Tensor:
        """The weights (N, R, C) of the splits, from their pooled sum (N, C)."""
        hidden = self.relu(self.bn1(self.fc1(pooled[:, :, None, None])))
        logits = self.fc2(hidden)  # (N, K * R * C/K, 1, 1)
        group = logits.shape[1] // (self.cardinality * self.radix)  # C/K
        logits = logits.reshape(logits.shape[0], self.cardinality, self.radix, group).transpose(1, 2)  # (N, R, K, C/K)
        weights = logits.softmax(dim=1) if self.radix > 1 else torch.sigmoid(logits)
        return weights.flatten(2)  # (N, R, C)


def weighted_sum(splits: Tensor, weights: Tensor) -> Tensor:
    """The sum (N, C, H, W) of splits (N, R, C, H, W), each times its weights (N, R, C, 1, 1).

    Split by split: on a CPU, product and sum over all at once take a tenth of a whole network's forward pass more.
    """
    parts, shares = splits.unbind(1), weights.unbind(1)  # R of (N, C, H, W), R of (N, C, 1, 1)
    total = parts[0] * shares[0]
    for r in range(1, len(parts)):
        total = torch.addcmul(total, parts[r], shares[r])
    return total


def _convolution(
    in_channels: int, channels: int, stride: int, dilation: int, groups: int, deformable: int
) -> nn.Conv2d:
    """A grouped 3x3 convolution, deformable with so many groups of offsets, or plain."""
    if not deformable:
        return nn.Conv2d(in_channels, channels, 3, stride, dilation, dilation, groups, bias=False)
    from resnest_core.models.deformable import DeformableConv2d  # torchvision takes seconds to import

    return DeformableConv2d(in_channels, channels, stride, dilation, groups, deformable)


def dropblock_layer(probability: float) -> nn.Module:
    """DropBlock (Ghiasi et al. 2018) with that probability of dropping a unit, or nothing."""
    return DropBlock2d(probability, DROPBLOCK_SIZE) if probability > 0 else nn.Identity()
