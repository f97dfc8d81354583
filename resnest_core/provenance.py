"""What a result was made with: code, machine, data, weights, time and memory."""

import hashlib
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnest_core import distributed
from resnest_core.files import sha256
from resnest_core.memory import process_peak_memory

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pillow", "pyarrow", "scipy", "statsmodels")
ROOT = Path(__file__).parent.parent


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
        commit, clean = _commit()
        return {
            "commit": commit,
            "clean": clean,
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processes": distributed.world(),
            "precision": precision,
            "data_digest": data_digest,
            "weights_file": None if weights_file is None else Path(weights_file).name,
            "weights_sha256": None if weights_file is None else sha256(weights_file),
            "seconds": round(time.perf_counter() - self._start, 3),
            "peak_memory": process_peak_memory(),
        }


def state_digest(model: nn.Module) -> str:
    """SHA-256 of a network's weights: of its keys and the bytes of their values."""
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the code and whether the working tree is clean; (None, None) outside a clone."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, _git("status", "--porcelain") == ""
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
