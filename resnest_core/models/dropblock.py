"""DropBlock (Ghiasi, Lin and Le 2018, arXiv 1810.12890); torchvision's refuses maps of even size below the block's."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad


class DropBlock2d(nn.Module):
    """In training, zero squares of side `size` of maps (N, C, H, W), each channel for itself, and rescale what is left.

    `p` is the part of the units that is dropped, on average and but for overlaps; a map smaller than the square is
    dropped by squares of its shorter side.
    """

    def __init__(self, p: float, size: int) -> None:
        super().__init__()
        self.p = p
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        height, width = x.shape[2], x.shape[3]
        size = min(self.size, height, width)
        corners = (height - size + 1) * (width - size + 1)
        rate = self.p * height * width / (size * size * corners)
        drawn = torch.rand(x.shape[0], x.shape[1], height - size + 1, width - size + 1, device=x.device) < rate
        margin = size - 1
        dropped = max_pool2d(pad(drawn.to(x.dtype), (margin, margin, margin, margin)), kernel_size=size, stride=1)
        kept = 1 - dropped  # (N, C, H, W)
        return x * kept * (kept.numel() / kept.sum().clamp(min=1))

    def extra_repr(self) -> str:
        return f"p={self.p}, size={self.size}"
