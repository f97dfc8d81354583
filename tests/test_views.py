"""Scores of whole images: the authors' protocol on golden runs, and against a literal one on images of other shapes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import golden_input, golden_state_dict
from torch import Tensor

import resnest_core as rc
from benchmarks.authors_way import multi_scale
from resnest_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from resnest_core.errors import InputError
from resnest_core.evaluation.crops import CropRunner
from resnest_core.evaluation.views import View, boxes, scores
from resnest_core.models.deeplab import Segmenter
from resnest_core.modes import exact
from resnest_core.published_keys import renamed

GOLDEN = Path(__file__).parent / "golden" / "segmentation"
BLACK = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
GEOMETRY = json.loads((GOLDEN / "multi_eval.json").read_text())


class Remembering:
    """Logits of crops, each distinct one computed once: the golden runs share most of theirs."""

    def __init__(self, model: Segmenter) -> None:
        self.run, self.known = CropRunner(model, torch.device("cpu"), exact(), 0.5), dict[bytes, Tensor]()

    def __call__(self, crops: Tensor) -> Tensor:
        keys = [crop.numpy().tobytes() for crop in crops]
        for key, crop in zip(keys, crops, strict=True):
            if key not in self.known:
                self.known[key] = self.run(crop[None])[0]
        return torch.stack([self.known[key] for key in keys])


@pytest.fixture(scope="module")
def deeplab() -> Remembering:
    keys = json.loads((GOLDEN / "deeplab_resnest50_ade.keys.json").read_text())
    like = {key: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for key, shape, kind in keys}
    model = rc.create_model("deeplab_resnest50_ade")
    model.load_state_dict(renamed(golden_state_dict(like)))
    assert isinstance(model, Segmenter)
    return Remembering(model.eval())


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("run", "view"),
    [
        ("single_noflip", View()),
        ("single_flip", View(flip=True)),
        ("half_noflip", View((0.5,))),
        ("multi_flip", View(SCALES, flip=True)),
    ],
)
def test_golden_runs(deeplab: Remembering, run: str, view: View) -> None:
    golden = np.load(GOLDEN / "multi_eval_resnest50_ade.npz")
    found = scores(deeplab, golden_input("scene", (1, 3, 300, 400))[0], view, BLACK)
    for suffix, values in (("", found.numpy()), (".log", found.log().numpy())):
        expected, deviation = golden[f"{run}{suffix}.sample"], float(golden[f"{run}{suffix}.std"])
        places = np.linspace(0, values.size - 1, len(expected)).astype(int)
        assert np.abs(values.reshape(-1)[places] - expected).max() < 1e-4 * deviation
        assert abs(values.mean(dtype=np.float64) - golden[f"{run}{suffix}.mean"]) < 1e-4 * deviation
    best = found.topk(2, dim=0).values  # (2, H, W)
    clear = (best[0] - best[1]).numpy() > 1e-4 * float(golden[f"{run}.std"])
    assert (found.argmax(0).numpy() == golden[f"{run}.argmax"][0])[clear].all()
    assert clear.mean() > 0.99


@pytest.mark.parametrize(("height", "width"), [(300, 400), (260, 200)])
def test_sizes_and_crops_of_the_golden_runs(height: int, width: int) -> None:
    view = View(SCALES)
    for expected in GEOMETRY[f"geometry_{height}x{width}"]:
        size = view.size(height, width, expected["scale"])
        assert list(size) == expected["size"]
        padded = [max(side, 480) for side in size]
        assert padded == expected["padded"]
        found = boxes(*padded, view.crop_size, view.stride)
        assert len(found) == expected["crops"]
        if "boxes" in expected:
            assert [list(box) for box in found] == expected["boxes"]


@pytest.mark.parametrize("size", [(40, 61), (90, 23), (37, 37), (30, 100)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_literal_computation_gives_the_same(size: tuple[int, int], flip: bool) -> None:
    torch.manual_seed(0)
    model = rc.create_model("mini_deeplab_resnest11", num_classes=4).eval()
    assert isinstance(model, Segmenter)
    view = View((0.5, 1.0, 1.6), flip=flip, base_size=52, crop_size=48)
    image = torch.randn(3, *size)
    with torch.inference_mode():
        expected = multi_scale(model, image, view, BLACK)
    found = scores(CropRunner(model, torch.device("cpu"), exact(), 0.1), image, view, BLACK)
    assert (found - expected).abs().max() < 1e-5 * expected.std()


def test_the_mirror_image_gives_the_mirrored_scores() -> None:
    torch.manual_seed(0)
    model = rc.create_model("mini_deeplab_resnest11", num_classes=4).eval()
    run = CropRunner(model, torch.device("cpu"), exact(), 0.1)
    image = torch.randn(3, 40, 40)
    view = View(flip=True, base_size=40, crop_size=0)
    plain, mirrored = scores(run, image, view, BLACK), scores(run, image.flip(2), view, BLACK).flip(2)
    assert (plain - mirrored).abs().max() < 1e-4 * plain.std()


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((300, 400), "short", (512, 683)), ((400, 300), "short", (683, 512)), ((7, 7), "short", (512, 512))],
)
def test_short_sides(size: tuple[int, int], side: str, expected: tuple[int, int]) -> None:
    assert View(base_size=512, base_side=side, crop_size=0).size(*size, 1.0) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": ()}, "scales are"),
        ({"scales": (0.0,)}, "scales are"),
        ({"base_side": "wide"}, "base_side is 'wide'; valid: long, short"),
        ({"base_size": 0}, "base_size 0"),
        ({"crop_size": -1}, "crop_size -1"),
    ],
)
def test_bad_views(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        View(**change)
