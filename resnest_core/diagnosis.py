"""What the `doctor` command looks at."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from resnest_core import checkpoints
from resnest_core.data import check
from resnest_core.errors import InputError

PAIR = ("torch", "torchvision")
NEEDED = ("numpy", "pandas", "pyarrow", "scipy", "statsmodels", "papermill", "nbconvert", "snakemake", "typst")
PAIR_REMEDY = (
    "torch and torchvision are not of one build (a CPU-only torch beside another torchvision does this); "
    "install both again, together: pip install --force-reinstall -r requirements.txt"
)


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    subject: str
    good: bool
    text: str


def examine() -> list[Finding]:
    """Look at Python, the packages, torch with torchvision, the devices, the data, the weights and the disk."""
    return [
        Finding("python", True, f"{platform.python_version()} on {platform.platform()}"),
        *(_package(name) for name in (*PAIR, *NEEDED)),
        _operators(),
        _devices(),
        _embedded_data(),
        _weights(),
        Finding("disk", True, f"{shutil.disk_usage('.').free / 1e9:.1f} GB free here"),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed; pip install -r requirements.txt")


def _operators() -> Finding:
    """Whether torchvision's compiled operators work with this torch, which importing does not always show."""
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        return Finding("torch with torchvision", False, f"{str(error).splitlines()[0]}: {PAIR_REMEDY}")
    return Finding("torch with torchvision", True, "the compiled operators work")


def _devices() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("devices", False, "torch cannot be imported")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("devices", True, f"{os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}")


def _embedded_data() -> Finding:
    try:
        return Finding("embedded data", True, str(check("fashion_mnist")))
    except InputError as error:
        return Finding("embedded data", False, str(error))


def _weights() -> Finding:
    try:
        directory: Path = checkpoints.weights_directory()
    except InputError as error:
        return Finding("published weights", False, str(error))
    here = [name for name in checkpoints.MANIFEST if checkpoints.locate(name)]
    return Finding("published weights", True, f"{len(here)} of {len(checkpoints.MANIFEST)} files in {directory}")
