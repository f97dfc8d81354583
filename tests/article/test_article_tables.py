"""Tables: every cell says where it is from."""

import pytest

from resnest_core.article.published import AUTHORS, PAPER, Quote, quote
from resnest_core.article.tables import ABSENT, Cell, Table, escape, measured, not_run, quoted
from resnest_core.errors import InputError


def table(*cells: Cell) -> str:
    return Table("x", "A caption.", ["A"] * len(cells), "r" * len(cells), [list(cells)], wide=True).markdown()


def test_measured_cells_are_plain_and_need_no_note() -> None:
    assert table(measured("1"), measured("2")) == (
        "::: {#tbl:x .wide}\n\n| A | A |\n| --: | --: |\n| 1 | 2 |\n\n: A caption.\n\n:::"
    )


def test_measured_cells_link_to_the_page_of_their_experiment() -> None:
    text = table(measured("1", "study/x_1"), measured("", "study/x_1"), measured("3"))
    assert "| [1](study/x_1/index.html) |  | 3 |" in text


def test_quoted_cells_are_italic_and_name_their_source() -> None:
    text = table(
        quoted(quote("resnest50", "top1", AUTHORS)), quoted(Quote("9", PAPER, "")), quoted(Quote("8", AUTHORS, ""))
    )
    assert "| *81.03*^a^ | *9*^b^ | *8*^a^ |" in text
    assert (
        "*Italic:* quoted from ^a^ the authors' repository, figures for PyTorch [@resnestcode]; ^b^ the paper" in text
    )


def test_what_has_not_run_says_why() -> None:
    text = table(not_run("no weights."), not_run("no data"), not_run("no weights"))
    assert "| n. r.^1^ | n. r.^2^ | n. r.^1^ |" in text
    assert "Not run (n. r.), because: ^1^ no weights; ^2^ no data." in text


def test_figures_that_do_not_exist_are_dashes() -> None:
    text = table(quoted(None), measured("1"))
    assert quoted(None) is ABSENT
    assert "| – | 1 |" in text
    assert "–: there is no such figure." in text


def test_reasons_cannot_inject_markup() -> None:
    assert escape("a_b *c* [d] ~/x | $y$") == r"a\_b \*c\* \[d\] \~/x \| \$y\$"
    assert r"^1^ no \~/.cache/x\_y" in table(not_run("no ~/.cache/x_y"))


def test_rows_must_be_equally_long() -> None:
    with pytest.raises(InputError, match=r"table 'x' has rows of \[1, 2\] cells; all must be equally long"):
        Table("x", "A caption.", ["A", "B"], "rr", [[measured("1")]]).markdown()
