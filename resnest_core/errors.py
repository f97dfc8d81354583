"""The one kind of error that a user's input causes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

MOST_NAMES = 100  # in one line
WRAPPED = "Original Traceback (most recent call last):"  # in what torch makes of an error in a process of a loader


class InputError(ValueError):
    """Bad input: one line that names the value, what is wrong with it and what is valid."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message) if WRAPPED in message else message)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"error: {self}"]


def one_line(message: str) -> str:
    """A message without its line breaks; of one that a loader's process passed on, what was raised there."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if WRAPPED in message:
        return lines[-1].partition(": ")[2] or lines[-1]
    return " ".join(lines)


class NotFiniteError(InputError):
    """A network gave numbers that are not finite."""


@contextmanager
def of_image(name: object) -> Iterator[None]:
    """Name the image in an InputError that is raised within."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"image '{name}': {error}") from None


def unknown(kind: str, value: object, valid: Iterable[str]) -> InputError:
    """The error for a `value` that is not among the `valid` names of its `kind`."""
    names = sorted(valid)
    shown = names[:MOST_NAMES] + ([f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else [])
    close = get_close_matches(str(value), names, n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return InputError(f"unknown {kind} '{value}'{hint}; valid: {', '.join(shown)}")
