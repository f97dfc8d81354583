"""Folders of images: ImageNet's validation set in its three usual layouts, and class folders of one's own.

1. Class folders: `val/n01440764/*.JPEG`, as torchvision wants them.
2. Flat: `ILSVRC2012_val_00000001.JPEG` and so on, with the development kit's `ILSVRC2012_validation_ground_truth.txt`
   (one ID a line) and its `meta.mat`, or `map_clsloc.txt` of later kits, which says which synset an ID means.
3. Kaggle's: `ILSVRC/Data/CLS-LOC/val/*.JPEG` with `LOC_val_solution.csv`.

A class index is the place of its synset among the sorted 1,000, as for the published weights; in a smaller tree too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from resnest_core.data import imagenet_labels, storage
from resnest_core.data.base import LayoutError, Report, check_request, image_problem, read_image, select
from resnest_core.data.contents import file_digests
from resnest_core.data.listing import Tree, alike, is_image, some, told
from resnest_core.data.stored import files_digest
from resnest_core.errors import InputError
from resnest_core.texts import composed

IMAGENET_SOURCE = (
    "ILSVRC2012 is to be had from image-net.org, or from Kaggle's challenge of that name, after registration"
)
IMAGES = {"test": 50_000, "train": 1_281_167}
FOLDERS = {
    "test": (
        *(".", "val", "validation", "ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val"),
        *("imagenet/val", "imagenet", "ILSVRC2012/val"),
    ),
    "train": ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "imagenet/train", "ILSVRC2012/train"),
}
_OWN_FOLDERS = {"test": ("test", "val", "validation", "."), "train": ("train",)}
SPLIT_NAMES = {"test", "train", "val", "validation"}


@dataclass(frozen=True)
class ImageFiles:
    """Image files in `root`; `lacking` is what the whole set has besides ("" if nothing), `problems` what is wrong.

    `remarks` say what was left out.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    paths: list[str]
    targets: np.ndarray
    layout: str
    available: int
    lacking: str = ""
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Counts, layout, place, and what is lacking, wrong or left out."""
        counts = f"{len(self):,} of {self.available:,} images, {len(np.unique(self.targets)):,} classes"
        about = told(self.lacking, self.problems, self.remarks)
        return f"{self.name}: {counts}, {self.layout} in {self.root}{about}"

    @property
    def upright(self) -> bool:
        """Whether images are turned by their EXIF."""
        return of_a_user(self.classes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of paths, targets, contents and classes."""
        read = file_digests((f"{self.root}/{path}" for path in self.paths), len(self))
        return files_digest((self.paths, self.targets, read), self.classes)

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
    for folder in _existing(base, FOLDERS[split]):
        tree = Tree(folder)
        names = tree.folders()
        if any(map(_is_synset, names)):
            files = _synset_folders(tree, names, split)
        elif split == "test" and next(folder.glob("ILSVRC2012_val_*"), None):
            files = _flat(folder)
        else:
            continue
        return _limited(files, limit)
    raise LayoutError(
        f"no ImageNet {'validation images' if split == 'test' else 'training folders'} in '{base}'; valid: class "
        "folders n01440764/..., the flat folder with the development kit's ground truth, or Kaggle's tree with its "
        f"CSV; {IMAGENET_SOURCE}"
    )


def open_folder(root: str | Path | None, split: str, limit: int) -> ImageFiles:
    """One's own class folders, in `root/train` or, for the test split, in `root/test`, `root/val` or `root` itself."""
    base = _directory("imagefolder", root, split, limit)
    for folder in _existing(base, _OWN_FOLDERS[split]):
        tree = Tree(folder)
        names = sorted(tree.folders(), key=composed)
        if names and not SPLIT_NAMES & set(names):
            return _limited(_class_folders("imagefolder", tree, names, tuple(map(composed, names))), limit)
    raise LayoutError(f"no class folders for the {split} split in '{base}'; valid: one folder of images for each class")


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
    classes = len(np.unique(files.targets))
    return Report(files.name, files.source, len(files), classes, files.lacking, problems, files.remarks)


