"""Calibration in the article: words that follow from intervals and tests, on invented networks."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import fabricate_calibration
import pandas as pd
import pytest
from fabricate import Study
from fabricate_calibration import NAME, Run, with_logits

from resnest_core.analyses.calibration import calibrate
from resnest_core.article.calibration import Calibration
from resnest_core.article.document import Article
from resnest_core.article.results import Store

MODELS = ("mini_resnest11", "mini_resnetd11", "mini_resnest20", "mini_resnetd20")


Analysed = Callable[[tuple[str, ...], float, float], Calibration]


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    """The analysis of some models of equal accuracy, each once."""

    @cache
    def analysed(models: tuple[str, ...], sharpness: float, baseline: float) -> Calibration:
        study = Study(tmp_path_factory.mktemp("build"), "default")
        for model in models:
            study.classifier(f"base_results/{model}", 88.0, model=model)
        fabricate_calibration.add(study, sharpness=sharpness, baseline=baseline)
        return Calibration(Store(study.write_plan()))

    return analysed


def rendered(directory: Path) -> str:
    """Both sections."""
    article = Article(directory)
    names = {"store": article.store, **article.studies}
    return "\n".join(
        article.sections.get_template(f"{name}.md").render(names) for name in ("calibration", "calibration_findings")
    )


@pytest.mark.parametrize(
    ("sharpness", "direction"), [(0.5, "all four networks are underconfident"), (2.5, "all four networks are over")]
)
def test_the_direction_follows_from_the_intervals(invented: Analysed, sharpness: float, direction: str) -> None:
    found = invented(MODELS, sharpness, sharpness)
    assert found.direction().startswith(direction)
    assert found.untrue() == "all four networks"
    assert found.changed("ece") == found.changed("log_loss") == "lower for all four networks"
    values = [found.metric(name, "overconfidence").value for name in found.networks]
    assert f"({min(map(abs, values)):.2f} to {max(map(abs, values)):.2f} points)" in found.direction()


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"), [(0.4, 0.7, "higher"), (0.7, 0.4, "lower"), (0.5, 0.5, "not detectably different")]
)
def test_split_attention_is_judged_by_paired_differences(
    invented: Analysed, ours: float, theirs: float, verdict: str
) -> None:
    found = invented(MODELS, ours, theirs)
    assert found.against_baseline("ece").startswith(verdict)
    assert found.against_baseline("ece").split(" (")[0].endswith(("at all depths", "at any depth"))
    assert ("points)" in found.against_baseline("ece")) == (verdict != "not detectably different")
    (first, second) = found.families["ece"]
    assert (first.first, first.second, second.second) == ("ResNeSt-11", "ResNet-D-11", "ResNet-D-20")
    difference = found.metric("mini_resnest11", "ece").value - found.metric("mini_resnetd11", "ece").value
    assert first.difference == pytest.approx(difference)


def test_p_values_are_corrected_for_all_comparisons(invented: Analysed) -> None:
    found = invented(MODELS, 0.4, 0.7)
    raw = found.metric("mini_resnest11", "less_baseline_ece_p").value
    p = found.families["ece"][0].p
    assert p is not None
    assert p >= 8 * raw * 0.99 >= 8 * 2 / 2001 * 0.99, "of two measures, two states and two depths"


def test_one_difference_has_its_interval(invented: Analysed) -> None:
    found = invented(MODELS[:2], 0.4, 0.7)
    (test,) = found.families["ece"]
    assert test.low is not None
    assert test.high is not None
    sizes = f"+{test.difference:.2f} points, {test.low:.2f} to {test.high:.2f}"
    assert found.against_baseline("ece") == f"higher at depth 11 ({sizes})"


def test_depths_may_differ(invented: Analysed) -> None:
    found = replaced(invented(MODELS, 0.5, 0.5), "mini_resnest20", invented(MODELS, 0.4, 0.7))
    assert found.against_baseline("ece").startswith("higher at depth 20 (+")
    assert found.against_baseline("ece").endswith(") and not detectably different elsewhere")


def replaced(found: Calibration, name: str, other: Calibration) -> Calibration:
    """The analysis with the metrics of one run from another."""
    mixed = Calibration(Store(found.store.directory))
    result = mixed.store.result(mixed.done[0])
    result.metrics |= {k: m for k, m in other.store.result(other.done[0]).metrics.items() if k.startswith(name)}
    return mixed


def test_the_table_and_the_figure_have_every_network(invented: Analysed) -> None:
    found = invented(MODELS, 0.5, 0.5)
    (table,) = found.tables()
    assert [row[0].text for row in table.rows] == ["ResNeSt-11", "ResNet-D-11", "ResNeSt-20", "ResNet-D-20"]
    ece = found.metric("mini_resnest11", "ece")
    assert table.rows[0][1].text == f"{ece.value:.2f} ({ece.low:.2f} to {ece.high:.2f})"
    assert {len(row) for row in table.rows} == {len(table.header)}
    (figure,) = found.figures()
    assert figure.wide
    assert figure.figure.get_size_inches()[1] <= 2.3
    before, after, errors = figure.figure.axes
    assert len(before.get_lines()) == len(after.get_lines()) == 5, "four networks, and no gap"
    assert [label.get_text() for label in errors.get_yticklabels()] == [row[0].text for row in table.rows]


def test_sections_are_short_and_name_their_figure_and_table(invented: Analysed) -> None:
    text = rendered(invented(MODELS, 0.5, 0.5).store.directory)
    assert "# Calibration {#sec:calibration}" in text
    assert "@tbl:calibration" in text
    assert "@fig:reliability" in text
    assert "trained with label smoothing" in text
    assert len(text.split()) < 210


def test_one_published_network(tmp_path: Path) -> None:
    """Without a baseline, and without smoothing that is known of."""
    study = Study(tmp_path, "paper")
    study.add(NAME, {}, None)
    records = with_logits(study.records(80.0), 1.0)
    calibrate([Run("build/resnest50", "resnest50", records, None)], tmp_path / NAME)  # type: ignore[list-item]
    text = rendered(study.write_plan())
    assert "As they are, the network " in text
    assert "Against ResNet-D" not in text
    assert "label smoothing" not in text


def test_what_has_not_run_says_why(tmp_path: Path) -> None:
    study = Study(tmp_path, "paper")
    study.add(NAME, {}, "the weights are missing")
    text = rendered(study.write_plan())
    assert "The analysis of calibration has not run: the weights are missing." in text
    found = Calibration(Store(tmp_path))
    assert found.tables() == found.figures() == []
    assert found.store.unused() == []


def test_numbers_are_those_of_the_records(invented: Analysed) -> None:
    found = invented(MODELS, 0.5, 0.5)
    records = pd.read_parquet(found.store.directory / NAME / "records.parquet")
    for name in found.networks:
        rows = records[(records["run"] == name) & records["scaled"]]
        assert found.metric(name, "scaled_log_loss").value == pytest.approx(rows["log_loss"].mean())
        assert found.metric(name, "temperature").value == pytest.approx(rows["temperature"].mean())
