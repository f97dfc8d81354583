"""Errors in the article: what is said of two invented networks."""

from pathlib import Path

import fabricate_errors
import numpy as np
import pandas as pd
import pytest
from fabricate import Study
from fabricate_errors import NAME, Blank, Seen, with_probabilities

from resnest_core.analyses.errors import compare_errors
from resnest_core.article.document import Article
from resnest_core.article.errors import Errors
from resnest_core.article.results import Store


def invented(directory: Path, ours: float = 85.0, theirs: float = 80.0) -> Errors:
    study = Study(directory, "default")
    study.classifier("base_results/mini_resnest20", ours, model="mini_resnest20")
    study.classifier("base_results/mini_resnetd20", theirs, model="mini_resnetd20")
    fabricate_errors.add(study)
    return Errors(Store(study.write_plan()))


def compared(directory: Path, *correct: np.ndarray, classes: tuple[str, ...] = Blank().classes) -> Errors:
    """Two networks that are right on these images."""
    study = Study(directory, "default")
    study.add(NAME, {}, None)
    runs = [
        Seen(f"build/{name}", name, with_probabilities(study.rows(right)), test_set=Blank(classes))
        for name, right in zip(("mini_resnest20", "mini_resnetd20"), correct, strict=True)
    ]
    compare_errors(runs, directory / NAME)  # type: ignore[arg-type]
    return Errors(Store(study.write_plan()))


def rendered(directory: Path) -> str:
    """Both sections."""
    article = Article(directory)
    names = {"store": article.store, **article.studies}
    return "\n".join(
        article.sections.get_template(f"{name}.md").render(names) for name in ("errors", "errors_findings")
    )


def test_numbers_are_those_of_the_records(tmp_path: Path) -> None:
    (pair,) = invented(tmp_path).pairs
    records = pd.read_parquet(tmp_path / NAME / "records.parquet")
    alone = 100 * (records["correct_first"] & ~records["correct_second"]).mean()
    assert f"ResNeSt-20 alone is right on {alone:.2f} % of the images" in pair.alone
    common = 100 * (~records["correct_first"] & ~records["correct_second"]).mean()
    assert f"Both err on {common:.2f} %, {common / (15 * 20 / 100):.2f} (" in pair.shared
    assert "The accuracy of ResNeSt-20 less that of ResNet-D-20 is +5.00 (" in pair.differing


def test_more_common_mistakes_than_chance_and_as_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(1000) < 0.8, rng.random(1000) < 0.7
    assert "not detectably another number" in compared(tmp_path / "a", a, b).pairs[0].shared
    assert "not detectably another number" not in compared(tmp_path / "b", a, a & b).pairs[0].shared


def test_no_common_mistake(tmp_path: Path) -> None:
    a, b = np.arange(1000) >= 50, np.arange(1000) < 950
    (pair,) = compared(tmp_path, a, b).pairs
    assert "Both err on 0.00 %" in pair.shared
    assert "the same answer" not in pair.shared


def test_classes_differ_only_where_the_test_says_so(tmp_path: Path) -> None:
    targets = Study(tmp_path, "x").targets
    rng = np.random.default_rng(0)
    a, b = rng.random(1000) < 0.8, rng.random(1000) < 0.8
    (same,) = compared(tmp_path / "same", a, b).pairs
    assert "In none of ten classes do they differ detectably" in same.differing
    (one,) = compared(tmp_path / "one", a | (targets == 4), b & (targets != 4)).pairs
    assert "After Holm's correction they differ in one of ten classes: Coat (+100.00 (" in one.differing
    assert one.differing.index("from Coat") > 0
    (many,) = compared(tmp_path / "many", a | (targets < 5), b & (targets >= 5)).pairs
    assert "differ in five of ten classes, among them " in many.differing


def test_the_figure_has_the_table_and_eight_pictures(tmp_path: Path) -> None:
    (figure,) = invented(tmp_path).figures()
    assert (figure.label, figure.wide) == ("errors", True)
    assert figure.figure.get_size_inches()[1] <= 2.3
    assert sum(bool(axes.images) for axes in figure.figure.axes) == 9
    table = next(axes for axes in figure.figure.axes if axes.get_ylabel() == "true")
    assert sum(int(text.get_text()) for text in table.texts) == 1000
    assert "classes of the most confused pairs" not in figure.caption


def test_of_many_classes_the_most_confused_are_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    right = [rng.random(1000) < 0.8 for _ in range(2)]
    (figure,) = compared(tmp_path, *right, classes=tuple(f"n{i:08}" for i in range(30))).figures()
    assert "the 20 classes of the most confused pairs" in figure.caption


def test_two_trainings_of_one_network_are_called_by_their_runs(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    study.add(NAME, {}, None)
    runs = [Seen(f"build/seed{seed}", "mini_2s1x64d", with_probabilities(study.records(80.0), seed)) for seed in (0, 1)]
    compare_errors(runs, tmp_path / NAME)  # type: ignore[arg-type]
    (pair,) = Errors(Store(study.write_plan())).pairs
    assert pair.labels == ["seed0", "seed1"]
    assert "do two of them make the same mistakes" in rendered(tmp_path)


def test_sections_are_short_and_name_their_figure(tmp_path: Path) -> None:
    invented(tmp_path)
    text = rendered(tmp_path)
    assert "# Errors {#sec:errors}" in text
    assert "@fig:errors" in text
    assert "do networks with and without split attention make the same mistakes" in text
    assert len(text.split()) < 180


def test_what_has_not_run_says_why(tmp_path: Path) -> None:
    study = Study(tmp_path, "paper")
    study.add(NAME, {}, "the images are missing")
    text = rendered(study.write_plan())
    assert "The analysis of errors has not run: the images are missing." in text
    found = Errors(Store(tmp_path))
    assert found.tables() == found.figures() == []
    assert found.store.unused() == []


@pytest.mark.parametrize("ours", [80.0, 90.0])
def test_the_sign_of_the_difference(tmp_path: Path, ours: float) -> None:
    (pair,) = invented(tmp_path, ours, 85.0).pairs
    assert f"is {'+' if ours > 85 else '−'}5.00 (" in pair.differing
