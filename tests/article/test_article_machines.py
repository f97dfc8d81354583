"""Measurements of machines in the article: hand arithmetic on made-up files."""

import json
from pathlib import Path
from typing import Any

import pytest

from resnest_core.article import machines
from resnest_core.article.machines import Machine, measured
from resnest_core.article.published import elsewhere
from resnest_core.figures.cost import TradeOff, cost


def a_row(network: str, way: str, mode: str | None, precision: str, rate: float, ratio: float) -> dict[str, Any]:
    return {
        "network": network,
        "way": way,
        "mode": mode,
        "precision": precision,
        "crop_size": 224,
        "batch_size": 32,
        "multiply_adds": 5_000_000_000,
        "traffic": 50_000_000.0,
        "images_per_second": {"value": rate},
        "share_of_product": {"value": rate / 50},
        "times_as_fast": {"value": ratio, "low": ratio - 0.1, "high": ratio + 0.1},
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    content = {
        "ceilings": {
            "matrix_product": {"fp32": {"value": 100e9}, "bf16": {"value": 500e9}},
            "copy": {"value": 10e9},
        },
        "convolutions": [
            {"precision": "fp32", "operations_per_second": 80e9, "product_per_second": 100e9},
            {"precision": "bf16", "operations_per_second": 300e9, "product_per_second": 500e9},
        ],
        "networks": [
            a_row("resnest50", "authors' way", None, "fp32", 4.0, 1.0),
            a_row("resnest50", "fp32, channels last, folded", "exact", "fp32", 6.0, 1.5),
            a_row("resnest50", "bf16, channels first, folded", None, "bf16", 7.0, 1.75),
            a_row("resnest50", "bf16, channels last, folded", "fast", "bf16", 20.0, 5.0),
            a_row("resnest50", "timm, fp32, channels first", None, "fp32", 5.0, 1.25),
            a_row("resnest50", "timm, bf16, channels last", None, "bf16", 8.0, 2.0),
            a_row("resnetd50", "fp32, channels last, folded", "exact", "fp32", 7.0, 1.5),
        ],
        "provenance": {"device": "cpu", "processor": "Abacus(R) Mk 2 Processor", "threads": 2},
    }
    (tmp_path / "b.json").write_text(json.dumps(content))
    content["provenance"] = {"device": "Loom 9", "processor": "x", "threads": 8}
    content["ceilings"]["copy"]["value"] = 1.5e9  # times 50 and 100 operations a byte: less than the products' rates
    (tmp_path / "c.json").write_text(json.dumps(content))
    return tmp_path


def test_rates_are_operations_of_two_a_multiply_add(directory: Path) -> None:
    machine = Machine(directory / "b.json")
    row = machine.ways["fast"]
    assert machine.rate(row) == 2 * 5e9 * 20
    assert machine.intensity(row) == 2 * 5e9 / (50e6 * 2)
    assert machine.intensity(machine.ways["exact"]) == 2 * 5e9 / (50e6 * 4)
    assert machine.share(row) == pytest.approx(40.0)


def test_ways_are_the_authors_timm_s_last_and_the_modes(directory: Path) -> None:
    machine = Machine(directory / "b.json")
    found = {way: row["images_per_second"]["value"] for way, row in machine.ways.items()}
    assert found == {"authors' way": 4.0, "timm": 8.0, "exact": 6.0, "fast": 20.0}
    _, points = machine.roof
    assert sorted(point.way for point in points) == ["authors' way", "exact", "exact", "fast"]


def test_the_sentence_has_what_the_files_have(directory: Path) -> None:
    text = machines.sentence(measured(directory))
    assert "On Abacus Mk 2, 2 threads (`b.json`), `resnest50` in batches of 32 runs at 4.00 images a second" in text
    assert "exact (fp32) is 1.50 times as fast (quartiles 1.40 to 1.60)" in text
    assert "at 40 % of the rate of a large matrix product, its convolutions alone at 60 %" in text
    slow_memory = text[text.index("On Loom 9 (`c.json`)") :]
    assert "at 12 % of the rate of a large matrix product (memory allows 75 %), its convolutions alone" in slow_memory
    assert "at 40 % of the rate of a large matrix product (memory allows 30 %), its convolutions alone" in slow_memory
    assert "The best published rate of this network is 6,684 (RTX PRO 6000, AMP)" in text


def test_the_figure_has_a_roof_for_each_machine_and_all_speeds(directory: Path) -> None:
    found = measured(directory)
    networks = [TradeOff("50", "ResNeSt", 81.0, 5.4), TradeOff("101", "ResNeSt", 82.8, 13.3)]
    drawn = cost(networks, [machine.roof for machine in found], machines.speeds(found), "resnest50")
    first, *roofs, speeds = drawn.axes
    assert list(first.lines[0].get_xdata()) == [5.4, 13.3]
    assert [axes.get_title() for axes in roofs] == ["Abacus Mk 2, 2 threads", "Loom 9"]
    names = [label.get_text() for label in speeds.texts]
    assert len(names) == 2 * 4 + len(elsewhere("resnest50"))
    assert names[-1] == "Abacus Mk 2: authors' way, fp32"
    fast = next(line for line in roofs[0].lines if line.get_label() == "fast")
    assert (list(fast.get_xdata()), list(fast.get_ydata())) == ([100.0], [200.0])


def test_without_measurements_there_is_no_machine(tmp_path: Path) -> None:
    assert measured(tmp_path) == []
    assert machines.caption([]) == "Last: images a second of `resnest50`, as published [@wightman2019timm]."


def test_the_caption_tells_of_machines_that_are_there(directory: Path) -> None:
    text = machines.caption(measured(directory))
    assert text.startswith("Then each classifier")
    assert "measured (dots) and published (diamonds)" in text
