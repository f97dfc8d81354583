"""What the studies have in common whose networks carry a classifier's trunk into another task."""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from resnest_core.article.comparisons import Group

PERMUTATION = "permutation test over images"
PRETRAINED, RANDOM, PUBLISHED = "pretrained", "random", "published"


class Started(Protocol):
    """A network with what its trunk began with."""

    @property
    def start(self) -> str: ...


N = TypeVar("N", bound=Started)


class TransferStudy(Generic[N]):
    """A study whose runs are grouped by network."""

    groups: Mapping[N, Group]

    @property
    def done(self) -> list[N]:
        return [network for network, group in self.groups.items() if group.done]

    @property
    def small(self) -> bool:
        """Whether networks were trained here, rather than published ones evaluated."""
        return any(network.start != PUBLISHED for network in self.groups)

    @property
    def seeds(self) -> int:
        return max((len(group.done) for group in self.groups.values()), default=0)
