"""Claims: each verdict follows from stored records, and changes with them, in page and PDF."""

import json
import shutil
from pathlib import Path

import fabricated
import pandas as pd
import pytest
import yaml
from finished import Built, run
from pypdf import PdfReader

from resnest_core.article import claim_file
from resnest_core.article.claim_file import CLAIMS, read_claims
from resnest_core.article.claims import FULL, SMALL, Claims, Judgement
from resnest_core.article.document import Article
from resnest_core.article.verdicts import NOT_RUN, REFUTED, REPRODUCED, UNDECIDED
from resnest_core.errors import InputError

AT_LEAST = {"base-50", "base-101", "base-200", "base-269", "preprocessing", "batch-size", "parameters", "multiply-adds"}
AT_LEAST |= {"split-attention", "segmentation", "boxes", "masks", "cascade", "fast"}


def claims_of(directory: Path) -> Claims:
    return Article(directory).context["claims"]


def judged(claims: Claims, name: str, scale: str) -> Judgement:
    found = next(getattr(j, scale) for j in claims.judged if j.claim.id == name)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Claims:
    study = fabricated.paper(tmp_path_factory.mktemp("paper"), "resnest269-0cc87c48.pth is not here")
    return claims_of(study.write_plan())


def test_the_file_has_what_was_asked_for_with_figures_that_exist() -> None:
    claims = {claim.id: claim for claim in read_claims()}
    assert claims.keys() >= AT_LEAST
    assert sum(name.startswith("step-") for name in claims) == 7


def test_in_the_default_profile_only_what_is_about_counts_and_speed_runs_at_full_size(built: Built) -> None:
    claims = claims_of(built.directory)
    ran = {j.claim.id for j in claims.judged if j.full and j.full.ran}
    assert ran == {"parameters", "multiply-adds", "fast"}
    assert judged(claims, "base-50", FULL).reason == "profile default has no such run of published weights"
    assert sum(claims.tally(SMALL).values()) == sum(claim.small is not None for claim in read_claims())


def test_small_networks_are_judged_by_their_own_intervals(built: Built) -> None:
    claims = claims_of(built.directory)
    assert judged(claims, "segmentation", SMALL).verdict == REPRODUCED
    assert judged(claims, "cascade", SMALL).verdict == REPRODUCED
    step = judged(claims, "step-2s1x64d-1s1x64d", SMALL)
    assert step.verdict == UNDECIDED
    assert step.needed.endswith("seeds needed")
    same = judged(claims, "batch-size", SMALL)
    assert same.verdict == UNDECIDED, "a thousand images are too few for a tenth of a point"


def test_scores_of_published_networks_are_exact_only_on_the_whole_set(paper: Claims) -> None:
    partial = judged(paper, "base-50", FULL)
    assert partial.verdict == UNDECIDED
    assert partial.needed == "all 50,000 images needed"
    missing = judged(paper, "base-269", FULL)
    assert missing.verdict == NOT_RUN
    assert missing.reason == "resnest269-0cc87c48.pth is not here"


def test_published_steps_are_judged_by_paired_rows(paper: Claims) -> None:
    step = judged(paper, "step-2s1x64d-1s1x64d", FULL)
    assert step.verdict in (REPRODUCED, REFUTED, UNDECIDED)
    assert "to" in step.found
    assert paper.tally(SMALL)[NOT_RUN] == sum(paper.tally(SMALL).values()), "no small network was trained"
    assert judged(paper, "batch-size", SMALL).verdict == NOT_RUN


def test_counts_tell_how_many_agree(built: Built) -> None:
    found = judged(claims_of(built.directory), "parameters", FULL)
    assert found.found.split(" of ")[0].isdigit()
    assert (found.verdict == REPRODUCED) == (len(set(found.found.split(" agree")[0].split(" of "))) == 1)


def test_a_changed_record_flips_its_claim_in_the_page_and_in_the_pdf(built: Built, tmp_path: Path) -> None:
    """The segmenter on ResNet-D gets the counts of the one on ResNeSt, and those of the other way round."""
    before = claims_of(built.directory)
    assert judged(before, "segmentation", SMALL).verdict == REPRODUCED
    text = next(j.claim.text for j in before.judged if j.claim.id == "segmentation")
    assert f"Not reproduced there: {text}" not in " ".join(built.html.split())
    directory = tmp_path / "default"
    shutil.copytree(built.directory, directory)
    for seed in (0, 1):
        ours, theirs = (
            directory / f"semantic_segmentation/{trunk}_pretrained_seed{seed}/records.parquet"
            for trunk in ("resnest11", "resnetd11")
        )
        rows = pd.read_parquet(ours), pd.read_parquet(theirs)
        rows[0].to_parquet(theirs, index=False)
        rows[1].to_parquet(ours, index=False)
    done = run(directory)
    assert done.returncode == 0, done.stderr
    assert judged(claims_of(directory), "segmentation", SMALL).verdict == REFUTED
    pdf = " ".join(" ".join(page.extract_text() for page in PdfReader(directory / "article.pdf").pages).split())
    html = " ".join((directory / "article.html").read_text().split())
    for old, new in ((built.pdf, pdf), (" ".join(built.html.split()), html)):
        assert f"Not reproduced there: {text}" in new
        assert claims_of(built.directory).sentence(SMALL) in old
        assert claims_of(directory).sentence(SMALL) in new


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "rumour"}, ["unknown source of claim", "rumour"]),
        ({"tolerance": 1}, ["claims.0.tolerance", "Extra inputs"]),
        ({"full": None}, ["says why in 'without'"]),
        ({"full": None, "without": "lost"}, ["has 'figures' or 'printed'"]),
        ({"full": {"kind": "guess"}}, ["claims.0.full", "guess"]),
    ],
)
def test_a_file_that_is_not_as_it_should_be(tmp_path: Path, change: dict, words: list[str]) -> None:
    content = yaml.safe_load(CLAIMS.read_text())
    claim = next(c for c in content["claims"] if c["id"] == "boxes")
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [claim | change]}))
    with pytest.raises(InputError) as error:
        read_claims(path)
    for word in words:
        assert word in str(error.value)


def test_an_id_stands_once(tmp_path: Path) -> None:
    claim = yaml.safe_load(CLAIMS.read_text())["claims"][0]
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [claim, claim]}))
    with pytest.raises(InputError, match="stands twice"):
        read_claims(path)


def test_a_figure_that_nobody_printed(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load(CLAIMS.read_text())
    claim = next(c for c in content["claims"] if c["id"] == "base-50")
    claim["full"]["figure"]["model"] = "resnest51"
    path = tmp_path / "claims.yaml"
    path.write_text(json.dumps({"claims": [claim]}))
    monkeypatch.setattr("resnest_core.article.claims.read_claims", lambda: claim_file.read_claims(path))
    with pytest.raises(InputError, match=r"published\.csv has no top1 of 'resnest51'"):
        claims_of(built.directory).table()
