"""The feature pyramid (Lin et al. 2017, arXiv 1612.03144)."""

from torch import Tensor, nn
from torch.nn import functional

from resnest_core.models.resnet import EXPANSION, Architecture, ResNet


class Convolution(nn.Conv2d):
    """A convolution that keeps the size, with its normalisation, if any, as its part `norm`.

    Without a norm it has a bias, unless told otherwise.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, norm: bool = True, bias: bool | None = None) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=not norm if bias is None else bias)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


def begin_small(layer: nn.Conv2d | nn.Linear, deviation: float) -> None:
    """Normal weights of that deviation, and no bias: a last layer that says little at first."""
    nn.init.normal_(layer.weight, std=deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Pyramid(nn.Module):
    """Images (N, 3, H, W) to maps of `channels` at strides 4, 8, ..., a level a stage of the trunk, and one coarser."""

    def __init__(self, trunk: Architecture, channels: int) -> None:
        super().__init__()
        self.bottom_up = ResNet(trunk)
        self.bottom_up.fc = nn.Identity()  # published without it
        self.levels = range(2, 2 + len(trunk.layers))  # named by the logarithm of the stride
        for level, planes in zip(self.levels, trunk.planes, strict=False):
            setattr(self, f"fpn_lateral{level}", Convolution(planes * EXPANSION, channels, 1))
            setattr(self, f"fpn_output{level}", Convolution(channels, channels, 3))

    def forward(self, x: Tensor) -> list[Tensor]:
        merged: Tensor | None = None
        outputs: list[Tensor] = []
        for level, stage in reversed(list(zip(self.levels, self.bottom_up.features(x), strict=True))):
            lateral = getattr(self, f"fpn_lateral{level}")(stage)
            merged = lateral if merged is None else lateral + functional.interpolate(merged, scale_factor=2.0)
            outputs.insert(0, getattr(self, f"fpn_output{level}")(merged))
        return [*outputs, functional.max_pool2d(outputs[-1], kernel_size=1, stride=2)]
