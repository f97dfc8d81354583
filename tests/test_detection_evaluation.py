"""The evaluator of detectors: rows of truths and detections, scores from them, kill and resume, and bad weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pycocotools import mask as run_lengths

import resnest_core as rc
from resnest_core.data import open_detection
from resnest_core.data.base import DetectionDataset
from resnest_core.data.coco_categories import STUFF, THINGS
from resnest_core.data.coco_panoptic import PanopticImages
from resnest_core.errors import InputError
from resnest_core.evaluation.detection import Predictor, Protocol, evaluate_detector, read_tables, score_line
from resnest_core.models.rcnn.detector import Detector
from resnest_core.models.rcnn.panoptic import Segment
from resnest_core.models.rcnn.variants import DETECTORS

MASKED = "mini_mask_rcnn_resnest11"


class Knowing(Detector):
    """A detector that knows the objects of a data set, and finds all but the first `missed` of each image."""

    def __init__(self, dataset: DetectionDataset, missed: int = 0) -> None:
        super().__init__(DETECTORS[MASKED])
        self.dataset, self.missed, self.seen = dataset, missed, 0

    def forward(self, images: Any, targets: Any = None, *, sizes: Any = None) -> list[dict[str, Any]]:
        objects = self.dataset.load(self.seen)[1]
        self.seen += 1
        boxes = torch.from_numpy(objects.boxes[self.missed :])
        masks = torch.from_numpy(run_lengths.decode(list(objects.masks))).permute(2, 0, 1)[self.missed :] > 0
        corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        labels = torch.from_numpy(objects.labels[self.missed :])
        return [{"boxes": corners, "scores": torch.linspace(0.9, 0.6, len(boxes)), "labels": labels, "masks": masks}]


def random_detector(name: str = MASKED) -> Detector:
    torch.manual_seed(0)
    model = Detector(replace(DETECTORS[name], least_score=0.01))
    for key, parameter in model.named_parameters():
        if "cls_score.weight" in key:
            torch.nn.init.normal_(parameter, std=1.0)
    return model


def test_a_detector_that_knows_everything_is_perfect(tmp_path: Path) -> None:
    scenes = open_detection("scenes", limit=5)
    result = evaluate_detector(Knowing(scenes), scenes, tmp_path)
    metrics = result["metrics"]
    for kind in ("box", "mask"):
        assert metrics[f"{kind}_AP"]["value"] == pytest.approx(100)
        assert metrics[f"{kind}_AP75"]["n"] == 5
    assert score_line(result) == "box AP: 100.00 | box AP50: 100.00 | mask AP: 100.00 | mask AP50: 100.00"
    assert "box_AP.Bag" in metrics or "box_AP.Shirt" in metrics
    assert metrics["parameters"]["value"] == sum(p.numel() for p in Knowing(scenes).parameters())


def test_what_is_missed_lowers_the_score(tmp_path: Path) -> None:
    scenes = open_detection("scenes", limit=5)
    metrics = evaluate_detector(Knowing(scenes, missed=1), scenes, tmp_path)["metrics"]
    assert 20 < metrics["box_AP"]["value"] < 95
    assert metrics["box_AP"]["low"] < metrics["box_AP"]["value"] < metrics["box_AP"]["high"]


def test_tables_hold_what_is_there_and_what_was_found(tmp_path: Path) -> None:
    scenes = open_detection("scenes", limit=4)
    evaluate_detector(Knowing(scenes), scenes, tmp_path)
    images, truths, detections = read_tables(tmp_path)
    assert images.columns.tolist() == ["index", "image", "height", "width"]
    assert images["image"].tolist() == scenes.paths
    for index in range(4):
        objects = scenes.load(index)[1]
        true, found = (table[table["index"] == index] for table in (truths, detections))
        assert np.allclose(true[["x", "y", "width", "height"]], objects.boxes)
        assert np.allclose(found[["x", "y", "width", "height"]], objects.boxes)
        assert (true["category"] - 1).tolist() == (found["category"] - 1).tolist() == objects.labels.tolist()
        assert true["mask"].tolist() == found["mask"].tolist() == [m["counts"].decode() for m in objects.masks]
        assert not true["crowd"].any()


def test_a_killed_evaluation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes, model = open_detection("scenes", limit=5), random_detector()
    evaluate_detector(model, scenes, tmp_path / "whole")
    monkeypatch.setattr("resnest_core.evaluation.records.SECONDS_BETWEEN_PARTS", 0.0)
    real, calls = Predictor.__call__, []

    def killed(self: Predictor, pixels: torch.Tensor, size: tuple[int, int]) -> dict[str, Any]:
        calls.append(size)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, pixels, size)

    monkeypatch.setattr(Predictor, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_detector(model, scenes, tmp_path / "killed")
    assert not (tmp_path / "killed" / "result.json").exists()
    calls[:] = [None] * 10
    evaluate_detector(model, scenes, tmp_path / "killed")
    assert len(calls) == 12  # three images were done, of which the last was not stored
    for whole, resumed in zip(read_tables(tmp_path / "whole"), read_tables(tmp_path / "killed"), strict=True):
        pd.testing.assert_frame_equal(whole, resumed)
    assert len(read_tables(tmp_path / "whole")[2]) > 50


def test_images_without_objects_and_without_detections(tmp_path: Path) -> None:
    scenes = open_detection("scenes", limit=3)
    model = Knowing(scenes, missed=100)
    result = evaluate_detector(model, scenes, tmp_path)
    assert result["metrics"]["box_AP"]["value"] == 0
    assert len(read_tables(tmp_path)[2]) == 0


def test_a_users_own_data_set(tmp_path: Path) -> None:
    tree = own_tree(tmp_path / "data")
    dataset = open_detection("coco_format", tree)
    model = rc.create_model("mini_faster_rcnn_resnest11", categories=dataset.classes)
    assert isinstance(model, Detector)
    result = evaluate_detector(model, dataset, tmp_path / "out", Protocol(short_side=40))
    images, truths, detections = read_tables(tmp_path / "out")
    assert images["height"].tolist() == [30, 1]
    assert truths["category"].tolist() == [17]
    assert set(detections["category"]) <= {4, 17}
    assert truths["mask"].isna().all()
    assert 0 <= result["metrics"]["box_AP"]["value"] <= 100
    assert "mask_AP" not in result["metrics"]


def own_tree(root: Path) -> Path:
    """Two images, one of a single pixel, with one object of two categories."""
    (root / "images").mkdir(parents=True)
    Image.new("L", (50, 30), 99).save(root / "images" / "a.png")
    Image.new("RGB", (1, 1)).save(root / "images" / "b.png")
    content = {
        "images": [
            {"id": 5, "file_name": "a.png", "width": 50, "height": 30},
            {"id": 9, "file_name": "b.png", "width": 1, "height": 1},
        ],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 17, "bbox": [4, 5, 20, 10], "iscrowd": 0, "area": 200}],
        "categories": [{"id": 17, "name": "cat"}, {"id": 4, "name": "ant"}],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def test_a_network_for_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the network has 10 classes, data set 'coco_format' 2"):
        evaluate_detector(random_detector(), open_detection("coco_format", own_tree(tmp_path / "data")), tmp_path)


def test_weights_that_are_not_finite_are_named_with_the_image(tmp_path: Path) -> None:
    model = random_detector()
    torch.nn.init.constant_(model.roi_heads.box_predictor[0].cls_score.bias, torch.nan)
    torch.nn.init.constant_(model.roi_heads.box_predictor[0].bbox_pred.bias, torch.nan)
    with pytest.raises(InputError, match="image 'test/00000': the network's numbers are not finite"):
        evaluate_detector(model, open_detection("scenes", limit=2), tmp_path)


def test_a_negative_side() -> None:
    with pytest.raises(InputError, match="short_side -1 is not possible; valid: a whole number from 0"):
        Protocol(short_side=-1)


class PanopticallyKnowing(Detector):
    """A panoptic detector that knows all segments of a data set, or calls the first piece of stuff something else."""

    def __init__(self, dataset: PanopticImages, *, wrong: bool = False) -> None:
        row = replace(DETECTORS[MASKED], categories=dataset.classes, stuff=("things", *dataset.stuff))
        super().__init__(row)
        self.dataset, self.wrong, self.seen = dataset, wrong, 0

    def forward(self, images: Any, targets: Any = None, *, sizes: Any = None) -> list[dict[str, Any]]:
        seen, listed = self.dataset.segments(self.seen)
        self.seen += 1
        things, stuff = self.dataset.category_ids, list(self.dataset.stuff_categories)
        segments = [
            Segment(s["id"], True, things.index(s["category_id"]))
            if s["category_id"] in things
            else Segment(s["id"], False, stuff.index(s["category_id"]) + (2 if self.wrong else 1))
            for s in listed
        ]
        nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
        masks = torch.zeros(0, *seen.shape, dtype=torch.bool)
        return [{**nothing, "masks": masks, "panoptic": torch.from_numpy(seen), "segments": segments}]


def panoptic_tree(root: Path) -> Path:
    """Two images of a person (thing) on snow (stuff)."""
    ids = np.zeros((2, 8, 10), np.uint8)
    ids[:, :4], ids[:, 4:], ids[:, :, 9] = 7, 9, 0
    annotations = []
    for number in (1, 2):
        (root / "annotations" / "panoptic_val2017").mkdir(parents=True, exist_ok=True)
        (root / "val2017").mkdir(exist_ok=True)
        Image.new("RGB", (10, 8)).save(root / "val2017" / f"{number}.jpg")
        coded = np.stack([ids[number - 1], np.zeros((8, 10), np.uint8), np.zeros((8, 10), np.uint8)], axis=2)
        Image.fromarray(coded).save(root / "annotations" / "panoptic_val2017" / f"{number}.png")
        segments = [{"id": 7, "category_id": 1, "iscrowd": 0}, {"id": 9, "category_id": 159, "iscrowd": 0}]
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 10, "height": 8} for n in (1, 2)],
        "annotations": annotations,
        "categories": [{"id": k, "name": v, "isthing": 1} for k, v in THINGS.items()]
        + [{"id": k, "name": v, "isthing": 0} for k, v in STUFF.items()],
    }
    (root / "annotations" / "panoptic_val2017.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(("wrong", "quality"), [(False, (100, 100, 100)), (True, (100 / 3, 100, 0))])
def test_panoptic_quality_of_a_network(tmp_path: Path, wrong: bool, quality: tuple[float, ...]) -> None:
    dataset = open_detection("coco_panoptic", panoptic_tree(tmp_path / "data"))
    assert isinstance(dataset, PanopticImages)
    result = evaluate_detector(PanopticallyKnowing(dataset, wrong=wrong), dataset, tmp_path / "out")
    found = [result["metrics"][name]["value"] for name in ("PQ", "PQ_things", "PQ_stuff")]
    assert found == pytest.approx(quality)
    rows = pd.read_parquet(tmp_path / "out" / "segments.parquet")
    assert rows[rows["category"] == 1][["tp", "fp", "fn"]].to_numpy().tolist() == [[1, 0, 0]] * 2
    assert score_line(result).endswith(f"PQ: {quality[0]:.2f}")
