"""The commands on networks: models, evaluate, segment, train, benchmark, doctor. Each imports torch when it runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

PICTURES = (".png", ".svg", ".pdf")
Model = Annotated[str, typer.Argument(help="Name of a network; `resnest-core models` lists them.")]
Out = Annotated[Path, typer.Option(help="Directory for the results.")]
Data = Annotated[str, typer.Option(help="Directory of the data set; the embedded Fashion-MNIST needs none.")]
DatasetName = Annotated[str, typer.Option("--dataset", help="imagenet, imagefolder (class folders) or fashion_mnist.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images.")]
Weights = Annotated[str, typer.Option(help="published, or a file: .pth, .safetensors or the authors' .zip.")]
View = Annotated[
    str, typer.Option(help="Segmentation: multi_scale (the authors' protocol) or single_scale (the whole image, once).")
]
MemoryBudget = Annotated[
    float,
    typer.Option(min=0, help="Segmentation: GiB for the crops that go through at once; 0 for the device's default."),
]
# Options of `evaluate` that mean something for one task alone.
ONLY_FOR = {
    "crop_size": "classification",
    "preprocessing": "classification",
    "batch_size": "classification",
    "view": "semantic_segmentation",
    "memory_budget": "semantic_segmentation",
}
Limit = Annotated[int, typer.Option(min=0, help="Take this many images, classes in turn; 0 for all.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (models, evaluate, segment, train, benchmark, doctor):
        app.command()(command)


def models(task: Annotated[str | None, typer.Option(help="Only those of this task.")] = None) -> None:
    """List the networks, with parameters and input size."""
    import torch

    from resnest_core.models import create_model, list_models
    from resnest_core.profiling import count_parameters

    for name in list_models(task):
        with torch.device("meta"):
            model: Any = create_model(name)
        crop = model.architecture.crop_size if name in list_models("classification") else 0
        size = f"{crop} x {crop}" if crop else "any size"
        print(f"{name:27} {count_parameters(model) / 1e6:8.2f} M parameters   {size}")


def evaluate(
    context: typer.Context,
    model: Model,
    out: Out,
    data: Data = "",
    dataset: Annotated[
        str, typer.Option(help="Name of the data set; if not given, the one that the network is published for.")
    ] = "",
    weights: Weights = "published",
    crop_size: Annotated[
        int | None, typer.Option(help="Classifiers: side of the input in pixels; the checkpoint's own if not given.")
    ] = None,
    preprocessing: Annotated[
        str, typer.Option(help="Classifiers: centre_square (the authors') or resize_then_crop.")
    ] = "",
    batch_size: Annotated[int, typer.Option(help="Classifiers: images in a forward pass.")] = 32,
    view: View = "multi_scale",
    memory_budget: MemoryBudget = 0.0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    workers: Workers = 2,
    limit: Limit = 0,
) -> None:
    """Evaluate a network, and write records.parquet (a row an image) and result.json; goes on if interrupted."""
    from resnest_core.evaluation.classification import Protocol, accuracy_line
    from resnest_core.evaluation.segmentation import score_line
    from resnest_core.experiments.classification import Classification
    from resnest_core.experiments.segmentation import SemanticSegmentation, dataset_of

    if _checked_task(model, context) == "semantic_segmentation":
        segmentation = SemanticSegmentation(
            model=model,
            out=str(out),
            dataset=dataset or dataset_of(model),
            data=data,
            weights=weights,
            limit=limit,
            view=view,
            device=device,
            precision=precision,
            workers=workers,
            memory_budget=memory_budget,
        )
        print(score_line(segmentation.result))
        return
    experiment = Classification(
        model=model,
        out=str(out),
        dataset=dataset or "imagenet",
        data=data,
        weights=weights,
        limit=limit,
        crop_size=_checked_crop_size(crop_size),
        preprocessing=preprocessing,
        protocol=Protocol(batch_size=batch_size, device=device, precision=precision, workers=workers),
    )
    print(accuracy_line(experiment.result))


def segment(
    model: Model,
    image: Annotated[Path, typer.Argument(help="A photograph.")],
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .svg or .pdf.")],
    dataset: Annotated[
        str, typer.Option(help="Whose classes the network has; if not given, those it is published for.")
    ] = "",
    weights: Weights = "published",
    view: View = "multi_scale",
    memory_budget: MemoryBudget = 0.0,
    device: Device = "auto",
) -> None:
    """Segment one photograph, and write it beside its classes in colours, with a legend."""
    from resnest_core.errors import InputError
    from resnest_core.experiments.segmentation import SemanticSegmentation, dataset_of
    from resnest_core.files import output_directory
    from resnest_core.segmentation_figures import demonstration

    if out.suffix not in PICTURES:
        raise InputError(f"'{out}' is no name of a picture; valid: one that ends in {', '.join(PICTURES)}")
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
    output_directory(out.parent)
    demonstration(found.image, found.predicted, experiment.classes).savefig(out, dpi=200)
    print(out)


def train(
    model: Model,
    out: Out,
    data: Data = "",
    dataset: DatasetName = "fashion_mnist",
    epochs: Annotated[float, typer.Option(help="Passes over the training images.")] = 1.0,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="For a batch of 256, to which it is proportional.")] = 0.4,
    weight_decay: Annotated[float, typer.Option(help="On weights; biases and normalisation do not decay.")] = 2e-4,
    label_smoothing: Annotated[float, typer.Option(help="Part of the target spread over all classes.")] = 0.1,
    mixup: Annotated[float, typer.Option(help="Alpha of mixup; 0 for none.")] = 0.0,
    dropout: Annotated[float, typer.Option(help="Before the last layer.")] = 0.0,
    dropblock: Annotated[float, typer.Option(help="In the last two stages.")] = 0.0,
    augment: Annotated[bool, typer.Option(help="Move and mirror Fashion-MNIST images.")] = False,
    seed: Annotated[int, typer.Option(help="Of the weights, the order and the augmentation.")] = 0,
    device: Device = "auto",
    workers: Workers = 2,
    limit: Annotated[int, typer.Option(min=0, help="Train on this many images; 0 for all.")] = 0,
) -> None:
    """Train a classifier, evaluate it, and write weights, curves, records and result; goes on if interrupted."""
    from resnest_core.evaluation.classification import Protocol, accuracy_line
    from resnest_core.experiments.classification import Classification
    from resnest_core.training.classification import Recipe

    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        mixup=mixup,
        dropout=dropout,
        dropblock=dropblock,
        augment=augment,
        seed=seed,
    )
    experiment = Classification(
        model=model,
        out=str(out),
        dataset=dataset,
        data=data,
        protocol=Protocol(batch_size=256, device=device, workers=workers),
        train_limit=limit,
        recipe=recipe,
    )
    print(accuracy_line(experiment.result))


def benchmark(
    networks: Annotated[list[str], typer.Argument(help="Names of networks, measured by turns.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a forward pass.")] = 4,
    crop_size: Annotated[int, typer.Option(min=1, help="Side of the input in pixels.")] = 224,
    rounds: Annotated[int, typer.Option(min=1, help="Passes of each network.")] = 5,
    device: Device = "auto",
) -> None:
    """Measure networks with random weights: parameters, multiply-adds, speed, latency and memory."""
    from resnest_core.devices import choose_device
    from resnest_core.profiling import efficiency_table

    table = efficiency_table(
        networks, batch_size=batch_size, crop_size=crop_size, rounds=rounds, device=str(choose_device(device))
    )
    for name, value in table.metrics.items():
        spread = "" if value["low"] is None else f"  [{value['low']:.6g}, {value['high']:.6g}]"
        print(f"{name:48} {value['value']:>14.6g} {value['unit']}{spread}")


def doctor() -> None:
    """Say what this machine has, and what is missing or does not fit together."""
    from resnest_core import diagnosis

    findings = diagnosis.examine()
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'BAD '} {finding.subject}: {finding.text}")
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def _checked_task(model: str, context: typer.Context) -> str:
    """The task of a network, for which every option that was given means something."""
    from resnest_core.errors import InputError
    from resnest_core.models import task_of

    task = task_of(model)
    for option, other in ONLY_FOR.items():
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE" and other != task:
            raise InputError(
                f"--{option.replace('_', '-')} is for {other.replace('_', ' ')}; "
                f"'{model}' is a network for {task.replace('_', ' ')}"
            )
    return task


def _checked_crop_size(crop_size: int | None) -> int:
    """0, which stands for the checkpoint's own, if none was given; one of 0 that was given is an error."""
    from resnest_core.data.transforms import Preprocessing

    return 0 if crop_size is None else Preprocessing(crop_size=crop_size).crop_size
