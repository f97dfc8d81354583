"""The embedded data set: its files, its selections, and where else it is looked for."""

import gzip
import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from resnest_core import data
from resnest_core.data import FashionMNIST, fashion_mnist
from resnest_core.errors import InputError
from resnest_core.files import sha256

EMBEDDED = Path(__file__).parents[2] / "data" / "fashion_mnist"
SYSTEM = Path("/usr/share/datasets/fashion-mnist")


def opened(root: Path | None = None, *, split: str = "test", limit: int = 0) -> FashionMNIST:
    dataset = data.open_dataset("fashion_mnist", root, split=split, limit=limit)
    assert isinstance(dataset, FashionMNIST)
    return dataset


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_subset", EMBEDDED / "make_subset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def no_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path / "not-installed")


@pytest.fixture
def made_up_full_set(
    script: ModuleType, no_system: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, np.ndarray, np.ndarray]:
    """A full training set that agrees with the embedded part and has noise elsewhere: directory, images, labels."""
    part = opened(split="train", limit=20_000)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60_000, 28, 28), np.uint8)
    labels = random.integers(0, 10, 60_000).astype(np.uint8)
    images[part.places], labels[part.places] = part.images, part.targets
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setattr(gzip, "compress", lambda content, **_: content)  # for speed: the loader takes plain files too
    for name, array in {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels}.items():
        script.write(root / name, array)
        monkeypatch.setitem(fashion_mnist.DIGESTS, name, sha256(root / name))
    return root, images, labels


def test_embedded_files_are_whole_licensed_and_small() -> None:
    sums = dict(reversed(line.split()) for line in (EMBEDDED / "SHA256SUMS").read_text().splitlines())
    files = sorted(EMBEDDED.glob("*.gz"))
    assert {path.name: sha256(path) for path in files} == sums
    assert sum(path.stat().st_size for path in files) < 15e6
    assert (EMBEDDED / "LICENSE").read_text().startswith("The MIT License (MIT)\n\nCopyright © 2017 Zalando SE")


def test_readme_gives_the_digests_that_the_loader_checks() -> None:
    readme = (EMBEDDED / "README.md").read_text()
    for name, digest in fashion_mnist.DIGESTS.items():
        assert name.startswith("train20000") or f"| `{name}` | `{digest}` |" in readme


