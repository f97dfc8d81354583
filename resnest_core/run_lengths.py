"""Masks as pycocotools' compressed run lengths."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask


def areas(masks: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Pixels (n,) of masks, one at a time: pycocotools 2.0.11 counts the masks of a list in 8 bits."""
    return np.array([mask.area(one) for one in masks], np.float64)
