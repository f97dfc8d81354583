"""The commands on data sets: shard, index."""

from pathlib import Path
from typing import Annotated

import typer

from resnest_core.cli.options import Data, Limit, Out, Overwrite, number, path
from resnest_core.places import from_caller

Directory = Annotated[
    str, typer.Option("--data", parser=from_caller, metavar="PLACE", help="Directory or URL of the tars.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (shard, index):
        app.command()(command)


def shard(
    out: Out,
    dataset: Annotated[str, typer.Option(help="imagenet, imagefolder, file_list, fashion_mnist ...")],
    data: Data = "",
    split: Annotated[str, typer.Option(help="test or train; it is the folder in --out, too.")] = "test",
    images_per_shard: Annotated[int, number("images_per_shard", "Images in a tar.")] = 10_000,
    limit: Limit = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write a data set of classification as tar shards (webdataset's layout) with an index; goes on if interrupted.

    Image files go in as they are. Use the shards, here or copied to object storage, with --dataset shards --data OUT.
    """
    from resnest_core.data import open_dataset
    from resnest_core.data.shard_writer import write_shards

    images = open_dataset(dataset, data or None, split=split, limit=limit)
    written = write_shards(images, out / split, images_per_shard, overwrite=overwrite)
    print(f"{out / split}: {written.table.num_rows:,} images in {len(written.tars):,} tars")


def index(
    data: Directory,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="Directory for the index, where the tars' own cannot be written.")
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            parser=from_caller, metavar="FILE", help="Text file with the name of a class a line; classes.txt in --data."
        ),
    ] = "",
    overwrite: Overwrite = False,
) -> None:
    """Make the index of tar shards in webdataset's layout: read the headers of all tars once."""
    from resnest_core.data import storage
    from resnest_core.data.listing import told
    from resnest_core.data.shard_index import CLASSES, INDEX, check_renewal, make_index, read_classes, write_index
    from resnest_core.errors import InputError
    from resnest_core.files import output_directory

    if out is None and storage.is_url(data):
        raise InputError(f"the index of '{data}' cannot be written there; give --out DIR, and use that as --data DIR")
    root = data if storage.is_url(data) else str(Path(data).absolute())
    directory = output_directory(out or root)
    made = make_index(root, read_classes(classes or storage.join(root, CLASSES)))
    if not overwrite:
        check_renewal(str(directory), made)
    write_index(directory / INDEX, made, beside=out is None)
    remarks = told("", (), made.remarks)
    print(f"{directory / INDEX}: {made.table.num_rows:,} images in {len(made.tars):,} tars{remarks}")
