"""A site on invented results; the tests of the article know how to invent them."""

import shutil
import sys
from pathlib import Path

import pytest
from executed import add_notebooks

sys.path.append(str(Path(__file__).parents[1] / "article"))

REASON = 'the weights of <script>alert("x")</script> & others are "not here"'


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build directory of the default profile with its site, not to be changed; one experiment is missing."""
    import fabricated

    from resnest_core.site.build import build

    directory = tmp_path_factory.mktemp("site") / "a build & more"
    directory.mkdir()
    study = fabricated.default(directory)
    study.classifier("base_results/mini_resnest23", 80, model="mini_resnest23", missing=REASON)
    study.write_plan("An invented study of <i>three</i> & more.")
    add_notebooks(directory)
    (directory / "base_results/mini_resnest11/a curve #1 of 100%.csv").write_text("epoch\n")
    (directory / "article.html").write_text("<p>The article")
    (directory / "article.pdf").write_bytes(bytes(3_000_000))
    assert build(directory) == directory / "index.html"
    return directory


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "build"))
