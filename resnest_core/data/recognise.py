"""What a directory holds, for people who gave it to a data set that does not read it.

Only names of files are read, and of those in class folders only a few: a million images take no longer than ten.
"""

import json
import mmap
import os
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from resnest_core.data import coco, fashion_mnist, file_list, imagenet, imagenet_v2, segmentation, shards
from resnest_core.data.coco_categories import THINGS
from resnest_core.data.shard_index import CLASSES, INDEX, SUFFIXES
from resnest_core.data.storage import is_url

_FEW = 20  # files and folders that stand for all of a kind
_NAMED = 5  # entries that an error names
_LISTED = 10_000  # characters in which a list of categories begins and ends


class Kind(NamedTuple):
    """A data set that reads a directory, what it reads there, and what for; the last two for people."""

    dataset: str
    what: str
    network: str = "a classifier"


def kinds(root: Path) -> list[Kind]:
    """The data sets that a directory can be meant for: those with marks of their own, or else what its files allow."""
    if marked := _marked(root):
        return marked
    if any(_split_folders(root)) or _are_classes(root):
        numbered = all(name.isdecimal() for name in _folders(root))
        others = [Kind("imagenet_v2", "folders by class number")] if numbered else []
        return [Kind("imagefolder", "class folders"), *others]
    if _lists(root):
        return [Kind("file_list", f"lists of images without {CLASSES}")]
    return [Kind("shards", f"tars without {INDEX} (`resnest-core index` makes it)")] if _holds(root, "*.tar") else []


def is_another(root: Path) -> bool:
    """Whether the folders in `root` are no classes, but parts of a data set of another kind or data sets themselves."""
    names = _folders(root)
    if not names or imagenet.SPLIT_NAMES & set(names):
        return False
    own = {"imagefolder", "imagenet", "imagenet_v2"}
    if (root / CLASSES).is_file() and set(names) == set((root / CLASSES).read_text(errors="replace").splitlines()):
        own.add("file_list")
    nested = all(any(_split_folders(root / name)) for name in names)
    return nested or any(kind.dataset not in own for kind in _marked(root))


def advice(place: str | Path, asked: str, readable: Collection[str]) -> str:
    """What to give in place of the data set `asked`, as the end of an error; `readable` are those of the same task.

    Where the place can only be one thing, the last words are `--dataset` and its name.
    """
    if is_url(str(place)):
        remote = (shards.NAME, file_list.NAME)
        valid = " or ".join(f"--dataset {name}" for name in remote)
        return "" if asked in remote else f"; a URL is for the shards and lists of a classifier: {valid}"
    root = Path(place)
    if root.is_file():
        return _about_file(root)
    if not root.is_dir():
        return ""
    entries = sorted(entry.name for entry in os.scandir(root))
    for where in (root, *(root / name for name in entries[:_FEW] if (root / name).is_dir())):
        found = kinds(where)
        if where == root and asked in [kind.dataset for kind in found]:
            break  # it is of that kind, and lacks what was asked for
        if found:
            return f"; '{where}' holds {_said(found, readable, '' if where == root else f'--data {where} ')}"
    more = f" and {len(entries) - _NAMED:,} more" if len(entries) > _NAMED else ""
    return f"; it holds {', '.join(map(repr, entries[:_NAMED]))}{more}"


def _said(found: list[Kind], readable: Collection[str], there: str) -> str:
    found = [kind for kind in found if kind.dataset in readable] or found
    what = " and ".join(kind.what for kind in found)
    foreign = "" if found[0].dataset in readable else f", for {found[0].network}"
    return f"{what}{foreign}: {there}{' or '.join(f'--dataset {kind.dataset}' for kind in found)}"


def _about_file(file: Path) -> str:
    """A file where a directory is meant."""
    if file.name.lower().endswith(file_list.SUFFIXES):
        return f"; '{file}' is a list: --dataset file_list"
    near = {".tar": ("shards", "a tar"), ".json": ("coco_format", "a file of annotations")}
    if file.suffix.lower() not in near:
        return f"; '{file}' is a file"
    dataset, what = near[file.suffix.lower()]
    return f"; '{file}' is {what}: give the directory of the data set, and --dataset {dataset}"


def _marked(root: Path) -> list[Kind]:
    """The data sets whose files or folders have names that others have not."""
    return [*_detection(root), *_segmentation(root), *_classification(root)]


def _detection(root: Path) -> Iterator[Kind]:
    patterns = [f"{folder}/annotations/*_{split}.json" for folder in coco.FOLDERS for split in coco.SPLITS.values()]
    files = [file for pattern in patterns for file in root.glob(pattern)]
    if any(file.name.startswith("instances_") and _are_published(file) for file in files):
        yield Kind("coco", "COCO 2017", "a detector")
    elif any(coco.candidates(root, split)[1] for split in coco.SPLITS):
        yield Kind("coco_format", "annotations in COCO's format", "a detector")
    if any(file.name.startswith("panoptic_") for file in files):
        yield Kind("coco_panoptic", "COCO 2017 with panoptic annotations", "a detector")


def _are_published(file: Path) -> bool:
    """Whether the categories of a file of annotations, which may have half a gigabyte, are COCO's."""
    try:
        with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.find(b"[", content.rfind(b'"categories"'))
            text = content[start : start + _LISTED].decode(errors="replace")
        return {category["name"] for category in json.JSONDecoder().raw_decode(text)[0]} == set(THINGS.values())
    except (ValueError, TypeError, KeyError):
        return False


def _segmentation(root: Path) -> Iterator[Kind]:
    for name, published in segmentation.SETS.items():
        for own in map(published.of, published.splits):
            labels = [coding.labels for coding in own.codings]
            if any(_holds(root / place, own.images) and _holds(root / place, *labels) for place in published.folders):
                yield Kind(name, f"{name}'s images and labels", "a segmentation network")
                break


def _classification(root: Path) -> Iterator[Kind]:
    places = [root / folder for folders in imagenet.FOLDERS.values() for folder in folders]
    if any(_holds(place, "n" + "[0-9]" * 8, "ILSVRC2012_val_*") for place in places):
        yield Kind("imagenet", "ImageNet's synsets")
    if any((root / folder).is_dir() for folder in imagenet_v2.FOLDERS[1:]):
        yield Kind("imagenet_v2", "ImageNet-V2")
    if fashion_mnist.is_in(root):
        yield Kind("fashion_mnist", "Fashion-MNIST's original files")
    if (root / CLASSES).is_file() and _lists(root):
        yield Kind("file_list", "lists of images")
    if any((root / folder / INDEX).is_file() for folders in shards.FOLDERS.values() for folder in folders):
        yield Kind("shards", "shards with an index")


def _lists(root: Path) -> bool:
    stems = [stem for stems in file_list.STEMS.values() for stem in stems]
    return any((root / f"{stem}{suffix}").is_file() for stem in stems for suffix in file_list.SUFFIXES)


def _holds(folder: Path, *patterns: str) -> bool:
    return folder.is_dir() and any(next(folder.glob(pattern), None) for pattern in patterns)


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _split_folders(root: Path) -> Iterator[Path]:
    """The folders of splits that hold class folders."""
    return (root / split for split in sorted(imagenet.SPLIT_NAMES) if _are_classes(root / split))


def _are_classes(folder: Path) -> bool:
    """Whether a folder holds folders with images, none of them called as a split."""
    names = _folders(folder) if folder.is_dir() else []
    return not imagenet.SPLIT_NAMES & set(names) and any(_has_images(folder / name) for name in names[:_FEW])


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().rpartition(".")[2] in SUFFIXES for entry in islice(entries, _FEW))
