"""Requests that no data set can answer, and what the data sets share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnest_core import data
from resnest_core.data.base import balanced_order, image_problem
from resnest_core.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"
each_data_set = pytest.mark.parametrize("name", data.DATASETS)


def refused(match: str, name: str, root: Path | None = None, split: str = "test", limit: int = 0) -> None:
    with pytest.raises(InputError, match=match) as error:
        data.open_dataset(name, root, split=split, limit=limit)
    assert "\n" not in str(error.value)


def test_unknown_data_sets_are_refused() -> None:
    refused(
        "unknown data set 'imagnet' .did you mean 'imagenet'.*; valid: fashion_mnist, file_list, imagefolder", "imagnet"
    )
    with pytest.raises(InputError, match="unknown data set 'mnist'"):
        data.check("mnist")


@each_data_set
def test_bad_requests_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    refused("unknown split 'val'.*; valid: test, train", name, FIXTURES, split="val")
    refused("limit -1 is not possible; valid: a whole number from 0 .*0 for all", name, FIXTURES, limit=-1)
    refused("data directory '.*absent' does not exist or is no directory", name, tmp_path / "absent")
    refused("data directory '.*file' does not exist or is no directory", name, tmp_path / "file")
    refused("data directory '.*empty' is empty", name, tmp_path / "empty")


@pytest.mark.parametrize("name", ["imagenet", "imagefolder"])
def test_folders_of_images_need_a_directory_that_holds_them(name: str) -> None:
    refused(f"data set '{name}' needs a data directory, and none was given; valid: --data DIR", name)
    refused("no .* in '.*fixtures'; valid: ", name, FIXTURES)


def test_balanced_order_takes_classes_in_turn() -> None:
    assert balanced_order(np.array([2, 2, 0, 2, 0, 5])).tolist() == [2, 0, 5, 4, 1, 3]
    targets = np.random.default_rng(0).integers(0, 7, 500)
    order = balanced_order(targets)
    assert sorted(order) == list(range(500))
    waiting = [list(np.flatnonzero(targets == label)) for label in range(7)]
    naive = [queue.pop(0) for _ in range(500) for queue in waiting if queue]
    assert order.tolist() == naive


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_any_cut_of_any_format_is_seen(kind: str, tmp_path: Path) -> None:
    path, size = tmp_path / "image", (5, 300)
    Image.open(FIXTURES / "colour_181x137.jpg").resize(size).save(path, kind)
    assert image_problem(path) is None
    content = path.read_bytes()
    for part in (0, 1, 100, len(content) // 2, len(content) * 9 // 10):
        path.write_bytes(content[:part])
        assert image_problem(path) is not None, part


def test_fixtures_have_no_problem() -> None:
    for path in FIXTURES.glob("*.[jp][pn]g"):
        assert image_problem(path) is None
