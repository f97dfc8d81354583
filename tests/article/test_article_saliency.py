"""What the article says of heat maps: by the intervals and tests, whichever way they turn out."""

import re
from pathlib import Path

import pytest
from fabricate import Study
from fabricate_saliency import DEFAULT, add

from resnest_core.analyses.saliency_scores import COMPARED
from resnest_core.article.document import Article
from resnest_core.article.results import Store
from resnest_core.article.saliency import Saliency

PAIR = {"mini_resnest11": ("mini_resnest11", 0.1), "mini_resnetd11": ("mini_resnetd11", 0.1)}


def analysis(directory: Path, **given: object) -> Saliency:
    study = Study(directory, "default")
    add(study, **given)  # type: ignore[arg-type]
    return Saliency(Store(study.write_plan()))


def template(found: Saliency, name: str) -> str:
    """A section of the article, filled in."""
    return str(Article(found.store.directory).sections.get_template(f"{name}.md").render(saliency=found))


def test_networks_are_told_by_what_hiding_costs(tmp_path: Path) -> None:
    found = analysis(tmp_path)
    assert found.faithful == (
        "Against hiding as much elsewhere, hiding what is marked costs more with ResNeSt-11 and ResNeSt-11 (seed 1) "
        "and detectably neither more nor less with ResNet-D-11."
    )
    less = analysis(tmp_path / "less", runs={"a": ("mini_resnest20", -0.1)})
    assert less.faithful.endswith("hiding what is marked costs less with ResNeSt-20.")
    assert "costs more with both networks." in analysis(tmp_path / "both", runs=PAIR).faithful


def test_differences_are_those_of_corrected_tests(tmp_path: Path) -> None:
    found = analysis(tmp_path)
    pair, again = ("mini_resnest11", "mini_resnetd11"), ("mini_resnest11", "mini_2s1x64d_seed1")
    assert (found.again(pair), found.again(again)) == (False, True)
    test = found.tests[pair]["excess_fall"]
    stored = found.metric("mini_resnest11", "excess_fall_less_p_mini_resnetd11").value
    others = [m for name, m in found.store.result(found.done[0]).metrics.items() if "_less_p_" in name]
    assert len(others) == 2 * len(COMPARED)
    assert test.p is not None
    assert stored < test.p <= min(1, len(others) * stored)
    assert test.difference == pytest.approx(
        found.metric("mini_resnest11", "excess_fall").value - found.metric("mini_resnetd11", "excess_fall").value
    )
    assert found.differences == (
        "ResNeSt-11 differs from ResNet-D-11 in excess fall. Two trainings of ResNeSt-11 differ too "
        "in excess fall, which therefore tells nothing of the architecture."
    )


def test_without_a_second_training_the_text_says_so(tmp_path: Path) -> None:
    alike = analysis(tmp_path / "alike", runs=PAIR)
    assert alike.differences.startswith("ResNeSt-11 and ResNet-D-11 do not differ detectably in any score of the table")
    assert alike.differences.endswith("Each network is of one training, and trainings may differ as much.")
    calm = {**PAIR, "mini_resnetd11": ("mini_resnetd11", 0.0), "mini_2s1x64d_seed1": ("mini_2s1x64d", 0.1)}
    steady = analysis(tmp_path / "steady", runs=calm)
    assert steady.differences.endswith("Two trainings of ResNeSt-11 differ detectably in none.")


@pytest.mark.parametrize(
    ("agreement", "relation"),
    [(0.3, "more for"), (0.0, "not detectably more for"), (-0.3, "less for")],
)
def test_agreement_is_measured_by_that_of_different_images(tmp_path: Path, agreement: float, relation: str) -> None:
    found = analysis(tmp_path, runs=PAIR, agreement=agreement)
    assert found.agreement.startswith(
        f"Compared with different images, heat in one image agrees {relation} ResNeSt-11 and ResNet-D-11. Where one "
        "errs it agrees not detectably less for ResNeSt-11 and ResNet-D-11."
    )
    right = found.metric("mini_resnest11", "agreement_right_mini_resnetd11").value
    assert found.tables()[0].rows[2][4].text.startswith(f"{right:.2f} (".replace("-", "\u2212"))


def test_trainings_of_one_network_are_named_so(tmp_path: Path) -> None:
    assert "for both pairs." in analysis(tmp_path).agreement
    named = analysis(tmp_path / "one", runs={name: run for name, run in DEFAULT.items() if name != "mini_resnetd11"})
    assert "agrees more for two trainings of ResNeSt-11." in named.agreement
    assert named.differences == "Two trainings of ResNeSt-11 differ detectably in excess fall."


def test_unknown_objects_are_left_out_aloud(tmp_path: Path) -> None:
    found = analysis(tmp_path, objects=False)
    assert found.on_object.startswith("Which pixels are the object is not known of these images")
    (table,) = found.tables()
    assert "Heat on object" not in table.header
    assert "object" not in table.caption
    assert "For its area, the object has more heat with all three networks." in analysis(tmp_path / "known").on_object


def test_the_table_has_networks_and_differences(tmp_path: Path) -> None:
    found = analysis(tmp_path)
    (table,) = found.tables()
    first, *_, difference, _ = table.rows
    assert [row[0].text for row in table.rows][2:4] == ["ResNeSt-11 (seed 1)", "ResNeSt-11 less ResNet-D-11"]
    assert [cell.text for cell in first[4:]] == ["", "", ""]
    shown = found.metric("mini_resnest11", "excess_fall")
    assert first[1].text == f"{shown.value:.1f} ({shown.low:.1f} to {shown.high:.1f})"
    assert re.fullmatch(r"\+1\d\.\d\\\* \(\d+\.\d to \d+\.\d\)", difference[1].text)
    assert "*" not in difference[3].text, "hot areas are drawn alike"


def test_one_network_has_no_comparison(tmp_path: Path) -> None:
    found = analysis(tmp_path, runs={"resnest50": ("resnest50", 0.1)})
    assert (found.differences, found.agreement, found.pairs) == ("", "", [])
    assert len(found.tables()[0].rows) == 1
    assert "the network gets right (left), and that it gets wrong" in found.figures()[0].caption


def test_the_sections_and_the_figure(tmp_path: Path) -> None:
    found = analysis(tmp_path)
    figure = found.figures()[0].figure
    assert figure.get_size_inches()[1] <= 2.3
    assert len(figure.axes) == 3 * 4, "the image and two networks; two right and two wrong images"
    texts = [template(found, name) for name in ("saliency", "saliency_findings")]
    assert "the second with 4 × 4 pixels" in texts[0]
    assert "In 200 images" in texts[0]
    for sentence in (found.faithful, found.on_object, found.differences, found.agreement, found.true_class):
        assert sentence in texts[1]
    assert len(" ".join(texts).split()) <= 200


def test_nothing_ran(tmp_path: Path) -> None:
    found = analysis(tmp_path, missing="no weights")
    assert (found.tables(), found.figures()) == ([], [])
    assert "The analysis of heat maps has not run: no weights." in template(found, "saliency")
    assert template(found, "saliency_findings").strip() == ""
