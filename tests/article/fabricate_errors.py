"""Invented results of the analysis of errors, by its own code on invented records, beside those of `fabricate`."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from fabricate import Study
from fabricate_calibration import Run
from PIL import Image

from resnest_core.analyses.errors import compare_errors
from resnest_core.data.fashion_mnist import CLASSES

NAME = "errors/depth_20"


@dataclass
class Blank:
    """A data set of which only classes and images are asked."""

    classes: tuple[str, ...] = CLASSES
    digest: str = "invented"

    def load(self, index: int) -> Image.Image:
        return Image.new("RGB", (28, 28), (index % 256,) * 3)


@dataclass
class Seen(Run):
    """A run with its test images."""

    test_set: Blank = field(default_factory=Blank)


def with_probabilities(records: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Records with a probability of the prediction, and a loss that tells hard images from easy ones."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 0.95, len(records))
    loss = np.where(records["correct"], -np.log(confidence), -np.log(1 - confidence) + rng.exponential(1, len(records)))
    return records.assign(top5_probability=[[float(value)] for value in confidence], loss=loss)


def add(study: Study, first: str = "mini_resnest20", second: str = "mini_resnetd20") -> None:
    """The analysis of two of the base results."""
    study.add(NAME, {"per_kind": 3}, None)
    runs = [
        Seen(
            f"build/{name}",
            name,
            with_probabilities(pd.read_parquet(study.directory / f"base_results/{name}/records.parquet")),
        )
        for name in (first, second)
    ]
    compare_errors(runs, study.directory / NAME, per_kind=3)  # type: ignore[arg-type]
    study.pretend(NAME)
