"""The analysis of modes: how much faster other ways than exact are, and what they change in the answers."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from resnest_core.article import phrases
from resnest_core.article.analysis import Analysis
from resnest_core.article.illustrations import Illustration
from resnest_core.article.phrases import listing, number, signed, significant
from resnest_core.article.tables import Cell, Table, measured

Way = dict[str, Any]  # as the result files describe one
SINGLE = "fp32"


class Modes(Analysis):
    """What the article says about ways of carrying out a network."""

    study = "modes"

    @property
    def images(self) -> int:
        return self.metric(self.networks[0], "recorded.flipped").n or 0

    def _parameters(self, run: str) -> dict[str, Any]:
        return self.store.parameters(self.sources[run])

    def ways(self, run: str) -> list[Way]:
        """The ways that a network was carried out in; exact comes first."""
        return list(self._parameters(run)["ways"])

    def title(self, run: str, name: str) -> str:
        """A way of a network as the text calls it."""
        exact, *others = self.ways(run)
        return "exact" if name == exact["name"] else next(_title(way) for way in others if way["name"] == name)

    @cached_property
    def pairs(self) -> list[tuple[str, Way]]:
        """Each network with each way but exact."""
        return [(run, way) for run in self.networks for way in self.ways(run)[1:]]

    def _value(self, run: str, way: Way, name: str) -> float:
        return self.metric(run, f"{way['name']}.{name}").value

    @property
    def repeated(self) -> str:
        """How many of the predictions that the experiments of the networks recorded are exact's, too."""
        flipped = round(sum(self.metric(run, "recorded.flipped").value for run in self.networks))
        return f"all recorded predictions but {phrases.words(flipped)}" if flipped else "every recorded prediction"

    @property
    def speed_sentence(self) -> str:
        """The fastest way of each network; another than exact has to be ahead in three quarters of the rounds."""
        found = [(run, self._fastest(run)) for run in self.networks]
        if not any(way for _, way in found):
            return "No way is faster than exact in three quarters of the rounds."
        faster = _grouped((_title(way), f"{self.label(run)} ({self._times(run, way)})") for run, way in found if way)
        none = [self.label(run) for run, way in found if way is None]
        rest = f"; for {listing(none)} none is ahead in three quarters of the rounds" if none else ""
        return f"Faster than exact is {faster}{rest}."

    def _fastest(self, run: str) -> Way | None:
        ahead = [way for way in self.ways(run)[1:] if (self.metric(run, f"{way['name']}.speed").low or 0) > 1]
        return max(ahead, key=lambda way: self._value(run, way, "speed"), default=None)

    def _times(self, run: str, way: Way) -> str:
        return f"{number(self._value(run, way, 'speed'))} times"

    @property
    def price_sentence(self) -> str:
        """The most that the ways of each precision change."""
        precisions = list(dict.fromkeys(way["precision"] for _, way in self.pairs))
        text = f"In {'; in '.join(self._price(precision) for precision in precisions)}."
        return f"{text} For half precision this device has no instructions." if precisions == [SINGLE] else text

    def _price(self, precision: str) -> str:
        members = [(run, way) for run, way in self.pairs if way["precision"] == precision]
        flipped, largest = (max(self._value(*pair, name) for pair in members) for name in ("flipped", "largest"))
        who = f"up to {phrases.plural(round(flipped), 'prediction')}" if flipped else "no prediction"
        verb = "flip" if flipped > 1 else "flips"
        return f"{precision} {who} {verb} (logits within {significant(largest, 2)} deviations)"

    @property
    def accuracy_sentence(self) -> str:
        """Where a test finds another accuracy than exact's; where it finds none, what the intervals leave open."""
        changed = [pair for pair in self.pairs if phrases.differs(self._value(*pair, "p"))]
        if changed:
            told = _grouped((_title(way), f"{self.label(run)} ({self._change(run, way)})") for run, way in changed)
            return f"Accuracy changes detectably by {told}."
        found = [self.metric(run, f"{way['name']}.difference") for run, way in self.pairs]
        most = max(abs(limit) for metric in found for limit in (metric.low, metric.high) if limit is not None)
        return f"No way changes accuracy detectably; the intervals exclude more than {number(most)} points."

    def _change(self, run: str, way: Way) -> str:
        return f"{signed(self._value(run, way, 'difference'))} points"

    @property
    def auto_sentence(self) -> str:
        """What auto chooses, what it passes over, and whether its choices keep the tolerance on all images."""
        chosen = _grouped((self.title(run, self._auto(run)["way"]), self.label(run)) for run in self.networks)
        limit = f"{self.settings['accepted']:g} deviations on one batch"
        text = f"`auto`, the fastest way within {limit}, is {chosen}."
        return " ".join(filter(None, [text, self._passed_over, self._kept]))

    def _auto(self, run: str) -> dict[str, Any]:
        return dict(self._parameters(run)["auto"][run])

    @property
    def _passed_over(self) -> str:
        """The ways that were faster in auto's trials than its choice, which differ by too much."""
        found = [
            (self.title(run, trial["way"]), f"{self.label(run)} ({significant(trial['difference'], 2)})")
            for run in self.networks
            for trial in self._auto(run)["trials"]
            if trial["seconds"] < self._seconds(run)
        ]
        return f"Faster, but further off: {_grouped(found)}." if found else ""

    def _seconds(self, run: str) -> float:
        """Of a batch by auto's choice in its trials."""
        auto = self._auto(run)
        return float(next(trial["seconds"] for trial in auto["trials"] if trial["way"] == auto["way"]))

    @property
    def _kept(self) -> str:
        """Whether auto's choices stay within its tolerance on all images, where they are not exact."""
        choices = [(run, self._auto(run)["way"]) for run in self.networks]
        most = {
            self.label(run): self.metric(run, f"{way}.largest").value
            for run, way in choices
            if way != self.ways(run)[0]["name"]
        }
        meant = self.settings["tolerance"]
        over = [f"{significant(x, 2)} for {label}" for label, x in most.items() if x > meant]
        if over:
            return f"That is meant to keep all images within {meant:g}, but logits move by up to {listing(over)}."
        return f"Over all images, logits then keep within {meant:g}, as is meant." if most else ""

    def tables(self) -> list[Table]:
        return [self.table()] if self.done else []

    def figures(self) -> list[Illustration]:
        return []

    def table(self) -> Table:
        """A row for each network and way but exact."""
        exact, rates = self.ways(self.networks[0])[0], listing([self._rate(run) for run in self.networks])
        return Table(
            self.study,
            f"Ways of carrying out trained networks, against exact: {_title(exact)}, with {rates} images a second in "
            f"batches of {phrases.count(self.settings['batch_size'])}. Speed: the median ratio within a round, with "
            f"quartiles over {phrases.plural(self.settings['rounds'], 'round')}. Median and largest difference of "
            "logits, in deviations of exact's; predictions flipped; change of accuracy in points with its 95 % "
            f"interval. \\*: $p$ below {phrases.ALPHA} by the exact McNemar test after Holm's correction"
            f"{' within each experiment' if len(self.done) > 1 else ''}.",
            ["Network", "Way", "Speed (exact = 1)", "Median", "Largest", "Flipped", "Accuracy"],
            "llrrrrr",
            [self._row(run, way) for run, way in self.pairs],
            wide=True,
        )

    def _rate(self, run: str) -> str:
        rate = self._value(run, self.ways(run)[0], "images_per_second")
        return f"{phrases.count(rate)} ({self.label(run)})"

    def _row(self, run: str, way: Way) -> list[Cell]:
        speed, change = (self.metric(run, f"{way['name']}.{name}") for name in ("speed", "difference"))
        star = "\\*" if phrases.differs(self._value(run, way, "p")) else ""
        return [
            measured(self.label(run)),
            measured(_title(way)),
            measured(f"{number(speed.value)} ({phrases.interval(speed.low, speed.high)})"),
            measured(significant(self._value(run, way, "median"), 2)),
            measured(significant(self._value(run, way, "largest"), 2)),
            measured(phrases.count(self._value(run, way, "flipped"))),
            measured(phrases.with_interval(change.value, change.low, change.high) + star),
        ]


def _title(way: Way) -> str:
    """Folding goes without saying."""
    layout = "channels last" if way["channels_last"] else "channels first"
    parts = [way["precision"], layout, "" if way["folded"] else "unfolded"]
    return ", ".join(filter(None, [*parts, way["compiled"] and f"compiled ({way['compiled']})"]))


def _grouped(pairs: Iterable[tuple[str, str]]) -> str:
    """Ways and for which networks: "A for X and Y; B for Z"."""
    found: dict[str, list[str]] = {}
    for way, network in pairs:
        found.setdefault(way, []).append(network)
    return "; ".join(f"{way} for {listing(networks)}" for way, networks in found.items())
