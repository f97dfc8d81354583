"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from resnest_core import distributed
from resnest_core.places import from_caller
from resnest_core.ranges import range_of


def number(name: str, help: str, command: str = "") -> Any:
    """An option of `command` whose value must be in the declared range of `name`, which its help shows."""
    valid = range_of(name, command)
    return typer.Option(min=valid.low, max=valid.high, help=help)


def announce(what: str, model: str, dataset: str) -> None:
    """Print what begins, since the data set may be the one that is taken if none is named."""
    if distributed.is_first():
        print(f"{what} {model} on {dataset}", flush=True)


def path(value: str | Path) -> Path:
    """A path as the caller sees it."""
    return Path(from_caller(str(value)))


Model = Annotated[str, typer.Argument(help="Name of a network; `resnest-core models` lists them.")]
Out = Annotated[Path, typer.Option(parser=path, help="Directory for the results; a relative path begins here.")]
Data = Annotated[
    str,
    typer.Option(
        parser=from_caller,
        metavar="PLACE",
        help="Directory of the data set, file (a list) or URL (shards, a list); a relative path begins here. "
        "The embedded ones need none.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, number("workers", "Processes that decode images.")]
Weights = Annotated[
    str,
    typer.Option(
        parser=from_caller, metavar="FILE", help="published, or a file: .pth, .safetensors or the authors' .zip."
    ),
]
Limit = Annotated[int, number("limit", "Take this many images, classes in turn; 0 for all.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another run left at --out.")]
