"""What data sets of image files have in common, wherever the files are."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from resnest_core.data.base import content_problem, decode_image
from resnest_core.data.listing import told
from resnest_core.errors import InputError
from resnest_core.stages import stage

CHECKED_AT_ONCE = 1024


def files_digest(columns: Iterable[Iterable[object]], *more: object) -> str:
    """SHA-256 of the rows that columns of texts and numbers make, and of what else tells two data sets apart.

    Of paths, targets, digests of contents and the names of classes it is the same for the same images in folders, in
    shards and in a list.
    """
    digest = hashlib.sha256(repr(more).encode("utf-8", "surrogatepass"))
    for row in zip(*columns, strict=True):
        digest.update(("\t".join(map(str, row)) + "\n").encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class StoredImages(ABC):
    """Image files that are read as bytes; `available` is how many there are without a limit.

    `remarks` say what was left out of the set, or is odd in it.
    """

    name: str
    classes: tuple[str, ...]
    paths: Sequence[str]
    targets: np.ndarray
    available: int
    remarks: tuple[str, ...] = ()

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the set lies, and in which form."""

    @property
    def upright(self) -> bool:
        """Whether images are turned by their EXIF."""
        return True

    @abstractmethod
    def contents(self, indices: Sequence[int]) -> list[bytes]:
        """The files of some images as they are, asked for at once where they lie elsewhere."""

    @abstractmethod
    def content_digests(self) -> Iterator[str]:
        """What tells the content of each image file, in order: see `resnest_core.data.contents`."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of paths, targets, contents and classes."""
        return files_digest((self.paths, self.targets, self.content_digests()), self.classes)

    @property
    def source(self) -> str:
        """Counts, place and remarks."""
        counts = f"{len(self):,} of {self.available:,} images, {len(np.unique(self.targets)):,} classes"
        return f"{self.name}: {counts}, {self.place}{told('', (), self.remarks)}"

    def __len__(self) -> int:
        return len(self.targets)

    def content(self, index: int) -> bytes:
        """The file of image `index` as it is."""
        return self.contents([index])[0]

    def load(self, index: int) -> Image.Image:
        """Image `index` in RGB, at its own size."""
        return next(self.load_all([index]))

    def load_all(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """As `load`, of many."""
        with stage("read"):
            contents = self.contents(indices)
        for index, content in zip(indices, contents, strict=True):
            yield decode_image(content, self.paths[index], upright=self.upright)

    def problems(self) -> list[str]:
        """Decode every image and say what is wrong with each that cannot be read."""
        found: list[str] = []
        with ThreadPoolExecutor() as pool, tqdm(None, f"checking {self.name}", len(self), unit="image", delay=2) as bar:
            for first in range(0, len(self), CHECKED_AT_ONCE):
                some = range(first, min(first + CHECKED_AT_ONCE, len(self)))
                found += filter(None, pool.map(self._problem, some))
                bar.update(len(some))
        return found

    def _problem(self, index: int) -> str | None:
        try:
            problem = content_problem(self.content(index))
        except InputError as error:
            problem = str(error)
        return problem and f"{self.paths[index]}: {problem}"
