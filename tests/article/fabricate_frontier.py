"""An invented accuracy/cost frontier of the fabricated default profile's networks."""

import numpy as np
import pandas as pd
from fabricate import Study, metric

from resnest_core.analyses.frontier import COSTS, beaten

NAME = "frontier/small"


def add(study: Study, *, missing: str | None = None) -> None:
    """The analysis of all base results, whose costs rise with depth; accuracies are those of the records."""
    study.add(NAME, {"batch_size": 64, "rounds": 7}, missing)
    if missing is not None:
        return
    names = sorted(line["name"] for line in study.plan if line["study"] == "base_results" and line["status"] == "run")
    records = [pd.read_parquet(study.directory / f"base_results/{name}/records.parquet") for name in names]
    correct = np.stack([frame["correct"].to_numpy(bool) for frame in records])
    costs = np.array([float(name[-2:]) + 2 * ("resnest" in name) for name in names])
    right = 100 * correct.mean(axis=1)
    table = pd.DataFrame({"run": names, "model": names, "top1": right, "low": right - 0.6, "high": right + 0.6})
    scales = {"parameters": 1e4, "multiply_adds": 2e5, "seconds": 1e-4, "memory": 3e5}
    table = table.assign(**{cost: costs * scales[cost] for cost in COSTS})
    table = table.assign(**{f"beaten_{cost}": beaten(correct, costs) for cost in COSTS})
    metrics = {
        f"{row['run']}.{name}": metric(float(row[name]))
        for row in table.to_dict("records")
        for name in ("top1", *COSTS, *(f"beaten_{cost}" for cost in COSTS))
    }
    parameters = {"models": dict(zip(names, names, strict=True)), "batch_size": 64, "rounds": 7}
    study.store(NAME, parameters, metrics, table)
