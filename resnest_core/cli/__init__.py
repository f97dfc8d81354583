"""The `resnest-core` program."""

import sys

import typer
from typer.exceptions import TyperException

from resnest_core import distributed
from resnest_core.cli import datasets, evaluation, networks, weights
from resnest_core.errors import InputError
from resnest_core.texts import never_fail_to_print, printable

app = typer.Typer(
    help="Evaluate, train and measure ResNeSt and its relatives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(weights.app, name="weights")
networks.register(app)
evaluation.register(app)
datasets.register(app)


def main() -> None:
    """Run the program; bad input and the system's refusals end it with one line and status 2.

    Of several processes the first to fail says why.
    """
    never_fail_to_print()
    try:
        sys.exit(app(standalone_mode=False))
    except InputError as error:
        message = str(error)
    except TyperException as error:
        message = _usage(error)
    except OSError as error:
        message = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    except Exception:
        if distributed.is_first_to_fail():
            raise
        sys.exit(1)
    if distributed.is_first_to_fail():
        print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def _usage(error: TyperException) -> str:
    """What is wrong with the command line, and which options the command has."""
    message = " ".join(error.format_message().split()) or "no command given; see --help"
    context = getattr(error, "ctx", None)
    if context is None or "option" not in message:
        return message
    options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
    return f"{message.rstrip('.')}; valid: {', '.join([*options, '--help'])}"
