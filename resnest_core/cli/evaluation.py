"""The commands that use weights: evaluate, segment, detect. Each imports torch when it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnest_core import distributed
from resnest_core.cli.options import (
    Data,
    Device,
    Limit,
    Model,
    Out,
    Overwrite,
    Weights,
    Workers,
    announce,
    number,
    path,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg", ".pdf")
SEGMENTATION = ("semantic_segmentation",)
DETECTION = ("object_detection", "instance_segmentation", "panoptic_segmentation")
# Options of `evaluate` that mean something for some tasks alone.
ONLY_FOR = {
    "crop_size": ("classification",),
    "preprocessing": ("classification",),
    "batch_size": ("classification",),
    "view": SEGMENTATION,
    "memory_budget": SEGMENTATION,
    "short_side": DETECTION,
}
View = Annotated[
    str, typer.Option(help="Segmentation: multi_scale (the authors' protocol) or single_scale (the whole image, once).")
]
MemoryBudget = Annotated[
    float,
    number("memory_budget", "Segmentation: GiB for the crops that go through at once; 0 for the device's default."),
]
ShortSide = Annotated[
    int, number("short_side", "Detection: short side of what the network sees, in pixels; 0 for its own.")
]
Picture = Annotated[Path, typer.Option("--out", parser=path, help="Picture to write: .png, .svg or .pdf.")]
Photograph = Annotated[Path, typer.Argument(parser=path, help="A photograph.")]
Whose = Annotated[
    str,
    typer.Option("--dataset", help="Name of the data set; if not given, the one that the network is published for."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (evaluate, segment, detect):
        app.command()(command)


def evaluate(
    context: typer.Context,
    model: Model,
    out: Out,
    data: Data = "",
    dataset: Whose = "",
    weights: Weights = "published",
    crop_size: Annotated[
        int | None,
        number("crop_size", "Classifiers: side of the input in pixels; the checkpoint's own if not given.", "evaluate"),
    ] = None,
    preprocessing: Annotated[
        str, typer.Option(help="Classifiers: centre_square (the authors') or resize_then_crop.")
    ] = "",
    interpolation: Annotated[str, typer.Option(help="Classifiers: bicubic (the authors') or bilinear.")] = "",
    batch_size: Annotated[int, number("batch_size", "Classifiers: images in a forward pass.")] = 32,
    view: View = "multi_scale",
    memory_budget: MemoryBudget = 0.0,
    short_side: ShortSide = 0,
    device: Device = "auto",
    mode: Annotated[
        str,
        typer.Option(
            help="exact (float32), fast (half precision, compiled), or auto: the fastest here whose outputs stay "
            "within a twentieth of a deviation of exact ones (not for detectors)."
        ),
    ] = "exact",
    precision: Annotated[str, typer.Option(help="Of mode exact: fp32, tf32, bf16 or fp16.")] = "fp32",
    workers: Workers = 2,
    limit: Limit = 0,
    overwrite: Overwrite = False,
) -> None:
    """Evaluate a network, and write records.parquet (a row an image) and result.json; goes on if interrupted.

    Under torchrun its processes share the images.
    """
    task = _checked_task(model, context)
    common: dict[str, Any] = {"model": model, "out": str(out), "data": data, "weights": weights, "limit": limit}
    common["overwrite"] = overwrite
    machine: dict[str, Any] = {"device": device, "mode": mode, "precision": precision, "workers": workers}
    if task in SEGMENTATION:
        line = _segmenter_line(common | machine, dataset, view=view, memory_budget=memory_budget)
    elif task in DETECTION:
        line = _detector_line(common, dataset, machine, short_side)
    else:
        ways = {"preprocessing": preprocessing, "interpolation": interpolation}
        images: dict[str, Any] = {"crop_size": crop_size or 0, **ways}
        line = _classifier_line(common | images, dataset, machine | {"batch_size": batch_size})
    distributed.part_with(line)


def segment(
    model: Model,
    image: Photograph,
    out: Picture,
    dataset: Whose = "",
    weights: Weights = "published",
    view: View = "multi_scale",
    memory_budget: MemoryBudget = 0.0,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Segment one photograph, and write it beside its classes in colours, with a legend."""
    from resnest_core.experiments.segmentation import SemanticSegmentation, dataset_of
    from resnest_core.figures.segmentation import demonstration

    _check_picture(out, overwrite)
    experiment = SemanticSegmentation(
        model=model,
        out=str(out.parent),
        dataset=dataset or dataset_of(model),
        weights=weights,
        view=view,
        device=device,
        memory_budget=memory_budget,
    )
    found = experiment.segment(image)
    _save_picture(demonstration(found.image, found.predicted, experiment.classes), out)


