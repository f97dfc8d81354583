"""Preprocessing in the article: what is said of invented networks follows from the metrics."""

import re
from pathlib import Path

import fabricate_preprocessing
import pytest
from fabricate import Study
from fabricate_preprocessing import NAME, PHOTOGRAPHS

from resnest_core.article.document import Article
from resnest_core.article.preprocessing import PreprocessingSensitivity
from resnest_core.article.results import Store

RUNS = ("mini_resnest11", "mini_resnetd11")


def small(directory: Path, **given: object) -> PreprocessingSensitivity:
    study = Study(directory, "default")
    for run in RUNS:
        study.classifier(f"base_results/{run}", 87.0, model=run)
    fabricate_preprocessing.add(study, **given)  # type: ignore[arg-type]
    return PreprocessingSensitivity(Store(study.write_plan()))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build directory of the usual invention."""
    directory = tmp_path_factory.mktemp("usual")
    small(directory)
    return directory


def published(directory: Path, **given: object) -> PreprocessingSensitivity:
    study = Study(directory, "paper")
    study.classifier("base_results/resnest50", 81.0, model="resnest50", dataset="imagenet", weights="published")
    fabricate_preprocessing.add(study, runs=("resnest50",), own=PHOTOGRAPHS, **given)  # type: ignore[arg-type]
    return PreprocessingSensitivity(Store(study.write_plan()))


def rendered(directory: Path) -> str:
    """Both sections."""
    article = Article(directory)
    names = ("preprocessing", "preprocessing_findings")
    text = "\n".join(article.sections.get_template(f"{name}.md").render(article.context) for name in names)
    return " ".join(text.replace("\u00a0", " ").split())


def test_sections_of_small_images(usual: Path) -> None:
    found, text = PreprocessingSensitivity(Store(usual)), rendered(usual)
    assert "see the same 400 images by other crop rules, filters and decoders (@tbl:preprocessing) and in" in text
    assert "keeps 87.5 % of a side at 224 pixels, here 46.7 %." in text
    change = found.metric("mini_resnetd11", "centre_square-bicubic-stored.difference")
    number = f"{change.value:.2f}".replace("-", "\u2212")
    assert "Accuracy of ResNeSt-11 and ResNet-D-11 changes by \u2212" in text
    assert f" and {number} points by centre square; by \u2212" in text
    assert "bilinear" not in text, "other filters stand in the table"
    assert "Published for ResNeSt-50" not in text
    assert len(text.split()) < 175


def test_what_a_test_does_not_find_is_called_so(tmp_path: Path) -> None:
    found = small(tmp_path, spoilt=0.0, resolution=(0.0, 0.0))
    assert found.rules_sentence.count("by 0.00 (not detectably) and 0.00 (not detectably) points by ") == 2
    assert "change at most 0.00 % of predictions and no accuracy detectably" in found.decoder_sentence
    assert "for ResNet-D-11, which is not detectably different (0.00 to 0.00). No" in found.curve_sentence
    assert "No other size is detectably better." in found.curve_sentence


def test_detectable_changes_by_decoders_are_counted(tmp_path: Path) -> None:
    found = small(tmp_path, spoilt=0.3)
    assert "six of six accuracies detectably" in found.decoder_sentence
    assert "not detectably" not in found.rules_sentence


@pytest.mark.parametrize(
    ("resolution", "words"),
    [
        ((0.2, 0.9), "for ResNet-D-11, worse by "),
        ((0.9, 0.2), "for ResNet-D-11, better by "),
        ((0.4, 0.4), "which is not detectably different"),
    ],
)
def test_curves_are_compared_image_by_image(tmp_path: Path, resolution: tuple[float, float], words: str) -> None:
    found = small(tmp_path, resolution=resolution)
    assert words in found.curve_sentence
    assert "From 14 to 40 pixels accuracy changes in the mean by" in found.curve_sentence
    excess, (first, second) = (
        found.metric("mini_resnetd11", "curve.excess"),
        [found.metric(r, "curve.change") for r in RUNS],
    )
    assert excess.value == pytest.approx(second.value - first.value)


def test_the_table_varies_one_factor_at_a_time(usual: Path) -> None:
    found = PreprocessingSensitivity(Store(usual))
    (table,) = found.tables()
    assert [row[0].text for row in table.rows] == [
        "as it is",
        "JPEG, Pillow",
        "JPEG, Pillow's draft mode",
        "centre square, bicubic",
        "centre square, bilinear",
        "resize then crop, bicubic",
        "resize then crop, bilinear",
    ], "torchvision gives the same pixels as Pillow"
    assert "torchvision decodes to Pillow's pixels" in found.decoder_sentence
    assert table.header[1::4] == ["ResNeSt-11 (%)", "ResNet-D-11 (%)"]
    top1 = found.metric("mini_resnetd11", "centre_square-bilinear-stored.top1").value
    assert table.rows[4][5].text == f"{top1:.1f}"
    assert [cell.absent for cell in table.rows[0]] == [False, False, True, True, True, False, True, True, True]
    assert re.fullmatch(r"\u2212\d+\.\d \(.+ to .+\)", table.rows[3][3].text)


def test_the_curve_is_drawn_with_its_own_size(usual: Path) -> None:
    (illustration,) = PreprocessingSensitivity(Store(usual)).figures()
    lines = illustration.figure.axes[0].get_lines()
    assert [line.get_label() for line in lines[:2]] == ["ResNeSt-11", "ResNet-D-11"]
    assert list(lines[2].get_xdata()) == [28, 28]
    assert illustration.markdown().startswith("![Accuracy by size of the input")


def test_photographs_and_the_published_figures(tmp_path: Path) -> None:
    found = published(tmp_path)
    text = rendered(tmp_path)
    assert "Published for ResNeSt-50 are 81.03 % by the authors' rule and 80.958 % by timm, which resizes," in text
    words = (
        "Accuracy of ResNeSt-50 changes by .+ points by resize then crop; by .+ points by resize then crop, bilinear."
    )
    assert re.fullmatch(words, found.rules_sentence)
    assert "Other decoders change at most" in text
    assert "encoded as JPEG" not in text
    assert "The authors' rule keeps" not in text
    assert [row[0].text for row in found.table().rows][:2] == [
        "centre square, bicubic",
        "centre square, bicubic, Pillow's draft mode",
    ], "torchvision gives the pixels of the reference"


def test_a_study_that_has_not_run_says_why(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    study.add(NAME, {}, "the data are missing")
    found = PreprocessingSensitivity(Store(study.write_plan()))
    assert (found.tables(), found.figures()) == ([], [])
    assert rendered(tmp_path).endswith("The analysis of preprocessing has not run: the data are missing.")


def test_nothing_is_said_of_a_study_that_was_not_planned(tmp_path: Path) -> None:
    Study(tmp_path, "default").write_plan()
    assert rendered(tmp_path) == ""
