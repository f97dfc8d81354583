"""The study of segmentation in the article: names, tests on common images, and the paper's claim."""

from collections.abc import Callable
from pathlib import Path

import fabricated
import numpy as np
import pandas as pd
import pytest
from fabricate import Study

from resnest_core.article.networks import segmenter_label
from resnest_core.article.published import ENCODING, PAPER, REPLICATION, quote
from resnest_core.article.results import Store
from resnest_core.article.semantic_segmentation import SemanticSegmentation
from resnest_core.errors import InputError

Render = Callable[[Path], str]


def studied(study: Study) -> SemanticSegmentation:
    return SemanticSegmentation(Store(study.write_plan()))


def pair(directory: Path, first: float, second: float, **given: object) -> SemanticSegmentation:
    """One run of each trunk, of about that quality."""
    study = Study(directory, "default")
    study.segmenter("semantic_segmentation/a", first, model="mini_deeplab_resnest11", **given)
    study.segmenter("semantic_segmentation/b", second, model="mini_deeplab_resnetd11", **given)
    return studied(study)


def test_verdicts_follow_from_the_records(tmp_path: Path) -> None:
    better, worse, same = (pair(tmp_path / n, *q) for n, q in (("b", (0.7, 0.5)), ("w", (0.5, 0.7)), ("s", (0.6, 0.6))))
    for study, verdict in ((better, "better"), (worse, "worse"), (same, "not detectably different")):
        (test,) = study.tests["families"]
        assert test.verdict == verdict
        assert test.low is not None
        assert test.high is not None
        assert test.low < test.difference < test.high
    values = [better.groups[n].values("mIoU")[0] for n in better.groups]
    assert better.tests["families"][0].difference == pytest.approx(values[0] - values[1])


def test_starts_protocols_and_seeds_are_told_apart(tmp_path: Path) -> None:
    study = fabricated.default(tmp_path)
    found = studied(study)
    labels = [(n.label, n.view, len(g.done)) for n, g in found.groups.items()]
    assert labels == [
        ("ResNeSt-11, pretrained", "single_scale", 2),
        ("ResNet-D-11, pretrained", "single_scale", 2),
        ("ResNeSt-11, random", "single_scale", 2),
        ("ResNet-D-11, random", "single_scale", 2),
        ("ResNeSt-11, pretrained", "multi_scale", 1),
        ("ResNet-D-11, pretrained", "multi_scale", 1),
    ]
    assert [len(found.tests[kind]) for kind in ("families", "starts", "views")] == [3, 2, 2]
    assert {test.verdict for test in found.tests["starts"]} == {"better"}
    assert "ResNeSt-11, pretrained, multi-scale" in found.conclusions[-2]
    assert "ResNeSt-11, pretrained, single scale" in found.conclusions[-2]
    assert found.transfer == "Beginning with the weights of a classifier helped ResNeSt-11 and ResNet-D-11."


def test_p_values_are_corrected_for_all_comparisons_of_the_table(tmp_path: Path) -> None:
    found = studied(fabricated.default(tmp_path))
    tests = [test for tests in found.tests.values() for test in tests]
    least = 1 / 2001
    assert min(test.p for test in tests if test.p is not None) >= 7 * least * 0.99


def test_only_common_images_are_compared(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    given = {"model": "mini_deeplab_resnest11", "weights": "published"}
    study.segmenter("semantic_segmentation/all", 0.6, **given)
    study.segmenter("semantic_segmentation/some", 0.6, images=10, view="multi_scale", **given)
    (test,) = studied(study).tests["views"]
    frames = [pd.read_parquet(tmp_path / f"semantic_segmentation/{n}/records.parquet") for n in ("some", "all")]
    sums = [(np.stack(f["intersections"][:10]).sum(0), np.stack(f["unions"][:10]).sum(0)) for f in frames]
    a, b = (100 * (right / union).mean() for right, union in sums)
    assert test.difference == pytest.approx(a - b)


def test_records_of_other_images_are_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    study.segmenter("semantic_segmentation/a", 0.6, model="mini_deeplab_resnest11")
    study.segmenter("semantic_segmentation/b", 0.6, model="mini_deeplab_resnetd11")
    path = tmp_path / "semantic_segmentation/b/records.parquet"
    frame = pd.read_parquet(path)
    frame["image"] = [f"other/{name}" for name in frame["image"]]
    frame.to_parquet(path)
    with pytest.raises(InputError, match="were not evaluated on the same images"):
        _ = studied(study).tests


def test_the_papers_claim_is_answered_where_it_was_measured(render: Render, tmp_path: Path) -> None:
    text = render(fabricated.paper(tmp_path, "not here").write_plan())
    store = Store(tmp_path)
    value = store.metric(store.experiments["semantic_segmentation/deeplab_resnest50_ade"], "mIoU").value
    assert "a gain of 3.0 points of mIoU on ADE20K" in text
    assert f"ResNeSt-50 has {value:.2f}" in text.replace("\u00a0", " ")
    assert "no weights for Cityscapes were ever released" in text
    assert "*45.12*" in text
    assert "FCN, ResNeSt-50" in text


def test_the_papers_claim_is_not_measurable_on_scenes(render: Render, tmp_path: Path) -> None:
    text = render(fabricated.default(tmp_path).write_plan())
    assert "It is not measurable in this build" in text
    assert "from 42.1 to 45.12 %" in text.replace("\u00a0", " ")
    assert "Cityscapes" not in text


def test_published_figures_keep_their_digits() -> None:
    found = {s: quote("deeplab_resnest200_ade", "mIoU", s) for s in (ENCODING, REPLICATION)}
    assert {source: figure.text for source, figure in found.items() if figure} == {
        ENCODING: "48.36",
        REPLICATION: "48.36",
    }
    baseline, largest = quote("deeplab_resnet50_ade", "mIoU", PAPER), quote("deeplab_resnest269_ade", "mIoU", ENCODING)
    assert baseline is not None
    assert baseline.text == "42.1"
    assert largest is not None
    assert largest.text == "47.60"
    assert quote("deeplab_resnest50_ade", "top1", ENCODING) is None


def test_names() -> None:
    assert segmenter_label("fcn_resnest50_pcontext") == "FCN, ResNeSt-50"
    assert segmenter_label("deeplab_resnetd50") == "ResNet-D-50"
    with pytest.raises(InputError, match="'resnest50' is no name of a segmentation network"):
        segmenter_label("resnest50")
