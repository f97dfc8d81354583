"""Segmentation networks: equality with the authors' code, stage by stage, and their files under the authors' keys.

`tests/golden/segmentation` holds what PyTorch-Encoding at ac748410 gives for golden weights and inputs.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import golden_input, golden_state_dict, golden_tensor
from torch import Tensor, nn

import resnest_core as rc
from resnest_core.checkpoints import MANIFEST
from resnest_core.errors import InputError
from resnest_core.models.deeplab import Segmenter
from resnest_core.models.variants import CLASSIFIERS, SEGMENTERS
from resnest_core.published_keys import renamed

GOLDEN = Path(__file__).parent.parent / "golden" / "segmentation"
KEY_FILES = sorted(path.name.removesuffix(".keys.json") for path in GOLDEN.glob("*.keys.json"))
OUTPUT_FILES = sorted(path.name.removesuffix(".npz") for path in GOLDEN.glob("deeplab_*.npz"))
TOLERANCE = 1e-4  # of the deviation
PLACES = {
    **{f"c{stage}": f"backbone.layer{stage}" for stage in (1, 2, 3, 4)},
    **{f"aspp.b{branch}": f"head.aspp.b{branch}" for branch in range(5)},
    "aspp.out": "head.aspp",
    "head.out": "head",
    "auxlayer.out": "auxiliary",
}


def authors_keys(name: str) -> list[list]:
    return json.loads((GOLDEN / f"{name}.keys.json").read_text())


def golden_file(name: str, damping: float) -> dict[str, Tensor]:
    """Golden weights under the authors' keys, as their file would have them."""
    like = {
        key: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for key, shape, kind in authors_keys(name)
    }
    return golden_state_dict(like, damping)


def meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return rc.create_model(name)


def test_there_is_something_to_compare() -> None:
    assert len(KEY_FILES) == 10
    assert {"deeplab_resnest50_ade", "deeplab_resnest101_ade.damped", "deeplab_resnest200_ade.damped"} <= {
        *OUTPUT_FILES
    }


