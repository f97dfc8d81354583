"""The authors' published weights: a manifest of every file, and how to read one safely.

The manifest is `checkpoints.csv`, a row per file. Nothing here touches the network (`downloads.py` does) and
torch is imported only where tensors are read, so that looking a file up is quick.
"""

import csv
import hashlib
import io
import json
import os
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import yaml

from resnest_core import pickle_contents, trained_weights
from resnest_core.errors import InputError, unknown
from resnest_core.places import expanded

if TYPE_CHECKING:
    from torch import Tensor, nn

BytesFile = io.BufferedReader | io.BytesIO
CLASSES = "classes"  # in the metadata of a .safetensors: the names, as a JSON list


@runtime_checkable
class Adaptable(Protocol):
    """A network with `optional_keys`, which a file may lack, all at once; then it must adapt."""

    def optional_keys(self) -> set[str]: ...
    def adapt_to(self, keys: Collection[str]) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    """One published file and what belongs to it; the fields are the columns of `checkpoints.csv`."""

    name: str  # of the model
    task: str
    file: str  # name of the weights file; for format "zip" that of the .pth inside
    urls: tuple[str, ...]  # mirrors, the likeliest to answer first
    sha256: str  # leading hexadecimal digits of the SHA-256 of `file`, or "" where none is published
    sha1: str  # SHA-1 of `file`, or ""
    hub_mirror: str  # Hugging Face repository with the same weights saved anew (other bytes, same keys), or ""
    format: str  # of the download: "pth", or "zip" that holds one .pth
    publisher: str
    listed_in: str  # authors' file that names the URL and the digest
    channels: str  # order of colours: "RGB" or "BGR"
    pixel_range: str  # of the input before `mean` and `std` of `preprocessing`: "0..1" or "0..255"
    preprocessing: dict[str, Any]  # for a classifier the fields of `data.transforms.Preprocessing`
    score: dict[str, float]  # published metrics in %, as the authors name them; empty where there are none
    score_protocol: str
    score_source: str

    @property
    def digest(self) -> tuple[str, str] | None:
        """Algorithm and (leading) hexadecimal digits, or None where the authors published no digest."""
        if self.sha256:
            return "sha256", self.sha256
        return ("sha1", self.sha1) if self.sha1 else None

    @property
    def digest_text(self) -> str:
        """The digest for a reader."""
        if self.digest is None:
            return "no published digest"
        return f"SHA-256 begins {self.sha256}" if self.sha256 else f"SHA-1 {self.sha1}"


def _read_manifest() -> dict[str, Checkpoint]:
    text = resources.files("resnest_core").joinpath("checkpoints.csv").read_text(encoding="utf-8")
    return {row["name"]: _checkpoint(row) for row in csv.DictReader(io.StringIO(text))}


def _checkpoint(row: dict[str, Any]) -> Checkpoint:
    parsed = {key: yaml.safe_load(row[key]) for key in ("preprocessing", "score")}
    preprocessing = {key: tuple(v) if isinstance(v, list) else v for key, v in parsed["preprocessing"].items()}
    return Checkpoint(**{**row, **parsed, "preprocessing": preprocessing, "urls": tuple(row["urls"].split())})


MANIFEST = _read_manifest()


def published(name: str) -> Checkpoint:
    """The record of `name`; InputError if the authors published no weights under that name."""
    if name not in MANIFEST:
        raise unknown("published weights", name, MANIFEST)
    return MANIFEST[name]


def weights_directory() -> Path:
    """Where published files are kept: $RESNEST_WEIGHTS, or else ~/.cache/resnest_core; InputError without a home."""
    if given := os.environ.get("RESNEST_WEIGHTS"):
        return Path(expanded(given))
    try:
        return Path.home() / ".cache" / "resnest_core"
    except RuntimeError:
        raise InputError("this user has no home directory to keep weights in; set RESNEST_WEIGHTS to another") from None


def locate(name: str, directory: Path | None = None) -> Path | None:
    """The file of `name` in `directory` (`weights_directory()` if None), not verified, or None.

    Where the authors publish a zip, the zip itself will do as well as the .pth inside it.
    """
    checkpoint, directory = published(name), directory or weights_directory()
    candidates = [directory / checkpoint.file, directory / checkpoint.urls[0].rpartition("/")[2]]
    return next((path for path in candidates if path.is_file()), None)


def instructions(name: str, directory: Path | None = None) -> str:
    """How to get the file of `name` by other means: all its URLs, its digest, and where to put it."""
    checkpoint, directory = published(name), directory or weights_directory()
    what = f"{checkpoint.file} or the zip that holds it" if checkpoint.format == "zip" else checkpoint.file
    text = f"put {what} ({checkpoint.digest_text}) from {' or '.join(checkpoint.urls)} into {directory}"
    if checkpoint.hub_mirror:
        text += f", or give the path of model.safetensors from https://huggingface.co/{checkpoint.hub_mirror}"
    return text


