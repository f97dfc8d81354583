"""The finished article: its numbers are those of the results, and nothing in it is left open."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import fabricate
import fabricated
import pytest
from executed import add_notebooks
from finished import Built
from pypdf import PdfReader

from resnest_core.article import document, pandoc, published
from resnest_core.article.__main__ import main
from resnest_core.article.build import build
from resnest_core.article.document import Article
from resnest_core.article.protocol import Procedure
from resnest_core.article.results import Store
from resnest_core.errors import InputError
from resnest_core.site.build import build as build_site

TASKS = ("segmentation", "object-detection", "instance-segmentation")
LINKED = ["base", "base-pairs", "ablation", "batch-evaluation", "batch-training", "efficiency", "experiments"]
LINKED += ["attention", "calibration", "saliency", "preprocessing", "robustness", "modes"]
LINKED += [f"{task}{kind}" for task in TASKS for kind in ("", "-pairs")]
Render = Callable[[Path], str]
REASON = "resnest269-0cc87c48.pth is not in ~/.cache/resnest_core"


def results(directory: Path) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    for path in sorted(directory.glob("*/*/result.json")):
        yield f"{path.parent.parent.name}/{path.parent.name}", json.loads(path.read_text())["metrics"]


def squeezed(text: str) -> str:
    """Without white space and the hyphens of broken lines: names break in narrow columns."""
    return re.sub(r"\s", "", text.replace("- ", "-"))


def test_every_accuracy_is_in_the_pdf_and_in_the_page(built: Built) -> None:
    names = [(key, metrics) for key, metrics in results(built.directory) if "top1" in metrics]
    assert len(names) == 30
    for key, metrics in names:
        row = f"{key.partition('/')[2]}{metrics['top1']['value']:.2f}top-1"
        assert row in squeezed(built.pdf), key
        assert row in squeezed(text_of(built.html)), key


def test_every_segmentation_score_is_in_the_pdf_and_in_the_page(built: Built) -> None:
    scores = [(key, metrics["mIoU"]["value"]) for key, metrics in results(built.directory) if "mIoU" in metrics]
    assert len(scores) == 10
    for key, value in scores:
        row = f"{key.partition('/')[2]}{value:.2f}mIoU"
        assert row in squeezed(built.pdf), key
        assert row in squeezed(text_of(built.html)), key


def test_intervals_and_costs_are_in_the_pdf_and_in_the_page(built: Built) -> None:
    metrics = dict(results(built.directory))
    top1 = metrics["base_results/mini_resnest20"]["top1"]
    costs = metrics["efficiency/full_size"]
    wanted = [f"{top1['value']:.2f} ({top1['low']:.2f} to {top1['high']:.2f})"]
    wanted += [f"{costs[f'{name}.multiply_adds']['value'] / 1e9:.2f}" for name in fabricate.FULL_SIZE]
    wanted += ["26,217,896", "26.3", "81.00", "80.61", "80.64", "79.41"]
    for text in wanted:
        assert text in built.pdf, text
        assert text in text_of(built.html), text


def test_the_parts_of_an_article_are_there(built: Built) -> None:
    numbered = (
        "Introduction",
        "Split attention",
        "Protocol",
        "Claims and verdicts",
        "Base results",
        "Batch size",
        "Ablation",
        "Semantic segmentation",
        "Object detection",
        "Instance segmentation",
        "What split attention does",
        "Where it looks",
        "Errors",
        "Calibration",
        "Robustness",
        "Sensitivity to preprocessing and resolution",
        "Efficiency",
        "The accuracy/cost frontier",
        "Fast modes and their price",
        "Discussion",
        "Threats to validity",
        "Reproducibility",
    )
    parts = ["Abstract", *(f"{number} {title}" for number, title in enumerate(numbered, start=1))]
    parts += ["References", "A All experiments"]
    for part in parts:
        assert part in built.pdf, part
    contents = [built.pdf.index(part) for part in parts]
    assert contents == sorted(contents)


def test_reproducibility_names_commit_environment_data_and_command(built: Built) -> None:
    for text in ("./run_all.sh --profile default", "0123456789ab", "torch 2.15.0", "An Invented Processor", "fp32"):
        assert text in built.pdf, text
        assert text in text_of(built.html), text
    digest = Store(built.directory).provenance(Store(built.directory).plan.experiments[0])["data_digest"]
    assert digest in re.sub(r"[\s\u200b]", "", built.pdf)
    assert digest in built.html


def test_the_page_needs_no_other_file(built: Built) -> None:
    loaded = re.findall(
        r'(?:<link[^>]*href|<img[^>]*src|<script[^>]*src)="([^"]{0,30})|url\(["\']?([^)]{0,30})', built.html
    )
    assert len(loaded) == 4 + 18  # fonts and figures
    assert {first or second for first, second in loaded if not (first or second).startswith("data:")} == set()
    assert "<math" in built.html


def test_every_measured_cell_links_to_the_page_of_its_experiment(built: Built, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(built.directory, tmp_path / "build"))
    add_notebooks(directory)
    build_site(directory)
    tables = dict(re.findall(r'<div id="tbl:([\w-]+)".*?<tbody>(.*?)</tbody>', built.html, re.DOTALL))
    links = {address for body in tables.values() for address in re.findall(r'href="([^"#]+)"', body)}
    assert len(links) > 40
    assert [address for address in links if not (directory / address).is_file()] == []
    for name in LINKED:
        cells = re.findall(r"<td[^>]*>(.*?)</td>", tables[name], re.DOTALL)
        others = {cell for cell in cells if not re.match(r"<a\s|<em>|<strong>|–$|$", cell)}  # italic: quoted
        assert others == set(), name
    row = re.search(r">ResNeSt-20</a>.*?</tr>", tables["base"], re.DOTALL)
    assert row is not None
    assert set(re.findall(r'href="([^"]*)"', row[0])) == {"base_results/mini_resnest20/index.html"}


def test_the_pdf_links_to_no_file_beside_it(built: Built) -> None:
    annotations = [
        a.get_object() for page in PdfReader(built.directory / "article.pdf").pages for a in page.annotations or []
    ]
    addresses = [str(a["/A"]["/URI"]) for a in annotations if "/URI" in a.get("/A", {})]
    assert addresses
    assert [address for address in addresses if not address.startswith("http")] == []


def test_figures_are_vectors(built: Built) -> None:
    figures = sorted(path.name for path in (built.directory / "article").glob("*.svg"))
    detection = ("object-detection", "instance-segmentation")
    # These hold images, which are what they show.
    pictures = {"segmentations.svg", "saliency.svg", "errors.svg", *(f"{study}-pictures.svg" for study in detection)}
    drawn = {"block.svg", "curves.svg", "depth.svg", "seeds.svg", "segmentation-classes.svg", "cost.svg"}
    drawn |= {f"{study}-details.svg" for study in detection}
    drawn |= {f"{analysis}.svg" for analysis in ("attention", "reliability", "robustness", "resolution", "frontier")}
    assert set(figures) == pictures | drawn
    assert built.html.count("data:image/svg+xml") == len(figures)
    for name in figures:
        assert ("<image" in (built.directory / "article" / name).read_text()) == (name in pictures), name


def test_references_are_not_broken_over_columns(built: Built) -> None:
    source = (built.directory / "article/article.typ").read_text()
    entries = source[source.index("<references>") : source.rindex("<refs>")]
    assert entries.count("] <ref-") > 20
    assert entries.count("#block(breakable: false)[") == entries.count("] <ref-")


def test_the_same_results_give_the_same_bytes(built: Built, tmp_path: Path) -> None:
    date = Procedure(Store(built.directory)).date
    assert date.isoformat() == "2026-11-22T07:58:00+00:00"
    parts = tmp_path / "article"
    shutil.copytree(built.directory / "article", parts)
    pandoc.pdf(parts / "article.typ", tmp_path / "again.pdf", date)
    assert (tmp_path / "again.pdf").read_bytes() == (built.directory / "article.pdf").read_bytes()
    markdown = (parts / "article.md").read_text()
    assert pandoc.html(markdown, parts, "22 November 2026") == built.html


def test_drawing_twice_gives_the_same_bytes(built: Built, render: Render, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(built.directory, again, ignore=shutil.ignore_patterns("article*"))
    markdown = render(again)
    assert markdown.split() == (built.directory / "article/article.md").read_text().split()
    for figure in (again / "article").glob("*.svg"):
        assert figure.read_bytes() == (built.directory / "article" / figure.name).read_bytes(), figure.name


def test_published_and_missing_networks(render: Render, tmp_path: Path) -> None:
    directory = fabricated.paper(tmp_path, REASON).write_plan()
    markdown = render(directory)
    assert row_of(markdown, "ResNeSt-269").count("n. r.^1^") == 4
    assert row_of(markdown, "1s4x24d").count("n. r.^1^") == 5
    assert "because: ^1^ resnest269-0cc87c48.pth is not in \\~/.cache/resnest\\_core." in markdown
    assert "*81.13*^a^ | *81.03*^b^ | *81.034*^c^ | *80.958*^d^" in row_of(markdown, "ResNeSt-50")
    assert "Of the 27 experiments of the profile, eight could not run." in markdown
    assert "Fashion" not in markdown
    assert (
        text_of(pandoc.html(markdown, directory / "article", "today")).count("n. r. 1")
        == 4 + 5 + 2 * 5 + 2 * 5 + 2 * 6 + 8 + 4  # the last are claims, of scores that small networks have not
    )


def test_a_profile_with_one_study_has_one_study(render: Render, tmp_path: Path) -> None:
    study = fabricate.Study(tmp_path, "mine")
    study.efficiency()
    markdown = render(study.write_plan())
    assert "# Efficiency" in markdown
    assert not re.search(r"# (Base results|Batch size|Ablation)", markdown)
    pandoc.typst_source(markdown, "today")  # no reference leads to what is not there


def test_nothing_ran(tmp_path: Path) -> None:
    study = fabricate.Study(tmp_path, "mine")
    study.classifier("base_results/mini_resnest11", 80, model="mini_resnest11", missing="no data")
    with pytest.raises(InputError, match=r"no experiment of '.*' has run; there is nothing to write about"):
        build(study.write_plan())


def test_a_study_of_which_nothing_ran(render: Render, tmp_path: Path) -> None:
    study = fabricate.Study(tmp_path, "mine")
    study.efficiency()
    for key, model in (("base_results/resnest50", "resnest50"), ("ablation/x", "resnest50_fast_2s1x64d")):
        study.classifier(key, 80, model=model, missing="no weights", weights="published", dataset="imagenet")
    study.classifier("batch_size/evaluation_32", 80, model="resnest50", missing="no weights", weights="published")
    markdown = render(study.write_plan())
    assert row_of(markdown, "ResNeSt-50").count("n. r.^1^") == 4
    pandoc.typst_source(markdown, "today")


def test_a_result_that_no_section_uses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = fabricate.Study(tmp_path, "mine")
    study.efficiency()
    study.classifier("astrology/horoscope", 50, model="mini_resnest11")
    assert main([str(study.write_plan())]) == 2
    assert capfd.readouterr().err == "error: no section of the article uses the result of astrology/horoscope\n"
    assert not list(tmp_path.glob("article.*"))


@pytest.fixture
def sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report of one's own, to break."""
    report = tmp_path / "report"
    shutil.copytree(published.REPORT, report)
    monkeypatch.setattr(published, "REPORT", report)
    return report / "sections"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ base_results.bset }}", r"section 'threats': '.*BaseResults object' has no attribute 'bset'"),
        ("{{ acuracy }}", "section 'threats': 'acuracy' is undefined"),
        ("{{ 1 | rounded }}", "section 'threats': No filter named 'rounded'"),
        ("{% if %}", "section 'threats': Expected an expression"),
    ],
)
def test_an_open_placeholder_stops_the_build(
    sections: Path, built: Built, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (sections / "threats.md").write_text(text)
    monkeypatch.setattr(document, "display", lambda bundle, raw: None)
    with pytest.raises(InputError, match=message):
        Article(built.directory).section("threats")


def test_a_section_without_a_file(built: Built) -> None:
    with pytest.raises(InputError, match=r"section 'prologue' has no file prologue\.md in report/sections"):
        Article(built.directory).section("prologue")


@pytest.mark.parametrize(
    ("markdown", "message"),
    [
        ("See @fig:nothing.", "unknown cross-reference @fig:nothing"),
        ("See @sec:nothing.", "unknown cross-reference @sec:nothing"),
        ("As shown [@nobody2020].", "unknown citation @nobody2020"),
        ("::: {#tbl:x}\n\n| A |\n|--|\n| 1 |\n\n: Lost.\n\n:::", "shown, but the text never refers to it: @tbl:x"),
        ("$$ a $$ {#eq:a}\n\n$$ b $$ {#eq:a}\n\n@eq:a", "the label eq:a is defined twice"),
        ("![A lost figure.](lost.svg){#fig:x}\n\n@fig:x", r"lost\.svg"),
    ],
)
def test_references_that_lead_nowhere_stop_the_build(markdown: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        pandoc.html(markdown, tmp_path, "today")
    assert "\n" not in str(error.value)


def test_typst_has_the_same_references(tmp_path: Path) -> None:
    markdown = (
        "# One {#sec:one}\n\n$$ a = b $$ {#eq:a}\n\n@sec:one and @eq:a\n\n# More {#sec:more .appendix}\n\n@sec:more"
    )
    page = pandoc.html(markdown, tmp_path, "today")
    for label, text in (("sec:one", "Section 1"), ("eq:a", "Equation 1"), ("sec:more", "Appendix A")):
        assert f'href="#{label}"' in page
        assert text in page.replace("\u00a0", " ")
    source = pandoc.typst_source(markdown, "today")
    assert "#ref(<sec:one>) and #ref(<eq:a>)" in source


@pytest.mark.parametrize("directory", ["nowhere", "."])
def test_a_directory_without_results(directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / directory)]) == 2
    assert re.fullmatch(r"error: '.*plan\.json' is missing; run \./run_all\.sh first\n", capsys.readouterr().err)
    assert not (tmp_path / "nowhere").exists()


def test_the_notebook_holds_no_outputs_and_no_logic() -> None:
    notebook = json.loads((published.REPORT / "article.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    source = "\n".join("".join(cell["source"]) for cell in code)
    assert not re.search(r"^\s*(for|while|if|def|class) ", source, re.MULTILINE)


def text_of(html: str) -> str:
    """What a reader of the page sees."""
    body = re.sub(r"<(style|annotation)\b.*?</\1>", " ", html, flags=re.DOTALL)
    plain = re.sub(r"<[^>]*>", " ", body).replace("&amp;", "&").replace("\u00a0", " ")
    return " ".join(plain.split())


def row_of(markdown: str, name: str) -> str:
    """The first row of a table that begins with `name`, without its links."""
    rows = (re.sub(r"\[([^\]|]*)\]\([^)|]*\)", r"\1", line) for line in markdown.splitlines())
    return next(row for row in rows if row.startswith(f"| {name} |"))
