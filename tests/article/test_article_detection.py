"""The studies of detection in the article: names, tests on common images, and the authors' claim."""

import re
from collections.abc import Callable
from pathlib import Path

import fabricated
import pandas as pd
import pytest
from fabricate import Study
from fabricate_detection import detector

from resnest_core.article.detection import InstanceSegmentation, ObjectDetection
from resnest_core.article.networks import detector_label
from resnest_core.article.published import AUTHORS, DETECTRON, REPLICATION, quote
from resnest_core.article.results import Store
from resnest_core.errors import InputError

Render = Callable[[Path], str]


def pair(directory: Path, first: float, second: float, images: int = 20) -> ObjectDetection:
    """One run of each trunk, which finds about that share of the objects."""
    study = Study(directory, "default")
    for name, trunk, quality in (("a", "resnest11", first), ("b", "resnetd11", second)):
        detector(study, f"object_detection/{name}", quality, model=f"mini_faster_rcnn_{trunk}", images=images)
    return ObjectDetection(Store(study.write_plan()))


def test_verdicts_follow_from_the_tables(tmp_path: Path) -> None:
    for name, (first, second), verdict in (
        ("b", (0.9, 0.4), "better"),
        ("w", (0.4, 0.9), "worse"),
        ("s", (0.7, 0.7), "not detectably different"),
    ):
        found = pair(tmp_path / name, first, second)
        ((kind, test),) = found.tests["families"]
        assert (kind, test.verdict) == ("box", verdict)
        values = [found.groups[n].values("box_AP")[0] for n in found.groups]
        assert test.difference == pytest.approx(values[0] - values[1])
        assert test.low is not None
        assert test.high is not None
        assert test.low < test.difference < test.high
        assert found.tests["cascades"] == []
        assert verdict.split()[0] in found.summary("families")


def test_trunks_cascades_and_kinds_are_told_apart(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    fabricated.detectors(study)
    store = Store(study.write_plan())
    boxes, masks = ObjectDetection(store), InstanceSegmentation(store)
    assert [n.label for n in boxes.done] == [
        "Faster R-CNN on ResNeSt-11",
        "Faster R-CNN on ResNet-D-11",
        "Cascade R-CNN on ResNeSt-11",
    ]
    assert boxes.best[0].model == "mini_cascade_rcnn_resnest11"
    assert [len(boxes.tests[way]) for way in ("families", "cascades")] == [1, 1]
    assert [len(masks.tests[way]) for way in ("families", "cascades")] == [4, 4], "of masks and of boxes"
    assert boxes.tests["cascades"][0][1].verdict == "better"
    assert len(masks.conclusions) == 4, "by masks alone"
    assert all(" on ResNe" in sentence for sentence in masks.conclusions)
    labels = [figure.label for study in (boxes, masks) for figure in study.figures()]
    assert len(set(labels)) == len(labels) == 4


def test_p_values_are_corrected_for_all_comparisons_of_the_table(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    fabricated.detectors(study)
    found = InstanceSegmentation(Store(study.write_plan()))
    least = 1 / (found.draws + 1)
    assert min(test.p for tests in found.tests.values() for _, test in tests if test.p is not None) >= 8 * least * 0.99


def test_networks_of_other_images_are_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    detector(study, "object_detection/a", 0.6, model="mini_faster_rcnn_resnest11")
    detector(study, "object_detection/b", 0.6, model="mini_faster_rcnn_resnetd11", images=9)
    with pytest.raises(InputError, match=r"mini_faster_rcnn_resnest11 and mini_faster_rcnn_resnetd11: .*same"):
        _ = ObjectDetection(Store(study.write_plan())).tests


def test_errors_are_counted_for_a_hundred_objects(tmp_path: Path) -> None:
    found = pair(tmp_path, 1.0, 0.5)
    rates = {name: value for name, value, _, _ in found._first(found.done[0]).errors}
    truths = pd.read_parquet(tmp_path / "object_detection/a/truths.parquet")
    assert rates["correct"] == pytest.approx(100, abs=15)
    assert rates["correct"] * len(truths) / 100 == pytest.approx(round(rates["correct"] * len(truths) / 100))
    low, high = next((low, high) for name, _, low, high in found._first(found.done[1]).errors if name == "correct")
    assert low < 50 + 15 < high + 30


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("faster_rcnn_resnet50_fpn", "Faster R-CNN on ResNet-50"),
        ("mini_cascade_mask_rcnn_resnetd11", "Cascade Mask R-CNN on ResNet-D-11"),
        ("faster_rcnn_resnest50_fpn_dcn", "Faster R-CNN on ResNeSt-50, deformable"),
        ("cascade_mask_rcnn_resnest200_fpn_dcn_tricks_3x", "Cascade Mask R-CNN on ResNeSt-200, deformable, 3×"),
        ("panoptic_fpn_resnest200_tricks_3x", "Panoptic FPN on ResNeSt-200, 3×"),
    ],
)
def test_labels(model: str, label: str) -> None:
    assert detector_label(model) == label


def test_a_classifier_is_no_detector() -> None:
    with pytest.raises(InputError, match="'resnest50' is no name of a detector"):
        detector_label("resnest50")


def test_published_figures_of_detectors() -> None:
    boxes = quote("mask_rcnn_resnest50_fpn", "box_AP", DETECTRON)
    masks = quote("mask_rcnn_resnest50_fpn", "mask_AP", DETECTRON)
    again = quote("mask_rcnn_resnest50_fpn", "mask_AP", REPLICATION)
    assert [figure.text if figure else None for figure in (boxes, masks, again)] == ["42.81", "38.14", "38.1398"]
    assert quote("cascade_rcnn_resnest101_fpn", "box_AP", DETECTRON).text == "47.50"  # type: ignore[union-attr]
    assert quote("resnest50", "top1", AUTHORS) is not None
    assert quote("faster_rcnn_resnet50_fpn", "mask_AP", DETECTRON) is None


def test_the_authors_claim_is_answered_where_it_was_measured(render: Render, tmp_path: Path) -> None:
    study = Study(tmp_path, "paper")
    fabricated.published_detectors(study, "not here")
    text = render(study.write_plan())
    assert "from 39.25 to 42.33 % (+3.08 points) for Faster R-CNN" in text.replace("\u00a0", " ")
    answer = text[text.index("Measured here, on the same images") :]
    assert answer.startswith("Measured here, on the same images: Faster R-CNN on ResNeSt-50 differs from Faster R-CNN")
    assert "None of the networks has run; @tbl:instance-segmentation says why." in text
    assert re.search(r"Cascade R-CNN on ResNeSt-50(\]\([^)]*\))? \| n\. r\.", text)


def test_the_claim_is_not_measurable_on_scenes(render: Render, tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    fabricated.detectors(study)
    text = render(study.write_plan())
    section = text[text.index("# Object detection {#sec:object_detection}") :]
    assert "It is not measurable in this build, which has neither COCO nor the published weights." in section
    assert re.search(r"ResNeSt is (better|not detectably different) in the one comparison with ResNet-D", section)
    assert "{#fig:instance-segmentation-details" in section
