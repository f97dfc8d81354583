"""The analysis of attention: how the weights of trained networks vary, and what accuracy loses without that."""

from collections.abc import Callable, Sequence
from functools import cached_property

from resnest_core.analyses.attention_effects import ALL, CONSTANT
from resnest_core.analyses.attention_maps import PARTS
from resnest_core.article import phrases
from resnest_core.article.analysis import Analysis
from resnest_core.article.illustrations import Illustration
from resnest_core.article.phrases import count, listing, number, words
from resnest_core.article.results import Metric
from resnest_core.article.tables import ABSENT, Cell, Table, measured
from resnest_core.figures import attention as attention_figures

STUDY = "attention"
# How the text calls what stands in the weights' place.
INTERVENTIONS = {"mean": "Means", "shuffled": "Another image's", "uniform": "Equal", "rolled": "Rolled"}


class Attention(Analysis):
    """What the article says about the weights of split attention."""

    study = STUDY

    @property
    def first(self) -> str:
        """The run of the figure."""
        return self.networks[0]

    @property
    def images(self) -> int:
        """How many test images were taken, at most."""
        return max(self.metric(name, "top1").n or 0 for name in self.networks)

    @property
    def small(self) -> bool:
        """Whether these are the networks for images of 28 pixels."""
        return all(self._models(run)[name].startswith("mini_") for name, run in self.sources.items())

    @cached_property
    def losses(self) -> dict[str, dict[str, tuple[Metric, float]]]:
        """By intervention in all blocks, and by run where it was made: points of accuracy lost, and p as corrected."""
        known = {run: self.store.result(source).metrics for run, source in self.sources.items()}
        return {
            kind: {
                run: (self.metric(run, f"{ALL}.{kind}.loss"), self.metric(run, f"{ALL}.{kind}.p").value)
                for run in self.networks
                if f"{run}.{ALL}.{kind}.loss" in known[run]
            }
            for kind in (*INTERVENTIONS, CONSTANT)
        }

    def share(self, part: str) -> float:
        """Of the variation in the first run's weights (%)."""
        return self.metric(self.first, f"{ALL}.{part}").value

    def cost(self, subject: str, kind: str) -> str:
        """What an intervention does to the networks, by its tests: "Means cost A accuracy (up to 1.20 points), ..."."""
        found = self.losses[kind]
        verdicts = {run: phrases.verdict(-loss.value, p) for run, (loss, p) in found.items()}
        worse, better, same = (
            [run for run in found if verdicts[run] == verdict]
            for verdict in ("worse", "better", "not detectably different")
        )
        most = number(max((found[run][0].value for run in worse), default=0))
        parts = [f"cost {self._who(worse, 'all networks')} accuracy (up to {most} points)"] if worse else []
        parts += [f"improve {self._who(better, 'all networks')}"] if better else []
        parts += [f"make no detectable difference to {self._who(same, 'any network')}"] if same else []
        return f"{subject} {listing(parts)}." if parts else ""

    def _who(self, runs: Sequence[str], everybody: str) -> str:
        return everybody if len(runs) == len(self.networks) > 1 else listing([self.label(run) for run in runs])

    @property
    def answer(self) -> str:
        """How many networks use what varies with the image, and how many that the means are not all equal."""
        text = f"What the weights tell of an image {self._used('mean')}"
        if self.losses[CONSTANT]:
            text += f"; what their means tell {self._used(CONSTANT)}"
        return f"{text}."

    def _used(self, kind: str) -> str:
        lost = [phrases.verdict(-loss.value, p) == "worse" for loss, p in self.losses[kind].values()]
        if len(lost) == 1:
            return f"is {'' if lost[0] else 'not '}detectably used by this network"
        users = words(sum(lost)) if any(lost) else "neither" if len(lost) == 2 else "none"
        return f"is detectably used by {users} of {words(len(lost))} networks"

    def tables(self) -> list[Table]:
        return [self.table()] if self.done else []

    def figures(self) -> list[Illustration]:
        return [self.figure()] if self.done else []

    def table(self) -> Table:
        return Table(
            STUDY,
            "The weights of all blocks and their use. Entropy over the splits, 1 where they are equal (of a single "
            "split's gate, 1 where it is half open); shares (%) of the weights' variation that are constant, between "
            "classes, and between images of a class; and points of accuracy lost, with 95 % intervals, when other "
            f"weights stand in their place. \\*: $p$ below {phrases.ALPHA} by the exact McNemar test after Holm's "
            f"correction{' within each experiment' if len(self.done) > 1 else ''}.",
            ["Network", "Entropy", *(part.capitalize() for part in PARTS), *INTERVENTIONS.values()],
            "l" + "r" * (1 + len(PARTS) + len(INTERVENTIONS)),
            [self._row(name) for name in self.networks],
            wide=True,
        )

    def _row(self, name: str) -> list[Cell]:
        scores: Sequence[tuple[str, Callable[[float], str]]] = [
            ("entropy", number),
            *((part, lambda value: number(value, 0)) for part in PARTS),
        ]
        shown = [measured(show(self.metric(name, f"{ALL}.{score}").value)) for score, show in scores]
        return [measured(self.label(name)), *shown, *(self._loss(name, kind) for kind in INTERVENTIONS)]

    def _loss(self, name: str, kind: str) -> Cell:
        if name not in self.losses[kind]:
            return ABSENT
        loss, p = self.losses[kind][name]
        limits = phrases.interval(loss.low, loss.high)
        return measured(f"{number(loss.value)} ({limits})" + ("\\*" if phrases.differs(p) else ""))

    def figure(self) -> Illustration:
        """The first run, stage by stage."""
        source = self.sources[self.first]
        stages = self.store.parameters(source)["stages"][self.first]
        result = self.store.result(source).model_dump()
        return Illustration(
            STUDY,
            f"Attention of {self.label(self.first)} by stage. Left: 5, 25, 50, 75 and 95 % of the weights lie below "
            "the marks; under each stage the entropy. Middle: what the weights vary with. Right: accuracy lost on "
            f"{count(self.images)} images, with 95 % intervals, when the weights of all blocks or of one stage are "
            "replaced by their means, those of another image, equal ones, or the next split's (rolled).",
            "Weights by stage, shares of their variation, and accuracy lost by intervention",
            attention_figures.overview(attention_figures.scores_of(result, self.first), stages),
            wide=True,
        )
