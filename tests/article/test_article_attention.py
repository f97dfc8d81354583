"""The analysis of attention in the article: sentences that follow from the tests, whichever way they turn out."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fabricate import Study
from fabricate_attention import HARM, NETWORKS, add, attention

from resnest_core.article import document
from resnest_core.article.attention import Attention
from resnest_core.article.document import Article
from resnest_core.article.results import Store
from resnest_core.errors import InputError

Sections = Callable[[Study], str]


def analysis(directory: Path, harm: Mapping[str, int], networks: Mapping[str, int] = NETWORKS) -> Attention:
    study = Study(directory, "default")
    attention(study, networks, harm)
    return Attention(Store(study.write_plan()))


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> Sections:
    """The study's part of the article, in Markdown."""

    def rendered(study: Study) -> str:
        shown: list[str] = []
        monkeypatch.setattr(document, "display", lambda bundle, raw: shown.append(bundle["text/markdown"]))
        monkeypatch.setattr(document, "preview", lambda markdown: "")
        article = Article(study.write_plan())
        article.section("attention")
        article.tables("attention")
        article.figures("attention")
        article.section("attention_findings")
        return "\n\n".join(shown).replace("\u00a0", " ")

    return rendered


def test_numbers_of_the_results_are_in_text_table_and_figure(sections: Sections, tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    add(study)
    text, found = sections(study), Attention(Store(tmp_path))
    for name in NETWORKS:
        loss = found.metric(name, "all.mean.loss")
        assert f"{loss.value:.2f} ({loss.low:.2f} to {loss.high:.2f})" in text
    assert "In 1,000 test images" in text
    constant = found.metric("mini_resnest11", "all.constant").value
    assert f"vary about equal ones: {constant:.0f} % of that is constant" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    page = "attention/classifiers/index.html"
    labels = ("ResNeSt-11", "ResNeSt-20", "4s1x64d", "1s1x64d")
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| [{label}]({page})" for label in labels]
    assert rows[-1].endswith("| – | – |"), "a single split has neither equal nor rolled weights"
    assert "attention.svg" in text
    assert (tmp_path / "article" / "attention.svg").exists()
    assert "The pooled maps have few pixels here." in text
    prose = [line for line in text.splitlines() if line and not re.match(r"[#|:!–]", line)]
    assert sum(len(line.split()) for line in prose) <= 170


def test_sentences_follow_from_the_tests(tmp_path: Path) -> None:
    found = analysis(tmp_path, HARM)
    # Of 900 right images 20 become wrong, 5 wrong ones right: 1.5 points.
    assert found.cost("Means", "mean") == "Means cost all networks accuracy (up to 1.50 points)."
    same = "Equal ones make no detectable difference to ResNeSt-11, ResNeSt-20 and 4s1x64d."
    assert found.cost("Equal ones", "uniform_mean") == same
    assert found.answer == (
        "What the weights tell of an image is detectably used by four of four networks; "
        "what their means tell is detectably used by none of three networks."
    )


def test_the_other_way_round(tmp_path: Path) -> None:
    found = analysis(tmp_path, {"mean": 5, "shuffled": 5, "uniform": 60, "rolled": 60}, {"mini_resnest11": 2})
    assert found.cost("Means", "mean") == "Means make no detectable difference to ResNeSt-11."
    assert found.answer == (
        "What the weights tell of an image is not detectably used by this network; "
        "what their means tell is detectably used by this network."
    )
    loss, _ = found.losses["mean"]["mini_resnest11"]
    found.losses["mean"]["mini_resnest11"] = (loss.model_copy(update={"value": -0.5}), 0.01)
    assert found.cost("Means", "mean") == "Means improve ResNeSt-11."
    assert "is not detectably used" in found.answer, "a gain is no use"


def test_mixed_verdicts_and_a_network_of_one_split(tmp_path: Path) -> None:
    found = analysis(tmp_path, HARM, {"mini_resnest11": 2, "mini_1s1x64d_seed0": 1})
    loss, _ = found.losses["mean"]["mini_resnest11"]
    found.losses["mean"]["mini_resnest11"] = (loss, 0.2)
    assert found.cost("Means", "mean") == (
        "Means cost 1s1x64d accuracy (up to 1.50 points) and make no detectable difference to ResNeSt-11."
    )
    assert found.answer.startswith("What the weights tell of an image is detectably used by one of two networks; ")
    found.losses["mean"]["mini_1s1x64d_seed0"] = (loss, 0.2)
    assert "is detectably used by neither of two networks" in found.answer
    alone = analysis(tmp_path / "alone", HARM, {"mini_1s1x64d_seed0": 1})
    assert alone.cost("Equal weights", "uniform_mean") == ""
    assert alone.answer == "What the weights tell of an image is detectably used by this network."


def test_asterisks_mark_what_a_test_found(tmp_path: Path) -> None:
    found = analysis(tmp_path, {"mean": 5, "shuffled": 60, "uniform": 5, "rolled": 60}, {"mini_resnest11": 2})
    cells = [cell.text for cell in found.table().rows[0]]
    assert [cell.endswith("\\*") for cell in cells[-4:]] == [False, True, False, True]
    assert cells[-4].startswith("0.00 (")


def test_experiments_are_corrected_each_for_itself(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    attention(study, {"mini_resnest11": 2}, name="one")
    attention(study, {"mini_1s1x64d_seed0": 1}, name="other")
    found = Attention(Store(study.write_plan()))
    assert found.networks == ["mini_resnest11", "mini_1s1x64d_seed0"]
    assert found.table().caption.endswith("after Holm's correction within each experiment.")


def test_what_has_not_run_is_said(sections: Sections, tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    attention(study, missing="mini_resnest11 has failed")
    text = sections(study)
    assert "The analysis of attention has not run: mini\\_resnest11 has failed." in text
    assert "@tbl" not in text


def test_nothing_is_said_where_it_was_not_planned(sections: Sections, tmp_path: Path) -> None:
    assert sections(Study(tmp_path, "default")).strip() == ""


def test_a_run_analysed_twice_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, "default")
    attention(study, {"mini_resnest11": 2})
    attention(study, {"mini_resnest11": 2}, name="again")
    with pytest.raises(InputError, match="analyses a run twice: mini_resnest11"):
        _ = Attention(Store(study.write_plan())).networks
