"""A little work under torchrun: `several.py OUT`. It is the less that is imported, the sooner it begins."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import psutil
import torch
from PIL import Image
from small import Coloured, Linear

from resnest_core.data.transforms import Preprocessing
from resnest_core.evaluation import records
from resnest_core.evaluation.classification import Protocol, evaluate_classifier

ROOT = Path(__file__).parents[1]
PROTOCOL = Protocol(batch_size=4, device="cpu", keep_logits=True)
NEVER, PATIENCE = 1e4, 600  # seconds


@dataclass
class Stuck(Coloured):
    """Its second batch of four never comes, nor do its last."""

    def load(self, index: int) -> Image.Image:
        if 4 <= index < 8 or index >= 12:
            time.sleep(NEVER)
        return super().load(index)


@contextmanager
def torchrun(processes: int, *arguments: str) -> Iterator[psutil.Popen]:
    """torchrun with its processes, which are killed at the end; they would outlive it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    agent = psutil.Popen([*command, *arguments], env=environment, stdout=PIPE, stderr=PIPE, text=True)
    try:
        yield agent
    finally:
        for process in [*agent.children(recursive=True), agent] if agent.is_running() else []:
            process.kill()
        agent.wait()


def run(processes: int, *arguments: str) -> tuple[int, str, str]:
    """Status, output and errors of torchrun; one that hangs fails."""
    with torchrun(processes, *arguments) as agent:
        printed, errors = agent.communicate(timeout=PATIENCE)
        return agent.returncode, printed, errors


def classify(out: Path, data: Coloured | None = None) -> dict:
    return evaluate_classifier(Linear(), data or Coloured(), Preprocessing(crop_size=8), out, PROTOCOL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    records.SECONDS_BETWEEN_PARTS = -1.0
    classify(Path(sys.argv[1]) / "few", Coloured(5))  # fewer batches than processes
    classify(Path(sys.argv[1]) / "stuck", Stuck())
