"""The `resnest-core` program."""

import sys

import typer

from resnest_core.cli import networks, weights
from resnest_core.errors import InputError

app = typer.Typer(
    help="Evaluate, train and measure ResNeSt and its relatives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(weights.app, name="weights")
networks.register(app)


def main() -> None:
    """Run the program; bad input and the system's refusals end it with one line and status 2."""
    try:
        app()
    except InputError as error:
        sys.exit(_fail(str(error)))
    except OSError as error:
        sys.exit(_fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"))


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
