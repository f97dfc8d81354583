"""What a pickle would import, found by reading its instructions without following them."""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

# What the pickle of a plain state dict imports.
TENSOR_PARTS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|device|Tensor|[a-z]+\d+)"
)


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
            names.extend(_globals(file))
    return [name for name in dict.fromkeys(names) if not TENSOR_PARTS.fullmatch(name)]


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