def detect(
    model: Model,
    image: Photograph,
    out: Picture,
    weights: Weights = "published",
    least_score: Annotated[float, number("least_score", "Show what has this score or more.")] = 0.5,
    short_side: ShortSide = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Find the objects in one photograph, and write it with their boxes and masks in colours, with a legend."""
    from resnest_core.data.base import read_image
    from resnest_core.errors import of_image
    from resnest_core.evaluation.detection import Protocol
    from resnest_core.experiments.detection import ObjectDetection, dataset_of
    from resnest_core.figures.detection import demonstration

    _check_picture(out, overwrite)
    experiment = ObjectDetection(
        model=model,
        out=str(out.parent),
        dataset=dataset_of(model),
        weights=weights,
        protocol=Protocol(device=device, short_side=short_side),
    )
    photograph = read_image(image, upright=True)
    with of_image(image):
        found = experiment.detect(photograph, least_score)
    _save_picture(demonstration(photograph, found), out)


def _classifier_line(settings: dict[str, Any], dataset: str, protocol: dict[str, Any]) -> str:
    from resnest_core.evaluation.classification import Protocol, accuracy_line
    from resnest_core.experiments.classification import Classification

    experiment = Classification(**settings, dataset=dataset or "imagenet", protocol=Protocol(**protocol))
    announce("evaluating", experiment.model, experiment.dataset)
    return accuracy_line(experiment.result)


def _segmenter_line(settings: dict[str, Any], dataset: str, **view: Any) -> str:
    from resnest_core.evaluation.segmentation import score_line
    from resnest_core.experiments.segmentation import SemanticSegmentation, dataset_of

    experiment = SemanticSegmentation(**settings, **view, dataset=dataset or dataset_of(settings["model"]))
    announce("evaluating", experiment.model, experiment.dataset)
    return score_line(experiment.result)


def _detector_line(settings: dict[str, Any], dataset: str, machine: dict[str, Any], short_side: int) -> str:
    from resnest_core.evaluation.detection import Protocol, score_line
    from resnest_core.experiments.detection import ObjectDetection, dataset_of

    experiment = ObjectDetection(
        **settings,
        dataset=dataset or dataset_of(settings["model"]),
        protocol=Protocol(**machine, short_side=short_side),
    )
    announce("evaluating", experiment.model, experiment.dataset)
    return score_line(experiment.result)


def _checked_task(model: str, context: typer.Context) -> str:
    """The task of a network, for which every option that was given means something."""
    from resnest_core.errors import InputError
    from resnest_core.models import task_of

    task = task_of(model)
    for option, tasks in ONLY_FOR.items():
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE" and task not in tasks:
            raise InputError(
                f"--{option.replace('_', '-')} is for {' or '.join(tasks).replace('_', ' ')}; "
                f"'{model}' is a network for {task.replace('_', ' ')}"
            )
    return task


def _check_picture(path: Path, overwrite: bool) -> None:
    from resnest_core.errors import InputError

    if path.suffix not in PICTURES:
        raise InputError(f"'{path}' is no name of a picture; valid: one that ends in {', '.join(PICTURES)}")
    if path.exists() and not overwrite:
        raise InputError(f"'{path}' is there already; give another --out, or --overwrite")


def _save_picture(figure: "Figure", path: Path) -> None:
    from resnest_core.files import output_directory, replacing

    output_directory(path.parent)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=200, format=path.suffix[1:])
    print(path)
