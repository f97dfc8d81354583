"""What the studies have in common whose networks carry a classifier's trunk into another task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from resnest_core.article.comparisons import Comparison, Group

PERMUTATION = "permutation test over images"
PRETRAINED, RANDOM, PUBLISHED = "pretrained", "random", "published"


class Started(Protocol):
    """A network with what its trunk began with."""

    @property
    def start(self) -> str: ...


N = TypeVar("N", bound=Started)


class TransferStudy(ABC, Generic[N]):
    """A study whose runs are grouped by network."""

    groups: Mapping[N, Group]
    score: str  # the metric that the study is about

    @cached_property
    def _comparisons(self) -> dict[tuple[N, N, str], Comparison | None]:
        return {}

    def compare(self, first: N, second: N, metric: str) -> Comparison | None:
        """A metric of two networks, without correction for other comparisons; computed once, None without scores."""
        key = (first, second, metric)
        if key not in self._comparisons:
            known = all(self.groups[network].known(self.score) for network in (first, second))
            self._comparisons[key] = self._compare(*key) if known else None
        return self._comparisons[key]

    @abstractmethod
    def _compare(self, first: N, second: N, metric: str) -> Comparison | None: ...

    @property
    def done(self) -> list[N]:
        """The networks that ran and have a score."""
        return [network for network, group in self.groups.items() if group.known(self.score)]

    @property
    def ran(self) -> bool:
        """Whether a network ran, with a score or without."""
        return any(group.done for group in self.groups.values())

    @property
    def small(self) -> bool:
        """Whether networks were trained here, rather than published ones evaluated."""
        return any(network.start != PUBLISHED for network in self.groups)

    @property
    def seeds(self) -> int:
        return max((len(group.done) for group in self.groups.values()), default=0)
