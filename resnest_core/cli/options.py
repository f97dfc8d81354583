"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="Name of a network; `resnest-core models` lists them.")]
Out = Annotated[Path, typer.Option(help="Directory for the results.")]
Data = Annotated[
    str,
    typer.Option(help="Directory of the data set, file (a list) or URL (shards, a list); the embedded ones need none."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images.")]
Weights = Annotated[str, typer.Option(help="published, or a file: .pth, .safetensors or the authors' .zip.")]
Limit = Annotated[int, typer.Option(min=0, help="Take this many images, classes in turn; 0 for all.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another run left at --out.")]
