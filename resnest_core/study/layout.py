"""Where the study's files lie."""

from dataclasses import dataclass
from pathlib import Path

from resnest_core.places import ROOT as ROOT


@dataclass(frozen=True)
class Layout:
    """The paths of one profile; an experiment's key is "STUDY/EXPERIMENT"."""

    profile: str
    root: Path = ROOT

    @property
    def profile_file(self) -> Path:
        return self.root / "profiles" / f"{self.profile}.yaml"

    @property
    def build(self) -> Path:
        return self.root / "build" / self.profile

    @property
    def plans(self) -> Path:
        """What the runner knows about the experiments; outside their directories, which it may empty."""
        return self.build / ".plan"

    @property
    def articles(self) -> tuple[Path, Path, Path]:
        """What the article's job makes: the article, and the index of the site around it."""
        return self.build / "article.html", self.build / "article.pdf", self.build / "index.html"

    def notebook(self, study: str) -> Path:
        return self.root / "notebooks" / f"{study}.ipynb"

    def out(self, key: str) -> Path:
        return self.build / key

    def result(self, key: str) -> Path:
        return self.out(key) / "result.json"

    def plan_file(self, key: str) -> Path:
        return self.plans / f"{key}.json"

    def state_file(self, key: str) -> Path:
        return self.plans / f"{key}.state.json"

    def events_file(self, key: str) -> Path:
        return self.plans / "events" / f"{key}.jsonl"

    def relative(self, path: Path) -> str:
        """`path` as seen from the root, where notebooks run and users stand."""
        return path.relative_to(self.root).as_posix()

    def stored_in(self, folder: str, suffix: str) -> list[str]:
        """Names of the files with `suffix` in a `folder` of the root: the profiles, the studies."""
        return sorted(path.stem for path in (self.root / folder).glob(f"[!.]*{suffix}"))
