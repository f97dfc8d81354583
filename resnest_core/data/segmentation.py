"""Three published data sets of photographs with a class for each pixel: ADE20K, PASCAL Context and Cityscapes.

1. ADE20K: `images/validation/*.jpg` with `annotations/validation/*.png`, as in ADEChallengeData2016.
2. PASCAL Context, 59 classes: `JPEGImages/*.jpg` with `SegmentationClassContext/*.png`, and the lists of the splits in
   `ImageSets/SegmentationContext`, as mmsegmentation's converter lays them into VOC2010.
3. Cityscapes: `leftImg8bit/val/*/*_leftImg8bit.png` with `gtFine/val/*/*_gtFine_labelIds.png`, or where there are none,
   `*_gtFine_labelTrainIds.png`.

A label file holds a value for each pixel, and a `Coding` says which class it means. The split "test" is the published
validation set.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnest_core.data.base import IGNORED, Report, check_request, image_problem, load_problems, read_fitting
from resnest_core.data.listing import is_leftover, left_out, some, told
from resnest_core.errors import InputError
from resnest_core.texts import read_text

_INVALID = -2
_NAMED = 5  # missing files that an error names
TRAIN_IDS = 19  # Cityscapes' classes when numbered for training, from 0
IGNORED_ID = 255


class Coding(NamedTuple):
    """How label files are named and read: value `ids[k]` is class k; `void` and others of 0 to `top` do not count."""

    labels: str
    ids: tuple[int, ...]
    top: int
    void: tuple[int, ...] = ()

    @property
    def valid(self) -> str:
        """The values that may occur, for people."""
        return " or ".join([f"0 to {self.top}", *map(str, self.void)])

    def is_of_train_ids(self, values: NDArray[np.uint8]) -> bool:
        """Whether a file of Cityscapes' IDs holds train IDs.

        Of IDs, 255 is a licence plate, on a car or the like, whose own IDs are above all train IDs.
        """
        known = values[values != IGNORED_ID]
        return (
            IGNORED_ID in self.void
            and self.top >= TRAIN_IDS
            and len(known) < values.size
            and (known.max(initial=0) < TRAIN_IDS)
        )

    @property
    def classes(self) -> NDArray[np.int16]:
        """Class (256,) of each value."""
        table = np.full(256, _INVALID, np.int16)
        table[[*range(self.top + 1), *self.void]] = IGNORED
        table[list(self.ids)] = np.arange(len(self.ids))
        return table


class Published(NamedTuple):
    """What distinguishes a data set. In patterns of files, * is what an image and its label have in common."""

    classes: tuple[str, ...]
    numbers: dict[str, int]
    splits: dict[str, str]
    folders: tuple[str, ...]  # where it may lie below the data directory
    images: str
    codings: tuple[Coding, ...]  # the first that has files is taken
    source: str
    listed: str = ""  # file of the members' names; without one, every file is a member

    def of(self, split: str) -> "Published":
        """The same with the split's own name in all patterns."""
        own = self.splits[split]
        images, listed = (pattern.format(split=own) for pattern in (self.images, self.listed))
        codings = tuple(coding._replace(labels=coding.labels.format(split=own)) for coding in self.codings)
        return self._replace(images=images, codings=codings, listed=listed)

    @property
    def layout(self) -> str:
        """The patterns, for people."""
        labels = " or ".join(coding.labels for coding in self.codings)
        return f"{self.images} with {labels}" + (f" and {self.listed}" if self.listed else "")


def _names(file: str) -> tuple[str, ...]:
    return tuple(resources.files(__package__).joinpath(file).read_text(encoding="utf-8").splitlines())


