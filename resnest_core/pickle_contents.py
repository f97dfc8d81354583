"""What a pickle would import, found by reading its instructions without following them, and what stands in for it."""

import io
import pickle
import pickletools
import re
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

# What the pickle of a plain state dict imports.
TENSOR_PARTS = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.Parameter|"
    r"torch\.serialization\._get_layout|torch\.(\w+Storage|Size|device|Tensor|[a-z]+\d+)"
)
# What trainers keep beside the weights: constructors that only hold values.
VALUES = re.compile(
    r"numpy\.(ndarray|dtype|(bool|int|uint|float|complex|str|bytes|datetime|timedelta|void)\w*|dtypes\.\w+)|"
    r"numpy\._?core\.(multiarray\.(scalar|_reconstruct)|numeric\._frombuffer)|numpy\.random\.[\w.]+|"
    r"argparse\.Namespace|types\.SimpleNamespace|datetime\.\w+|"
    r"pathlib\.(_local\.)?\w*Path|decimal\.Decimal|fractions\.Fraction|uuid\.\w+|typing\.\w+|functools\.partial|"
    r"builtins\.(bool|bytearray|bytes|complex|dict|float|frozenset|int|list|object|range|set|slice|str|tuple|type)"
)
CONTAINERS: dict[str, type] = {"collections.defaultdict": dict, "collections.deque": list}
PICKLED = "torch.storage._load_from_bytes"  # how a tensor is written by pickle.dump
REPRESENTS = "resnest_core.represents"  # the attribute of an object that names the class it stands in for


def imports(file: BinaryIO) -> list[str]:
    """The objects that a file of torch.save or pickle.dump would import, apart from the parts of tensors."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            file = io.BytesIO(archive.read(pickled))
    file.seek(0)
    names: list[str] = []
    with suppress(Exception):  # pickletools raises nearly anything where the pickles end
        for _ in range(5):  # torch's old format is five pickles and then the raw numbers
            names.extend(map(_of_python_3, _globals(file)))
    return [name for name in dict.fromkeys(names) if not TENSOR_PARTS.fullmatch(name)]


def code(names: Iterable[str]) -> list[str]:
    """Those of the names whose call may do anything: functions, and what is of Python itself but for plain values."""
    return [name for name in names if not _is_plain(name) and (_is_function(name) or _is_of_python(name))]


def stand_ins(names: Iterable[str]) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """For torch's `safe_globals`: in place of each object one that does nothing.

    So a file is read without importing what it names. A call of `code` raises pickle.UnpicklingError.
    """
    return [(_Value, REPRESENTS), *((_StandIn(name), name) for name in names)]


class _Value:
    """In place of a value: may be hashed, and be given a state of any shape."""

    def __setstate__(self, state: object) -> None:
        """Drop it."""


class _StandIn:
    """In place of a class or function that a pickle names."""

    def __init__(self, name: str) -> None:
        self.name = name
        vars(self)["__new__"] = self._made  # what the pickle calls for an object of a class

    def __call__(self, *_: object) -> object:
        """What the pickle gets for a call."""
        if code([self.name]):
            raise pickle.UnpicklingError(f"it calls {self.name}")
        return self._made()

    def _made(self, *_: object) -> object:
        if self.name in CONTAINERS:
            return CONTAINERS[self.name]()
        if VALUES.fullmatch(self.name):
            return _Value()
        found: Counter[str] = Counter()  # of the types that torch's reader fills the one that takes items and a state
        vars(found)[REPRESENTS] = self.name
        return found


def _is_plain(name: str) -> bool:
    return name in CONTAINERS or bool(VALUES.fullmatch(name))


def _is_function(name: str) -> bool:
    return not name.rpartition(".")[2].lstrip("_")[:1].isupper()


def _is_of_python(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names - {"__main__"}


def _of_python_3(name: str) -> str:
    """A name as torch reads it: protocol 2 writes those of Python 2."""
    module, _, attribute = name.rpartition(".")
    module, attribute = NAME_MAPPING.get((module, attribute), (IMPORT_MAPPING.get(module, module), attribute))
    return f"{module}.{attribute}"


def _globals(file: BinaryIO) -> Iterator[str]:
    """The imports of the next pickle in `file`; the strings of protocol 4 are followed through its memo."""
    strings: list[str] = []
    memo: dict[int, str] = {}
    for instruction, argument, _ in pickletools.genops(file):
        if instruction.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif instruction.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif instruction.name == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else ""
        elif instruction.name in ("BINGET", "LONG_BINGET") and argument in memo:
            strings.append(memo[argument])
        elif isinstance(argument, str):
            strings.append(argument)
