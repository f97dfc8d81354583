"""`resnest-core weights`: list, check and fetch the published weights."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate
from tqdm import tqdm

from resnest_core import checkpoints, downloads
from resnest_core.checkpoints import Checkpoint
from resnest_core.cli.options import path
from resnest_core.errors import InputError
from resnest_core.files import sha256

app = typer.Typer(help="List, check and fetch the authors' published weights.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List every published file: its task, score and digest, and whether it is here."""
    rows = [
        (c.name, c.task, _score(c), c.digest_text, "yes" if checkpoints.locate(c.name) else "no")
        for c in checkpoints.MANIFEST.values()
    ]
    typer.echo(tabulate(rows, headers=("name", "task", "published score, %", "digest", "here")))
    typer.echo(f"\n'here' is {checkpoints.weights_directory()}; set RESNEST_WEIGHTS to keep weights elsewhere.")


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="All if none is given.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the hosts.")] = False,
) -> None:
    """Say which files are here, whole and right, and which hosts answer.

    Ends with status 1 if a file that is here is wrong, or one that was named is not here.
    """
    chosen = [checkpoints.published(name) for name in names or checkpoints.MANIFEST]
    states = {c.name: _state(c) for c in tqdm(chosen, desc="reading", disable=None)}
    typer.echo(tabulate([(name, *state) for name, state in states.items()], headers=("name", "state", "remark")))
    if not offline:
        typer.echo(f"\n{_hosts([c.name for c in chosen])}")
    bad = {"WRONG", "absent"} if names else {"WRONG"}
    if any(state in bad for state, _ in states.values()):
        raise typer.Exit(1)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME")],
    directory: Annotated[
        Path | None, typer.Option(parser=path, help="Where to, instead of RESNEST_WEIGHTS or the cache.")
    ] = None,
) -> None:
    """Fetch weights: each mirror in turn, verified, whole or not at all. One that fails does not stop the others."""
    for name in names:
        checkpoints.published(name)
    failures = 0
    for name in names:
        try:
            path, already_here = downloads.fetch(name, directory)
            typer.echo(f"{name}: {'already here and right' if already_here else 'fetched and verified'}: {path}")
        except InputError as error:
            typer.echo(f"error: {error}", err=True)
            failures += 1
    if failures:
        raise typer.Exit(2)


def _score(checkpoint: Checkpoint) -> str:
    return ", ".join(f"{metric} {value:.2f}" for metric, value in checkpoint.score.items()) or "none"


def _state(checkpoint: Checkpoint) -> tuple[str, str]:
    """In a word, whether the file is here and right, and a remark."""
    path = checkpoints.locate(checkpoint.name)
    if path is None:
        return "absent", ""
    if wrong := checkpoints.problem(path, checkpoint):
        return "WRONG", f"{path} {wrong}"
    if checkpoint.digest is None:
        return "readable", f"no published digest; {path.stat().st_size:,} bytes, SHA-256 {sha256(path)}"
    return "right", checkpoint.digest_text


def _hosts(names: list[str]) -> str:
    answers = downloads.ask_hosts(names)
    rows = [(a.host, f"{a.answered} of {a.files}", a.reason) for a in answers]
    return tabulate(rows, headers=("host", f"files that answered on {datetime.now(UTC):%Y-%m-%d}", "first refusal"))
