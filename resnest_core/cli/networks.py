"""The commands on networks: models, train, benchmark, doctor. Each imports torch when it runs."""

from typing import Annotated, Any

import typer

from resnest_core import distributed
from resnest_core.cli.options import Data, Device, Model, Out, Overwrite, Workers, announce, number

DatasetName = Annotated[
    str, typer.Option("--dataset", help="imagenet, imagefolder (class folders), file_list, shards or fashion_mnist.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (models, train, benchmark, doctor):
        app.command()(command)


def models(task: Annotated[str | None, typer.Option(help="Only those of this task.")] = None) -> None:
    """List the networks, with parameters and input size."""
    import torch

    from resnest_core.models import create_model, list_models
    from resnest_core.profiling import count_parameters

    names = list_models(task)
    width = max(map(len, names))
    for name in names:
        with torch.device("meta"):
            model: Any = create_model(name)
        crop = model.architecture.crop_size if name in list_models("classification") else 0
        size = f"{crop} x {crop}" if crop else "any size"
        print(f"{name:{width}} {count_parameters(model) / 1e6:8.2f} M parameters   {size}")


def train(
    model: Model,
    out: Out,
    data: Data = "",
    dataset: DatasetName = "fashion_mnist",
    epochs: Annotated[float, number("epochs", "Passes over the training images.")] = 1.0,
    batch_size: Annotated[int, number("batch_size", "Images in a step.", "train")] = 64,
    learning_rate: Annotated[float, number("learning_rate", "For a batch of 256, to which it is proportional.")] = 0.4,
    weight_decay: Annotated[float, number("weight_decay", "On weights; biases and normalisation do not decay.")] = 2e-4,
    label_smoothing: Annotated[float, number("label_smoothing", "Part of the target spread over all classes.")] = 0.1,
    mixup: Annotated[float, number("mixup", "Alpha of mixup; 0 for none.")] = 0.0,
    dropout: Annotated[float, number("dropout", "Before the last layer.")] = 0.0,
    dropblock: Annotated[float, number("dropblock", "In the last two stages.")] = 0.0,
    augment: Annotated[bool, typer.Option(help="Move and mirror Fashion-MNIST images.")] = False,
    precision: Annotated[str, typer.Option(help="Of convolutions and products: fp32, tf32 or bf16.")] = "fp32",
    seed: Annotated[int, number("seed", "Of the weights, the order and the augmentation.")] = 0,
    device: Device = "auto",
    workers: Workers = 2,
    limit: Annotated[int, number("limit", "Train on this many images; 0 for all.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Train a classifier, evaluate it, and write weights, curves, records and result; goes on if interrupted.

    Under torchrun its processes share each batch.
    """
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
        precision=precision,
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
        overwrite=overwrite,
    )
    announce("training", model, dataset)
    distributed.part_with(accuracy_line(experiment.result))


def benchmark(
    networks: Annotated[list[str], typer.Argument(help="Names of networks, measured by turns.")],
    batch_size: Annotated[int, number("batch_size", "Images in a forward pass.")] = 4,
    crop_size: Annotated[int, number("crop_size", "Side of the input in pixels.", "benchmark")] = 224,
    rounds: Annotated[int, number("rounds", "Passes of each network.")] = 5,
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
