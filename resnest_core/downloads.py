"""Fetching published weights, verified before they get their name, and asking which mirrors answer."""

import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from resnest_core import checkpoints
from resnest_core.checkpoints import Checkpoint
from resnest_core.errors import InputError
from resnest_core.files import output_directory, replacing

FETCH_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two packets
ASK_TIMEOUT = 5.0  # seconds


class Fetched(NamedTuple):
    """Where the weights lie, and whether they were there before."""

    path: Path
    already_here: bool


class HostAnswer(NamedTuple):
    """What a host said of the files it should have; `reason` is the first refusal, or ""."""

    host: str
    files: int
    answered: int
    reason: str


def fetch(name: str, directory: Path | None = None) -> Fetched:
    """Fetch the published weights `name` into `directory` (`checkpoints.weights_directory()` if None).

    A right copy that is already there is left alone. Raises InputError if no mirror gave the right file (with the
    reason of each and how to get it otherwise) and if the file cannot be written; then nothing new is left behind.
    """
    checkpoint = checkpoints.published(name)
    directory = output_directory(directory or checkpoints.weights_directory())
    here = checkpoints.locate(name, directory)
    if here and checkpoints.problem(here, checkpoint) is None:
        return Fetched(here, already_here=True)
    target, failures = directory / checkpoint.file, []
    for url in checkpoint.urls:
        try:
            _fetch_from(url, checkpoint, target)
            return Fetched(target, already_here=False)
        except (requests.RequestException, InputError) as error:
            failures.append(f"{urlsplit(url).netloc}: {_root(error)}")
        except OSError as error:  # the disk's fault, not the mirror's
            raise InputError(f"'{target}' cannot be written: {error.strerror}") from None
    remedy = checkpoints.instructions(name, directory)
    raise InputError(f"'{name}' could not be fetched ({'; '.join(failures)}); {remedy}")


def ask_hosts(names: Iterable[str]) -> list[HostAnswer]:
    """Ask every host of the files `names` for their headers, hosts in parallel; one that is silent is asked once."""
    urls: dict[str, list[str]] = {}
    for name in names:
        for url in checkpoints.published(name).urls:
            urls.setdefault(urlsplit(url).netloc, []).append(url)
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(_ask, urls, urls.values()))


def _ask(host: str, urls: list[str]) -> HostAnswer:
    answered, reason = 0, ""
    with requests.Session() as session:
        for url in urls:
            try:
                # A redirect is an answer: GitHub's leads to a URL that is signed for GET alone.
                session.head(url, allow_redirects=False, timeout=ASK_TIMEOUT).raise_for_status()
                answered += 1
            except requests.HTTPError as error:
                reason = reason or _root(error)
            except requests.RequestException as error:
                reason = _root(error)
                break
    return HostAnswer(host, len(urls), answered, reason)


def _fetch_from(url: str, checkpoint: Checkpoint, target: Path) -> None:
    with replacing(target) as temporary:
        _download(url, temporary, checkpoint.file)
        if wrong := checkpoints.problem(temporary, checkpoint):
            raise InputError(f"what it sent {wrong}")
        if checkpoint.format == "zip":
            with (
                replacing(temporary) as extracted,
                checkpoints.opened(temporary) as source,
                extracted.open("wb") as pth,
            ):
                shutil.copyfileobj(source, pth)


def _download(url: str, path: Path, label: str) -> None:
    """Write what `url` sends to `path`; a body shorter than announced is an error."""
    with requests.get(url, stream=True, timeout=FETCH_TIMEOUT) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdigit() else None
        with path.open("wb") as file, tqdm(total=size, desc=label, unit="B", unit_scale=True, disable=None) as bar:
            for chunk in response.iter_content(1 << 20):
                bar.update(file.write(chunk))


def _root(error: Exception) -> str:
    """The first cause of `error` in words: requests and urllib3 wrap it in one another."""
    inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, Exception)), None)
    if isinstance(inner, Exception):
        return _root(inner)
    text = re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", str(error)) or type(error).__name__
    return text.partition(" for url:")[0]
