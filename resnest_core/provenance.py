"""What a result was made with: code, machine, data, weights, time and memory."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import nn

from resnest_core import distributed
from resnest_core.files import sha256
from resnest_core.memory import process_peak_memory

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pillow", "pyarrow", "scipy", "statsmodels")
ROOT = Path(__file__).resolve().parent.parent
TRAINING = "resnest_core_training"  # the key of the metadata of weights that were trained here
THIS_FILE = "resnest_core/provenance.py"


class Stopwatch:
    """Provenance of a piece of work, from its beginning to `provenance()`."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def provenance(
        self,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        data_digest: str | None = None,
        weights_file: str | Path | None = None,
    ) -> dict[str, Any]:
        """The `provenance` of a result file: times in seconds, memory in bytes."""
        return {
            **made_by(device),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processes": distributed.world(),
            "precision": precision,
            "data_digest": data_digest,
            "weights_file": None if weights_file is None else Path(weights_file).name,
            "weights_sha256": None if weights_file is None else sha256(weights_file),
            "training": None if weights_file is None else _training(Path(weights_file)),
            "seconds": round(time.perf_counter() - self._start, 3),
            "peak_memory": process_peak_memory(),
        }


def made_by(device: str = "cpu") -> dict[str, Any]:
    """Code and machine, which the numbers of an evaluation that was interrupted may owe to more than one of."""
    return {
        **_commit()._asdict(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "processor": _processor(),
    }


def state_digest(model: nn.Module) -> str:
    """SHA-256 of a network's weights: of its keys and the bytes of their values."""
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _training(weights: Path) -> list[dict[str, Any]] | None:
    """Code and machine of the steps of the training that left a weights file, where it says so."""
    if weights.suffix != ".safetensors":
        return None
    with safe_open(weights, framework="pt") as file:
        found: list[dict[str, Any]] | None = json.loads((file.metadata() or {}).get(TRAINING, "null"))
    return found


class Commit(NamedTuple):
    """The commit of these sources and whether they are as it holds them; without one, what `git` says instead.

    Sources that are no clone, such as an unpacked archive, have neither, whatever repository they lie in.
    """

    commit: str | None = None
    clean: bool | None = None
    git: str = ""


def _commit() -> Commit:
    if not (ROOT / ".git").exists():
        return Commit()
    try:
        top, commit, _ = _git("rev-parse", "--show-toplevel", "HEAD", f"HEAD:{THIS_FILE}").splitlines()
        clean = _git("status", "--porcelain", "--untracked-files=normal") == ""
        return Commit(commit, clean) if os.path.samefile(top, ROOT) else Commit()
    except OSError as error:
        return Commit(git=f"git cannot be run: {error.strerror}")
    except subprocess.CalledProcessError as error:
        if any(words in error.stderr for words in ("dubious ownership", "unsafe repository")):
            return Commit(git="git refuses: dubious ownership")
        if "HEAD" in error.stderr:  # of a repository that does not hold these sources
            return Commit()
        said = error.stderr.strip().splitlines() or ["no reason"]
        return Commit(git=f"git refuses: {said[-1].removeprefix('fatal: ')}")


def _git(*arguments: str) -> str:
    """What git says of the directory itself: variables that a hook or a user has set name other repositories.

    A clone that belongs to another user is read, too: its code is what runs here already.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LC_ALL": "C"}
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="surrogateescape", check=True
    )
    return done.stdout


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
