"""The appendix: every experiment of the plan, whatever the sections have used of it."""

from resnest_core.article import phrases
from resnest_core.article.results import Experiment, Store
from resnest_core.article.tables import ABSENT, Cell, Table, escape, measured, not_run

METRICS = {"top1": ("Top-1 (%)", 2), "top5": ("Top-5 (%)", 2), "loss": ("Loss", 3), "mIoU": ("mIoU (%)", 2)}
DIGITS = 12  # of a SHA-256; result.json has them all


def experiments_table(store: Store) -> Table:
    """A line for each experiment: what it was, its accuracy, the weights, the time, and when it ran."""
    metrics = {name: value for name, value in METRICS.items() if _anywhere(store, name)}
    return Table(
        "experiments",
        f"Every experiment of the profile. Weights: the first {DIGITS} digits of the file's SHA-256. An experiment "
        "that is the same as another shares its result. Time: that of the evaluation, without training.",
        ["Experiment", "Network", *(header for header, _ in metrics.values()), "Weights", "Time", "Date (UTC)"],
        "ll" + "r" * len(metrics) + "lrl",
        [_row(store, experiment, metrics) for experiment in store.plan.experiments],
        wide=True,
        floats=False,
    )


def _anywhere(store: Store, metric: str) -> bool:
    ran = [experiment for experiment in store.plan.experiments if store.source(experiment).status == "run"]
    return any(store.peek(experiment, metric) is not None for experiment in ran)


def _row(store: Store, experiment: Experiment, metrics: dict[str, tuple[str, int]]) -> list[Cell]:
    source = store.source(experiment)
    networks = experiment.parameters.get("model") or f"{len(experiment.parameters.get('networks', []))} networks"
    name = [measured(escape(experiment.key)), measured(escape(str(networks)))]
    if source.status == "missing":
        return name + [not_run(store.reason(experiment))] * (len(metrics) + 3)
    if experiment.same_as is not None:
        return [name[0], measured(f"as {escape(experiment.same_as)}"), *[measured("")] * (len(metrics) + 3)]
    provenance = store.provenance(experiment)
    weights = provenance.get("weights_sha256")
    return [
        *name,
        *[_metric(store, experiment, metric, digits) for metric, (_, digits) in metrics.items()],
        measured(f"`{weights[:DIGITS]}`") if weights else ABSENT,
        measured(phrases.duration(provenance["seconds"])),
        measured(str(provenance["date"])[:16].replace("T", " ")),
    ]


def _metric(store: Store, experiment: Experiment, name: str, digits: int) -> Cell:
    metric = store.peek(experiment, name)
    return ABSENT if metric is None else measured(phrases.number(metric.value, digits))
