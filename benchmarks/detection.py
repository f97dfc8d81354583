"""`python -m benchmarks.detection`: a detector on one image at the size it was published for, time and memory."""

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

from resnest_core.cli import run_command
from resnest_core.cli.options import number, path
from resnest_core.devices import place
from resnest_core.evaluation.results import rate
from resnest_core.files import output_directory, write_json
from resnest_core.models import create_model
from resnest_core.models.rcnn.detector import Detector
from resnest_core.provenance import Stopwatch


def main(
    out: Annotated[Path, typer.Option(parser=path, help="File for the measurements.")],
    model: Annotated[str, typer.Option(help="The detector, with random weights.")] = "mask_rcnn_resnest50_fpn",
    height: Annotated[int, number("height", "Of the image that the network sees.")] = 800,
    width: Annotated[int, number("width", "Of the image that the network sees.")] = 1333,
    rounds: Annotated[int, number("rounds", "Images, after a first one that is not timed.")] = 3,
) -> None:
    """Measure a detector on a CPU, from image to detections; write JSON."""
    watch = Stopwatch()
    output_directory(out.parent)
    network = _finding(model)
    image = torch.rand(3, height, width) * 255
    found, rates = _detections(network, image), []
    for _ in range(rounds):
        start = time.perf_counter()
        _detections(network, image)
        rates.append(1 / (time.perf_counter() - start))
    provenance = watch.provenance()
    measured = {
        "images_per_second": rate(rates),
        "detections": len(found["boxes"]),
        "peak_memory": provenance["peak_memory"],
    }
    settings = {"model": model, "height": height, "width": width, "rounds": rounds}
    write_json(out, {"settings": settings, "detection": measured, "provenance": provenance})
    print(json.dumps(measured, indent=1))


def _finding(name: str) -> Detector:
    """The network with random weights, to which everything is an object, so that it finds as many as it may."""
    torch.manual_seed(0)
    network = create_model(name)
    assert isinstance(network, Detector)
    for predictor in network.roi_heads.box_predictor:
        nn.init.normal_(predictor.get_parameter("cls_score.weight"), std=1e4)
        nn.init.constant_(predictor.get_parameter("cls_score.bias")[-1:], -1e6)  # nothing is background
    return place(network, torch.device("cpu")).eval()


@torch.inference_mode()
def _detections(network: Detector, image: Tensor) -> dict[str, Tensor]:
    (found,) = network([image])
    return found


if __name__ == "__main__":
    run_command(main)
