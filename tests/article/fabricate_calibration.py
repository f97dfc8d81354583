"""Invented results of the analysis of calibration, by its own code on invented records, beside those of `fabricate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fabricate import CLASSES, Study

from resnest_core.analyses.calibration import calibrate

NAME = "calibration/base_results"


@dataclass
class Run:
    """What analyses of records ask of a `Finished`."""

    directory: str
    model_name: str
    records: pd.DataFrame
    label_smoothing: float | None = 0.1

    @property
    def name(self) -> str:
        return Path(self.directory).name

    @property
    def result(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {"weights": "" if self.label_smoothing is not None else "published"}
        parameters["recipe"] = {"label_smoothing": self.label_smoothing}
        return {"provenance": {"data_digest": "invented"}, "parameters": parameters}


def with_logits(records: pd.DataFrame, sharpness: float, seed: int = 0) -> pd.DataFrame:
    """Records with logits that agree with them; probabilities are about true with a sharpness of 1."""
    rng = np.random.default_rng(seed)
    n, rows = len(records), np.arange(len(records))
    logits = rng.normal(0, 0.5, (n, CLASSES))
    logits[rows, records["target"]] += 1
    margin = np.where(records["correct"], rng.normal(3.5, 1.2, n), rng.normal(1.2, 0.8, n)).clip(0.05)
    logits[rows, records["predicted"]] = logits.max(axis=1) + margin
    return records.assign(logits=list((1.6 * sharpness * logits).astype(np.float32)))


def add(study: Study, *, sharpness: float = 0.5, baseline: float = 0.5) -> None:
    """The analysis of all base results that ran; `baseline` is the sharpness of those without split attention."""
    study.add(NAME, {"bins": 15, "seed": 0}, None)
    runs = [
        Run(
            str(study.directory / key),
            model,
            with_logits(pd.read_parquet(study.directory / key / "records.parquet"), s),
        )
        for line in study.plan
        if line["study"] == "base_results" and line["status"] == "run"
        for key, model in [(f"base_results/{line['name']}", line["parameters"]["model"])]
        for s in [baseline if "resnetd" in model else sharpness]
    ]
    calibrate(runs, study.directory / NAME)  # type: ignore[arg-type]
    study.pretend(NAME)
