"""Experiments in detection from their settings, and pictures of what was found."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as run_lengths
from safetensors.torch import load_file, save_file

from resnest_core.data.fashion_mnist import CLASSES as NAMES
from resnest_core.errors import InputError
from resnest_core.evaluation.detection import Protocol
from resnest_core.evaluation.examples import EXAMPLES, load_images
from resnest_core.experiments.detection import ObjectDetection, dataset_of
from resnest_core.figures import detection as detection_figures
from resnest_core.figures.detection import Thing, things, things_of
from resnest_core.models import create_model
from resnest_core.training.detection import Recipe

RECIPE = Recipe(epochs=1, batch_size=2, smallest=40, largest=48)
CPU = Protocol(device="cpu", short_side=48)


def settings(out: Path, **given: object) -> ObjectDetection:
    defaults = {"limit": 3, "train_limit": 4, "examples": 2, "recipe": RECIPE, "protocol": CPU}
    return ObjectDetection("mini_mask_rcnn_resnest11", str(out), **(defaults | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "dataset"),
    [
        ("mini_faster_rcnn_resnest11", "scenes"),
        ("cascade_rcnn_resnest200_fpn", "coco"),
        ("panoptic_fpn_resnest200_tricks_3x", "coco_panoptic"),
    ],
)
def test_data_set_of_a_network(model: str, dataset: str) -> None:
    assert dataset_of(model) == dataset


def test_a_network_is_trained_then_read_again(tmp_path: Path) -> None:
    classifier = create_model("mini_resnest11")
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    experiment = settings(tmp_path / "trained", backbone=str(tmp_path / "classifier.safetensors"))
    metrics = experiment.result["metrics"]
    assert metrics["training_images_per_second"]["value"] > 0
    assert experiment.result["parameters"]["classes"] == experiment.categories
    found = experiment.found
    assert len(found.images) == 3
    assert len(found.truths) >= 6
    assert list(found.names.values()) == list(experiment.categories)
    stored = load_images(tmp_path / "trained" / EXAMPLES)
    assert [np.asarray(image).tolist() for image in stored] == [
        np.asarray(experiment.test_set.load(i)[0]).tolist() for i in range(2)
    ]
    assert experiment.curves is not None
    assert {"train_loss", "loss_mask", "loss_objectness"} <= set(experiment.curves)
    weights = tmp_path / "trained" / "weights.safetensors"
    again = settings(tmp_path / "again", weights=str(weights))
    assert again.result["metrics"]["box_AP"] == metrics["box_AP"]
    assert again.curves is None
    assert again.result["provenance"]["weights_sha256"] == experiment.result["provenance"]["weights_sha256"]


def test_the_trunk_begins_with_the_classifier(tmp_path: Path) -> None:
    classifier = create_model("mini_resnest11")
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    recipe = Recipe(epochs=0, batch_size=2, learning_rate=0.0)
    experiment = settings(tmp_path / "o", backbone=str(tmp_path / "classifier.safetensors"), recipe=recipe)
    trained = load_file(experiment.network.weights_file)
    for key, value in classifier.named_parameters():
        if not key.startswith("fc."):
            assert torch.equal(trained[f"backbone.bottom_up.{key}"], value), key


def test_bad_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown detector 'resnest50'"):
        ObjectDetection("resnest50", str(tmp_path))
    with pytest.raises(InputError, match="weights 'w' hold the trunk already; leave out backbone 'b'"):
        settings(tmp_path, weights="w", backbone="b")


def found() -> dict:
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 5:15, 5:25] = True
    return {
        "boxes": torch.tensor([[5.0, 5, 25, 15], [0, 0, 3, 3]]),
        "scores": torch.tensor([0.8, 0.4]),
        "labels": torch.tensor([1, 0]),
        "masks": [run_lengths.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks],
    }


def test_things_are_those_with_a_high_score() -> None:
    (thing,) = things(found(), ("ant", "cat"), 0.5)
    assert thing.box == (5, 5, 20, 10)
    assert (thing.name, round(thing.score or 0, 3)) == ("cat", 0.8)
    assert thing.mask is not None
    assert thing.mask.sum() == 200
    assert len(things(found(), ("ant", "cat"), 0.4 - 1e-6)) == 2


def test_masks_are_painted_where_they_are() -> None:
    figure, axes = plt.subplots()
    shown = things(found(), ("ant", "cat"), 0.5)
    detection_figures.draw(axes, Image.new("RGB", (30, 20)), shown, {"cat": (1.0, 0.0, 0.0)}, named=True)
    pixels = np.asarray(axes.images[0].get_array())
    assert (pixels[5:15, 5:25, 0] > 0.3).all()
    assert pixels[:, :, 0].sum() == pytest.approx(pixels[5:15, 5:25, 0].sum())
    assert axes.texts[0].get_text() == "cat 0.80"
    assert axes.patches[0].get_bbox().bounds == (5, 5, 20, 10)
    plt.close(figure)


def test_pictures_side_by_side_with_a_legend(tmp_path: Path) -> None:
    experiment = settings(tmp_path / "o")
    assert experiment.result
    found, pictures = experiment.found, experiment.looked_at
    true = found.true_things(2)
    assert [len(t) for t in true] == found.truths.groupby("index").size().tolist()[:2]
    assert all(isinstance(thing, Thing) and thing.mask is not None for t in true for thing in t)
    rows = [row for _, row in found.images.iterrows()][:2]
    predicted = [things_of(found.detections, row, found.names, least_score=0.0) for row in rows]
    figure = detection_figures.side_by_side(pictures, {"truth": true, "a": predicted, "b": found.things(2)}, NAMES)
    assert len(figure.axes) == 6
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels >= {thing.name for t in true for thing in t}
    alone = detection_figures.demonstration(pictures[0], [])
    assert alone.legends == []
    plt.close("all")


def test_things_of_an_image_are_those_with_the_score_asked_for(tmp_path: Path) -> None:
    experiment = settings(tmp_path / "o", recipe=Recipe(epochs=0, batch_size=2))
    picture = Image.effect_noise((60, 45), 90).convert("RGB")
    everything = experiment.detect(picture, 0.0)
    assert everything
    least = sorted(thing.score or 0 for thing in everything)[len(everything) // 2]
    assert len(experiment.detect(picture, least)) == sum((thing.score or 0) >= least for thing in everything)
