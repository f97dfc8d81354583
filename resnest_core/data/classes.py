"""Classes by name: wherever two parts of a data set, or a network and a data set, meet.

A network's outputs are in the order of its training set's classes. Another set may have the same names in another
order (folders that sort otherwise, a list of its own, other ids of categories), which is then changed to that one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from resnest_core.data.base import Images
from resnest_core.data.coco import AnnotatedImages
from resnest_core.data.listing import some
from resnest_core.errors import InputError
from resnest_core.texts import composed

Data = TypeVar("Data", bound=Images)


def in_order(dataset: Data, classes: Sequence[str], whose: str) -> Data:
    """The data set with its classes, and what refers to them, in this order; `whose` they are is for people.

    Raises InputError naming the classes that only one of the two has.
    """
    check_names(f"data set '{dataset.name}'", dataset.classes, classes, whose)
    if dataset.classes == tuple(classes):
        return dataset
    order = [_normal(dataset.classes).index(name) for name in _normal(classes)]
    changed: Any = dataset
    if isinstance(dataset, AnnotatedImages):
        numbers = dataset.category_ids
        return replace(changed, categories={numbers[i]: name for i, name in zip(order, classes, strict=True)})
    if not hasattr(dataset, "targets"):
        raise InputError(f"the classes of data set '{dataset.name}' are in another order than those of {whose}")
    return replace(changed, classes=tuple(classes), targets=np.argsort(order)[changed.targets])


def check_names(what: str, own: Sequence[str], classes: Sequence[str], whose: str) -> None:
    """InputError unless both have the same names, each once where they are in another order."""
    own, classes = _normal(own), _normal(classes)
    if own == classes:
        return
    lacking, more = Counter(classes) - Counter(own), Counter(own) - Counter(classes)
    parts = [f"lacks {_some(lacking)}" if lacking else "", f"has {_some(more)} besides" if more else ""]
    if not lacking and not more and len(set(own)) < len(own):
        twice = Counter(own) - Counter(set(own))
        parts = [f"has {_some(twice)} more than once, in another order"]
    if said := " and ".join(filter(None, parts)):
        raise InputError(f"{what} has other classes than {whose}: it {said}; valid: the same classes, by name")


def _normal(names: Sequence[str]) -> list[str]:
    """Names as they look: some systems store an umlaut as two characters."""
    return [composed(name) for name in names]


def _some(names: Counter[str]) -> str:
    return some([repr(name) for name in sorted(names.elements())])