_VOC_SPLITS = {"test": "val", "train": "train"}
_CITYSCAPES_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
SETS = {
    "ade20k": Published(
        classes=_names("ade20k_classes.txt"),
        numbers={"test": 2_000, "train": 20_210},
        splits={"test": "validation", "train": "training"},
        folders=(".", "ADEChallengeData2016"),
        images="images/{split}/*.jpg",
        codings=(Coding("annotations/{split}/*.png", tuple(range(1, 151)), 150),),
        source="ADE20K (ADEChallengeData2016) is to be had from http://sceneparsing.csail.mit.edu",
    ),
    "pcontext": Published(
        classes=_names("pascal_context_classes.txt"),
        numbers={"test": 5_105, "train": 4_998},
        splits=_VOC_SPLITS,
        folders=(".", "VOC2010", "VOCdevkit/VOC2010"),
        images="JPEGImages/*.jpg",
        codings=(Coding("SegmentationClassContext/*.png", tuple(range(1, 60)), 59),),
        source="PASCAL Context is VOC2010 with the annotations of https://cs.stanford.edu/~roozbeh/pascal-context/, "
        "converted by pascal_context.py of mmsegmentation's tools/dataset_converters",
        listed="ImageSets/SegmentationContext/{split}.txt",
    ),
    "cityscapes": Published(
        classes=tuple(_CITYSCAPES_IDS),
        numbers={"test": 500, "train": 2_975},
        splits=_VOC_SPLITS,
        folders=(".", "cityscapes"),
        images="leftImg8bit/{split}/*/*_leftImg8bit.png",
        codings=(
            # The licence plate's ID is -1, which is 255 in 8 bits.
            Coding("gtFine/{split}/*/*_gtFine_labelIds.png", tuple(_CITYSCAPES_IDS.values()), 33, (IGNORED_ID,)),
            Coding("gtFine/{split}/*/*_gtFine_labelTrainIds.png", tuple(range(TRAIN_IDS)), 18, (IGNORED_ID,)),
        ),
        source="Cityscapes is to be had from https://www.cityscapes-dataset.com after registration",
    ),
}


@dataclass(frozen=True)
class SegmentationFiles:
    """Images and labels, pair by pair, as files in `root`; `lacking`, `problems` and `remarks` as in `Report`."""

    name: str
    root: Path
    classes: tuple[str, ...]
    paths: list[str]
    labels: list[str]
    coding: Coding
    layout: str
    available: int
    lacking: str = ""
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Counts, layout, place, and what is lacking, wrong or left out."""
        counts = f"{len(self):,} of {self.available:,} images, {len(self.classes):,} classes"
        about = told(self.lacking, self.problems, self.remarks)
        return f"{self.name}: {counts}, {self.layout} in {self.root}{about}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the paths and sizes in bytes of images and labels; the pixels themselves are not read."""
        digest = hashlib.sha256()
        for pair in zip(self.paths, self.labels, strict=True):
            fields = [f"{path}\t{(self.root / path).stat().st_size}" for path in pair]
            digest.update(("\t".join(fields) + "\n").encode(errors="surrogatepass"))
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> tuple[Image.Image, NDArray[np.int16]]:
        """Image `index` in RGB, at its own size, and its classes (H, W): indices into `classes`, or -1.

        EXIF turns the image only where its label has the size of that reading alone; labels are never turned.
        """
        path = self.root / self.labels[index]
        values = _read_values(path)
        image, _ = read_fitting(self.root / self.paths[index], values.shape[::-1], upright=False)
        if values.shape != (image.height, image.width):
            sizes = f"{values.shape[1]} x {values.shape[0]} pixels, its image {image.width} x {image.height}"
            raise InputError(f"label '{path}' has {sizes}; valid: a label of the size of its image")
        if self.coding.is_of_train_ids(values):
            raise InputError(
                f"label '{path}' holds 255 and else only 0 to {TRAIN_IDS - 1}, which are train IDs; valid: IDs as its "
                "name says, or train IDs in files *_gtFine_labelTrainIds.png without any *_gtFine_labelIds.png"
            )
        classes = self.coding.classes[values]
        if (classes == _INVALID).any():
            value = values[classes == _INVALID].max()
            raise InputError(f"label '{path}' holds the value {value}; valid: {self.coding.valid}")
        return image, classes


def open_files(name: str, root: str | Path | None, split: str, limit: int) -> SegmentationFiles:
    """One of `SETS` in `root` or its usual subfolders; `limit` takes the first images in order of their names (0: all).

    Raises InputError if an image has no label or a label no image.
    """
    directory = check_request(root, split, limit)
    published = SETS[name].of(split)
    if directory is None:
        needed = f"data set '{name}' needs a data directory, and none was given; valid: --data DIR"
        raise InputError(f"{needed}; {published.source}")
    for folder in published.folders:
        if files := _pairs(name, directory / folder, published, split):
            end = limit or None
            return replace(files, paths=files.paths[:end], labels=files.labels[:end])
    raise InputError(
        f"no {name} images of the {split} split in '{directory}'; valid: a directory of {published.layout}, or one "
        f"that holds it as {' or '.join(published.folders[1:])}; {published.source}"
    )


