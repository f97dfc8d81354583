"""Commands of typer, as a test runs them."""

from collections.abc import Callable

import typer
from typer.testing import CliRunner


def run_command(main: Callable[..., None], *arguments: str) -> str:
    """What the command prints, which must end well."""
    app = typer.Typer()
    app.command()(main)
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    return ran.output
