"""What the article says about accuracy against cost."""

from collections.abc import Callable
from pathlib import Path

import fabricate_frontier
import pytest
from fabricate import Study

from resnest_core.analyses.frontier import COSTS
from resnest_core.article.frontier import Frontier
from resnest_core.article.results import Store

ACCURACIES = {"mini_resnest11": 85.0, "mini_resnest20": 90.0, "mini_resnetd11": 88.0, "mini_resnetd20": 80.0}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path, "default")
    for name, accuracy in ACCURACIES.items():
        study.classifier(f"base_results/{name}", accuracy, model=name)
    return study


def test_who_is_worth_what_it_costs(study: Study) -> None:
    fabricate_frontier.add(study)
    found = Frontier(Store(study.write_plan()))
    # Cost rises from resnetd11 over resnest11 and resnetd20 to resnest20; two of them are less accurate than the first.
    for cost in COSTS:
        assert found.worth(cost) == ["ResNet-D-11", "ResNeSt-20"]
    assert found.always == ["ResNet-D-11", "ResNeSt-20"]
    assert found.never == ["ResNeSt-11", "ResNet-D-20"]
    assert found.counts.startswith("two by parameters, two by multiply-adds")
    assert found.tables() == []
    (figure,) = found.figures()
    assert len(figure.figure.axes) == 4
    assert "batches of 64" in figure.caption


def test_the_section_says_who_is_beaten_or_why_nothing_was_measured(
    study: Study, render_section: Callable[[Path, str], str]
) -> None:
    fabricate_frontier.add(study)
    text = render_section(study.write_plan(), "frontier_findings")
    assert "ResNet-D-11 and ResNeSt-20 are worth every cost; ResNeSt-11 and ResNet-D-20 are beaten" in text


def test_a_missing_run_is_told(study: Study, render_section: Callable[[Path, str], str]) -> None:
    fabricate_frontier.add(study, missing="needs base_results/mini_resnest11, which is missing")
    directory = study.write_plan()
    assert Frontier(Store(directory)).figures() == []
    assert "was not measured: needs base" in render_section(directory, "frontier")
    assert render_section(directory, "frontier_findings") == ""
