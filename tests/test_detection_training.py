"""Training of detectors: they learn a few scenes by heart, go on after a kill, and augment image and target alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as run_lengths
from torch import Tensor

import resnest_core as rc
from resnest_core.data import open_detection
from resnest_core.data.base import Objects
from resnest_core.errors import InputError
from resnest_core.evaluation.detection import evaluate_detector
from resnest_core.models.rcnn.detector import Detector
from resnest_core.training import detection
from resnest_core.training.detection import Recipe, augmented, mirrored, target_of, train_detector

BY_HEART = Recipe(epochs=120, batch_size=4, learning_rate=0.016, warmup=20, smallest=80, largest=80, mirrored=False)


def build(name: str) -> Detector:
    torch.manual_seed(0)
    model = rc.create_model(name)
    assert isinstance(model, Detector)
    return model


# Masks take longer than boxes: after 170 epochs their AP50 was 78.
@pytest.mark.parametrize(
    ("kind", "epochs"),
    [("faster_rcnn", 120), ("cascade_rcnn", 120), ("mask_rcnn", 220), ("cascade_mask_rcnn", 220)],
)
def test_a_few_scenes_are_learned_by_heart(kind: str, epochs: int, tmp_path: Path) -> None:
    model, scenes = build(f"mini_{kind}_resnest11"), open_detection("scenes", split="train", limit=4)
    trained = train_detector(model, scenes, tmp_path, replace(BY_HEART, epochs=epochs), facts={}, device="cpu")
    assert trained.curves["train_loss"].iloc[-1] < 0.5 * trained.curves["train_loss"].iloc[0]
    metrics = evaluate_detector(model, scenes, tmp_path / "seen")["metrics"]
    assert metrics["box_AP50"]["value"] > 95
    assert metrics["box_AP"]["value"] > 75
    assert ("mask_AP50" in metrics) == ("mask" in kind)
    if "mask" in kind:
        assert metrics["mask_AP50"]["value"] > 75


def test_a_killed_training_ends_in_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = open_detection("scenes", split="train", limit=4)
    recipe = Recipe(epochs=3, batch_size=2, smallest=40, largest=56)
    whole = train_detector(build("mini_mask_rcnn_resnetd11"), scenes, tmp_path / "whole", recipe, facts={})
    real, steps = detection._Detection.loss, 0

    def killed(self: detection._Detection, batch: list) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(detection._Detection, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        train_detector(build("mini_mask_rcnn_resnetd11"), scenes, tmp_path / "killed", recipe, facts={})
    monkeypatch.setattr(detection._Detection, "loss", real)
    resumed = train_detector(build("mini_mask_rcnn_resnetd11"), scenes, tmp_path / "killed", recipe, facts={})
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    again = train_detector(build("mini_mask_rcnn_resnetd11"), scenes, tmp_path / "killed", recipe, facts={})
    assert again.seconds == resumed.seconds


def objects() -> Objects:
    mask = np.zeros((20, 40), np.uint8, order="F")
    mask[5:15, 10:30] = 1
    crowd = np.ones((20, 40), np.uint8, order="F")
    return Objects(
        boxes=np.array([[10.0, 5, 20, 10], [0, 0, 40, 20], [3, 3, 0.4, 5]]),
        labels=np.array([2, 4, 6]),
        areas=np.array([200.0, 800, 2]),
        crowd=np.array([False, True, False]),
        masks=tuple(run_lengths.encode(m) for m in (mask, crowd, crowd)),
    )


def test_targets_are_resized_without_crowds_and_specks() -> None:
    target = target_of(objects(), (40, 20), (80, 60))
    assert target["boxes"].tolist() == [[20, 15, 60, 45]]
    assert target["labels"].tolist() == [2]
    assert target["masks"].shape == (1, 60, 80)
    assert target["masks"][0].nonzero().aminmax().max == 59
    assert int(target["masks"].sum()) == 40 * 30


def test_targets_are_mirrored_with_the_image() -> None:
    target = mirrored(target_of(objects(), (40, 20), (40, 20)), 40)
    assert target["boxes"].tolist() == [[10, 5, 30, 15]]
    one_sided = {"boxes": torch.tensor([[0.0, 1, 7, 3]]), "labels": torch.tensor([1])}
    assert mirrored(one_sided, 40)["boxes"].tolist() == [[33, 1, 40, 3]]


def test_augmented_images_and_their_boxes_agree() -> None:
    """A bright rectangle on black stays where its box and its mask say."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[5:15, 10:30] = 255
    drawn = Image.fromarray(pixels)
    recipe = Recipe(smallest=30, largest=60)
    seen = set()
    for seed in range(12):
        image, target = augmented(drawn, objects(), recipe, np.random.default_rng(seed))
        bright = (image[0] > 128).nonzero()
        (x0, y0, x1, y1) = target["boxes"][0].tolist()
        top, left = bright.min(dim=0).values.tolist()
        bottom, right = (bright.max(dim=0).values + 1).tolist()
        assert np.allclose([left, top, right, bottom], [x0, y0, x1, y1], atol=1.0)
        assert (target["masks"][0] != (image[0] > 128)).float().mean() < 0.05
        assert min(image.shape[1:]) in range(30, 61)
        seen.add(tuple(image.shape[1:]))
    assert len(seen) > 3


