"""Batches of a data set: every image once for evaluation, shuffled and augmented for training."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from resnest_core import stages
from resnest_core.data.base import Dataset
from resnest_core.data.fashion_mnist import FashionMNIST
from resnest_core.data.stored import StoredImages
from resnest_core.data.transforms import Preprocessing, augment_batch, to_batch, training_transform
from resnest_core.errors import InputError
from resnest_core.ranges import check

Transform = Callable[[Image.Image], Tensor]


class _Images(TorchDataset[Tensor]):
    """Images of a data set, by index, as tensors (3, S, S)."""

    def __init__(self, dataset: Dataset, transform: Transform) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Those of a batch, for torch's loader: files in object storage are asked for at once."""
        dataset = self.dataset
        images = dataset.load_all(indices) if isinstance(dataset, StoredImages) else map(dataset.load, indices)
        return [self.prepared(index, image) for index, image in zip(indices, images, strict=True)]

    def prepared(self, index: int, image: Image.Image) -> Tensor:
        """Image `index` as the network takes it."""
        return self.transform(image)


class _Timed(_Images):
    """As `_Images`, each with the seconds (3,) that reading, decoding and resizing it took, on its batch's average."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        before = stages.spent()
        images = super().__getitems__(indices)
        seconds = stages.spent(before)
        mean = torch.tensor([seconds.get(name, 0.0) / len(indices) for name in stages.READING])
        return [(image, mean) for image in images]


class _Augmented(_Images):
    """As `_Images`, with random numbers that follow from `seed` and the index, whichever process draws them."""

    def __init__(self, dataset: Dataset, transform: Transform, seed: int) -> None:
        super().__init__(dataset, transform)
        self.seed = seed

    def prepared(self, index: int, image: Image.Image) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([self.seed % 2**64, index]).generate_state(1)[0]))
            return self.transform(image)


def evaluation_batches(
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    numbers: Sequence[int] | None = None,
    workers: int = 0,
    pinned: bool = False,
    seconds: dict[str, float] | None = None,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Indices (B,) and images (B, 3, S, S) of the data set, in its order; the last batch may be short.

    `numbers` are those of the batches to give, counted from 0; all if not given. Images of Fashion-MNIST are taken as
    they are: `preprocessing` is for photographs. `pinned` puts batches where a GPU copies from. To `seconds` is added
    what reading, decoding and resizing took, in all processes together.
    """
    check_batch_size(batch_size)
    firsts = range(0, len(dataset), batch_size)
    wanted = firsts if numbers is None else [firsts[number] for number in numbers]
    chunks = [range(i, min(i + batch_size, len(dataset))) for i in wanted]  # of a million images lists would be large
    if isinstance(dataset, FashionMNIST):
        for chunk in chunks:
            yield np.array(chunk), to_batch(torch.from_numpy(dataset.images[chunk.start : chunk.stop]))
        return
    loader = DataLoader(
        _Timed(dataset, preprocessing), batch_sampler=map(list, chunks), num_workers=workers, pin_memory=pinned
    )
    for chunk, (images, taken) in zip(chunks, loader, strict=True):
        if seconds is not None:
            for name, value in zip(stages.READING, taken.sum(dim=0).tolist(), strict=True):
                seconds[name] = seconds.get(name, 0.0) + value
        yield np.array(chunk), images


def network_input(dataset: Dataset, preprocessing: Preprocessing) -> Transform:
    """What turns one image of a data set, changed or not, into a tensor (3, S, S), as `evaluation_batches` does."""
    if isinstance(dataset, FashionMNIST):
        return lambda image: to_batch(torch.from_numpy(np.array(image.convert("L")))[None])[0]
    return preprocessing


def training_batches(
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    seed: int,
    augment: bool,
    workers: int = 0,
    part: slice = slice(None),
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of images (B, 3, S, S) and targets (B,), in the order of `seed`, without a last batch that is short.

    `augment` moves and mirrors the images of Fashion-MNIST; photographs are always augmented. Of each
    batch `part` is given, its images augmented as they are in the whole.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(dataset), generator=generator)[: epoch_length(dataset, batch_size) * batch_size]
    targets = torch.from_numpy(dataset.targets)
    chunks = order.split(batch_size)
    if isinstance(dataset, FashionMNIST):
        for chunk in chunks:
            images = torch.from_numpy(dataset.images[chunk.numpy()])
            images = augment_batch(images, generator) if augment else images
            yield to_batch(images[part]), targets[chunk[part]]
        return
    chunks = tuple(chunk[part] for chunk in chunks)
    transform = training_transform(preprocessing.crop_size, preprocessing)
    loader = DataLoader(
        _Augmented(dataset, transform, seed),
        batch_sampler=(chunk.tolist() for chunk in chunks),
        num_workers=workers,
        generator=generator,
    )
    for images, chunk in zip(loader, chunks, strict=True):
        yield images, targets[chunk]


def epoch_length(dataset: Dataset, batch_size: int) -> int:
    """How many batches `training_batches` gives; InputError if that is none."""
    check_batch_size(batch_size)
    if len(dataset) < batch_size:
        raise InputError(f"batch size {batch_size} is more than the {len(dataset)} training images; give a smaller one")
    return len(dataset) // batch_size


def check_batch_size(batch_size: int) -> None:
    """InputError if batches cannot be of this size."""
    check(batch_size=batch_size)
