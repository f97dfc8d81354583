"""The modulated deformable convolution (Zhu et al. 2018, arXiv 1811.11168), as the authors' detectors have it."""

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

TAPS = 9  # of a 3x3 kernel


class DeformableConv2d(nn.Conv2d):
    """A 3x3 convolution whose taps lie where `offset` says, and weigh what it says.

    Maps (N, in_channels, H, W) to (N, channels, H / stride, W / stride). `offset` gives each of `offset_groups` groups
    of channels two coordinates and a weight a tap, and is grouped as the convolution is. It begins with zeros: no tap
    moved, all with a weight of one half.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, dilation: int, groups: int, offset_groups: int
    ) -> None:
        super().__init__(in_channels, channels, 3, stride, dilation, dilation, groups, bias=False)
        self.coordinates = 2 * TAPS * offset_groups
        self.offset = nn.Conv2d(
            in_channels, 3 * TAPS * offset_groups, 3, stride, padding=dilation, dilation=dilation, groups=groups
        )
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        moved = self.offset(x)  # (N, 3 * 9 * offset_groups, H', W'): y and x of each tap, then the weights
        offsets, weights = moved[:, : self.coordinates], torch.sigmoid(moved[:, self.coordinates :])
        return deform_conv2d(
            x, offsets, self.weight, stride=self.stride, padding=self.padding, dilation=self.dilation, mask=weights
        )