def problem(path: str | Path, checkpoint: Checkpoint) -> str | None:
    """What is wrong with the file at `path` as a copy of `checkpoint`, or None if it is whole and right.

    Without a published digest all that can be said is whether it can be read.
    """
    try:
        if checkpoint.digest is None:
            _read(Path(path))
            return None
        algorithm, expected = checkpoint.digest
        with opened(Path(path)) as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
    except InputError as error:
        return str(error)
    name = algorithm.replace("sha", "SHA-")
    return None if found.startswith(expected) else f"has the {name} {found}, not {expected}; {_first_bytes(path)}"


def resolve(source: str | Path, name: str) -> Path:
    """The weights file that `source` means: "published", for `name` and with the right digest, or a path.

    Raises InputError, with `instructions`, if a published file is absent or wrong, and if a path is no file.
    """
    if source != "published":
        if Path(source).is_file():
            return Path(source)
        raise InputError(f"weights '{source}' are not a file; give 'published' or a .pth, .safetensors or zip file")
    checkpoint, path = published(name), locate(name)
    if path is None:
        raise InputError(
            f"the weights of '{name}' are not here: run 'resnest-core weights fetch {name}', or {instructions(name)}"
        )
    if wrong := problem(path, checkpoint):
        raise InputError(f"'{path}' is not the published file: it {wrong}; {instructions(name)}")
    return path


def read_state_dict(path: str | Path) -> dict[str, "Tensor"]:
    """The tensors of a .pth (old or new format), a .safetensors, or an authors' zip with one .pth, on the CPU.

    Nothing in the file is ever run: only tensors and plain containers are read, and nothing else that a trainer stored
    is made. A state dict inside {"state_dict": ...}, {"model": ...} and the like is taken out; a line says if moving
    averages were there, too. Raises InputError for anything else, with the code that a file would run, or its size and
    first bytes.
    """
    try:
        state_dict, remark = _read(Path(path))
    except InputError as error:
        raise InputError(f"'{path}' {error}") from None
    if remark:
        trained_weights.say(path, remark)
    return state_dict


def class_names(path: str | Path) -> tuple[str, ...] | None:
    """The names of the classes, in the order of the outputs, that a training here stored beside the weights, or None.

    A file that cannot be read has none; `read_state_dict` says why.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = json.loads((file.metadata() or {}).get(CLASSES, "null"))
    except (SafetensorError, ValueError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def load_state_dict(model: "nn.Module", state_dict: Mapping[str, "Tensor"], source: str | Path = "state dict") -> None:
    """Copy `state_dict` into `model`: every key and shape must match, or InputError names those that do not.

    What a trainer put before all keys comes off. Only the integer counters `num_batches_tracked` may be absent, as they
    are from files older than torch 0.4.1, and what the model says is `optional_keys`. The model is unchanged after an
    error. `source` is named in it.
    """
    own = model.state_dict()
    optional = model.optional_keys() if isinstance(model, Adaptable) else set()
    state_dict = _fitted(own, state_dict, source, optional)
    if optional and optional.isdisjoint(state_dict):
        own = {key: value for key, value in own.items() if key not in optional}
    missing = [key for key in own if key not in state_dict and not _is_counter(key)]
    unexpected = [key for key in state_dict if key not in own]
    shapes = {key: (tuple(state_dict[key].shape), tuple(own[key].shape)) for key in own if key in state_dict}
    misshapen = {key: pair for key, pair in shapes.items() if pair[0] != pair[1]}
    if not missing and not unexpected and (classes := _wrong_classes(misshapen)):
        raise InputError(
            f"{source} does not fit the model: wrong number of classes: file has {classes[0]}, model {classes[1]}"
        )
    if missing or unexpected or misshapen:
        described = [f"{key}: file {pair[0]}, model {pair[1]}" for key, pair in misshapen.items()]
        listed = [_listed("missing", missing), _listed("unexpected", unexpected), _listed("misshapen", described)]
        raise InputError(f"{source} does not fit the model: {'; '.join(filter(None, listed))}")
    _check_kinds(own, state_dict, source)
    if isinstance(model, Adaptable):
        model.adapt_to(state_dict)
    model.load_state_dict({**own, **state_dict})


def load_trunk(trunk: "nn.Module", state_dict: Mapping[str, "Tensor"]) -> None:
    """Begin with a classifier's `state_dict`, whose last layer is left out; else as `load_state_dict`."""
    state_dict = _fitted(trunk.state_dict(), state_dict, "the backbone")
    kept = {key: value for key, value in state_dict.items() if not key.startswith("fc.")}
    load_state_dict(trunk, kept, "the backbone")


