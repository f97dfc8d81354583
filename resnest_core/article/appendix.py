"""The appendix: every experiment of the plan, whatever the sections have used of it."""

from resnest_core.article import phrases
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import ABSENT, Cell, Table, escape, measured, not_run
from resnest_core.study.execute import SCORES


def experiments_table(store: Store) -> Table:
    """A line for each experiment, below the name of its study: its best-known score, and the time it took."""
    studies = dict.fromkeys(experiment.study for experiment in store.plan.experiments)
    return Table(
        "experiments",
        "Every experiment of the profile, by study: its score in percent, where it has one, and the time of evaluation "
        "or analysis, without training. Its page in `index.html` has all metrics, parameters and files.",
        ["Experiment", "Score", "Time"],
        "llr",
        [row for study in studies for row in _rows(store, study)],
        floats=False,
    )


def _rows(store: Store, study: str) -> list[list[Cell]]:
    head = [measured(f"**{escape(study)}**"), measured(""), measured("")]
    return [head, *(_row(store, experiment) for experiment in store.study(study))]


def _row(store: Store, experiment: Experiment) -> list[Cell]:
    source, name = store.source(experiment), measured(escape(experiment.name), experiment.key)
    if source.status == "missing":
        return [name, not_run(store.reason(experiment)), ABSENT]
    if experiment.same_as is not None:
        return [name, measured(f"as {escape(source.name)}", source.key), measured("")]
    seconds = phrases.duration(store.provenance(experiment)["seconds"])
    return [name, _score(store, experiment), measured(seconds, experiment.key)]


def _score(store: Store, experiment: Experiment) -> Cell:
    found = ((label, store.peek(experiment, metric)) for metric, label in SCORES.items())
    scores = [f"{phrases.number(metric.value)} {label}" for label, metric in found if metric is not None]
    return measured(scores[0], experiment.key) if scores else ABSENT
