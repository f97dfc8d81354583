"""ImageNet-V2 (Recht et al. 2019, arXiv 1902.10811): new images of ImageNet's classes, ten of each.

Folders are called 0 to 999, by the place of the class among the sorted synsets; sorted as text, as torchvision's
ImageFolder has them, 10 would come before 2. Of the three test sets MatchedFrequency is taken where several are there.
"""

import re
from pathlib import Path

import numpy as np

from resnest_core.data.base import LayoutError, Report, check_request, load_problems, select
from resnest_core.data.imagenet import ImageFiles, synsets
from resnest_core.errors import InputError

NAME = "imagenet_v2"
SOURCE = "ImageNet-V2 is to be had from huggingface.co/datasets/vaishaal/ImageNetV2"
IMAGES = 10_000
_SETS = ("matched-frequency", "threshold0.7", "top-images")
FOLDERS = (
    *(".", "imagenet_v2", "imagenetv2"),
    *(f"imagenetv2-{name}{ending}" for name in _SETS for ending in ("-format-val", "")),
)


def open_imagenet_v2(root: str | Path | None, split: str, limit: int) -> ImageFiles:
    """The test set in `root` or its usual subfolders; InputError for a training set, which there is not."""
    base = check_request(root, split, limit)
    if split != "test":
        raise InputError(f"data set '{NAME}' has no split '{split}'; valid: test")
    if base is None:
        raise InputError(f"data set '{NAME}' needs a data directory, and none was given; valid: --data DIR; {SOURCE}")
    for name in FOLDERS:
        if (base / name).is_dir() and any(_is_class(entry) for entry in (base / name).iterdir()):
            return _read(base / name, limit)
    raise LayoutError(f"no class folders 0 to 999 of ImageNet-V2 in '{base}'; {SOURCE}")


def check(root: str | Path | None, split: str) -> Report:
    """Decode every file; list what is missing or unreadable."""
    files = open_imagenet_v2(root, split, 0)
    problems = [*files.problems, *load_problems(files)]
    return Report(NAME, files.source, len(files), len(np.unique(files.targets)), files.lacking, problems)


def _is_class(entry: Path) -> bool:
    return re.fullmatch(r"0|[1-9]\d{0,2}", entry.name) is not None and entry.is_dir()


def _read(folder: Path, limit: int) -> ImageFiles:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    strangers = [entry.name for entry in entries if entry.is_dir() and not _is_class(entry)]
    if strangers:
        raise InputError(f"'{folder}' holds '{strangers[0]}', which is no class number; valid: folders 0 to 999")
    folders = sorted((entry for entry in entries if _is_class(entry)), key=lambda entry: int(entry.name))
    members = [(f"{f.name}/{file.name}", int(f.name)) for f in folders for file in sorted(f.iterdir())]
    if not members:
        raise InputError(f"the class folders in '{folder}' hold no files; valid: images in them")
    paths, targets = [path for path, _ in members], np.array([target for _, target in members])
    chosen = select(targets, limit)
    return ImageFiles(
        NAME,
        folder,
        synsets(),
        [paths[i] for i in chosen],
        targets[chosen],
        "folders by class number",
        len(members),
        _lacking(len(members), len(folders)),
        tuple(f"{f.name}: a class folder without images" for f in folders if not any(f.iterdir())),
    )


def _lacking(images: int, folders: int) -> str:
    counts = {"images": (IMAGES - images, IMAGES), "class folders": (len(synsets()) - folders, len(synsets()))}
    return "; ".join(f"{n:,} of {of:,} {kind} are missing" for kind, (n, of) in counts.items() if n > 0)
