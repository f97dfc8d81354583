"""The small sets themselves: each is read as it was made, and none that the program knows is forgotten."""

from pathlib import Path

from inputs.sets import SETS, Row, each_set

from resnest_core import data

EMBEDDED = {"fashion_mnist", "scenes"}  # made by the program, from files that it knows by their digests


def test_every_data_set_has_a_row() -> None:
    known = {*data.DATASETS, *data.SEGMENTATION_DATASETS, *data.DETECTION_DATASETS}
    assert {row.name for row in SETS} == known - EMBEDDED


@each_set
def test_small_sets_are_read(row: Row, tmp_path: Path) -> None:
    root = row.make(tmp_path)
    for split in data.base.SPLITS if row.trains else ("test",):
        dataset = row.open(root, split)
        assert len(dataset) >= 2
        assert data.check(row.name, root, split=split).problems == []
    assert len(sorted(tmp_path.glob(row.images))) >= 2
