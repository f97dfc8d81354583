"""Folders of images: ImageNet's validation set in its three usual layouts, and class folders of one's own.

1. Class folders: `val/n01440764/*.JPEG`, as torchvision wants them.
2. Flat: `ILSVRC2012_val_00000001.JPEG` and so on, with the development kit's `ILSVRC2012_validation_ground_truth.txt`
   (one ID a line) and its `meta.mat`, or `map_clsloc.txt` of later kits, which says which synset an ID means.
3. Kaggle's: `ILSVRC/Data/CLS-LOC/val/*.JPEG` with `LOC_val_solution.csv`.

A class index is the place of its synset among the sorted 1,000, as for the published weights; in a smaller tree too.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from resnest_core.data import imagenet_labels, storage
from resnest_core.data.base import Report, check_request, image_problem, read_image, select
from resnest_core.data.stored import files_digest
from resnest_core.errors import InputError

IMAGENET_SOURCE = (
    "ILSVRC2012 is to be had from image-net.org, or from Kaggle's challenge of that name, after registration"
)
IMAGES = {"test": 50_000, "train": 1_281_167}
_FOLDERS = {
    "test": (
        *(".", "val", "validation", "ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val"),
        *("imagenet/val", "imagenet", "ILSVRC2012/val"),
    ),
    "train": ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "imagenet/train", "ILSVRC2012/train"),
}
_OWN_FOLDERS = {"test": ("test", "val", "validation", "."), "train": ("train",)}
_SPLIT_NAMES = {"test", "train", "val", "validation"}


@dataclass(frozen=True)
class ImageFiles:
    """Image files in `root`; `lacking` is what the whole set has besides ("" if nothing), `problems` what is wrong."""

    name: str
    root: Path
    classes: tuple[str, ...]
    paths: list[str]
    targets: np.ndarray
    layout: str
    available: int
    lacking: str = ""
    problems: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Counts, layout, place, and what is lacking or wrong."""
        counts = f"{len(self):,} of {self.available:,} images, {len(np.unique(self.targets)):,} classes"
        remarks = "".join(f"; {remark}" for remark in (self.lacking, *self.problems[:1]) if remark)
        return f"{self.name}: {counts}, {self.layout} in {self.root}{remarks}"

    @property
    def upright(self) -> bool:
        """Whether images are turned by their EXIF."""
        return of_a_user(self.classes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the paths, targets and sizes in bytes; the pixels themselves are not read."""
        return files_digest(self.paths, self.targets, ((self.root / path).stat().st_size for path in self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> Image.Image:
        """Image `index` in RGB, at its own size."""
        return read_image(self.root / self.paths[index], upright=self.upright)

    def content(self, index: int) -> bytes:
        """The file of image `index` as it is."""
        return storage.read(str(self.root / self.paths[index]))


@cache
def synsets() -> tuple[str, ...]:
    """The 1,000 synsets of ILSVRC2012, sorted: class i of the published weights is `synsets()[i]`."""
    return tuple(resources.files(__package__).joinpath("imagenet_synsets.txt").read_text().split())


def of_a_user(classes: tuple[str, ...]) -> bool:
    """Whether images of these classes are a user's, in whatever form: all but ImageNet's 1,000 synsets.

    A user's photographs are turned by their EXIF; the images of ImageNet and ImageNet-V2 are read as torchvision's
    ImageFolder reads them, unturned, from folders, lists and shards alike.
    """
    return classes != synsets()


def open_imagenet(root: str | Path | None, split: str, limit: int) -> ImageFiles:
    """ILSVRC2012 in `root` or its usual subfolders: the validation set for "test", class folders for "train"."""
    base = _directory("imagenet", root, split, limit)
    for folder in _existing(base, _FOLDERS[split]):
        if names := [name for name in _class_names(folder) if _is_synset(name)]:
            files = _synset_folders(folder, names, split)
        elif split == "test" and next(folder.glob("ILSVRC2012_val_*"), None):
            files = _flat(folder)
        else:
            continue
        return _limited(files, limit)
    raise InputError(
        f"no ImageNet {'validation images' if split == 'test' else 'training folders'} in '{base}'; valid: class "
        "folders n01440764/..., the flat folder with the development kit's ground truth, or Kaggle's tree with its "
        f"CSV; {IMAGENET_SOURCE}"
    )


def open_folder(root: str | Path | None, split: str, limit: int) -> ImageFiles:
    """One's own class folders, in `root/train` or, for the test split, in `root/test`, `root/val` or `root` itself."""
    base = _directory("imagefolder", root, split, limit)
    for folder in _existing(base, _OWN_FOLDERS[split]):
        names = _class_names(folder)
        if names and not _SPLIT_NAMES & set(names):
            return _limited(_class_folders("imagefolder", folder, names, tuple(names)), limit)
    raise InputError(f"no class folders for the {split} split in '{base}'; valid: one folder of images for each class")


def check_imagenet(root: str | Path | None, split: str) -> Report:
    """Decode every file; list what is missing, superfluous or unreadable."""
    return _check(open_imagenet(root, split, 0))


def check_folder(root: str | Path | None, split: str) -> Report:
    """Decode every file; list what is unreadable."""
    return _check(open_folder(root, split, 0))


def _check(files: ImageFiles) -> Report:
    paths = [files.root / path for path in files.paths]
    with ThreadPoolExecutor() as pool:
        found = tqdm(pool.map(image_problem, paths), f"checking {files.name}", len(paths), unit="image", delay=2)
        unreadable = [f"{path}: {problem}" for path, problem in zip(files.paths, found, strict=True) if problem]
    problems = [*files.problems, *unreadable]
    return Report(files.name, files.source, len(files), len(np.unique(files.targets)), files.lacking, problems)


def _directory(name: str, root: str | Path | None, split: str, limit: int) -> Path:
    directory = check_request(root, split, limit)
    if directory is None:
        where = f"; {IMAGENET_SOURCE}" if name == "imagenet" else ""
        raise InputError(f"data set '{name}' needs a data directory, and none was given; valid: --data DIR{where}")
    return directory


def _existing(base: Path, names: tuple[str, ...]) -> Iterator[Path]:
    return (base / name for name in names if (base / name).is_dir())


def _class_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _is_synset(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()


def _synset_folders(folder: Path, names: list[str], split: str) -> ImageFiles:
    strangers = sorted(set(_class_names(folder)) - set(synsets()))
    if strangers:
        raise InputError(
            f"'{folder}' holds {len(names)} class folders, of which {_some(strangers)} are not among ImageNet's 1,000 "
            "synsets; valid: those alone, or the data set imagefolder for other classes"
        )
    files = _class_folders("imagenet", folder, names, synsets())
    listed = {_official_name(i) for i in range(1, IMAGES["test"] + 1)} if split == "test" else set()
    stems = {Path(path).stem for path in files.paths}
    lacking = _lacking(stems, listed if listed & stems else set(), IMAGES[split])
    absent = sorted(set(synsets()) - set(names))
    classes = f"{len(absent):,} of {len(synsets()):,} class folders are missing: {_some(absent)}" if absent else ""
    return replace(files, lacking="; ".join(text for text in (lacking, classes) if text))


def _class_folders(name: str, folder: Path, names: list[str], classes: tuple[str, ...]) -> ImageFiles:
    """Every file below the class folders is a member, so that none that is no image goes unseen."""
    index = {name: i for i, name in enumerate(classes)}
    members = [(path, index[name]) for name in names for path in _files_below(folder, name)]
    if not members:
        raise InputError(f"the class folders in '{folder}' hold no files; valid: images in them")
    filled = {target for _, target in members}
    problems = tuple(f"{name}: a class folder without images" for name in names if index[name] not in filled)
    paths, targets = zip(*members, strict=True)
    layout = "class folders"
    return ImageFiles(name, folder, classes, list(paths), np.array(targets), layout, len(paths), problems=problems)


def _files_below(folder: Path, name: str) -> list[str]:
    """Paths relative to `folder`, sorted; links are followed; a folder that cannot be read raises OSError."""

    def fail(error: OSError) -> None:
        raise error

    walk = os.walk(folder / name, onerror=fail, followlinks=True)
    return sorted((Path(where) / file).relative_to(folder).as_posix() for where, _, files in walk for file in files)


def _flat(folder: Path) -> ImageFiles:
    labels = imagenet_labels.find(folder, synsets())
    files = [path for path in folder.iterdir() if path.is_file() and not imagenet_labels.is_label(path)]
    images = {path.stem if path.suffix.lower() in (".jpeg", ".jpg") else path.name: path.name for path in files}
    listed = sorted(labels.synset_of.keys() & images.keys())
    if not listed:
        raise InputError(
            f"no image in '{folder}' is listed in '{labels.path}'; valid: names as ILSVRC2012_val_00000001.JPEG"
        )
    problems = tuple(
        f"{images[stem]}: not listed in {labels.path.name}" for stem in sorted(images.keys() - set(listed))
    )
    index = {synset: i for i, synset in enumerate(synsets())}
    targets = np.array([index[labels.synset_of[stem]] for stem in listed])
    paths = [images[stem] for stem in listed]
    lacking = _lacking(set(listed), set(labels.synset_of), IMAGES["test"])
    return ImageFiles("imagenet", folder, synsets(), paths, targets, labels.layout, len(paths), lacking, problems)


def _official_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


def _lacking(stems: set[str], listed: set[str], expected: int) -> str:
    """What is missing, by name where the names are known: `listed` are those that should be there, without suffix."""
    missing = sorted(listed - stems)
    if missing:
        return f"{len(missing):,} of {len(listed):,} images are missing: {_some(missing)}"
    return f"{expected - len(stems):,} of {expected:,} images are missing" if len(stems) < expected else ""


def _limited(files: ImageFiles, limit: int) -> ImageFiles:
    chosen = select(files.targets, limit)
    if len(chosen) == len(files):
        return files
    return replace(files, paths=[files.paths[i] for i in chosen], targets=files.targets[chosen])


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
