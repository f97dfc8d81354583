"""Training: the recipe's arithmetic, repeatability to the bit, and going on after an interruption."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from resnest_core.data import open_dataset
from resnest_core.errors import InputError
from resnest_core.training import classification as training
from resnest_core.training import loop
from resnest_core.training.classification import Recipe, train_classifier
from resnest_core.training.loop import Trained

RECIPE = Recipe(epochs=2.5, batch_size=32, mixup=0.2, dropout=0.2, dropblock=0.1, augment=True, seed=3)


def train(out: Path, recipe: Recipe = RECIPE, limit: int = 128) -> Trained:
    images = open_dataset("fashion_mnist", split="train", limit=limit)
    monitor = open_dataset("fashion_mnist", limit=50)
    return train_classifier("mini_resnest11", images, monitor, out, recipe, device="cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    out = tmp_path_factory.mktemp("trained")
    return out, train(out)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path, trained: tuple[Path, Trained]) -> None:
    again = train(tmp_path / "again")
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() != b""
    assert same(again.model, trained[1].model)
    assert again.curves.equals(trained[1].curves)
    assert not same(train(tmp_path / "other", replace(RECIPE, seed=4)).model, trained[1].model)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("last_epoch", [0, 1])
def test_an_interrupted_training_goes_on_to_the_same_weights(
    tmp_path: Path, trained: tuple[Path, Trained], monkeypatch: pytest.MonkeyPatch, last_epoch: int
) -> None:
    run_epoch = loop.Training._run_epoch

    def dying(self: loop.Training, epoch: int, bar: object) -> None:
        if epoch > last_epoch:
            raise Killed
        run_epoch(self, epoch, bar)

    monkeypatch.setattr(loop.Training, "_run_epoch", dying)
    with pytest.raises(Killed):
        train(tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()
    epochs = []

    def counting(self: loop.Training, epoch: int, bar: object) -> None:
        epochs.append(epoch)
        run_epoch(self, epoch, bar)

    monkeypatch.setattr(loop.Training, "_run_epoch", counting)
    assert same(train(tmp_path).model, trained[1].model)
    assert epochs == list(range(last_epoch + 1, 3)), "finished epochs are not trained again"
    assert (tmp_path / "curves.csv").read_text() == (trained[0] / "curves.csv").read_text()
    assert not (tmp_path / "training_state.pt").exists()


def test_a_finished_training_is_loaded_and_another_recipe_is_not(
    tmp_path: Path, trained: tuple[Path, Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(loop.Training, "_run_epoch", refuse)
    assert same(train(tmp_path).model, trained[1].model)
    with pytest.raises(AssertionError, match="trained again"):
        train(tmp_path, replace(RECIPE, weight_decay=0.0))


def test_a_network_learns(tmp_path: Path) -> None:
    result = train(tmp_path, Recipe(epochs=6, batch_size=32, seed=0), limit=512)
    assert result.curves["train_loss"].iloc[-1] < 0.75 * result.curves["train_loss"].iloc[0]
    assert result.curves["test_top1"].iloc[-1] > 40, "ten classes: chance is 10 %"


def test_half_precision_learns_about_the_same_in_weights_of_single_precision(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, batch_size=32)
    single = train(tmp_path / "fp32", recipe)
    half = train(tmp_path / "bf16", replace(recipe, precision="bf16"))
    losses = [trained.curves["train_loss"].to_numpy() for trained in (single, half)]
    assert 0 < abs(losses[0] - losses[1]).max() < 0.2
    assert {value.dtype for value in half.model.parameters()} == {torch.float32}


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    images = open_dataset("fashion_mnist", split="train", limit=128)
    recipe = Recipe(epochs=10, batch_size=32, warmup_epochs=2, learning_rate=0.8)
    run = training._Classification("mini_resnetd11", images, images, recipe, training.Preprocessing(), "cpu", 0)
    rates = [run.relative_rate(step) for step in range(41)]
    assert recipe.scaled_rate == pytest.approx(0.1)
    assert rates[:8] == pytest.approx([step / 8 for step in range(1, 9)])
    assert rates[24] == pytest.approx(0.5), "half-way down between step 8 and step 40"
    assert rates[40] == pytest.approx(0)
    assert rates[10] == pytest.approx((1 + math.cos(math.pi * 2 / 32)) / 2)


def test_only_weights_decay() -> None:
    images = open_dataset("fashion_mnist", split="train", limit=128)
    recipe = Recipe(weight_decay=0.01, momentum=0.5)
    run = training._Classification("mini_resnest11", images, images, recipe, training.Preprocessing(), "cpu", 0)
    decay = {id(p): g["weight_decay"] for g in run.optimiser.param_groups for p in g["params"]}
    names = dict(run.model.named_parameters())
    assert len(decay) == len(names)
    for name, parameter in names.items():
        vector = name.endswith("bias") or ".bn" in name or name.startswith("bn") or parameter.ndim == 1
        assert decay[id(parameter)] == (0.0 if vector else 0.01), name


def test_options_of_the_recipe_reach_the_network() -> None:
    images = open_dataset("fashion_mnist", split="train", limit=128)
    run = training._Classification("mini_resnest11", images, images, RECIPE, training.Preprocessing(), "cpu", 0)
    assert run.model.drop.p == 0.2
    assert run.model.layer3[0].dropblock.p == 0.1
    mixed, targets = run._mix(torch.randn(32, 3, 28, 28), torch.arange(32) % 10)
    assert mixed.shape == (32, 3, 28, 28)
    assert targets.shape == (32, 10)
    assert torch.allclose(targets.sum(dim=1), torch.ones(32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs -1 is not possible"),
        ({"batch_size": 0}, "batch_size 0 is not possible"),
        ({"label_smoothing": 1.5}, "label_smoothing 1.5 is not possible; valid: a number from 0 to 1"),
        ({"learning_rate": float("nan")}, "learning_rate nan is not possible"),
        ({"dropout": -0.1}, "dropout -0.1 is not possible"),
        ({"precision": "fp16"}, "unknown precision of a training 'fp16' .*; valid: bf16, fp32, tf32"),
    ],
)
def test_recipes_that_cannot_be(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(RECIPE, **change)


def test_a_batch_larger_than_the_training_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch size 256 is more than the 128 training images"):
        train(tmp_path, replace(RECIPE, batch_size=256))


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    recipe = replace(RECIPE)
    object.__setattr__(recipe, "learning_rate", 1e30)  # beyond what a user may give: the loss breaks at once
    with pytest.raises(InputError, match="training loss is nan"):
        train(tmp_path, recipe)
    assert not (tmp_path / "weights.safetensors").exists()
