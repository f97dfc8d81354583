"""The block and the bottleneck against the paper read literally: a loop over images, cardinal groups and splits.

Random weights in float64, no two alike, so that an attention value on the wrong split or channel shows.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_core.models.resnet import Architecture, Bottleneck, _shortcut
from resnest_core.models.split_attention import SplitAttentionConv2d

RADIX = [1, 2, 4]
CARDINALITY = [1, 2, 4]
SIZES = [(2, 8, 8), (3, 7, 5), (1, 9, 4)]  # images, height, width


def naive_normalise(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch normalisation of (N, C, ...) by its definition, with the statistics of the batch in training mode."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if norm.training:
        axes = [0, *range(2, x.ndim)]
        mean, variance = x.mean(dim=axes), x.var(dim=axes, correction=0)
    else:
        mean, variance = norm.running_mean, norm.running_var
    scaled = (x - mean.view(shape)) / (variance.view(shape) + norm.eps).sqrt()
    return scaled * norm.weight.view(shape) + norm.bias.view(shape)


def group_of(x: Tensor, group: int, groups: int) -> Tensor:
    """The channels of one of `groups` equal groups, along the first dimension."""
    size = x.shape[0] // groups
    return x[group * size : (group + 1) * size]


def naive_block(block: SplitAttentionConv2d, x: Tensor) -> Tensor:
    """Section 3.1 of the paper: per cardinal group k, the splits U_k1..U_kR weighted by attention and summed (eq. 2).

    Split r of cardinal group k is group r * K + k of the convolution (the radix-major layout of appendix A).
    """
    radix, cardinality = block.radix, block.cardinality
    conv = block.conv
    convolved = []
    for group in range(radix * cardinality):
        weight = group_of(conv.weight, group, radix * cardinality)
        part = group_of(x.transpose(0, 1), group, radix * cardinality).transpose(0, 1)
        convolved.append(F.conv2d(part, weight, None, conv.stride, conv.padding, conv.dilation))
    splits = torch.relu(naive_normalise(block.bn0, torch.cat(convolved, dim=1)))

    pooled = []
    for image in splits:
        for k in range(cardinality):
            parts = [group_of(image, r * cardinality + k, radix * cardinality) for r in range(radix)]
            pooled.append(sum(parts).mean(dim=(1, 2)))  # eq. 1
    hidden = [affine(block.fc1, i % cardinality, cardinality, means) for i, means in enumerate(pooled)]
    hidden_batch = torch.relu(naive_normalise(block.bn1, torch.cat(hidden).view(len(x), -1)))

    outputs = []
    for image, features in zip(splits, hidden_batch, strict=True):
        groups = []
        for k in range(cardinality):
            logits = affine(
                block.fc2, k, cardinality, group_of(features, k, cardinality)
            )  # those of split 0, then 1, ...
            per_split = [group_of(logits, r, radix) for r in range(radix)]
            weights = [gate(per_split, r) for r in range(radix)]  # eq. 3
            parts = [group_of(image, r * cardinality + k, radix * cardinality) for r in range(radix)]
            groups.append(sum(w[:, None, None] * part for w, part in zip(weights, parts, strict=True)))
        outputs.append(torch.cat(groups))
    return torch.stack(outputs)


def affine(layer: nn.Conv2d, group: int, groups: int, x: Tensor) -> Tensor:
    """The dense layer of one cardinal group."""
    return group_of(layer.weight, group, groups)[:, :, 0, 0] @ x + group_of(layer.bias, group, groups)


def gate(logits: list[Tensor], split: int) -> Tensor:
    if len(logits) == 1:
        return 1 / (1 + (-logits[0]).exp())
    return logits[split].exp() / sum(other.exp() for other in logits)


def naive_bottleneck(block: Bottleneck, architecture: Architecture, x: Tensor, stride: int) -> Tensor:
    """Figure 2 of the paper, with section 3.2's average downsampling in the block and in its shortcut."""
    pools = architecture.avd and stride > 1
    y = torch.relu(naive_normalise(block.bn1, F.conv2d(x, block.conv1.weight)))
    if pools and architecture.avd_first:
        y = F.avg_pool2d(y, 3, stride, padding=1)
    if architecture.radix == 0:
        y = F.conv2d(y, block.conv2.weight, None, 1 if pools else stride, padding=1, groups=architecture.cardinality)
        y = torch.relu(naive_normalise(block.bn2, y))
    else:
        y = naive_block(block.conv2, y)
    if pools and not architecture.avd_first:
        y = F.avg_pool2d(y, 3, stride, padding=1)
    y = naive_normalise(block.bn3, F.conv2d(y, block.conv3.weight))
    return torch.relu(y + naive_shortcut(block, x, stride))


