"""Batches of a data set: every image once for evaluation, shuffled and augmented for training."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader
from torch.utils.data import Dataset as TorchDataset

from resnest_core.data.base import Dataset
from resnest_core.data.fashion_mnist import FashionMNIST
from resnest_core.data.stored import StoredImages
from resnest_core.data.transforms import Preprocessing, augment_batch, to_batch, training_transform
from resnest_core.errors import InputError

Transform = Callable[[Image.Image], Tensor]


class _Images(TorchDataset[Tensor]):
    """Images of a data set, by index, as tensors (3, S, S)."""

    def __init__(self, dataset: Dataset, transform: Transform) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        """Those of a batch, for torch's loader: files in object storage are asked for at once."""
        if isinstance(self.dataset, StoredImages):
            return [self.transform(image) for image in self.dataset.load_all(indices)]
        return [self.transform(self.dataset.load(index)) for index in indices]


def evaluation_batches(
    dataset: Dataset, preprocessing: Preprocessing, *, batch_size: int, first: int = 0, workers: int = 0
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Indices (B,) and images (B, 3, S, S) of the data set, in its order, from index `first`; the last may be short.

    Images of Fashion-MNIST are taken as they are: `preprocessing` is for photographs.
    """
    _check_batch_size(batch_size)
    rest = range(first, len(dataset))
    chunks = (np.array(rest[i : i + batch_size]) for i in range(0, len(rest), batch_size))
    if isinstance(dataset, FashionMNIST):
        for indices in chunks:
            yield indices, to_batch(torch.from_numpy(dataset.images[indices]))
        return
    # Of a million images, lists of all indices would take as much memory as a network.
    loader = DataLoader(
        _Images(dataset, preprocessing), batch_sampler=BatchSampler(rest, batch_size, False), num_workers=workers
    )
    yield from zip(chunks, loader, strict=True)


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
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of images (B, 3, S, S) and targets (B,), in the order of `seed`, without a last batch that is short.

    `augment` moves and mirrors the images of Fashion-MNIST; photographs are always augmented.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(dataset), generator=generator)[: epoch_length(dataset, batch_size) * batch_size]
    targets = torch.from_numpy(dataset.targets)
    chunks = order.split(batch_size)
    if isinstance(dataset, FashionMNIST):
        for chunk in chunks:
            images = torch.from_numpy(dataset.images[chunk.numpy()])
            images = augment_batch(images, generator) if augment else images
            yield to_batch(images), targets[chunk]
        return
    transform = training_transform(preprocessing.crop_size, preprocessing)
    loader = DataLoader(
        _Images(dataset, transform),
        batch_sampler=BatchSampler(map(int, order.numpy()), batch_size, drop_last=True),
        num_workers=workers,
        generator=generator,
    )
    for images, chunk in zip(loader, chunks, strict=True):
        yield images, targets[chunk]


def epoch_length(dataset: Dataset, batch_size: int) -> int:
    """How many batches `training_batches` gives; InputError if that is none."""
    _check_batch_size(batch_size)
    if len(dataset) < batch_size:
        raise InputError(f"batch size {batch_size} is more than the {len(dataset)} training images; give a smaller one")
    return len(dataset) // batch_size


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch size is {batch_size}; it must be 1 or more")
