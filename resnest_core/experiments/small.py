"""Small runs, for notebooks that look at runs and are opened where none is: trained in seconds, once."""

import fcntl
from pathlib import Path

from resnest_core.evaluation.classification import Protocol
from resnest_core.evaluation.results import RESULT
from resnest_core.experiments.classification import Classification
from resnest_core.files import output_directory
from resnest_core.places import below_root
from resnest_core.training.classification import Recipe

SMALL = "build/notebooks/small_runs"
TRAINING, TEST = 2_000, 500  # images of Fashion-MNIST


def small_runs(*models: str) -> list[str]:
    """Directories of runs of the classifiers `models` on few images of Fashion-MNIST; those that are there are kept."""
    place = output_directory(below_root(SMALL))
    with open(place / "making.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # notebooks may be opened side by side
        return [_made(model, place / model) for model in models]


def _made(model: str, out: Path) -> str:
    """The directory `out` with a run of `model`, made if need be."""
    if not (out / RESULT).exists():
        print(f"{model}: a small run in '{out}', since `runs` names none")
        protocol = Protocol(batch_size=250, keep_logits=True)
        recipe = Recipe(batch_size=32)
        settings = {"limit": TEST, "train_limit": TRAINING, "protocol": protocol, "recipe": recipe}
        Classification(model, str(out), **settings).result  # noqa: B018 - the work is done on access
    return str(out)
