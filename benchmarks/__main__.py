"""`python -m benchmarks`: this machine's ceilings and how near to them the networks run, as one JSON file."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import pipeline, speed, training
from benchmarks.ceilings import ceilings
from benchmarks.layers import convolutions
from resnest_core.cli import run_command
from resnest_core.cli.options import number, path
from resnest_core.devices import choose_device
from resnest_core.files import output_directory, write_json
from resnest_core.huge_pages import restart
from resnest_core.models import create_model
from resnest_core.modes import exact, fast
from resnest_core.provenance import Stopwatch

REFERENCE = "resnest50"
BATCH = {"cpu": 32, "cuda": 256}


def main(
    out: Annotated[Path, typer.Option(parser=path, help="File for the measurements.")],
    images: Annotated[
        Path | None, typer.Option(parser=path, help="Photographs to evaluate, in one folder; made if not given.")
    ] = None,
    networks: Annotated[
        list[str] | None, typer.Option(help="Classifiers to measure; all published ones if not given.")
    ] = None,
    compiled: Annotated[
        list[str] | None, typer.Option(help="Networks to measure compiled, too (1 to 2 minutes each); or 'all'.")
    ] = None,
    batch_size: Annotated[int, number("batch_size", "Images in a pass; 0 for 32 on a CPU, 256 on a GPU.", "main")] = 0,
    rounds: Annotated[int, number("rounds", "Each way once a round, after one that is thrown away.")] = 5,
    limit: Annotated[int, number("limit", "Photographs in an evaluation.", "main")] = 320,
    workers: Annotated[int, number("workers", "Processes that read photographs.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Measure ceilings, all networks in all modes, training steps, and evaluation from photograph to record."""
    watch, where = Stopwatch(), choose_device(device)
    batch, output = batch_size or BATCH[where.type], output_directory(out.parent) / out.name
    compiling = set(compiled or [REFERENCE])
    content: dict[str, Any] = {"settings": {"rounds": rounds, "compiled": sorted(compiling)}}

    def store(name: str, found: object) -> None:
        content[name] = found
        provenance = watch.provenance(device=str(where))
        write_json(output, content | {"provenance": provenance})  # as it comes: the whole takes long
        print(f"{name} done after {provenance['seconds']:.0f} s", flush=True)

    store("ceilings", ceilings(where))
    precisions = list(dict.fromkeys(mode.precision for mode in (exact("fp32", where), fast(where))))
    small = max(batch // 16, 1)
    store("convolutions", [_alone(REFERENCE, speed.CROP_SIZE, batch, one, where) for one in precisions])
    store("segmenter_convolutions", [_alone(speed.SEGMENTER, speed.CROP, small, one, where) for one in precisions])
    rows: list[dict[str, Any]] = []
    for name in networks or speed.CLASSIFIERS:
        own = _wanted(name, compiling)
        rows += speed.classifier(name, where, batch, rounds, compiled=own)
        store("networks", rows)
    own = _wanted(speed.SEGMENTER, compiling)
    store("segmenter", speed.segmenter(where, small, rounds, compiled=own))
    store("detector", speed.detector(where, rounds))
    store("training", training.steps(REFERENCE, where, max(batch // 4, 2), rounds))
    with tempfile.TemporaryDirectory() as scratch:
        files = pipeline.photographs(images, Path(scratch), limit)
        measured = pipeline.evaluations(REFERENCE, files, Path(scratch), where, batch, rounds, workers)
    store("pipeline", measured)
    print(json.dumps({row["way"]: row["times_as_fast"] for row in rows if row["network"] == REFERENCE}, indent=1))


def _alone(name: str, side: int, batch: int, precision: str, device: torch.device) -> dict[str, Any]:
    """The convolutions of a network, each by itself."""
    return convolutions(create_model(name).eval(), torch.zeros(1, 3, side, side), batch, precision, device)


def _wanted(name: str, compiling: set[str]) -> bool:
    return name in compiling or "all" in compiling


if __name__ == "__main__":
    restart()
    run_command(main)
