"""The smoke profile from `./run_all.sh` to the finished article, in a copy of the repository."""

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pypdf import PdfReader
from repository import copy_repository, run_all

from resnest_core.evaluation.average_precision import average_precisions
from resnest_core.evaluation.examples import EXAMPLES, load_images
from resnest_core.evaluation.found import Found

HEADLINES = {
    "base_results": "top1",
    "semantic_segmentation": "mIoU",
    "object_detection": "box_AP",
    "instance_segmentation": "mask_AP",
}


class _Text(HTMLParser):
    """The text of a page, without styles and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    root = copy_repository(tmp_path_factory.mktemp("smoke") / "clone")
    return root, run_all(root, "--profile", "smoke")


def results(root: Path) -> dict[str, dict]:
    build = root / "build" / "smoke"
    return {str(path.parent.relative_to(build)): json.loads(path.read_text()) for path in build.glob("*/*/result.json")}


def html_text(root: Path) -> str:
    page = _Text()
    page.feed((root / "build/smoke/article.html").read_text())
    return "".join(page.parts)


def pdf_text(root: Path) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(root / "build/smoke/article.pdf").pages)


def test_it_ends_well_and_says_where_the_article_lies(smoke: tuple) -> None:
    root, done = smoke
    assert done.returncode == 0, done.stdout + done.stderr
    assert "build/smoke/article.html and build/smoke/article.pdf" in done.stdout.splitlines()[-1]
    plan = json.loads((root / "build/smoke/plan.json").read_text())
    ran = {f"{e['study']}/{e['name']}" for e in plan["experiments"] if not e["same_as"]}
    assert {key.partition("/")[0] for key in ran} == {
        "base_results",
        "batch_size",
        "ablation",
        "semantic_segmentation",
        "object_detection",
        "instance_segmentation",
        "attention",
        "saliency",
        "errors",
        "calibration",
        "robustness",
        "preprocessing",
        "efficiency",
        "frontier",
        "modes",
    }
    assert set(results(root)) == ran


def test_scores_follow_from_the_records(smoke: tuple) -> None:
    root, _ = smoke
    for key, result in results(root).items():
        if not key.startswith(("base_results", "batch_size", "ablation")):
            continue
        records = pd.read_parquet(root / "build/smoke" / key / "records.parquet")
        assert np.array_equal(records["index"], np.arange(len(records)))
        assert result["metrics"]["top1"]["value"] == pytest.approx(100 * records["correct"].mean())
        assert result["metrics"]["top1"]["n"] == len(records)
        assert (records["correct"] == (records["predicted"] == records["target"])).all()


def test_segmentation_scores_follow_from_the_records(smoke: tuple) -> None:
    root, _ = smoke
    found = {key: result for key, result in results(root).items() if key.startswith("semantic_segmentation")}
    assert len(found) == 10
    for key, result in found.items():
        records = pd.read_parquet(root / "build/smoke" / key / "records.parquet")
        right, union = (np.stack(records[name]).sum(0) for name in ("intersections", "unions"))
        assert result["metrics"]["mIoU"]["value"] == pytest.approx(100 * np.mean(right / np.maximum(union, 1)))
        assert result["metrics"]["mIoU"]["n"] == len(records)
        assert (root / "build/smoke" / key / "examples.npz").is_file()


def test_detection_scores_follow_from_the_tables(smoke: tuple) -> None:
    root, _ = smoke
    found = {key: r for key, r in results(root).items() if key.startswith(("object_detection", "instance_seg"))}
    assert len(found) == 7
    for key, result in found.items():
        out = Found.read(root / "build/smoke" / key)
        for kind in ("box", "mask") if key.startswith("instance") else ("box",):
            scores = average_precisions(out.matches(kind))
            assert result["metrics"][f"{kind}_AP"]["value"] == pytest.approx(scores["AP"])
            assert result["metrics"][f"{kind}_AP"]["n"] == len(out.images)
        assert len(load_images(root / "build/smoke" / key / EXAMPLES)) == 8


def test_numbers_of_the_results_stand_in_both_articles(smoke: tuple) -> None:
    root, _ = smoke
    found = results(root)
    html, pdf = html_text(root), pdf_text(root)
    for key, result in found.items():
        if key.startswith(tuple(HEADLINES)):
            name = HEADLINES[key.partition("/")[0]]
            score = f"{result['metrics'][name]['value']:.2f}"
            assert score in html, key
            assert score in pdf, key
    for name in ("resnest50", "resnest269", "resnetd50"):
        count = f"{found['efficiency/full_size']['metrics'][f'{name}.parameters']['value'] / 1e6:.1f}"
        assert count in html, name
        assert count in pdf, name


def test_no_placeholder_is_left(smoke: tuple) -> None:
    root, _ = smoke
    for text in (html_text(root), pdf_text(root)):
        assert not re.search(r"\{\{|\}\}|\{%|@(fig|tbl|sec|eq):|\bnan\b|\bNone\b(?!\s+of)", text)


def test_executed_notebooks_show_their_figures(smoke: tuple) -> None:
    root, _ = smoke
    for key in results(root):
        cells = json.loads((root / "build/smoke" / key / "notebook.ipynb").read_text())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert any("image/png" in output.get("data", {}) for output in outputs), key
        assert not any(output["output_type"] == "error" for output in outputs), key


def test_a_second_run_does_nothing(smoke: tuple) -> None:
    root, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in (root / "build/smoke").rglob("result.json")}
    done = run_all(root, "--profile", "smoke")
    assert done.returncode == 0
    assert "up to date" in done.stdout
    assert "started" not in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (root / "build/smoke").rglob("result.json")}
