"""Masks as run lengths."""

import numpy as np
import pytest
from pycocotools import mask as run_lengths

from resnest_core.run_lengths import areas


@pytest.mark.parametrize("n", [0, 1, 255, 256, 700])
def test_areas_of_any_number_of_masks(n: int) -> None:
    shown = np.zeros((30, 40, n), np.uint8, order="F")
    for i in range(n):
        shown[: 1 + i % 30, : 1 + i % 7, i] = 1
    masks = run_lengths.encode(shown)
    assert areas(masks).tolist() == [(1 + i % 30) * (1 + i % 7) for i in range(n)]
