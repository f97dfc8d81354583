"""Any data set of classification as tar shards with an index, in the data set's own order."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from resnest_core.data.base import Dataset
from resnest_core.data.fashion_mnist import FashionMNIST
from resnest_core.data.shard_index import CLASSES, INDEX, SUFFIXES, UNFINISHED, Index, make_index, write_index
from resnest_core.data.strings import Strings
from resnest_core.errors import InputError
from resnest_core.files import output_directory, replacing, write_json
from resnest_core.ranges import check
from resnest_core.texts import printable


def write_shards(
    dataset: Dataset, out: str | Path, images_per_shard: int = 10_000, *, overwrite: bool = False
) -> Index:
    """Write `000000.tar` and so on, `classes.txt` and `index.parquet` into `out`; goes on if interrupted.

    Images have in the index the names that they have in `dataset`. InputError for a directory that holds another set,
    unless `overwrite` replaces that, and for files that are no images by their names.
    """
    out = output_directory(out)
    names = _names(dataset)
    members = _members(names)
    _begin(out, dataset, images_per_shard, overwrite)
    with tqdm(total=len(dataset), desc="writing shards", unit="image") as bar:
        for number, first in enumerate(range(0, len(dataset), images_per_shard)):
            some = range(first, min(first + images_per_shard, len(dataset)))
            path = out / f"{number:06d}.tar"
            if not path.exists():
                _write_tar(path, dataset, members, some)
            bar.update(len(some))
    return _finish(out, dataset, names, members)


def _names(dataset: Dataset) -> Strings:
    suffix = ".png" if isinstance(dataset, FashionMNIST) else ""
    return Strings.of(f"{printable(path)}{suffix}" for path in dataset.paths)


def _members(names: Strings) -> Strings:
    """The name of each image in its tar: its own, but for dots in it, as a key ends at the first one."""
    keys = Strings.of(_member(name).rpartition(".")[0] for name in names)
    again = {int(i) for i in keys.repeats()}  # x.png beside x.jpg
    return Strings.of(_member(name, shared=i in again) for i, name in enumerate(names))


def _member(name: str, *, shared: bool = False) -> str:
    *folders, file = (part for part in name.split("/") if part not in ("", ".", ".."))
    stem, _, suffix = file.rpartition(".")
    if not stem or suffix.lower() not in SUFFIXES:
        raise InputError(
            f"'{name}' is no image by its name; valid in a shard: names that end in .{', .'.join(SUFFIXES)}"
        )
    stem = f"{stem}.{suffix}" if shared else stem
    return "/".join([*folders, f"{stem.replace('.', '%2E')}.{suffix}"])


def _begin(out: Path, dataset: Dataset, images_per_shard: int, overwrite: bool) -> None:
    """Mark what is written into `out`; InputError if anything else is there."""
    check(images_per_shard=images_per_shard)
    about = {"digest": dataset.digest, "images": len(dataset), "images_per_shard": images_per_shard}
    marker = out / UNFINISHED
    unfinished = json.loads(marker.read_text()) if marker.exists() else None
    if unfinished != about:
        if overwrite:
            for old in (out / INDEX, *out.glob(f"{'[0-9]' * 6}.tar"), out / CLASSES, marker):
                old.unlink(missing_ok=True)
        if what := _held(out):
            remedy = "give another directory, or --overwrite (in Python overwrite=True)"
            raise InputError(f"'{out}' holds {what}; {remedy}")
    for stale in out.glob(".*.tar.*.tmp"):
        stale.unlink()
    write_json(marker, about)
    with replacing(out / CLASSES) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in dataset.classes), encoding="utf-8")


def _held(out: Path) -> str:
    """What of another set is in `out`, in words; empty if nothing is."""
    if (out / UNFINISHED).exists():
        return "the beginning of another set of shards"
    if (out / INDEX).exists() or any(out.glob("[!.]*.tar")):
        return "shards already"
    return f"a {CLASSES} already" if (out / CLASSES).exists() else ""


def _write_tar(path: Path, dataset: Dataset, members: Strings, indices: range) -> None:
    with replacing(path) as temporary, tarfile.open(temporary, "w") as archive:
        for i in indices:
            _add(archive, members[i], dataset.content(i))
            _add(archive, f"{members[i].rpartition('.')[0]}.cls", str(dataset.targets[i]).encode())
            archive.members.clear()  # type: ignore[attr-defined]  # else it keeps all, a kilobyte each


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _finish(out: Path, dataset: Dataset, names: Strings, members: Strings) -> Index:
    """Read the tars back and write the index, with the images' own names."""
    index = make_index(str(out), dataset.classes)
    written = Strings(index.table["image"])
    if (
        len(written) != len(members)
        or written.array != members.array
        or (index.column("target") != dataset.targets).any()
    ):
        raise InputError(f"'{out}' holds other images than were to be written; remove it and begin again")
    place = index.table.schema.get_field_index("image")
    index = replace(index, table=index.table.set_column(place, "image", names.array))
    write_index(out / INDEX, index, beside=True)
    (out / UNFINISHED).unlink()
    return index