def test_test_set_is_the_whole_one_in_its_own_order(capsys: pytest.CaptureFixture[str]) -> None:
    dataset = opened()
    assert dataset.images.shape == (10_000, 28, 28)
    assert dataset.images.dtype == np.uint8
    assert dataset.targets.dtype == np.int64
    assert dataset.targets[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert np.bincount(dataset.targets).tolist() == [1000] * 10
    assert dataset.paths[:2] == ["test/00000", "test/00001"]
    assert len(dataset.classes) == 10
    assert dataset.classes[9] == "Ankle boot"
    assert capsys.readouterr().out == f"data: Fashion-MNIST test: 10,000 of 10,000 images from {EMBEDDED}\n"


def test_an_image_is_grey_in_three_channels() -> None:
    dataset = opened(limit=10)
    pixels = np.asarray(dataset.load(3))
    assert pixels.shape == (28, 28, 3)
    assert all(np.array_equal(pixels[..., channel], dataset.images[3]) for channel in range(3))


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_limit_takes_a_balanced_beginning(split: str) -> None:
    longest = opened(split=split, limit=1234)
    assert len(longest) == len(longest.paths) == 1234
    for limit in (1, 10, 57, 1000):
        dataset = opened(split=split, limit=limit)
        assert dataset.paths == longest.paths[:limit]
        assert np.array_equal(dataset.images, longest.images[:limit])
        counts = np.bincount(dataset.targets, minlength=10)
        assert counts.max() - counts.min() <= 1


def test_a_limit_of_the_test_set_takes_the_first_of_each_class() -> None:
    whole, part = opened(), opened(limit=100)
    for label in range(10):
        first = np.flatnonzero(whole.targets == label)[:10]
        assert sorted(part.places[part.targets == label]) == first.tolist()
    assert np.array_equal(part.images, whole.images[part.places])


def test_a_limit_of_all_or_more_takes_all_in_their_own_order() -> None:
    assert opened(limit=10_000).digest == opened(limit=99_999).digest == opened().digest


def test_embedded_training_set_is_balanced(no_system: None, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = opened(split="train")
    assert np.bincount(dataset.targets).tolist() == [2000] * 10
    assert len(set(dataset.paths)) == 20_000
    assert dataset.places.max() < 60_000
    assert "20,000 of 60,000 images, from the embedded 20,000" in capsys.readouterr().out


def test_digest_tells_content_and_order_apart() -> None:
    first = opened(split="train", limit=20)
    assert first.digest == opened(split="train", limit=20).digest
    assert first.digest != opened(split="train", limit=21).digest
    assert first.digest != opened(limit=20).digest
    assert first.digest != replace(first, targets=first.targets[::-1]).digest


def test_up_to_20000_are_the_same_with_and_without_the_full_set(
    made_up_full_set: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    root = made_up_full_set[0]
    for limit in (30, 20_000):
        ours, theirs = opened(split="train", limit=limit), opened(root, split="train", limit=limit)
        assert ours.digest == theirs.digest
        assert ours.source == theirs.source
        assert ours.paths == theirs.paths


def test_the_full_set_is_taken_where_it_is_and_named(
    made_up_full_set: tuple[Path, np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    root, images, labels = made_up_full_set
    capsys.readouterr()
    dataset = opened(root, split="train")
    assert np.array_equal(dataset.images, images)
    assert np.array_equal(dataset.targets, labels)
    assert dataset.paths[59_999] == "train/59999"
    assert (
        capsys.readouterr().out == f"data: Fashion-MNIST train: 60,000 of 60,000 images, from the full set in {root}\n"
    )


def test_above_20000_the_list_goes_on(made_up_full_set: tuple[Path, np.ndarray, np.ndarray]) -> None:
    root, images, _ = made_up_full_set
    part, more = opened(root, split="train", limit=20_000), opened(root, split="train", limit=30_000)
    assert more.paths[:20_000] == part.paths
    assert len(set(more.paths)) == 30_000
    assert np.array_equal(more.images, images[more.places])
    assert np.bincount(more.targets).tolist() == [3000] * 10


def test_the_system_is_searched(
    made_up_full_set: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "SYSTEM", made_up_full_set[0])
    assert len(opened(split="train")) == 60_000
    assert len(opened(EMBEDDED, split="train")) == 60_000


def test_torchvisions_folder_is_found(made_up_full_set: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    shutil.move(made_up_full_set[0], tmp_path / "datasets" / "FashionMNIST" / "raw")
    assert len(opened(tmp_path / "datasets", split="train")) == 60_000


def test_more_than_is_there_is_refused(no_system: None) -> None:
    with pytest.raises(InputError, match=r"limit 20001 needs the full training set.*dataset-fashion-mnist"):
        opened(split="train", limit=20_001)


def test_half_a_full_set_is_refused(made_up_full_set: tuple[Path, np.ndarray, np.ndarray]) -> None:
    root = made_up_full_set[0]
    (root / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=f"'train-labels-idx1-ubyte' .* is in none of '{root}'"):
        opened(root, split="train")


def test_outside_a_clone_the_files_are_asked_for(
    no_system: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fashion_mnist, "EMBEDDED", tmp_path / "site-packages")
    for split, name in {"test": "t10k-images-idx3-ubyte", "train": "train20000-images-idx3-ubyte"}.items():
        with pytest.raises(
            InputError, match=f"'{name}' .*clone of the repository.*dataset-fashion-mnist.*data directory"
        ):
            opened(split=split)
        assert len(opened(EMBEDDED, split=split, limit=10)) == 10


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "page", "changed"])
def test_damaged_files_are_named(name: str, damage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(EMBEDDED, copy)
    content = (copy / name).read_bytes()
    changed = bytearray(gzip.decompress(content))
    changed[-1] ^= 1
    (copy / name).write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "page": b"<html>403 Forbidden</html>",
            "changed": gzip.compress(changed, 1),
        }[damage]
    )
    monkeypatch.setattr(fashion_mnist, "EMBEDDED", copy)
    with pytest.raises(
        InputError, match=f"file '{copy / name}' (cannot be read|has content of SHA-256 .*; valid: )"
    ) as error:
        opened()
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=name):
        data.check("fashion_mnist")


def test_check_counts(no_system: None) -> None:
    report = data.check("fashion_mnist")
    assert (report.n, report.classes, report.complete, report.problems) == (10_000, 10, True, [])
    assert str(report) == "fashion_mnist: 10,000 images of 10 classes, complete, no problem"
    report = data.check("fashion_mnist", split="train")
    assert (report.n, report.complete, report.lacking) == (20_000, False, "40,000 of 60,000 images are missing")


def test_script_makes_a_balanced_subset_and_the_same_bytes(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(script, "SIZE", 50)
    random = np.random.default_rng(0)
    source, labels = tmp_path / "source", random.permutation(np.repeat(np.arange(10), 20)).astype(np.uint8)
    images = random.integers(0, 256, (200, 28, 28), np.uint8)
    for folder in (source, tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
    for stem in ("train", "t10k"):
        script.write(source / f"{stem}-images-idx3-ubyte.gz", images)
        script.write(source / f"{stem}-labels-idx1-ubyte.gz", labels)
    script.main(source, tmp_path / "one")
    script.main(source, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 6
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    assert np.array_equal(script.read(tmp_path / "one" / "t10k-images-idx3-ubyte.gz"), images)
    chosen = script.choose(labels)
    assert len(set(chosen)) == 50
    assert labels[chosen].tolist() == list(range(10)) * 5
    assert np.array_equal(script.read(tmp_path / "one" / "train20000-images-idx3-ubyte.gz"), images[chosen])


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_embedded_files_are_what_the_script_makes_of_the_full_set(script: ModuleType, tmp_path: Path) -> None:
    full, part = opened(split="train"), opened(split="train", limit=20_000)
    assert len(full) == 60_000
    assert np.array_equal(part.places, script.choose(full.targets))
    assert np.array_equal(part.images, full.images[part.places])
    assert np.array_equal(part.targets, full.targets[part.places])
    script.write(tmp_path / "indices.gz", part.places.astype(np.int32))
    assert (tmp_path / "indices.gz").read_bytes() == (EMBEDDED / "train20000-indices-idx1-int.gz").read_bytes()
    assert full.images.mean() / 255 == pytest.approx(0.28604, abs=1e-5)
    assert full.images.std() / 255 == pytest.approx(0.35302, abs=1e-5)