def test_images_of_an_epoch_follow_from_the_seed() -> None:
    scenes = open_detection("scenes", split="train", limit=3)
    first, second = (detection._Examples(scenes, Recipe(), 7, with_masks=True)[1] for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1]["masks"], second[1]["masks"])
    assert detection._Examples(scenes, Recipe(), 8, with_masks=True)[1][0].shape != first[0].shape


@pytest.mark.parametrize(("kind", "masked"), [("cascade_rcnn", False), ("mask_rcnn", True)])
def test_targets_have_masks_if_the_network_has(kind: str, masked: bool) -> None:
    scenes, recipe = open_detection("scenes", split="train", limit=4), Recipe(batch_size=2)
    training = detection._Detection(build(f"mini_{kind}_resnest11"), scenes, recipe, {}, "cpu", 0)
    targets = [target for batch in training.batches(0) for _, target in batch]
    assert len(targets) == 4
    for target in targets:
        assert target.keys() == {"boxes", "labels"} | ({"masks"} if masked else set())
        assert len(target["labels"]) == len(target["boxes"]) > 0
        if masked:
            assert len(target["masks"]) == len(target["boxes"])


def rates(recipe: Recipe) -> list[float]:
    """The rate at each step of a training on 4 scenes, as a part of the highest."""
    scenes = open_detection("scenes", split="train", limit=4)
    training = detection._Detection(build("mini_faster_rcnn_resnest11"), scenes, recipe, {}, "cpu", 0)
    return [training.relative_rate(step) for step in range(training.steps)]


def test_the_authors_schedule_rises_and_falls_in_steps() -> None:
    found = rates(Recipe(solver="sgd", epochs=45, batch_size=2, warmup=9))
    assert len(found) == 90
    assert np.allclose(found[:10], np.arange(1, 11) / 10)
    assert found[59] == 1
    assert np.isclose(found[60], 0.1)
    assert np.isclose(found[80], 0.01)


def test_the_schedule_of_adamw_rises_and_falls_as_a_cosine() -> None:
    found = np.array(rates(Recipe(epochs=50, batch_size=2, warmup=9)))
    assert len(found) == 100
    cosine = (1 + np.cos(np.pi * np.arange(100) / 100)) / 2
    assert np.allclose(found[:10], np.arange(1, 11) / 10 * cosine[:10])
    assert np.allclose(found[10:], cosine[10:])
    assert found[50] == pytest.approx(0.5)
    assert 0 < found[99] < 0.001


@pytest.mark.parametrize(("solver", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_solvers(solver: str, kind: type[torch.optim.Optimizer]) -> None:
    scenes = open_detection("scenes", split="train", limit=4)
    recipe = Recipe(solver=solver, learning_rate=0.04, weight_decay=0.3)
    optimiser = detection._Detection(build("mini_faster_rcnn_resnest11"), scenes, recipe, {}, "cpu", 0).optimiser
    assert type(optimiser) is kind
    assert [group["initial_lr"] for group in optimiser.param_groups] == pytest.approx([0.01, 0.01])
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.3, 0.0]
    assert optimiser.defaults.get("momentum", 0.9) == 0.9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 1}, "batch_size 1 is not possible; valid: a whole number from 2 to"),
        ({"smallest": 200}, "smallest short side 200 is above the largest, 90"),
        ({"solver": "adam"}, r"unknown solver 'adam' \(did you mean 'adamw'\?\); valid: adamw, sgd"),
    ],
)
def test_bad_recipes(changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(Recipe(), **changed)


def test_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch size 8 is more than the 4 training images"):
        train_detector(
            build("mini_faster_rcnn_resnest11"),
            open_detection("scenes", split="train", limit=4),
            tmp_path,
            Recipe(batch_size=8),
            facts={},
        )