@pytest.mark.parametrize("name", KEY_FILES)
def test_keys_and_shapes_match_in_both_directions(name: str) -> None:
    ours = renamed({key: (shape, kind) for key, shape, kind in authors_keys(name)})
    expected = [[key, *described] for key, described in ours.items()]
    state = meta(name).state_dict()
    actual = [[key, list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in state.items()]
    assert actual == expected  # their order too


def test_every_published_segmentation_network_is_in_the_table() -> None:
    published = {name for name, record in MANIFEST.items() if record.task == "semantic_segmentation"}
    assert published == set(KEY_FILES)
    assert published <= set(rc.list_models("semantic_segmentation"))
    assert {"deeplab_resnetd50", "mini_deeplab_resnest11", "mini_deeplab_resnetd11"} <= set(SEGMENTERS)
    assert [SEGMENTERS[f"deeplab_resnest50_{data}"].num_classes for data in ("ade", "pcontext", "citys")] == [
        150,
        59,
        19,
    ]


@pytest.mark.parametrize("name", OUTPUT_FILES)
def test_every_stage(name: str) -> None:
    golden, model_name = np.load(GOLDEN / f"{name}.npz"), name.removesuffix(".damped")
    model = rc.create_model(model_name)
    rc.load_weights(model, golden_file(model_name, 0.5 if name.endswith(".damped") else 1.0))
    outputs: dict[str, Tensor] = {}
    for stage, place in PLACES.items():
        module = model.get_submodule(place)
        module.register_forward_hook(lambda _, __, output, stage=stage: outputs.__setitem__(stage, output))
    with torch.inference_mode():
        outputs |= model.eval()(golden_input("seg", (1, 3, 257, 289)))
    stored = {key.removesuffix(".std") for key in golden if key.endswith(".std")}
    assert stored >= {"c1", "c2", "c3", "c4", "aspp.out", "head.out", "auxlayer.out", "out", "aux"}
    for stage, output in ((stage, outputs[stage]) for stage in stored):
        values, deviation = output.numpy().astype(np.float64), float(golden[f"{stage}.std"])
        assert values.shape == tuple(golden[f"{stage}.shape"])
        places = np.linspace(0, values.size - 1, len(golden[f"{stage}.sample"])).astype(int)
        assert np.abs(values.reshape(-1)[places] - golden[f"{stage}.sample"]).max() < TOLERANCE * deviation, stage
        assert abs(values.mean() - golden[f"{stage}.mean"]) < TOLERANCE * deviation, stage
        assert abs(values.std() - deviation) < TOLERANCE * deviation, stage
    best = outputs["out"].topk(2, dim=1).values  # (1, 2, H, W)
    clear = (best[:, 0] - best[:, 1]).numpy() > TOLERANCE * float(golden["out.std"])
    same = outputs["out"].argmax(1).numpy() == golden["out.argmax"]
    assert same[clear].all()
    assert clear.mean() > 0.99


@pytest.mark.parametrize("name", ["mini_deeplab_resnest11", "mini_deeplab_resnetd11"])
@pytest.mark.parametrize("size", [(33, 50), (17, 17)])
def test_odd_sizes_and_a_batch_of_one(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = rc.create_model(name, num_classes=3).eval()
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        outputs = model(images)
        low = model.logits(images)
    assert {key: value.shape for key, value in outputs.items()} == dict.fromkeys(("out", "aux"), (1, 3, *size))
    resized = nn.functional.interpolate(low, size, mode="bilinear", align_corners=True)
    assert (resized - outputs["out"]).abs().max() < 1e-5 * low.std()


def test_corners_are_aligned() -> None:
    torch.manual_seed(0)
    model = rc.create_model("mini_deeplab_resnest11").eval()
    images = torch.randn(2, 3, 40, 56)
    with torch.no_grad():
        large, small = model(images)["out"], model.logits(images)
    for row in (0, -1):
        for column in (0, -1):
            difference = (large[:, :, row, column] - small[:, :, row, column]).abs().max()
            assert difference < 1e-5 * small.std()


def test_the_trunk_begins_with_a_classifier() -> None:
    classifier, segmenter = rc.create_model("mini_resnest11"), rc.create_model("mini_deeplab_resnest11")
    assert isinstance(segmenter, Segmenter)
    segmenter.load_backbone(classifier.state_dict())
    for key, value in segmenter.backbone.state_dict().items():
        assert torch.equal(value, classifier.state_dict()[key]), key


def test_another_trunk_is_refused() -> None:
    segmenter = rc.create_model("mini_deeplab_resnetd11")
    assert isinstance(segmenter, Segmenter)
    with pytest.raises(InputError, match="the backbone does not fit the model"):
        segmenter.load_backbone(rc.create_model("mini_resnest11").state_dict())


def test_published_keys_and_our_own_load_alike(tmp_path: Path) -> None:
    theirs = golden_file("fcn_resnest50_pcontext", 1.0)
    torch.save(theirs, tmp_path / "theirs.pth")
    model = rc.create_model("fcn_resnest50_pcontext", weights=tmp_path / "theirs.pth")
    key = "pretrained.layer4.0.conv1.weight"
    assert torch.equal(
        model.state_dict()[key.replace("pretrained", "backbone")], golden_tensor(key, tuple(theirs[key].shape))
    )
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    again = rc.create_model("fcn_resnest50_pcontext", weights=tmp_path / "ours.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_wrong_number_of_classes() -> None:
    with pytest.raises(InputError, match="num_classes is 0"):
        rc.create_model("mini_deeplab_resnest11", num_classes=0)


def test_the_baseline_has_the_radix_0_trunk() -> None:
    assert SEGMENTERS["deeplab_resnetd50"].trunk is CLASSIFIERS["resnetd50"]
    assert not any("fc1" in key for key in meta("deeplab_resnetd50").state_dict())
