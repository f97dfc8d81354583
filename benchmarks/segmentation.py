"""`python -m benchmarks.segmentation`: whole images to scores, against one crop at a time in the authors' way."""

import copy
import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks import authors_way
from benchmarks.speed import LITERAL, by_turns, quotient
from resnest_core.cli import run_command
from resnest_core.cli.options import number, path
from resnest_core.evaluation.segmentation import Predictor, Protocol
from resnest_core.experiments.segmentation import view_of
from resnest_core.files import output_directory, write_json
from resnest_core.models import create_model
from resnest_core.models.deeplab import Segmenter
from resnest_core.modes import difference
from resnest_core.provenance import Stopwatch


def main(
    out: Annotated[Path, typer.Option(parser=path, help="File for the measurements.")],
    model: Annotated[
        str, typer.Option(help="The segmentation network, with random weights.")
    ] = "deeplab_resnest50_ade",
    dataset: Annotated[str, typer.Option(help="Whose sizes the protocol has.")] = "ade20k",
    height: Annotated[int, number("height", "Of the image.")] = 300,
    width: Annotated[int, number("width", "Of the image.")] = 400,
    rounds: Annotated[int, number("rounds", "Each way once a round, after one that is thrown away.")] = 3,
) -> None:
    """Measure six scales with mirror images, from image to scores; write JSON, print the ratio."""
    watch = Stopwatch()
    output_directory(out.parent)
    torch.manual_seed(0)
    network = create_model(model).eval()
    assert isinstance(network, Segmenter)
    literal = authors_way.with_lists(copy.deepcopy(network))
    view = view_of("multi_scale", dataset)
    predict = Predictor(network, Protocol(view, device="cpu"))
    image = torch.randn(3, height, width)

    calls = {
        LITERAL: lambda: authors_way.multi_scale(literal, image, view, predict.black),
        "six scales": lambda: predict.scores(image),
    }
    theirs, ours = (call() for call in calls.values())
    seconds = by_turns(calls, rounds, torch.device("cpu"))
    measured = {
        "difference_over_deviation": float(difference(ours, theirs).max()),
        "crops_at_once": predict.infer.batch_size(torch.empty(12, 3, view.crop_size, view.crop_size)),
        "seconds": seconds,
        "times_as_fast": quotient(*seconds.values()),
    }
    settings = {"model": model, "dataset": dataset, "height": height, "width": width, "rounds": rounds}
    write_json(out, {"settings": settings, "multi_scale": measured, "provenance": watch.provenance()})
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    run_command(main)
