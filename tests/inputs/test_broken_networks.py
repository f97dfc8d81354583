"""Networks whose numbers are broken: a line that names the image. Networks that find nothing: an empty result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inputs.sets import SETS, coco_format, photograph, save
from torch import nn

import resnest_core as rc
from resnest_core.cli.evaluation import detect, segment
from resnest_core.data import open_dataset, open_detection, open_segmentation
from resnest_core.data.base import Objects
from resnest_core.errors import InputError
from resnest_core.evaluation import classification, segmentation
from resnest_core.evaluation.detection import evaluate_detector
from resnest_core.experiments.detection import ObjectDetection
from resnest_core.experiments.segmentation import SemanticSegmentation
from resnest_core.models.deeplab import Segmenter
from resnest_core.models.rcnn.detector import Detector
from resnest_core.models.rcnn.settings import Detection
from resnest_core.models.rcnn.variants import DETECTORS
from resnest_core.modes import choose, exact
from resnest_core.training import classification as train_classification
from resnest_core.training import detection as train_detection
from resnest_core.training import segmentation as train_segmentation
from resnest_core.training.synchronised import SynchronisedBatchNorm

CHECK = "not finite; check the weights"
ROWS: dict[str, Detection] = {
    name: DETECTORS[f"mini_{name}_resnest11"]
    for name in ("faster_rcnn", "cascade_rcnn", "mask_rcnn", "cascade_mask_rcnn")
}
ROWS["panoptic"] = replace(ROWS["cascade_mask_rcnn"], stuff=("things", "sky", "sea"), mask_norm=False)
each_detector = pytest.mark.parametrize("kind", ROWS)
IMAGE = torch.randint(0, 256, (3, 80, 100), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def detector(kind: str) -> Detector:
    torch.manual_seed(0)
    return Detector(ROWS[kind])


@torch.no_grad()
def spoil(model: nn.Module, part: str = "", value: float = float("nan")) -> None:
    """One number of each weight of a part becomes `value`."""
    for name, parameter in model.named_parameters():
        if name.startswith(part):
            parameter.view(-1)[0] = value


PARTS = {
    "everything": "",
    "trunk": "backbone.bottom_up.conv1",
    "pyramid": "backbone.fpn_output2",
    "objectness": "proposal_generator.rpn_head.objectness_logits",
    "anchors": "proposal_generator.rpn_head.anchor_deltas",
    "box head": "roi_heads.box_head.0",
    "classes": "roi_heads.box_predictor.0.cls_score",
    "boxes": "roi_heads.box_predictor.0.bbox_pred",
    "last stage": "roi_heads.box_predictor.2",
    "mask head": "roi_heads.mask_head.mask_fcn1",
    "masks": "roi_heads.mask_head.predictor",
    "semantic": "sem_seg_head.predictor",
}


@each_detector
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", PARTS)
def test_a_detector_with_broken_weights_is_refused(kind: str, part: str, value: float) -> None:
    model = detector(kind).eval()
    if not any(name.startswith(PARTS[part]) for name, _ in model.named_parameters()):
        pytest.skip(f"{kind} has no {part}")
    spoil(model, PARTS[part], value)
    with pytest.raises(InputError, match=CHECK), torch.no_grad():
        model([IMAGE])


@each_detector
def test_evaluating_it_names_the_image(kind: str, tmp_path: Path) -> None:
    model, scenes = detector(kind), open_detection("scenes", limit=2)
    spoil(model)
    with pytest.raises(InputError, match=f"^image '{scenes.paths[0]}': the network's numbers are {CHECK}$"):
        evaluate_detector(model, scenes, tmp_path)


def broken_file(name: str, path: Path, **options: Any) -> Path:
    model = rc.create_model(name, **options)
    spoil(model)
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize("mode", ["exact", "auto"])
def test_classifiers(mode: str, tmp_path: Path) -> None:
    images, model = open_dataset("fashion_mnist", limit=2), rc.create_model("mini_resnetd11")
    spoil(model)
    protocol = classification.Protocol(mode=mode, device="cpu")
    with pytest.raises(InputError, match=CHECK):
        classification.evaluate_classifier(model, images, train_classification.Preprocessing(), tmp_path, protocol)


@pytest.mark.parametrize("mode", ["exact", "auto"])
def test_segmenters(mode: str, tmp_path: Path) -> None:
    scenes = open_segmentation("scenes", limit=2)
    model = rc.create_model("mini_deeplab_resnetd11", num_classes=len(scenes.classes))
    assert isinstance(model, Segmenter)
    spoil(model)
    protocol = segmentation.Protocol(segmentation.View(base_size=48, base_side="short", crop_size=0), "cpu", mode)
    with pytest.raises(InputError, match=CHECK):
        segmentation.evaluate_segmenter(model, scenes, tmp_path, protocol)


def test_experiments_and_commands_name_the_image(tmp_path: Path) -> None:
    save(tmp_path / "p.png", photograph("p"))
    weights = str(broken_file("mini_faster_rcnn_resnetd11", tmp_path / "d.pth"))
    found = ObjectDetection("mini_faster_rcnn_resnetd11", str(tmp_path / "o"), weights=weights, limit=1)
    with pytest.raises(InputError, match=f"^image '.*': .*{CHECK}"):
        _ = found.result
    with pytest.raises(InputError, match=f"^image '.*p.png': .*{CHECK}"):
        detect("mini_faster_rcnn_resnetd11", tmp_path / "p.png", tmp_path / "o.png", weights, device="cpu")
    name = "mini_deeplab_resnetd11"
    weights = str(broken_file(name, tmp_path / "s.pth"))
    with pytest.raises(InputError, match=f"^image '.*': scores are {CHECK}"):
        _ = SemanticSegmentation(name, str(tmp_path / "o"), weights=weights, limit=1).result
    with pytest.raises(InputError, match=f"^image '.*p.png': scores are {CHECK}"):
        segment(name, tmp_path / "p.png", tmp_path / "o.png", weights=weights, view="single_scale", device="cpu")
    assert not (tmp_path / "o.png").exists()


@pytest.mark.filterwarnings("ignore:std")
def test_one_output_without_a_spread_chooses_exact() -> None:
    one = torch.ones(1, 1)
    chosen = choose("auto", "fp32", torch.device("cpu"), lambda way: lambda images: one, lambda: (one, 1), seconds=0)
    assert chosen.execution == exact("fp32", "cpu")


# Nothing to find


def empty(boxes: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(boxes[:, 0], dtype=torch.bool)


Break = Callable[[Detector, pytest.MonkeyPatch], None]


def no_proposals(model: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every anchor is moved to a box without width."""
    with torch.no_grad():
        model.proposal_generator.rpn_head.anchor_deltas.bias.fill_(-1e4)


