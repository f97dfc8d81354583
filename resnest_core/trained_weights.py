"""Files as trainers write them: where in one the weights are, and what a trainer put before their names."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from resnest_core import distributed, published_keys
from resnest_core.errors import InputError
from resnest_core.pickle_contents import REPRESENTS

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

# What trainers call the weights themselves, and moving averages of them; other names count where none is of these.
WEIGHTS = re.compile(
    r"((model|net|network|module|backbone|encoder)_?)?(state|state_?dict|weights|params)?|_orig_mod", re.IGNORECASE
)
AVERAGES = re.compile(r"(^|[._])(ema|swa)([._\d]|$)|averag|shadow|teacher", re.IGNORECASE)
OPTIMISER = "optim"
# Parts that wrappers (DataParallel, torch.compile, FSDP, checkpointing) add to names, wherever they stand.
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Counts in the place of weights, of thop and of torch's AveragedModel.
NO_WEIGHTS = re.compile(r"(.*\.)?(total_ops|total_params|n_averaged)")


def unwrapped(content: Any) -> "tuple[State, str]":
    """The one state dict in what a file holds, at any depth of names, and a remark if averages of it count or not.

    Raises InputError, without the name of the file, if there is none, or if several could be meant.
    """
    found = dict(_state_dicts(content))
    if not found:
        raise InputError(f"holds no state dict: {_what(content)}")
    name = _chosen(found)
    if _is_average(name):
        return found[name], f"'{name}', a moving average, is loaded"
    averages = [other for other in found if _is_average(other)]
    return found[name], f"'{name}' is loaded, and not {_quoted(averages)}" if averages else ""


def fitted(state_dict: "Mapping[str, Tensor]", own: Collection[str], source: object) -> "State":
    """A state dict under the names of the model's `own` keys: the authors' renamed, what wrappers put before them off.

    Where the model has all its keys below one name, what is beside it is left out, which a line says.
    """
    bare = _bare(state_dict, own)
    sets = {name: _below(bare, name) for name in _names(bare, len(own))}
    number = {name: sum(key in found for key in own) for name, found in sets.items()}
    best = {name: sets[name] for name in sets if number[name] == max(number.values())}
    name = "" if "" in best else _chosen(best)
    beside = [key for key in bare if not key.startswith(name)]
    if beside and number[name] < len(own):
        return sets[""]
    if beside:
        more = ", ..." if len(beside) > 1 else ""
        say(source, f"{len(beside):,} of {len(bare):,} keys are not below '{name}', and left out ({beside[0]}{more})")
    return sets[name]


def say(source: object, what: str) -> None:
    """Print a remark on the weights from a source."""
    if distributed.is_first():
        print(f"weights: {source}: {what}", flush=True)


def _state_dicts(content: Any, name: str = "") -> "Iterator[tuple[str, State]]":
    """All state dicts but an optimiser's, by their names, dotted where they lie in one another."""
    import torch

    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        return
    if all(isinstance(value, torch.Tensor) for value in content.values()):
        yield name, dict(content)
        return
    for key, value in content.items():
        if OPTIMISER not in key.lower():
            yield from _state_dicts(value, f"{name}.{key}".removeprefix("."))


def _chosen(sets: "Mapping[str, State]") -> str:
    """The name of the weights themselves; else of a moving average; else of what else there is."""
    plain = [name for name in sets if all(WEIGHTS.fullmatch(part) for part in name.split("."))]
    averages = [name for name in sets if _is_average(name)]
    names = plain or averages or list(sets)
    if any(not _same(sets[names[0]], sets[name]) for name in names[1:]):
        raise InputError(f"holds several sets of weights: {_quoted(names)}; save the one that is meant in a file alone")
    return names[0]


def _is_average(name: str) -> bool:
    return bool(AVERAGES.search(name))


def _same(one: "State", other: "State") -> bool:
    return one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)


def _what(content: Any) -> str:
    """What is there in the place of a state dict."""
    import torch

    if not isinstance(content, dict):
        return f"it is {type(content).__name__}"
    if name := vars(content).get(REPRESENTS) if isinstance(content, Counter) else None:
        return f"it is a whole {name}; save its state_dict()"
    inner = [value for key, value in content.items() if isinstance(value, dict) and WEIGHTS.fullmatch(str(key))]
    if inner:
        return _what(inner[0])
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            return f"its entry {key!r} is a {type(value).__name__}, not a tensor"
    return "it is empty"


def _bare(state_dict: "Mapping[str, Tensor]", own: Collection[str]) -> "State":
    """The weights without what wrappers add to their names, unless the model has such parts itself."""
    kept = {key: value for key, value in state_dict.items() if key in own or not NO_WEIGHTS.fullmatch(key)}
    bare = {WRAPPERS.sub("", key): value for key, value in kept.items()}
    return kept if len(bare) < len(kept) or any(map(WRAPPERS.search, own)) else bare


def _names(keys: Collection[str], least: int) -> list[str]:
    """The beginnings, up to a dot, of `least` keys or of all, shortest first; one is empty."""
    counts = Counter(key[: dot.end()] for key in keys for dot in re.finditer(r"\.", key))
    return ["", *sorted((name for name, n in counts.items() if n >= least or n == len(keys)), key=len)]


def _below(state_dict: "State", name: str) -> "State":
    """The entries whose keys begin with a name, under the rest of their keys as they are called here."""
    below = {key.removeprefix(name): value for key, value in state_dict.items() if key.startswith(name)}
    return published_keys.renamed(below)


def _quoted(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
