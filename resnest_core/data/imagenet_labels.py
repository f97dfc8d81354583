"""The classes of ImageNet's flat validation folder, from the development kit or from Kaggle's CSV."""

import csv
import io
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from resnest_core.data.listing import some
from resnest_core.errors import InputError
from resnest_core.texts import read_text

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
MAP = "map_clsloc.txt"
KAGGLE = "LOC_val_solution.csv"
_KIT_FOLDERS = (".", "data", "ILSVRC2012_devkit_t12/data", "devkit/data")


@dataclass(frozen=True)
class Labels:
    """Which synset each image is of, by file name without suffix, and the file and layout that said so."""

    synset_of: dict[str, str]
    path: Path
    layout: str
    remarks: tuple[str, ...] = ()


def is_label(name: str) -> bool:
    """Whether this is the name of a file of labels, which may lie among the images."""
    return name in (GROUND_TRUTH, META, MAP, KAGGLE)


def find(folder: Path, synsets: tuple[str, ...]) -> Labels:
    """Labels of the images in `folder`, searched there and in the four directories above."""
    places = [folder.resolve(), *folder.resolve().parents[:4]]
    if solution := _first(places, (".",), KAGGLE):
        synset_of, remarks = _read_kaggle(solution)
        labels = Labels(synset_of, solution, "Kaggle's layout", remarks)
    elif truth := _first(places, _KIT_FOLDERS, GROUND_TRUTH):
        labels = Labels(_read_ground_truth(truth, synsets), truth, "flat folder")
    else:
        raise InputError(
            f"the images in '{folder}' have no labels; put the development kit's {GROUND_TRUTH} and {META}, or "
            f"Kaggle's {KAGGLE}, beside them or in a directory above"
        )
    if strangers := set(labels.synset_of.values()) - set(synsets):
        raise InputError(f"file '{labels.path}' names '{min(strangers)}', which is not among ImageNet's 1,000 synsets")
    return labels


def _first(places: Iterable[Path], folders: Iterable[str], name: str) -> Path | None:
    candidates = (place / folder / name for place in places for folder in folders)
    return next((path for path in candidates if path.is_file()), None)


def _read_kaggle(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The first word of PredictionString is the synset; the boxes behind it are for localisation.

    An image that is listed again is taken once, which the remark says; InputError if the classes differ.
    """
    found: dict[str, str] = {}
    again: list[str] = []
    with io.StringIO(read_text(path)) as file:
        rows = csv.DictReader(file)
        if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
            raise InputError(f"file '{path}' has columns {rows.fieldnames}; valid: ImageId, PredictionString")
        for row in rows:
            image, synset = row["ImageId"], ((row["PredictionString"] or "").split() or ["?"])[0]
            again += [image] if image in found else []
            if (other := found.setdefault(image, synset)) != synset:
                raise InputError(f"file '{path}' has {image} as {other} and as {synset}; valid: one class for an image")
    return found, (f"{len(again):,} lines of {path.name} repeat an image: {some(again)}",) if again else ()


def _read_ground_truth(path: Path, synsets: tuple[str, ...]) -> dict[str, str]:
    """Line i is the kit's ID, from 1 to 1,000, of image i. IDs follow the kit's own order, not that of the synsets."""
    synset_of_id = _read_ids(path.parent)
    if set(synset_of_id.values()) != set(synsets):
        raise InputError(f"the kit in '{path.parent}' has {len(synset_of_id)} classes; valid: ImageNet's 1,000 synsets")
    lines = read_text(path).split()
    wrong = next((i for i, line in enumerate(lines, 1) if line not in synset_of_id), None)
    if wrong:
        raise InputError(f"line {wrong} of '{path}' is '{lines[wrong - 1]}'; valid: an ID from 1 to 1000")
    return {f"ILSVRC2012_val_{i:08d}": synset_of_id[line] for i, line in enumerate(lines, 1)}


def _read_ids(folder: Path) -> dict[str, str]:
    """The kit's ID, as text, to its synset."""
    if (folder / META).is_file():
        return _read_meta(folder / META)
    if (folder / MAP).is_file():
        lines = [line.split() for line in read_text(folder / MAP).split("\n")]
        return {words[1]: words[0] for words in lines if len(words) > 1}
    raise InputError(
        f"'{folder}' lacks the development kit's {META} (or {MAP}), which says what the IDs of {GROUND_TRUTH} mean"
    )


def _read_meta(path: Path) -> dict[str, str]:
    # Half a second to import, for this file alone.
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        rows = loadmat(path, squeeze_me=True)["synsets"]
        pairs = zip(rows["ILSVRC2012_ID"], rows["WNID"], strict=True)
        # Rows above 1,000 are inner nodes of WordNet, which are no classes.
        return {str(int(number)): str(synset) for number, synset in pairs if int(number) <= 1000}
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        NotImplementedError,
        MatReadError,
        zlib.error,
    ) as error:
        raise InputError(
            f"file '{path}' cannot be read ({error}); valid: {META} of the ILSVRC2012 development kit"
        ) from None
