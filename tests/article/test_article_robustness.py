"""Robustness in the article: what is said of invented networks follows from the metrics."""

from pathlib import Path

import fabricate_robustness
import pytest
from fabricate import Study
from fabricate_robustness import NAME, RUNS

from resnest_core.article.document import Article
from resnest_core.article.results import Store
from resnest_core.article.robustness import Robustness


def invented(directory: Path, runs: dict[str, float] = RUNS, **given: object) -> Robustness:
    study = Study(directory, "default")
    for run in runs:
        study.classifier(f"base_results/{run}", 87.0, model=run)
    fabricate_robustness.add(study, runs=runs, **given)  # type: ignore[arg-type]
    return Robustness(Store(study.write_plan()))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build directory of the usual invention."""
    directory = tmp_path_factory.mktemp("usual")
    invented(directory)
    return directory


def rendered(directory: Path) -> str:
    """Both sections."""
    article = Article(directory)
    names = ("robustness", "robustness_findings")
    text = "\n".join(article.sections.get_template(f"{name}.md").render(article.context) for name in names)
    return " ".join(text.replace("\u00a0", " ").split())


def test_sections(usual: Path) -> None:
    found, text = Robustness(Store(usual)), rendered(usual)
    assert "Five corruptions (noise, blur, contrast, JPEG and occlusion) in five severities are put on 300 test" in text
    assert "(mCE) is relative to ResNet-D-11 (@tbl:robustness)." in text
    assert f"Hardest is contrast, which leaves {found.hardest[1]:.1f} % in the mean." in text
    difference = found.metric("mini_resnest11", "mce_difference")
    assert (
        f"ResNeSt-11 differs from ResNet-D-11 and is worse (mCE +{difference.value:.2f} points, 95 % interval" in text
    )
    assert "ResNeSt-20 " in text
    assert "reassessed" not in text
    assert "ImageNet-V2" not in text
    assert len(text.split()) < 175


@pytest.mark.parametrize(("ours", "verdict"), [(0.16, "worse"), (0.04, "better")])
def test_less_error_is_better(tmp_path: Path, ours: float, verdict: str) -> None:
    found = invented(tmp_path, {"mini_resnetd11": 0.1, "mini_resnest11": ours})
    assert found.verdicts("mce") == found.verdicts("loss") == [verdict]
    assert found.summary("loss") == f"{verdict} in one of one comparison"
    sign = found.metric("mini_resnest11", "loss_difference").value
    assert (sign > 0) == (verdict == "worse")
    assert f"and is {verdict} (mCE" in found.sentences("mce")[0]


def test_equal_networks_do_not_differ(tmp_path: Path) -> None:
    found = invented(tmp_path, {"mini_resnetd11": 0.1, "mini_resnest11": 0.1})
    assert found.verdicts("loss") == ["not detectably different"]
    assert "does not differ detectably from ResNet-D-11" in found.sentences("loss")[0]


def test_the_table_has_every_network_and_corruption(usual: Path) -> None:
    found = Robustness(Store(usual))
    (table,) = found.tables()
    assert table.header[2:7] == ["noise", "blur", "contrast", "JPEG", "occlusion"]
    assert [row[0].text for row in table.rows] == ["ResNet-D-11", "ResNeSt-11", "ResNet-D-20", "ResNeSt-20"]
    assert [cell.text for cell in table.rows[0][2:8]] == ["100.0"] * 6
    mce = found.metric("mini_resnest11", "mce")
    assert table.rows[1][7].text == f"{mce.value:.1f} ({mce.low:.1f} to {mce.high:.1f})"
    assert table.rows[1][1].text == f"{found.metric('mini_resnest11', 'clean.top1').value:.2f}"


def test_the_figure_calls_networks_by_their_names(usual: Path) -> None:
    (illustration,) = Robustness(Store(usual)).figures()
    lines = illustration.figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["ResNet-D-11", "ResNeSt-11", "ResNet-D-20", "ResNeSt-20"]
    assert illustration.wide


def test_without_counterparts_nothing_is_compared(tmp_path: Path) -> None:
    found = invented(tmp_path, {"resnest50": 0.1, "resnest101": 0.05})
    assert (found.baseline, found.sentences("mce"), found.summary("mce")) == ("ResNeSt-50", [], "")
    assert "By the accuracy that corruption costs" not in rendered(tmp_path)


def test_reassessed_labels_are_told_where_they_were_given(tmp_path: Path) -> None:
    invented(tmp_path, {"resnest50": 0.1, "resnest101": 0.05}, real=86.5)
    text = rendered(tmp_path)
    assert "On the reassessed labels of ImageNet [@beyer2020imagenet] accuracy is 86.50 % (85.50 to 87.50) for" in text
    assert "for ResNeSt-50 and 86.50 % (85.50 to 87.50) for ResNeSt-101." in text


def test_new_images_are_told_where_they_were_evaluated(tmp_path: Path) -> None:
    study = Study(tmp_path, "paper")
    study.classifier("base_results/resnest50", 81.0, model="resnest50", dataset="imagenet", weights="published")
    given = {"model": "resnest50", "dataset": "imagenet_v2", "weights": "published"}
    study.classifier("base_results/resnest50_imagenet_v2", 69.0, **given)
    study.classifier("base_results/resnest101_imagenet_v2", 69.0, missing="not here", **given)
    fabricate_robustness.add(study, runs={"resnest50": 0.1})
    found = Robustness(Store(study.write_plan()))
    assert found.new_images == ["69.00 % (66.07 to 71.79) for ResNeSt-50"]


def test_a_study_that_has_not_run_says_why(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    study.add(NAME, {}, "the data are missing")
    found = Robustness(Store(study.write_plan()))
    assert (found.tables(), found.figures()) == ([], [])
    assert rendered(tmp_path).endswith("The analysis of robustness has not run: the data are missing.")


def test_nothing_is_said_of_a_study_that_was_not_planned(tmp_path: Path) -> None:
    Study(tmp_path, "default").write_plan()
    assert rendered(tmp_path) == ""
