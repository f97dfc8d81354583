"""What the article says about ways of carrying out a network."""

from collections.abc import Callable
from pathlib import Path

import fabricate_modes
import pytest
from fabricate import Study
from fabricate_modes import FIRST, LAST

from resnest_core.analyses.modes import PLAIN
from resnest_core.article.modes import Modes
from resnest_core.article.results import Store
from resnest_core.modes import Execution

Render = Callable[[Path, str], str]
BF16 = "bf16, channels last"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path, "default")
    for name in ("mini_resnest11", "mini_resnetd11"):
        study.classifier(f"base_results/{name}", 87.0, model=name)
    return study


def found(study: Study) -> Modes:
    return Modes(Store(study.write_plan()))


def test_the_table_has_every_way_beside_its_price(study: Study) -> None:
    fabricate_modes.add(study)
    modes = found(study)
    (table,) = modes.tables()
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[0] for row in rows] == ["ResNeSt-11"] * 4 + ["ResNet-D-11"] * 4
    titles = ["fp32, channels first", BF16, "bf16, channels first", "fp32, channels first, unfolded"]
    assert [row[1] for row in rows] == titles * 2
    assert rows[1][2] == "1.42 (1.39 to 1.44)"  # of 1.5 / (1 + 0.02 round), over five rounds
    assert rows[0][5] == "0"
    assert rows[0][6].startswith("0.00 (\u22120.")
    flipped = modes.metric("mini_resnest11", "bf16-channels_last-folded.flipped").value
    assert rows[1][5] == str(round(flipped)) != "0"
    assert modes.figures() == []


def test_sentences_say_who_is_faster_what_moves_and_what_auto_takes(study: Study) -> None:
    fabricate_modes.add(study, batch=0.25)
    modes = found(study)
    assert modes.repeated == "every recorded prediction"
    assert (
        modes.speed_sentence == f"Faster than exact is {BF16} for ResNeSt-11 (1.42 times) and ResNet-D-11 (1.42 times)."
    )
    assert modes.price_sentence.startswith("In fp32 no prediction flips (logits within ")
    assert "; in bf16 up to " in modes.price_sentence
    assert modes.accuracy_sentence.startswith("No way changes accuracy detectably; the intervals exclude more than 1.")
    auto = modes.auto_sentence
    assert auto.startswith(
        f"`auto`, the fastest way within 0.025 deviations on one batch, is {BF16} for ResNeSt-11 and"
    )
    assert "further off" not in auto
    assert "That is meant to keep all images within 0.05, but logits move by up to 0.0" in auto
    assert "for ResNeSt-11." in auto


def test_auto_passes_over_what_differs_by_too_much(study: Study) -> None:
    fabricate_modes.add(study, batch=0.5)
    auto = found(study).auto_sentence
    assert f"is exact for ResNeSt-11; {BF16} for ResNet-D-11. Faster, but further off: " in auto
    assert f"further off: {BF16} for ResNeSt-11 (0.0" in auto
    assert auto.endswith("Over all images, logits then keep within 0.05, as is meant.")


def test_without_half_precision_the_sentences_are_still_right(study: Study, render_section: Render) -> None:
    fabricate_modes.add(study, speeds={LAST: 1.0, FIRST: 0.7, PLAIN: 0.5})
    modes = found(study)
    assert len(modes.table().rows) == 4
    assert modes.speed_sentence == "No way is faster than exact in three quarters of the rounds."
    assert "bf16" not in modes.price_sentence
    assert modes.price_sentence.endswith("For half precision this device has no instructions.")
    assert modes.auto_sentence.endswith("on one batch, is exact for ResNeSt-11 and ResNet-D-11.")
    text = render_section(study.directory, "modes") + render_section(study.directory, "modes_findings")
    assert "bf16" not in text
    assert "400 test images" in text


def test_what_is_faster_for_one_network_alone(study: Study) -> None:
    fabricate_modes.add(study, runs=("mini_resnest11",), speeds={LAST: 1.0, Execution("bf16", compiled="default"): 1.3})
    modes = found(study)
    assert modes.table().rows[0][1].text == f"{BF16}, compiled (default)"
    assert modes.speed_sentence == f"Faster than exact is {BF16}, compiled (default) for ResNeSt-11 (1.26 times)."
    assert "exact is exact" not in modes.auto_sentence


def test_a_detectable_loss_is_told_and_starred(study: Study) -> None:
    fabricate_modes.add(study, noise=(5.0, 0.005))
    modes = found(study)
    assert modes.accuracy_sentence.startswith(f"Accuracy changes detectably by {BF16} for ResNeSt-11 (\u2212")
    stars = [row[-1].text.endswith("\\*") for row in modes.table().rows]
    assert stars == [False, True, True, False, False, False, False, False]


def test_why_nothing_was_measured(study: Study, render_section: Render) -> None:
    fabricate_modes.add(study, missing="needs base_results/mini_resnest11, which is missing")
    directory = study.write_plan()
    assert Modes(Store(directory)).tables() == []
    assert "were not compared: needs base" in render_section(directory, "modes")
    assert render_section(directory, "modes_findings") == ""