def check(name: str, root: str | Path | None, split: str) -> Report:
    """Read every image with its label; list the first problem of each pair, and files that are no images."""
    files = open_files(name, root, split, 0)
    problems = [*files.problems, *load_problems(files)]
    return Report(name, files.source, len(files), len(files.classes), files.lacking, problems, files.remarks)


def _pairs(name: str, root: Path, published: Published, split: str) -> SegmentationFiles | None:
    """The members below `root`, or None if it holds no data set in this layout."""
    if published.listed and not (root / published.listed).is_file():
        return None
    leftovers: list[str] = []
    images, strangers = _keys(root, published.images, leftovers)
    found = [(coding, _keys(root, coding.labels, leftovers)[0]) for coding in published.codings]
    coding, labels = next((pair for pair in found if pair[1]), found[0])
    members = images | labels
    problems = [f"{path}: not of the form {published.images}" for path in strangers]
    if published.listed:
        listed = _listed(root / published.listed)
        members = set(listed)
        problems += [f"{published.listed}: {name} is listed twice" for name, n in Counter(listed).items() if n > 1]
    if not members or not images | labels:
        return None
    return SegmentationFiles(
        name,
        root,
        published.classes,
        paths=_complete("images", root, published.images, members, images, strangers),
        labels=_complete("labels", root, coding.labels, members, labels),
        coding=coding,
        layout=published._replace(codings=(coding,)).layout,
        available=len(members),
        lacking=_lacking(len(members), published.numbers[split]),
        problems=tuple(problems),
        remarks=left_out(sorted({*leftovers})),
    )


def _listed(path: Path) -> list[str]:
    """The names in a file of the split's members, one a line."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def _keys(root: Path, pattern: str, leftovers: list[str]) -> tuple[set[str], list[str]]:
    """What stands for * in the names of the files that fit, and the other files (sorted) beside them.

    What systems and editors left there is added to `leftovers`.
    """
    before, after = _ends(pattern)
    paths: list[str] = []
    for found in root.glob(pattern[: len(pattern) - len(after)]):
        path = found.relative_to(root).as_posix()
        left = any(map(is_leftover, path.split("/")[before.count("/") :]))
        (leftovers if left else paths).append(path)
    keys = {path[len(before) : -len(after)] for path in paths if path.endswith(after)}
    return keys, sorted(path for path in paths if not path.endswith(after))


def _ends(pattern: str) -> tuple[str, str]:
    return pattern[: pattern.index("*")], pattern[pattern.rindex("*") + 1 :]


def _complete(
    kind: str, root: Path, pattern: str, members: set[str], there: set[str], strangers: Sequence[str] = ()
) -> list[str]:
    """The files of all members, sorted; raises InputError if one is not there, naming also the `strangers` that are."""
    before, after = _ends(pattern)
    missing = [f"{before}{key}{after}" for key in sorted(members - there)]
    if missing:
        first = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        others = f" (not of this form: {some(strangers)})" if strangers else ""
        raise InputError(
            f"{len(missing):,} of {len(members):,} {kind} are missing in '{root}': {first}{others}; "
            "valid: an image for every label, and a label for every image"
        )
    return [f"{before}{key}{after}" for key in sorted(members)]


def _lacking(number: int, expected: int) -> str:
    return f"{expected - number:,} of {expected:,} images are missing" if number < expected else ""


def _read_values(path: Path) -> NDArray[np.uint8]:
    """The values (H, W) of a label file as they are stored."""
    try:
        with Image.open(path) as label:
            label.load()
            mode, values = label.mode, np.asarray(label)
    except Exception:  # of bad files Pillow raises many kinds; image_problem knows them
        if (problem := image_problem(path)) is None:
            raise
        raise InputError(f"label '{path}' cannot be read ({problem}); valid: a whole 8-bit grey PNG file") from None
    # The indices of a palette are no class numbers, and Pillow gives them as if they were.
    if mode != "L":
        raise InputError(f"label '{path}' is an image of mode {mode}; valid: L, one channel of 8-bit grey values")
    return values