def no_scores(model: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    model.roi_heads.row = replace(model.row, least_score=1.0)


@each_detector
@pytest.mark.parametrize("broken", [no_proposals, no_scores])
@pytest.mark.parametrize("size", [(80, 100), (1, 1), (1, 300)])
def test_nothing_found_is_an_empty_result(
    kind: str, broken: Break, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = detector(kind).eval()
    broken(model, monkeypatch)
    with torch.no_grad():
        (found,) = model([torch.zeros(3, *size, dtype=torch.uint8)])
    shapes = {name: tuple(found[name].shape) for name in ("boxes", "scores", "labels")}
    assert shapes == {"boxes": (0, 4), "scores": (0,), "labels": (0,)}
    assert "masks" not in found or tuple(found["masks"].shape) == (0, *size)
    assert "panoptic" not in found or not any(segment.is_thing for segment in found["segments"])


def test_an_evaluation_that_finds_nothing_has_an_ap_of_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = detector("mask_rcnn")
    no_proposals(model, monkeypatch)
    metrics = evaluate_detector(model, open_detection("scenes", limit=2), tmp_path)["metrics"]
    assert (metrics["box_AP"]["value"], metrics["mask_AP"]["value"]) == (0, 0)


def target(objects: int) -> dict[str, torch.Tensor]:
    none = Objects(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))
    found = train_detection.target_of(none, (100, 80), (100, 80))
    if objects:
        found = {
            "boxes": torch.tensor([[10.0, 10.0, 50.0, 60.0]]),
            "labels": torch.tensor([1]),
            "masks": torch.ones(1, 80, 100, dtype=torch.bool),
        }
    return {**found, "semantic": torch.full((80, 100), 255)}


@each_detector
@pytest.mark.parametrize("proposals", [True, False])
@pytest.mark.parametrize("objects", [(0, 0), (1, 0)])
def test_training_on_images_without_objects(
    kind: str, proposals: bool, objects: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = detector(kind).train()
    if not proposals:
        no_proposals(model, monkeypatch)
    losses = model([IMAGE, IMAGE], [target(n) for n in objects])
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_statistics_of_nothing_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = SynchronisedBatchNorm(3).train()
    assert norm(torch.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([0] * 3, [1] * 3)


# Trainings


@pytest.mark.parametrize("rate", [1e5, 1e6])
def test_classifiers_that_diverge_say_so(rate: float, tmp_path: Path) -> None:
    images, recipe = open_dataset("fashion_mnist", split="train", limit=64), train_classification.Recipe(batch_size=16)
    recipe = replace(recipe, learning_rate=rate, warmup_epochs=0, epochs=2)
    with pytest.raises(
        InputError, match=r"(nan|inf|not finite|weights,) after \d+ steps at learning_rate .*; give a lower one"
    ):
        train_classification.train_classifier("mini_resnetd11", images, images, tmp_path, recipe, device="cpu")
    assert not (tmp_path / "weights.safetensors").exists()


def test_detectors_that_diverge_say_so(tmp_path: Path) -> None:
    scenes = open_detection("scenes", split="train", limit=4)
    recipe = train_detection.Recipe(batch_size=2, epochs=4, learning_rate=1e6, warmup=0, solver="sgd")
    for kind in ("mask_rcnn", "cascade_mask_rcnn"):
        with pytest.raises(
            InputError, match=r"(nan|inf|not finite|weights,) after \d+ steps at learning_rate .*; give a lower"
        ):
            train_detection.train_detector(detector(kind), scenes, tmp_path / kind, recipe, facts={}, device="cpu")


def test_segmenters_that_diverge_say_so(tmp_path: Path) -> None:
    scenes = open_segmentation("scenes", split="train", limit=4)
    model = rc.create_model("mini_deeplab_resnetd11", num_classes=len(scenes.classes))
    assert isinstance(model, Segmenter)
    recipe = train_segmentation.Recipe(batch_size=2, epochs=4, learning_rate=1e6, warmup=0, solver="sgd")
    protocol = segmentation.Protocol(segmentation.View(base_size=48, base_side="short", crop_size=0), "cpu")
    with pytest.raises(
        InputError, match=r"(nan|inf|not finite|weights,) after \d+ steps at learning_rate .*; give a lower"
    ):
        train_segmentation.train_segmenter(model, scenes, scenes, tmp_path, recipe, protocol, facts={})


def test_a_last_step_that_breaks_the_weights_says_so(tmp_path: Path) -> None:
    images = open_dataset("fashion_mnist", split="train", limit=16)
    recipe = train_classification.Recipe(batch_size=16, warmup_epochs=0)
    object.__setattr__(recipe, "learning_rate", 1e40)  # beyond what a user may give: one step is enough
    with pytest.raises(InputError, match="the weights are not finite after 1 steps at learning_rate"):
        train_classification.train_classifier("mini_resnetd11", images, images, tmp_path, recipe, device="cpu")


def test_a_batch_of_one_is_refused_where_normalisation_needs_two(tmp_path: Path) -> None:
    images, recipe = open_dataset("fashion_mnist", split="train", limit=4), train_classification.Recipe(batch_size=1)
    with pytest.raises(
        InputError, match=r"batch_size is 1, of which normalisation sees one value .*; valid: 2 or more"
    ):
        train_classification.train_classifier("mini_resnest11", images, images, tmp_path / "a", recipe, device="cpu")
    trained = train_classification.train_classifier(
        "mini_resnetd11", images, images, tmp_path / "b", recipe, device="cpu"
    )
    assert len(trained.curves) == 4


def test_panoptic_networks_are_not_trained(tmp_path: Path) -> None:
    scenes = open_detection("scenes", split="train", limit=4)
    with pytest.raises(InputError, match="panoptic networks are not trained here; give weights"):
        train_detection.train_detector(
            detector("panoptic"), scenes, tmp_path, train_detection.Recipe(), facts={}, device="cpu"
        )


def test_a_mask_network_learns_from_photographs_without_objects(tmp_path: Path) -> None:
    coco_format(tmp_path)
    row = next(row for row in SETS if row.name == "coco_format")
    dataset = row.open(tmp_path, "train")
    bare = replace(dataset, annotations=[[], dataset.annotations[1]])
    torch.manual_seed(0)
    model = rc.create_model("mini_mask_rcnn_resnetd11", categories=bare.classes)
    assert isinstance(model, Detector)
    recipe = train_detection.Recipe(batch_size=2, smallest=40, largest=40)
    trained = train_detection.train_detector(model, bare, tmp_path / "o", recipe, facts={}, device="cpu")
    assert np.isfinite(trained.curves["train_loss"]).all()