def _fitted(
    own: Mapping[str, Any], state_dict: Mapping[str, "Tensor"], source: str | Path, optional: Collection[str] = ()
) -> dict[str, "Tensor"]:
    """A state dict under the names of a model whose own it is."""
    needed = {key for key in own if key not in optional and not _is_counter(key)}
    try:
        return trained_weights.fitted(state_dict, needed, source)
    except InputError as error:
        raise InputError(f"{source} {error}") from None


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _check_kinds(own: Mapping[str, "Tensor"], state_dict: Mapping[str, "Tensor"], source: str | Path) -> None:
    """InputError for weights that would be copied without their scale: quantised ones."""
    for key, value in state_dict.items():
        whole = value.is_quantized or not value.is_floating_point() or value.element_size() == 1
        if own[key].is_floating_point() and whole:
            raise InputError(f"{source}: {key} is {value.dtype}; valid: weights of 16 bits or more, not quantised")


def _wrong_classes(misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[int, int] | None:
    """Classes of the file and of the model, if the rows of the classifier `fc` differ and nothing else of it."""
    file, model = misshapen.get("fc.weight", ((), ()))
    if set(misshapen) <= {"fc.weight", "fc.bias"} and file and file[1:] == model[1:]:
        return file[0], model[0]
    return None


def _listed(kind: str, items: list[str], shown: int = 3) -> str:
    """`items` in short: how many there are and the first few."""
    more = ", ..." if len(items) > shown else ""
    return f"{len(items)} {kind} ({', '.join(items[:shown])}{more})" if items else ""


def _read(path: Path) -> tuple[dict[str, "Tensor"], str]:
    """As `read_state_dict`, with its remark; its errors do not name the file."""
    with opened(path) as file:
        try:
            content = _load(file)
        except Exception as error:  # a damaged file makes torch raise nearly anything
            raise InputError(_refusal(path, file, error)) from None
    return trained_weights.unwrapped(content)


def _load(file: BytesFile) -> Any:
    from safetensors.torch import load

    head = file.read(9)
    if head[8:] == b"{":  # safetensors: the length of a JSON header in 8 bytes, then the header
        return load(head + file.read())
    try:
        return _unpickled(file, [])
    except pickle.UnpicklingError:
        return _unpickled(file, pickle_contents.imports(file))


def _unpickled(file: BytesFile, names: list[str]) -> Any:
    """What a file of torch.save holds, with stand-ins for the objects that it names beside tensors."""
    import torch

    file.seek(0)
    with warnings.catch_warnings(), torch.serialization.safe_globals(pickle_contents.stand_ins(names)):
        warnings.simplefilter("ignore")  # torch warns of newer pickle protocols before it refuses them
        return torch.load(file, map_location="cpu", weights_only=True)


@contextmanager
def opened(path: Path) -> Iterator[BytesFile]:
    """The bytes of the weights at `path`: its own, or those of the .pth inside if it is an authors' zip."""
    with path.open("rb") as file:
        yield _inner_pth(path) or file


def _inner_pth(path: Path) -> BytesFile | None:
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if any(name.endswith("/data.pkl") for name in members):  # torch's own format, which is a zip too
                return None
            pth = [name for name in members if name.endswith(".pth") and not name.startswith("__MACOSX/")]
            if len(pth) == 1:
                return io.BytesIO(archive.read(pth[0]))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"is a damaged zip ({error}); {_first_bytes(path)}") from None
    raise InputError(f"is a zip with {len(pth)} .pth files among {_listed('members', members)}; it must hold one")


def _refusal(path: Path, file: BytesFile, error: Exception) -> str:
    """Why the file at `path`, on which torch raised `error`, was not read."""
    names = pickle_contents.imports(file) if isinstance(error, pickle.UnpicklingError) else []
    code = pickle_contents.code(names)
    if code == [pickle_contents.PICKLED]:
        return "was written by pickle.dump, which keeps no tensors apart; write it with torch.save(state_dict, path)"
    if code:
        return f"is refused: it holds {', '.join(code)}, which would run code when read; weights are tensors only"
    reason = (str(error) or type(error).__name__).splitlines()[0].split(". ")[0]
    if names:
        reason = f"torch reads no {', '.join(names)} as this file has them; store the state_dict() alone"
    return f"cannot be read as weights ({reason}); {_first_bytes(path)}"


def _first_bytes(path: str | Path) -> str:
    with open(path, "rb") as file:
        return f"it has {os.stat(path).st_size:,} bytes and begins with {file.read(16)!r}"
