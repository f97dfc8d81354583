"""Make the embedded files of this directory from the full Fashion-MNIST; the same bytes at every run.

    python data/fashion_mnist/make_subset.py /usr/share/datasets/fashion-mnist data/fashion_mnist

Writes the whole test set as it is, the first 20,000 of a shuffled, class-balanced list of the training set (classes
take turns, so that any beginning of the list is balanced too) with the list itself, and SHA256SUMS.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

SIZE = 20_000
SEED = 0
IDX_TYPES = {np.dtype("uint8"): 0x08, np.dtype("int32"): 0x0C}


def read(path: Path) -> np.ndarray:
    """Array of a gzipped IDX file of unsigned bytes."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">i4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def write(path: Path, array: np.ndarray) -> str:
    """Write `array` as a gzipped IDX file without a time stamp; return the line of SHA256SUMS for it."""
    header = bytes([0, 0, IDX_TYPES[array.dtype], array.ndim]) + np.array(array.shape, ">i4").tobytes()
    content = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    compressed = gzip.compress(content, compresslevel=9, mtime=0)
    path.write_bytes(compressed)
    return f"{hashlib.sha256(compressed).hexdigest()}  {path.name}\n"


def choose(labels: np.ndarray) -> np.ndarray:
    """Indices of the subset: the training set shuffled, then one image of each class in turn."""
    # RandomState, not default_rng: numpy promises that its stream never changes.
    shuffled = np.random.RandomState(SEED).permutation(len(labels))
    by_class = [shuffled[labels[shuffled] == label][: SIZE // 10] for label in range(10)]
    return np.stack(by_class, axis=1).reshape(-1).astype(np.int32)


def main(source: Path, target: Path) -> None:
    """Read the four full files in `source`; write the embedded ones into `target`."""
    images, labels = read(source / "train-images-idx3-ubyte.gz"), read(source / "train-labels-idx1-ubyte.gz")
    indices = choose(labels)
    sums = [
        write(target / name, array)
        for name, array in {
            "t10k-images-idx3-ubyte.gz": read(source / "t10k-images-idx3-ubyte.gz"),
            "t10k-labels-idx1-ubyte.gz": read(source / "t10k-labels-idx1-ubyte.gz"),
            "train20000-images-idx3-ubyte.gz": images[indices],
            "train20000-indices-idx1-int.gz": indices,
            "train20000-labels-idx1-ubyte.gz": labels[indices],
        }.items()
    ]
    (target / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