def _directory(name: str, root: str | Path | None, split: str, limit: int) -> Path:
    directory = check_request(root, split, limit)
    if directory is None:
        where = f"; {IMAGENET_SOURCE}" if name == "imagenet" else ""
        raise InputError(f"data set '{name}' needs a data directory, and none was given; valid: --data DIR{where}")
    return directory


def _existing(base: Path, names: tuple[str, ...]) -> Iterator[Path]:
    return (base / name for name in names if (base / name).is_dir())


def _is_synset(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()


def _synset_folders(tree: Tree, names: list[str], split: str) -> ImageFiles:
    strangers = sorted(set(names) - set(synsets()))
    if strangers:
        raise InputError(
            f"'{tree.root}' holds {len(names)} class folders, of which {some(strangers)} are not among ImageNet's "
            "1,000 synsets; valid: those alone, or the data set imagefolder for other classes"
        )
    files = _class_folders("imagenet", tree, names, synsets())
    listed = {_official_name(i) for i in range(1, IMAGES["test"] + 1)} if split == "test" else set()
    if listed:
        _by_stem(tree.root, (path for path in files.paths if Path(path).stem in listed))  # none is of two classes
    stems = {Path(path).stem for path in files.paths}
    lacking = _lacking(stems, listed if listed & stems else set(), IMAGES[split])
    absent = sorted(set(synsets()) - set(names))
    classes = f"{len(absent):,} of {len(synsets()):,} class folders are missing: {some(absent)}" if absent else ""
    return replace(files, lacking="; ".join(text for text in (lacking, classes) if text))


def _class_folders(name: str, tree: Tree, names: list[str], classes: tuple[str, ...]) -> ImageFiles:
    """Every file below the class folders is a member, so that none that is no image goes unseen."""
    if again := [name for name, n in Counter(map(composed, names)).items() if n > 1]:
        raise InputError(f"'{tree.root}' holds two folders of class '{again[0]}'; valid: one folder for each class")
    places = {name: i for i, name in enumerate(classes)}
    index = {name: places[composed(name)] for name in names}
    members = [(path, index[name]) for name in names for path in tree.below(name)]
    if not members:
        raise InputError(f"the class folders in '{tree.root}' hold no files; valid: images in them")
    filled = {target for _, target in members}
    problems = [f"{name}: a class folder without images" for name in names if index[name] not in filled]
    problems += [f"{file}: an image in no class folder" for file in tree.files() if is_image(file)]
    paths, targets = map(list, zip(*members, strict=True))
    count, remarks = len(paths), (*alike(names), *tree.remarks)
    return ImageFiles(
        name, tree.root, classes, paths, np.array(targets), "class folders", count, "", tuple(problems), remarks
    )


def _flat(folder: Path) -> ImageFiles:
    labels = imagenet_labels.find(folder, synsets())
    tree = Tree(folder)
    images = _by_stem(folder, (name for name in tree.files() if not imagenet_labels.is_label(name)))
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
    remarks, count = (*labels.remarks, *tree.remarks), len(paths)
    return ImageFiles("imagenet", folder, synsets(), paths, targets, labels.layout, count, lacking, problems, remarks)


def _by_stem(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """The paths of images by their names without suffix, those of other files by their whole names."""
    found: dict[str, str] = {}
    for path in paths:
        stem = Path(path).stem if path.lower().endswith((".jpeg", ".jpg")) else Path(path).name
        if (other := found.setdefault(stem, path)) != path:
            raise InputError(f"image {stem} is twice in '{folder}': '{other}' and '{path}'; valid: each image once")
    return found


def _official_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


def _lacking(stems: set[str], listed: set[str], expected: int) -> str:
    """What is missing, by name where the names are known: `listed` are those that should be there, without suffix."""
    missing = sorted(listed - stems)
    if missing:
        return f"{len(missing):,} of {len(listed):,} images are missing: {some(missing)}"
    return f"{expected - len(stems):,} of {expected:,} images are missing" if len(stems) < expected else ""


def _limited(files: ImageFiles, limit: int) -> ImageFiles:
    chosen = select(files.targets, limit)
    if len(chosen) == len(files):
        return files
    return replace(files, paths=[files.paths[i] for i in chosen], targets=files.targets[chosen])
