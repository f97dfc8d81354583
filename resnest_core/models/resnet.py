"""The residual trunk that ResNeSt and its ResNet-D baseline share.

Parameter names are those of the authors' `resnest/torch/models/resnet.py`, so that their files load as they are.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from resnest_core.errors import InputError
from resnest_core.models.split_attention import SplitAttentionConv2d, dropblock_layer

EXPANSION = 4
STAGE_DILATIONS = {32: (1, 1, 1, 1), 16: (1, 1, 1, 2), 8: (1, 1, 2, 4)}


@dataclass(frozen=True)
class Architecture:
    """What distinguishes one trunk from another.

    The paper writes radix, cardinality and width as in 2s1x64d: `radix` splits (0: a plain 3x3 convolution),
    `cardinality` groups, and `bottleneck_width` channels a group at 64 planes.
    """

    layers: tuple[int, ...]
    radix: int = 2
    cardinality: int = 1
    bottleneck_width: int = 64
    planes: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 32
    deep_stem: bool = True  # three 3x3 convolutions in place of one 7x7 (ResNet-C)
    stem_pool: bool = True
    average_down: bool = True  # average pooling before the shortcut's 1x1 convolution (ResNet-D)
    avd: bool = True  # average pooling in place of the stride of a 3x3 convolution
    avd_first: bool = False  # ... and before that convolution, not after it
    stride_in_1x1: bool = False  # the stride of a block is that of its first 1x1 convolution, as in the first ResNets
    deformable: int = 0  # groups of offsets of deformable 3x3 convolutions in all stages but the first; 0: none
    crop_size: int = 224
    num_classes: int = 1000


class Bottleneck(nn.Module):
    """1x1, 3x3 (or split attention) and 1x1 convolutions beside a shortcut.

    Maps (N, in_channels, H, W) to (N, 4 * planes, H / stride, W / stride). `opens_stage` marks the first block of a
    stage beyond the first: with `avd` it pools even where its stride is 1 (dilated trunks).
    """

    def __init__(
        self,
        architecture: Architecture,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        opens_stage: bool = False,
        deformable: int = 0,
        downsample: nn.Module | None = None,
        dropblock: float = 0.0,
    ) -> None:
        super().__init__()
        self.radix, cardinality = architecture.radix, architecture.cardinality
        width = int(planes * architecture.bottleneck_width / 64) * cardinality
        self.pool_before: nn.Module = nn.Identity()
        self.pool_after: nn.Module = nn.Identity()
        if architecture.avd and (stride > 1 or opens_stage):
            setattr(self, "pool_before" if architecture.avd_first else "pool_after", nn.AvgPool2d(3, stride, padding=1))
            stride = 1
        first_stride = stride if architecture.stride_in_1x1 else 1
        stride = 1 if architecture.stride_in_1x1 else stride
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, stride=first_stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        if self.radix > 0:
            self.conv2: nn.Module = SplitAttentionConv2d(
                width,
                width,
                radix=self.radix,
                cardinality=cardinality,
                stride=stride,
                dilation=dilation,
                deformable=deformable,
                dropblock=dropblock,
            )
            self.bn2: nn.Module = nn.Identity()
        else:
            self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, groups=cardinality, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes * EXPANSION, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * EXPANSION)
        self.dropblock = dropblock_layer(dropblock)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample if downsample is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.dropblock(self.bn1(self.conv1(x))))
        y = self.conv2(self.pool_before(y))
        if self.radix == 0:  # split attention normalises and rectifies its splits itself
            y = self.relu(self.dropblock(self.bn2(y)))
        y = self.dropblock(self.bn3(self.conv3(self.pool_after(y))))
        y += self.downsample(x)  # in place: the widest maps of all, of which a third one would be made
        return self.relu(y)


class ResNet(nn.Module):
    """A classifier: images (N, 3, H, W) to logits (N, num_classes).

    `output_stride` 16 or 8 dilates the last stages in place of their strides (Yu et al. 2017). `dropblock` is the
    probability of DropBlock in the last two stages, `dropout` that of dropping a feature before the last layer.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        num_classes: int | None = None,
        output_stride: int = 32,
        dropblock: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if output_stride not in STAGE_DILATIONS:
            raise InputError(f"output_stride is {output_stride}; valid: {', '.join(map(str, STAGE_DILATIONS))}")
        if num_classes is not None and num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; it must be 1 or more")
        self.architecture = architecture
        self.conv1, channels = _stem(architecture)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if architecture.stem_pool else nn.Identity()
        dilations = STAGE_DILATIONS[output_stride]
        self.layer1 = self.layer2 = self.layer3 = self.layer4 = nn.Identity()
        for stage in range(len(architecture.layers)):
            layer = _stage(architecture, stage, channels, dilations, dropblock if stage >= 2 else 0.0)
            setattr(self, f"layer{stage + 1}", layer)
            channels = architecture.planes[stage] * EXPANSION
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.fc: nn.Module = nn.Linear(channels, num_classes or architecture.num_classes)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith(".offset"):  # those of taps begin with zero
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, x: Tensor) -> Tensor:
        """What the first stage sees: (N, 3, H, W) to (N, 2 * stem_width or 64, H / 4, W / 4)."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def features(self, x: Tensor) -> list[Tensor]:
        """The stage outputs of images (N, 3, H, W), at strides 4, 8, 16, 32 unless dilated, odd sizes rounded up."""
        x = self.stem(x)
        outputs = []
        for stage in range(len(self.architecture.layers)):
            x = getattr(self, f"layer{stage + 1}")(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.fc(self.drop(self.avgpool(x).flatten(1)))


def _stem(architecture: Architecture) -> tuple[nn.Module, int]:
    """The first convolution, of stride 2, and its number of channels."""
    if not architecture.deep_stem:
        return nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), 64
    width = architecture.stem_width
    stem = nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width * 2, 3, padding=1, bias=False),
    )
    return stem, width * 2


def _stage(
    architecture: Architecture,
    stage: int,
    in_channels: int,
    dilations: tuple[int, ...],
    dropblock: float,
) -> nn.Sequential:
    """The bottlenecks of stage 0 to 3.

    A dilated stage keeps the resolution; its first block still has the dilation of the stage before, as the authors'.
    """
    planes = architecture.planes[stage]
    stride = 2 if stage > 0 and dilations[stage] == 1 else 1
    first_dilation = max(dilations[stage] // 2, 1)
    shortcut = _shortcut(architecture, in_channels, planes * EXPANSION, stride)
    layer = nn.Sequential()
    for block in range(architecture.layers[stage]):
        first = block == 0
        layer.append(
            Bottleneck(
                architecture,
                in_channels if first else planes * EXPANSION,
                planes,
                stride=stride if first else 1,
                dilation=first_dilation if first else dilations[stage],
                opens_stage=first and stage > 0,
                deformable=architecture.deformable if stage > 0 else 0,
                downsample=shortcut if first else None,
                dropblock=dropblock,
            )
        )
    return layer


def _shortcut(architecture: Architecture, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    if not architecture.average_down:
        return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
    pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
