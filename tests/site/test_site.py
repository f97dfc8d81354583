"""The site: all of a build directory is on it, nothing leads nowhere, and what did not change is not made again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from webpages import WebPage, outside, styled, target

from resnest_core.article.phrases import MINUS
from resnest_core.article.published import REPORT
from resnest_core.article.results import Store
from resnest_core.errors import InputError
from resnest_core.site.__main__ import main
from resnest_core.site.build import build
from resnest_core.site.pages import size

MISSING, ALIAS, RUN = "base_results/mini_resnest23", "batch_size/training_64", "base_results/mini_resnest11"

REASON_TEXT = 'the weights of <script>alert("x")</script> & others are "not here"'


def pages(directory: Path) -> dict[str, WebPage]:
    """Every page of the site by its path; the article is none."""
    paths = [directory / "index.html", *sorted(directory.glob("*/*/*.html"))]
    return {path.relative_to(directory).as_posix(): WebPage(path) for path in paths}


def results(directory: Path) -> dict[str, dict]:
    return {
        path.parent.relative_to(directory).as_posix(): json.loads(path.read_text())
        for path in directory.glob("*/*/result.json")
    }


def times(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_every_experiment_has_a_page_and_every_run_its_notebook(made: Path) -> None:
    keys = set(Store(made).experiments)
    expected = {"index.html", *(f"{key}/index.html" for key in keys)}
    expected |= {f"{key}/notebook.html" for key in results(made)}
    assert set(pages(made)) == expected
    assert len(keys) > len(results(made)) > 40


def test_every_link_leads_to_a_file_and_every_page_can_be_reached(made: Path) -> None:
    reached, waiting = set(), [made / "index.html"]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        if path.suffix == ".html" and path.name != "article.html":
            page = WebPage(path)
            addresses = [*page.links, *(address for address in page.loaded if not address.startswith("data:"))]
            assert [address for address in addresses if outside(address)] == []
            waiting += [target(path, address) for address in addresses]
            assert [address for address in addresses if not target(path, address).is_file()] == [], path
    files = {path for path in made.rglob("*") if path.is_file()}
    assert files - reached == {made / "plan.json"}  # so each file of each experiment can be had


def test_nothing_is_loaded_from_a_network(made: Path) -> None:
    loaded = {address.partition(",")[0] for page in pages(made).values() for address in page.loaded}
    assert loaded == {"site/site.css", "site/search.js", "../../site/site.css", "data:image/png;base64"}
    css = (made / "site/site.css").read_text()
    assert len(styled(css)) == 3
    assert all(address.startswith("data:font/woff2;base64,") for address in styled(css))
    for text in (css, (made / "site/search.js").read_text(), *(page.source for page in pages(made).values())):
        assert not re.search(r"https?://|@import|import\(|XMLHttpRequest|fetch\(", text)


def test_the_index_tells_what_was_made_of_what(made: Path) -> None:
    text = WebPage(made / "index.html").text
    plan = Store(made).plan
    assert "Profile default. An invented study of <i>three</i> & more." in text
    assert "22 November 2026, commit 0123456789ab" in text
    assert "The article 14 B The article as PDF 2.9 MiB" in text
    assert f"{len(plan.experiments)} experiments" in text
    top1 = results(made)[RUN]["metrics"]["top1"]
    score = f"top-1 {top1['value']:.2f} % ({top1['low']:.2f} to {top1['high']:.2f})"
    seconds = f"{results(made)[RUN]['provenance']['seconds']:.1f} s"
    assert f"mini_resnest11 mini_resnest11 {score} {seconds} run" in text
    assert f"training_64 mini_resnest11 {score} same as {RUN}" in text
    assert f"mini_resnest23 mini_resnest23 missing: {REASON_TEXT}" in text
    assert "full_size 13 networks 91 metrics" in text


def test_studies_are_groups_with_all_their_experiments(made: Path) -> None:
    source = (made / "index.html").read_text()
    groups = re.findall(r"<tbody>.*?</tbody>", source, re.DOTALL)
    plan = Store(made).plan.experiments
    assert [len(re.findall('<th scope="row">', group)) for group in groups] == [
        sum(e.study == study for e in plan) for study in dict.fromkeys(e.study for e in plan)
    ]


def test_every_metric_is_on_the_page_of_its_experiment(made: Path) -> None:
    for key, result in results(made).items():
        text = WebPage(made / key / "index.html").text
        for name, metric in result["metrics"].items():
            shown = name.partition(".")[2] or name
            value = metric["value"]
            number = f"{value:,.0f}" if float(value).is_integer() else f"{value:#,.6g}"
            assert f"{shown} {number.replace('-', MINUS)}" in text, (key, name)


def test_a_page_holds_intervals_parameters_provenance_and_files(made: Path) -> None:
    text = WebPage(made / RUN / "index.html").text
    result = results(made)[RUN]
    loss, top1 = result["metrics"]["loss"], result["metrics"]["top1"]
    assert f"top1 {top1['value']:#.6g} {top1['low']:#.6g} to {top1['high']:#.6g} 1,000" in text
    assert f"loss {loss['value']:#.6g} 1,000 parameters 532,714" in text
    assert "train_limit 8000 train_batch_size 64 epochs 1.5" in text
    assert "weights –" in text
    assert "versions.torch 2.15.0" in text
    assert "peak_memory 667.6 MiB" in text
    assert f"weights_sha256 {result['provenance']['weights_sha256']}" in text
    assert f"records.parquet {size((made / RUN / 'records.parquet').stat().st_size)}".replace("\u00a0", " ") in text


def test_metrics_by_class_are_folded_away(made: Path) -> None:
    source = (made / "instance_segmentation/mask_rcnn_resnest11_seed0/index.html").read_text()
    folded = re.findall(r"<details>.*?</details>", source, re.DOTALL)
    assert [re.findall(r"<summary>(\w+)", part)[0] for part in folded] == ["box_AP", "mask_AP"]
    assert all(re.findall(r'scope="row">(\w+)<', part) == ["hat", "shoe", "glove"] for part in folded)
    assert re.search(r'>box_AP</th><td class="number">[\d.]+</td><td>%</td>', source.partition("<details>")[0])


def test_metrics_of_networks_are_unfolded_where_there_are_no_others(made: Path) -> None:
    source = (made / "efficiency/full_size/index.html").read_text()
    assert len(re.findall(r"<details open><summary>resnes?td?", source)) == 13
    assert "<details>" not in source


def test_what_has_not_run_says_why_and_what_is_the_same_says_as_what(made: Path) -> None:
    missing, alias = WebPage(made / MISSING / "index.html"), WebPage(made / ALIAS / "index.html")
    assert f"It has not run: {REASON_TEXT}." in missing.text
    assert "model mini_resnest23" in missing.text
    assert f"The same experiment as {RUN}" in alias.text
    assert f"../../{RUN}/index.html" in alias.links
    for page in (missing, alias):
        assert "Files" not in page.text
        assert "../../index.html" in page.links


def test_an_alias_of_what_is_missing_says_both(site: Path) -> None:
    plan = json.loads((site / "plan.json").read_text())
    line = next(line for line in plan["experiments"] if line["name"] == "training_64")
    line |= {"same_as": MISSING, "status": "missing", "reason": "no weights"}
    (site / "plan.json").write_text(json.dumps(plan))
    build(site)
    text = WebPage(site / ALIAS / "index.html").text
    assert f"The same experiment as {MISSING}" in text
    assert "It has not run" in text


def test_names_from_outside_are_text(made: Path) -> None:
    for page in pages(made).values():
        assert "<script>alert" not in page.source
        assert "<i>three" not in page.source
    run = WebPage(made / RUN / "index.html")
    assert "a%20curve%20%231%20of%20100%25.csv" in run.links
    assert "a curve #1 of 100%.csv" in run.text


def test_a_notebook_is_shown_as_it_was_executed(made: Path) -> None:
    page = WebPage(made / RUN / "notebook.html")
    assert "A study Of mini_resnest11." in page.text
    assert 'model: str = "<b>" # the network' in page.text
    assert "data: <2> images 0.5" in page.text
    assert "training: 0%" not in page.text  # a bar needs a kernel
    assert "<script" not in page.source
    assert 'alt="Figure: Which classes are confused"' in page.source
    assert '<span class="c1"># the network</span>' in page.source
    assert "index.html" in page.links
    assert "notebook.ipynb" in page.links


def test_what_did_not_change_is_not_made_again(site: Path) -> None:
    program = "import sys; from resnest_core.site.__main__ import main; main(sys.argv[1:])"
    program += "; print('nbconvert' in sys.modules)"
    before = times(site)
    done = subprocess.run([sys.executable, "-c", program, str(site)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(site / "index.html"), "False"]
    assert times(site) == before


def test_a_new_notebook_makes_its_page_again_and_no_other(site: Path) -> None:
    path = site / RUN / "notebook.ipynb"
    path.write_text(path.read_text().replace("the network", "another network"))
    before = times(site)
    build(site)
    changed = {path for path, time in times(site).items() if before.get(path) != time}
    assert changed == {site / RUN / "notebook.html"}
    assert "another network" in WebPage(site / RUN / "notebook.html").text


def test_a_changed_look_makes_all_notebooks_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Path(shutil.copytree(REPORT, site.parent / "report"))
    monkeypatch.setattr("resnest_core.site.build.TEMPLATES", report / "site")
    page = report / "site/notebook.html"
    page.write_text(page.read_text().replace("As it was executed", "Executed"))
    build(site)
    assert all("Executed; notebook.ipynb" in WebPage(path).text for path in site.glob("*/*/notebook.html"))


def test_pages_of_experiments_that_are_no_more_go_and_nothing_else_does(site: Path) -> None:
    plan = json.loads((site / "plan.json").read_text())
    gone = {ALIAS, "ablation/mini_1s1x64d_seed1", MISSING}
    plan["experiments"] = [e for e in plan["experiments"] if f"{e['study']}/{e['name']}" not in gone]
    (site / "plan.json").write_text(json.dumps(plan))
    (site / "notes/mine").mkdir(parents=True)
    (site / "notes/mine/index.html").write_text("<p>Not of this program")
    before = set(times(site))
    build(site)
    removed = {path.relative_to(site).as_posix() for path in before - set(times(site))}
    assert removed == {*(f"{key}/index.html" for key in gone), "ablation/mini_1s1x64d_seed1/notebook.html"}
    assert not (site / ALIAS).exists()
    assert (site / "ablation/mini_1s1x64d_seed1/result.json").is_file()
    assert "training_64" not in WebPage(site / "index.html").text


def test_a_run_that_is_now_missing_loses_its_notebooks_page(site: Path) -> None:
    plan = json.loads((site / "plan.json").read_text())
    line = next(line for line in plan["experiments"] if line["name"] == "mini_resnetd20")
    line |= {"status": "missing", "reason": "lost"}
    (site / "plan.json").write_text(json.dumps(plan))
    build(site)
    assert not (site / "base_results/mini_resnetd20/notebook.html").exists()
    assert "It has not run: lost." in WebPage(site / "base_results/mini_resnetd20/index.html").text


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("article.pdf", r"'.*article\.pdf' is missing; make it first: python -m resnest_core\.article "),
        (f"{RUN}/notebook.ipynb", rf"'.*notebook\.ipynb' is missing; experiment '{RUN}' must store it"),
        (f"{RUN}/result.json", rf"'.*result\.json' is missing; the plan lists '{RUN}', so run it first"),
        ("plan.json", r"'.*plan\.json' is missing; run \./run_all\.sh first"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(site: Path, lost: str, message: str) -> None:
    (site / lost).unlink()
    (site / "index.html").unlink()
    (site / MISSING / "index.html").unlink()
    before = times(site)
    with pytest.raises(InputError, match=message):
        build(site)
    assert times(site) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"cells": 1, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}'])
def test_a_broken_notebook_is_a_line(site: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (site / RUN / "notebook.ipynb").write_text(content)
    page = (site / RUN / "notebook.html").read_text()
    assert main([str(site)]) == 2
    assert re.fullmatch(r"error: '.*notebook\.ipynb' is no notebook: .*\n", capsys.readouterr().err)
    assert (site / RUN / "notebook.html").read_text() == page


def test_a_notebook_without_figures_or_outputs_is_shown(site: Path) -> None:
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(content, site / RUN / "notebook.ipynb")
    build(site)
    assert "1 + 1" in WebPage(site / RUN / "notebook.html").text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (598, "598 B"),
        (1024, "1.0 KiB"),
        (1_300_000, "1.2 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**44, "16,384.0 GiB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count).replace("\u00a0", " ") == text


def test_without_scripts_the_table_is_whole_and_there_is_no_field(made: Path) -> None:
    source = (made / "index.html").read_text()
    assert re.search(r"<label hidden>Search <input", source)
    assert not re.search(r"<tr[^>]*hidden", source)


def test_the_search_shows_the_rows_with_all_words(made: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to search with")
    playwright = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as play:
        page = play.chromium.launch(executable_path=browser, args=arguments).new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto((made / "index.html").as_uri())
        total = len(Store(made).experiments)
        assert page.inner_text("#count") == f"{total} experiments"
        page.get_by_label("Search").press_sequentially("ablation  SEED1 4s")
        shown = page.locator("#experiments th[scope=row]:visible").all_inner_texts()
        assert shown == ["mini_4s1x64d_seed1", "mini_4s2x40d_seed1"]
        assert page.locator("#experiments .study:visible").count() == 1
        assert page.inner_text("#count") == f"2 of {total} experiments"
        page.get_by_label("Search").fill("nothing of the kind")
        assert page.inner_text("#count") == f"0 of {total} experiments"
        page.get_by_label("Search").fill("")
        assert page.locator("#experiments th[scope=row]:visible").count() == total
        page.locator("#experiments th[scope=row] a").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/mini_resnest11/index.html")
        page.set_viewport_size({"width": 390, "height": 800})
        for path in ("index.html", f"{RUN}/index.html", f"{RUN}/notebook.html"):
            page.goto((made / path).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        page.goto((made / "index.html").as_uri())
        assert page.evaluate("document.querySelector('.scroll').scrollWidth") <= 390  # no column out of sight
        assert all(request.startswith(("file:", "data:")) for request in requests)
