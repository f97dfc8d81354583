"""The one kind of error that a user's input causes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

MOST_NAMES = 100  # in one line


class InputError(ValueError):
    """Bad input: one line that names the value, what is wrong with it and what is valid."""


class NotFiniteError(InputError):
    """A network gave numbers that are not finite."""


@contextmanager
def of_image(name: object) -> Iterator[None]:
    """Name the image in an InputError that is raised within."""
    try:
        yield
    except InputError as error:
        raise InputError(f"image '{name}': {error}") from None


def unknown(kind: str, value: object, valid: Iterable[str]) -> InputError:
    """The error for a `value` that is not among the `valid` names of its `kind`."""
    names = sorted(valid)
    shown = names[:MOST_NAMES] + ([f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else [])
    close = get_close_matches(str(value), names, n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return InputError(f"unknown {kind} '{value}'{hint}; valid: {', '.join(shown)}")
