"""Experiments that have run, opened again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.finished import Finished, described, open_runs
from resnest_core.models import create_model
from resnest_core.training.loop import WEIGHTS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights, which lie where a training would have left them."""
    out = tmp_path_factory.mktemp("runs") / "mine"
    out.mkdir()
    torch.manual_seed(0)
    torch.save(create_model("mini_resnest11").state_dict(), out / "weights.pth")
    protocol = Protocol(batch_size=16, device="cpu", keep_logits=True)
    experiment = Classification(
        "mini_resnest11", str(out), weights=str(out / "weights.pth"), limit=40, protocol=protocol
    )
    experiment.result  # noqa: B018 - the work is done on access
    return out


def edited(run: Path, out: Path, **changed: object) -> Path:
    shutil.copytree(run, out)
    result = json.loads((out / "result.json").read_text())
    for name, value in changed.items():
        result[name] |= value
    (out / "result.json").write_text(json.dumps(result))
    return out


def test_the_same_logits_come_of_the_same_images(run: Path) -> None:
    finished = Finished(str(run))
    assert (finished.name, finished.model_name) == ("mine", "mini_resnest11")
    logits = finished.logits(finished.test_set.load(i) for i in range(40))
    stored = np.stack(finished.records["logits"].to_list())
    np.testing.assert_allclose(logits.numpy(), stored, atol=1e-6)
    assert finished.logits([finished.test_set.load(7)]).shape == (1, 10)


def test_another_transform_takes_the_place_of_its_own(run: Path) -> None:
    finished = Finished(str(run))
    image = finished.test_set.load(0)
    black = finished.logits([image], lambda _: torch.zeros(3, 28, 28))
    assert not torch.equal(black, finished.logits([image]))


def test_weights_that_it_trained_itself_lie_beside_its_result(run: Path, tmp_path: Path) -> None:
    copy = edited(run, tmp_path / "trained", parameters={"weights": ""})
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        Finished(str(copy)).network  # noqa: B018 - they are read on access
    (copy / "weights.pth").rename(copy / WEIGHTS)
    opened = Finished(str(copy))
    image = opened.test_set.load(0)
    assert torch.equal(opened.logits([image]), Finished(str(run)).logits([image]))


def test_runs_are_of_the_same_images_and_have_names(run: Path, tmp_path: Path) -> None:
    other = edited(run, tmp_path / "other", provenance={"data_digest": "another"})
    same = edited(run, tmp_path / "mine")
    assert [r.name for r in open_runs([str(run)])] == ["mine"]
    assert described(open_runs([str(run)]), limit=3) == {
        "runs": [str(run)],
        "models": {"mine": "mini_resnest11"},
        "limit": 3,
    }
    with pytest.raises(InputError, match="not evaluated on the same images"):
        open_runs([str(run), str(other)])
    with pytest.raises(InputError, match="a name of its own"):
        open_runs([str(run), str(same)])
    with pytest.raises(InputError, match="no run is given"):
        open_runs([])


def test_what_is_no_finished_classifier(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/result\.json' is missing; run that experiment first"):
        Finished(str(tmp_path / "nowhere")).result  # noqa: B018
    detector = edited(run, tmp_path / "detector")
    (detector / "result.json").write_text('{"metrics": {"box_AP": {}}}')
    with pytest.raises(InputError, match="is of no classifier"):
        Finished(str(detector)).settings  # noqa: B018
