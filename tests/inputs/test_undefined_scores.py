"""Images of which no pixel or object counts: scores are undefined wherever they are printed, never 0.00."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "article"))

from fabricate import Study
from fabricate_detection import detector

from resnest_core.article import document
from resnest_core.evaluation import detection, segmentation
from resnest_core.evaluation.results import metrics_table
from resnest_core.site import pages
from resnest_core.study.execute import score

STUDIES = ("semantic_segmentation", "object_detection")
UNCOUNTED = ("mIoU", "pixAcc", "iou.", "box_")


@pytest.fixture
def article(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[document.Article, list[str]]:
    """An article on networks without a score, and where what it shows is collected."""
    study = Study(tmp_path, "default")
    for name in ("resnest11", "resnetd11"):
        for seed in (0, 1):
            given = {"model": f"mini_deeplab_{name}", "seed": seed}
            study.segmenter(f"semantic_segmentation/{name}_{seed}", 0.5, **given)
            detector(study, f"object_detection/{name}_{seed}", 0.5, model=f"mini_faster_rcnn_{name}", seed=seed)
    for path in study.directory.rglob("result.json"):
        result = json.loads(path.read_text())
        kept = {name: value for name, value in result["metrics"].items() if not name.startswith(UNCOUNTED)}
        path.write_text(json.dumps(result | {"metrics": kept}))
    shown: list[str] = []
    monkeypatch.setattr(document, "display", lambda bundle, raw: shown.append(bundle["text/markdown"]))
    monkeypatch.setattr(document, "preview", lambda markdown: "")
    return document.Article(study.write_plan()), shown


@pytest.mark.parametrize(("name", "what"), zip(STUDIES, ("pixel", "object"), strict=True))
def test_the_article_says_so(article: tuple[document.Article, list[str]], name: str, what: str) -> None:
    whole, shown = article
    for section in (name, f"{name}_findings"):
        whole.section(section)
    assert f"The networks ran, but no {what} of their images counts" in shown[0]
    whole.tables(name)
    whole.figures(name)
    assert not any("0.00" in text or " nan" in text for text in shown)
    assert ("undefined" if what == "pixel" else "–") in shown[-1]
    for section in ("abstract", "introduction", "discussion", "threats", "claims", "claims_findings"):
        whole.section(section)
    whole.claims()


@pytest.mark.parametrize(("name", "label"), zip(STUDIES, ("mIoU", "box AP"), strict=True))
def test_the_site_and_the_study_say_so(article: tuple[document.Article, list[str]], name: str, label: str) -> None:
    store = article[0].store
    run = store.study(name)[0]
    result = json.loads((store.directory / run.key / "result.json").read_text())
    assert score(result) == f", {label} undefined"
    assert pages._score(store.result(run).metrics, store.parameters(run)) == f"{label} undefined"
    assert "parameters" in metrics_table(result).index


def test_lines_of_commands_say_so() -> None:
    assert segmentation.score_line({"metrics": {}}) == "pixAcc: undefined | mIoU: undefined"
    assert detection.score_line({"metrics": {}}) == "no objects"
