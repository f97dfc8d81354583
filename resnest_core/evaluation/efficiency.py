"""The evaluator of cost, which needs neither data nor trained weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnest_core.devices import choose_device
from resnest_core.evaluation.results import RECORDS, write_result
from resnest_core.files import output_directory, replacing
from resnest_core.outputs import claims
from resnest_core.profiling import efficiency_table
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check


@claims("measurement of efficiency")
def measure_efficiency(
    networks: Sequence[str], out: str | Path, *, batch_size: int, crop_size: int, rounds: int, device: str = "auto"
) -> dict[str, Any]:
    """Measure what the `networks` cost; write passes (`records.parquet`) and medians (`result.json`) into `out`."""
    check("efficiency", batch_size=batch_size, crop_size=crop_size, rounds=rounds)
    watch, directory, where = Stopwatch(), output_directory(out), str(choose_device(device))
    table = efficiency_table(networks, batch_size=batch_size, crop_size=crop_size, rounds=rounds, device=where)
    with replacing(directory / RECORDS) as temporary:
        table.passes.to_parquet(temporary, index=False)
    parameters = {"networks": list(networks), "batch_size": batch_size, "crop_size": crop_size, "rounds": rounds}
    parameters["memory_method"] = table.memory_method
    return write_result(directory, table.metrics, parameters, watch.provenance(device=where))
