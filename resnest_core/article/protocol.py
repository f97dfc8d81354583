"""How the experiments were done: data, training settings, and what the results were made with."""

from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from resnest_core.article import phrases
from resnest_core.article.published import PAPER, Quote
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import ABSENT, Cell, Table, escape, measured, quoted
from resnest_core.errors import InputError

# Parameters of training that the article tells: how it names them, and the paper's value for 50 layers (section 5.1).
RECIPE = {
    "train_batch_size": ("Batch size", "8192"),
    "epochs": ("Epochs", "270"),
    "learning_rate": ("Learning rate at batch 256", "0.1"),
    "warmup_epochs": ("Epochs of warm-up", "5"),
    "weight_decay": ("Weight decay", "0.0001"),
    "label_smoothing": ("Label smoothing", "0.1"),
    "mixup": ("Mixup, $\\alpha$", "0.2"),
    "dropout": ("Dropout before the classifier", "0.2"),
    "dropblock": ("DropBlock, last two stages", "0.1"),
    "augment": ("Augmentation", "AutoAugment"),
    "train_limit": ("Training images", "all"),
    "seed": ("Seeds", ""),
}
WORDS: dict[str, dict[Any, str]] = {"train_limit": {0: "all"}, "augment": {False: "none", True: "shift and flip"}}


class Procedure:
    """What holds for the whole build."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def provenances(self) -> list[tuple[Experiment, dict[str, Any]]]:
        """Those of every experiment that ran, in the order of the plan; there must be one."""
        ran = [e for e in self.store.plan.experiments if e.same_as is None and e.status == "run"]
        if not ran:
            raise InputError(f"no experiment of '{self.store.directory}' has run; there is nothing to write about")
        return [(experiment, self.store.provenance(experiment)) for experiment in ran]

    @property
    def datasets(self) -> list[str]:
        """The data sets that networks were evaluated on."""
        planned = (experiment.parameters.get("dataset") for experiment in self.store.plan.experiments)
        return list(dict.fromkeys(str(name) for name in planned if name))

    @cached_property
    def images(self) -> list[int]:
        """The numbers of test images that occur."""
        accuracies = [self.store.peek(experiment, "top1") for experiment, _ in self.provenances]
        return sorted({accuracy.n for accuracy in accuracies if accuracy is not None and accuracy.n is not None})

    @cached_property
    def fitted(self) -> list[Experiment]:
        """The experiments that trained or fine-tuned their network."""
        return [e for e, _ in self.provenances if self.store.peek(e, "training_seconds") is not None]

    @property
    def trained(self) -> list[Experiment]:
        """Those of them that trained a classifier."""
        return [e for e in self.fitted if self.store.peek(e, "top1") is not None]

    def values(self, parameter: str) -> list[Any]:
        """The different values that a parameter of training had."""
        return sorted(
            {self.store.parameters(e)[parameter] for e in self.trained if parameter in self.store.parameters(e)}
        )

    def recipe_table(self) -> Table:
        """The settings of training, beside the paper's."""
        rows = [
            [measured(name), measured(", ".join(_setting(parameter, value) for value in values)), _paper(printed)]
            for parameter, (name, printed) in RECIPE.items()
            if (values := self.values(parameter))
        ]
        caption = "Settings of training in this build, and the paper's for its networks of 50 layers on ImageNet."
        return Table("recipe", caption, ["Setting", "Here", "Paper"], "lrr", rows, floats=False)

    @cached_property
    def makers(self) -> list[dict[str, Any]]:
        """The provenances, and what made the weights, and the rows that a resumed evaluation owes to others."""
        others = ("training", "rows")
        return [
            maker
            for _, provenance in self.provenances
            for maker in (provenance, *(one for kind in others for one in provenance.get(kind) or []))
        ]

    def all(self, name: str) -> list[Any]:
        """The different values of one entry of provenance, in order of appearance; unknown ones left out."""
        values = (maker.get(name) for maker in self.makers)
        return list(dict.fromkeys(value for value in values if value is not None))

    @property
    def origins(self) -> list[str]:
        """What was run: commits, and copies of the sources whose commit is not known."""
        return list(dict.fromkeys(map(_origin, self.makers)))

    @property
    def changed(self) -> int:
        """How many experiments ran from a working tree with changes that no commit holds."""
        return sum(provenance.get("clean") is False for _, provenance in self.provenances)

    @property
    def versions(self) -> str:
        """Every package with its version, or versions if they changed between experiments."""
        found: dict[str, list[str]] = {}
        for maker in self.makers:
            for package, version in maker.get("versions", {}).items():
                if version not in found.setdefault(package, []):
                    found[package].append(version)
        return phrases.listing(
            [f"{escape(package)} {escape(' and '.join(versions))}" for package, versions in found.items()]
        )

    @property
    def digests(self) -> dict[str, str]:
        """The digest of every body of test data, and the data set that it is of."""
        pairs = ((p.get("data_digest"), e.parameters.get("dataset")) for e, p in self.provenances)
        return {str(digest): str(name) for digest, name in pairs if digest and name}

    @property
    def seconds(self) -> float:
        """Wall time of training and evaluation, one experiment after the other."""
        training = [self.store.peek(experiment, "training_seconds") for experiment in self.fitted]
        evaluation = sum(provenance.get("seconds") or 0.0 for _, provenance in self.provenances)
        return float(evaluation + sum(metric.value for metric in training if metric is not None))

    @property
    def peak_memory(self) -> int:
        return max(int(provenance.get("peak_memory") or 0) for _, provenance in self.provenances)

    @cached_property
    def date(self) -> datetime:
        """When the last result was made; the article bears this date, not that of its typesetting."""
        return max(_date(experiment, provenance) for experiment, provenance in self.provenances)


def _origin(provenance: dict[str, Any]) -> str:
    if commit := provenance.get("commit"):
        return f"commit `{commit}`"
    if said := provenance.get("git"):
        return f"a clone of the sources whose commit is not known ({escape(said)})"
    return "a copy of the sources without version control"


def _date(experiment: Experiment, provenance: dict[str, Any]) -> datetime:
    try:
        date = datetime.fromisoformat(provenance["date"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"result of '{experiment.key}' has no ISO date: {provenance.get('date')!r}") from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _setting(parameter: str, value: Any) -> str:
    return WORDS.get(parameter, {}).get(value) or (phrases.count(value) if parameter == "train_limit" else f"{value:g}")


def _paper(printed: str) -> Cell:
    return quoted(Quote(printed, PAPER, "")) if printed else ABSENT
