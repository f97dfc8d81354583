"""The `resnest-core` program."""

import sys
from collections.abc import Callable
from typing import NoReturn

import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from resnest_core.cli import datasets, evaluation, networks, weights
from resnest_core.errors import InputError
from resnest_core.programs import outcome, run_program
from resnest_core.ranges import find, refusal

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
    """Run the program; what goes wrong ends it with one line and a status (`programs.outcome`)."""
    sys.exit(outcome(lambda: run(app)))


def run_command(command: Callable[..., None]) -> NoReturn:
    """Run a program that is one command of typer, and end this process."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(command)
    run_program(lambda: run(single))


def run(commands: typer.Typer) -> int | None:
    """Run a program of typer; InputError for what is wrong with its command line."""
    try:
        return commands(standalone_mode=False)
    except TyperException as error:
        raise InputError(_usage(error)) from None


def _usage(error: TyperException) -> str:
    """What is wrong with the command line, and which options the command has."""
    if refused := _refused_number(error):
        return str(refused)
    message = " ".join(error.format_message().split()) or "no command given; see --help"
    context = getattr(error, "ctx", None)
    if context is None or "option" not in message:
        return message
    options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
    return f"{message.rstrip('.')}; valid: {', '.join([*options, '--help'])}"


def _refused_number(error: TyperException) -> InputError | None:
    """The error for a number that typer did not take, by the range that is declared for it."""
    option, why = getattr(error, "param", None), error.__cause__
    if option is None or not isinstance(why, ValidationError):
        return None
    valid = find(option.name, error.ctx.command.name)  # type: ignore[attr-defined]
    return refusal(option.opts[0], why.errors()[0]["input"], valid) if valid else None
