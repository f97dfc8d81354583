"""Equality with the authors' code: keys, shapes and counts of every model, logits and stages of those stored here.

`tests/golden/classification` holds what their code at 1dfb3e8 gives for golden weights and inputs: logits in full,
and of the stem and the four stages the shape, mean, deviation and 256 samples.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import golden_input, golden_state_dict
from torch import Tensor, nn

from resnest_core.models import create_model
from resnest_core.models.resnet import Architecture, ResNet
from resnest_core.models.variants import DEPTHS
from resnest_core.profiling import count_parameters

GOLDEN = Path(__file__).parent.parent / "golden" / "classification"
INPUTS = {"image": (2, 3, 224, 224), "odd": (1, 3, 193, 161)}
STAGES = {"stem": "maxpool", "layer1": "layer1", "layer2": "layer2", "layer3": "layer3", "layer4": "layer4"}
TOLERANCE = 1e-4  # of the deviation; float32 and float64 of one network differ by 2e-6

# Their ResNets, which are not in our table: one 7x7 stem convolution, and a sigmoid gate where others have none.
AUTHORS_RESNET = {
    f"resnet{depth}": Architecture(DEPTHS[depth], radix=1, deep_stem=False, average_down=False, avd=False)
    for depth in (50, 101)
}
KEY_FILES = sorted(path.name.removesuffix(".keys.json") for path in GOLDEN.glob("*.keys.json"))
OUTPUT_FILES = sorted(path.name.removesuffix(".npz") for path in GOLDEN.glob("*.npz"))


def build(name: str) -> ResNet:
    """The network of the golden file `name`, without storage for its weights."""
    name = name.removesuffix(".damped")
    with torch.device("meta"):
        if name in AUTHORS_RESNET:
            return ResNet(AUTHORS_RESNET[name])
        if name.endswith("_dilated"):
            return create_model(name.removesuffix("_dilated"), output_stride=8)
        return create_model(name)


def with_golden_weights(model: nn.Module, damping: float = 1.0) -> nn.Module:
    model.load_state_dict(golden_state_dict(model.state_dict(), damping), assign=True)
    return model.eval()


@torch.inference_mode()
def run(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The logits and the outputs of the stem and the stages, all from one call of `model`."""
    outputs: dict[str, Tensor] = {}

    def keep(stage: str) -> Callable:
        return lambda module, inputs, output: outputs.__setitem__(stage, output)

    hooks = [model.get_submodule(path).register_forward_hook(keep(stage)) for stage, path in STAGES.items()]
    outputs["logits"] = model(images)
    for hook in hooks:
        hook.remove()
    return outputs


def assert_near(actual: np.ndarray | float, expected: np.ndarray, deviation: float, what: str) -> None:
    difference = np.abs(actual - expected).max() / deviation
    assert difference < TOLERANCE, f"{what} is off by {difference:.2g} deviations"


def test_there_is_something_to_compare() -> None:
    assert len(KEY_FILES) == 13
    assert {"resnest50", "resnest50_dilated", "resnest101.damped", "resnest50_fast_2s2x40d", "resnet101"} <= {
        *OUTPUT_FILES
    }


@pytest.mark.parametrize("name", KEY_FILES)
def test_keys_and_shapes_match_in_both_directions(name: str) -> None:
    expected = json.loads((GOLDEN / f"{name}.keys.json").read_text())
    model = build(name)
    actual = [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in model.state_dict().items()
    ]
    assert {key for key, *_ in actual} == {key for key, *_ in expected}
    assert actual == expected  # their order too
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert count_parameters(model) == sum(
        int(np.prod(shape)) for key, shape, _ in expected if not key.endswith(statistics)
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnest50", 27_483_240),
        ("resnest50_fast_1s1x64d", 26_217_896),
        ("resnet50", 26_198_664),
        ("resnet101", 45_755_464),
    ],
)
def test_parameters_that_the_authors_code_has(name: str, parameters: int) -> None:
    assert count_parameters(build(name)) == parameters


@pytest.mark.parametrize("name", OUTPUT_FILES)
def test_logits_and_stages(name: str) -> None:
    golden = np.load(GOLDEN / f"{name}.npz")
    model = with_golden_weights(build(name), damping=0.5 if name.endswith(".damped") else 1.0)
    for image, shape in INPUTS.items():
        outputs = run(model, golden_input(image, shape))
        expected = golden[f"{image}.logits"]
        assert_near(outputs.pop("logits").numpy(), expected, expected.std(), f"{image}.logits")
        assert set(outputs) == set(STAGES)
        for stage, output in outputs.items():
            key, values = f"{image}.{stage}", output.numpy().astype(np.float64)
            deviation, samples = float(golden[f"{key}.std"]), golden[f"{key}.sample"]
            assert values.shape == tuple(golden[f"{key}.shape"])
            places = np.linspace(0, values.size - 1, len(samples)).astype(int)
            assert_near(values.reshape(-1)[places], samples, deviation, f"{key}.sample")
            assert_near(values.mean(), golden[f"{key}.mean"], deviation, f"{key}.mean")
            assert_near(values.std(), golden[f"{key}.std"], deviation, f"{key}.std")
