"""The trunk: shapes, strides and dilation, what the options do, and its initial state."""

import math
from dataclasses import replace

import pytest
import torch
from golden_weights import golden_input, golden_state_dict
from torch import nn

from resnest_core.errors import InputError
from resnest_core.models import create_model
from resnest_core.models.resnet import ResNet
from resnest_core.models.variants import CLASSIFIERS

FULL_SIZE = [name for name in CLASSIFIERS if not name.startswith("mini_")]
MINI = [name for name in CLASSIFIERS if name.startswith("mini_")]


def on_meta(name: str, **options) -> ResNet:
    with torch.device("meta"):
        return create_model(name, **options).eval()


@pytest.mark.parametrize("name", FULL_SIZE)
def test_stage_shapes(name: str) -> None:
    model = on_meta(name)
    shapes = [tuple(stage.shape) for stage in model.features(torch.empty(2, 3, 193, 161, device="meta"))]
    assert shapes == [(2, 256, 49, 41), (2, 512, 25, 21), (2, 1024, 13, 11), (2, 2048, 7, 6)]


@pytest.mark.parametrize(("output_stride", "strides"), [(32, [4, 8, 16, 32]), (16, [4, 8, 16, 16]), (8, [4, 8, 8, 8])])
@pytest.mark.parametrize("name", ["resnest50", "resnest50_fast_2s1x64d", "resnetd50"])
def test_output_stride(name: str, output_stride: int, strides: list[int]) -> None:
    features = on_meta(name, output_stride=output_stride).features(torch.empty(1, 3, 96, 64, device="meta"))
    assert [tuple(stage.shape[2:]) for stage in features] == [(96 // stride, 64 // stride) for stride in strides]


@pytest.mark.parametrize(
    ("output_stride", "dilations"),
    # PyTorch-Encoding's: the first block of a dilated stage keeps the dilation of the stage before.
    [(8, {"layer3": (1, 2), "layer4": (2, 4)}), (16, {"layer3": (1, 1), "layer4": (1, 2)})],
)
@pytest.mark.parametrize("name", ["resnest50", "resnetd50"])
def test_dilations(name: str, output_stride: int, dilations: dict[str, tuple[int, int]]) -> None:
    model = on_meta(name, output_stride=output_stride)
    for stage, (first, further) in dilations.items():
        blocks = model.get_submodule(stage)
        found = [getattr(block.conv2, "conv", block.conv2).dilation for block in blocks]
        assert found == [(first, first)] + [(further, further)] * (len(blocks) - 1)


@pytest.mark.parametrize("name", MINI)
def test_mini_networks(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval()
    x = torch.randn(3, 3, 28, 28)
    with torch.no_grad():
        shapes = [tuple(stage.shape) for stage in model.features(x)]
        logits = model(x)
        alone = model(x[:1])
    assert shapes == [(3, 128, 7, 7), (3, 128, 4, 4), (3, 256, 2, 2)]
    assert logits.shape == (3, 10)
    torch.testing.assert_close(alone, logits[:1], rtol=1e-4, atol=1e-5)


def test_features_are_the_stages_that_the_logits_come_from() -> None:
    model = create_model("mini_resnest11").eval()
    x = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        features, logits = model.features(x), model(x)
        assert torch.equal(model.fc(features[-1].mean(dim=(2, 3))), logits)


@pytest.mark.parametrize("name", ["mini_resnest11", "mini_resnetd11", "mini_1s4x24d", "mini_4s2x40d"])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 28, 28)), torch.arange(8)).backward()
    silent = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # A convolution's bias before a normalisation has none: the mean that is subtracted holds it.
    assert all(key.endswith("conv2.fc1.bias") for key in silent)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_final_dropout_drops_features_in_training_alone() -> None:
    torch.manual_seed(0)
    model = create_model("mini_resnest11", dropout=0.5)
    calls = []
    model.drop.register_forward_hook(lambda module, inputs, output: calls.append((inputs[0], output)))
    x = torch.randn(16, 3, 28, 28)
    with torch.no_grad():
        model(x)
        logits = model.eval()(x)
    before, after = calls[0]
    kept = after != 0
    assert torch.equal(after[kept], 2 * before[kept])
    assert kept[before > 0].float().mean().item() == pytest.approx(0.5, abs=0.05)
    before, after = calls[1]
    assert torch.equal(after, before)
    assert torch.equal(model.fc(after), logits)


def test_convolutions_start_normal_with_the_fan_out_deviation() -> None:
    """The authors draw from N(0, 2 / (k^2 * channels out)), groups or not."""
    torch.manual_seed(0)
    model = create_model("resnest50_fast_2s2x40d")
    for path in ("conv1.3", "layer2.1.conv1", "layer2.1.conv2.conv", "layer3.2.conv3"):
        conv = model.get_submodule(path)
        expected = math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.03)
        assert abs(conv.weight.mean().item()) < 0.1 * expected


def test_a_seed_gives_the_same_network() -> None:
    def weights(seed: int) -> dict:
        torch.manual_seed(seed)
        return create_model("mini_resnest11").state_dict()

    one, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(value, again[key]) for key, value in one.items())
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


def test_avd_first_moves_the_pooling_before_the_convolution() -> None:
    """resnest50 and fast_2s1x64d have the same keys and shapes: only the outputs tell them apart."""
    after, before = on_meta("resnest50"), on_meta("resnest50_fast_2s1x64d")
    weights = golden_state_dict(after.state_dict(), damping=0.5)
    x = golden_input("image", (1, 3, 64, 64))
    outputs = []
    for model in (after, before):
        model.load_state_dict(weights, assign=True)
        with torch.no_grad():
            outputs.append(model.features(x))
    assert torch.equal(outputs[0][0], outputs[1][0])  # the first stage does not pool
    assert not torch.allclose(outputs[0][1], outputs[1][1], atol=0.1)


def test_a_dilated_trunk_still_pools_where_a_stage_opens() -> None:
    model = on_meta("resnest50", output_stride=8)
    pools = [path for path, module in model.named_modules() if isinstance(module, nn.AvgPool2d) and "pool_" in path]
    assert pools == [f"layer{stage}.0.pool_after" for stage in (2, 3, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 4}, "output_stride is 4; valid: 32, 16, 8"),
        ({"num_classes": 0}, "num_classes is 0; it must be 1 or more"),
        ({"num_classes": -3}, "num_classes is -3"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model("mini_resnest11", **options)


def test_an_image_of_one_pixel() -> None:
    with torch.no_grad():
        assert create_model("mini_resnest11").eval()(torch.randn(1, 3, 1, 1)).isfinite().all()


def test_an_architecture_is_a_row_that_can_be_changed() -> None:
    row = replace(CLASSIFIERS["mini_resnest11"], radix=3, bottleneck_width=48)
    assert ResNet(row).eval()(torch.randn(1, 3, 28, 28)).shape == (1, 10)
