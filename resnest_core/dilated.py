"""Convolutions of large dilation in half precision on a CPU, where the library has no fast way for them.

DeepLabV3's at dilations 12 to 36 take several times as long in bfloat16 as in float32 (`segmenter_convolutions` of
`python -m benchmarks`); at 2 and 4, as in its trunk, they are fast.
"""

import torch
from torch import Tensor, nn

FAR = 8  # the largest dilation that stays in half precision


class InSinglePrecision(nn.Module):
    """A convolution of maps (N, C, H, W) that is carried out in float32, whatever precision is around it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.convolution(x.float()).to(x.dtype)


def spare_far(model: nn.Module) -> nn.Module:
    """`model` with its far dilated convolutions kept in float32."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and max(child.dilation) > FAR:
                setattr(module, name, InSinglePrecision(child))
    return model
