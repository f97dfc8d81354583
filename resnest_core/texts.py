"""Text of a user: files in whatever encoding they have, and names that no encoding fits; standard library only."""

import codecs
import functools
import io
import re
import sys
import unicodedata
from pathlib import Path
from typing import BinaryIO

from resnest_core.errors import InputError

WESTERN = "cp1252"  # Windows' Latin-1
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ODD = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def encoding_of(file: BinaryIO, name: str) -> str:
    """The encoding of a whole text file: by its byte-order mark, else UTF-8, else Windows-1252, which a line says.

    `name` is for that line, and for the InputError if it is none of these.
    """
    head = file.read(4)
    marked = next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)
    for encoding in [marked] if marked else [] if b"\0" in head[:2] else ["utf-8", WESTERN]:
        file.seek(0)
        try:
            odd = _first_odd_line(file, encoding)
        except UnicodeError:
            continue
        if encoding == WESTERN:
            _say_western(name, odd)
        return encoding
    raise InputError(f"'{name}' is no text in UTF-8; valid: text in UTF-8, or in UTF-16 with a byte-order mark")


def decode_text(content: bytes, name: str) -> str:
    """The text of a file, its line ends as \\n; see `encoding_of`."""
    text = content.decode(encoding_of(io.BytesIO(content), name))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path) -> str:
    """As `decode_text`, of a file; OSError if it cannot be read."""
    return decode_text(path.read_bytes(), str(path))


def printable(name: str) -> str:
    """A name of a file in which bytes that are no text stand as \\xNN, and line ends and the like as \\n.

    So records, indices and messages can hold it; other names stay as they are.
    """
    if not _ODD.search(name):
        return name
    visible = _ODD.sub(lambda odd: odd[0] if "\udc80" <= odd[0] <= "\udcff" else ascii(odd[0])[1:-1], name)
    return visible.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def composed(name: str) -> str:
    """A class's name for people and for comparing: Unicode's composed form, which macOS does not write, printable."""
    return printable(unicodedata.normalize("NFC", name))


def never_fail_to_print() -> None:
    """Let the program print any text to any terminal or file: what its encoding lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _first_odd_line(file: BinaryIO, encoding: str) -> str:
    """The first line that is not ASCII, or ""; UnicodeError if the file is not of this encoding."""
    text = io.TextIOWrapper(file, encoding)
    odd = ""
    try:
        for line in text:
            odd = odd or ("" if line.isascii() else line.strip())
    finally:
        text.detach()  # else it closes the file
    return odd


@functools.cache
def _say_western(name: str, line: str) -> None:
    shown = printable(line[:80])
    print(f"note: '{printable(name)}' is no UTF-8 and was read as Windows-1252, as in '{shown}'", file=sys.stderr)