def naive_shortcut(block: Bottleneck, x: Tensor, stride: int) -> Tensor:
    """The mean of each window, of what there is of it at the border, then a 1x1 convolution and normalisation."""
    _, conv, norm = block.downsample
    rows, columns = range(0, x.shape[2], stride), range(0, x.shape[3], stride)
    windows = [[x[:, :, i : i + stride, j : j + stride].mean(dim=(2, 3)) for j in columns] for i in rows]
    pooled = torch.stack([torch.stack(row, dim=-1) for row in windows], dim=-2)
    return naive_normalise(norm, F.conv2d(pooled, conv.weight))


def randomise(module: nn.Module) -> nn.Module:
    """Random float64 weights and statistics, none at its initial 0 or 1, and small enough that no gate saturates."""
    generator = torch.Generator().manual_seed(0)
    module.double()
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) + 0.5)
        elif tensor.is_floating_point():
            fan_in = max(tensor[0].numel(), 1)
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) / fan_in**0.5)
    return module


def random_images(channels: int, size: tuple[int, int, int]) -> Tensor:
    images, height, width = size
    generator = torch.Generator().manual_seed(1)
    return torch.randn(images, channels, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cardinality", CARDINALITY)
@pytest.mark.parametrize("radix", RADIX)
class TestBlock:
    @pytest.mark.parametrize("training", [False, True])
    def test_equals_the_loops(self, radix: int, cardinality: int, size: tuple[int, int, int], training: bool) -> None:
        if training and size[0] == 1:
            size = (2, *size[1:])  # one image has no deviation after pooling
        block = randomise(SplitAttentionConv2d(32, 48, radix=radix, cardinality=cardinality)).train(training)
        x = random_images(32, size)
        expected = naive_block(block, x)
        assert expected.shape == (size[0], 48, *size[1:])
        torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-9)

    def test_gradients_equal_those_of_the_loops(self, radix: int, cardinality: int, size: tuple[int, int, int]) -> None:
        block = randomise(SplitAttentionConv2d(32, 32, radix=radix, cardinality=cardinality)).eval()
        x = random_images(32, size).requires_grad_()
        inputs = [x, *block.parameters()]
        upstream = random_images(32, size)
        actual = torch.autograd.grad((block(x) * upstream).sum(), inputs)
        expected = torch.autograd.grad((naive_block(block, x) * upstream).sum(), inputs)
        for mine, theirs in zip(actual, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)
            assert mine.abs().max() > 0


@pytest.mark.parametrize(("stride", "dilation"), [(2, 1), (1, 2), (2, 2)])
def test_stride_and_dilation(stride: int, dilation: int) -> None:
    block = SplitAttentionConv2d(16, 16, radix=2, cardinality=2, stride=stride, dilation=dilation)
    x = random_images(16, (2, 9, 7))
    torch.testing.assert_close(randomise(block)(x), naive_block(block, x), rtol=1e-9, atol=1e-9)


def test_the_attention_of_a_channel_sums_to_one_over_the_splits() -> None:
    block = randomise(SplitAttentionConv2d(16, 24, radix=4, cardinality=2)).eval()
    weights = block.attention(random_images(24, (3, 1, 1))[:, :, 0, 0])
    assert weights.shape == (3, 4, 24)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, 24, dtype=torch.float64))
    assert weights.std(dim=1).min() > 0.01


def test_hidden_channels_are_a_quarter_of_the_input_and_32_at_least() -> None:
    assert SplitAttentionConv2d(64, 64, radix=1).fc1.out_channels == 32
    assert SplitAttentionConv2d(64, 64, radix=4).fc1.out_channels == 64
    assert SplitAttentionConv2d(512, 512, radix=2).fc1.out_channels == 256


def test_a_block_without_splits() -> None:
    with pytest.raises(ValueError, match="radix is 0"):
        SplitAttentionConv2d(16, 16, radix=0)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("avd", ["no", "before", "after"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("cardinality", CARDINALITY)
@pytest.mark.parametrize("radix", [0, *RADIX])
def test_bottleneck_equals_the_loops(radix: int, cardinality: int, stride: int, avd: str, training: bool) -> None:
    architecture = Architecture(
        (1,), radix=radix, cardinality=cardinality, avd=avd != "no", avd_first=avd == "before", bottleneck_width=40
    )
    block = Bottleneck(
        architecture, 24, 32, stride=stride, downsample=_shortcut(architecture, 24, 128, stride), opens_stage=stride > 1
    )
    randomise(block).train(training)
    x = random_images(24, (2, 7, 6))
    expected = naive_bottleneck(block, architecture, x, stride)
    assert expected.shape[1:] == ((128, 7, 6) if stride == 1 else (128, 4, 3))
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-9)
