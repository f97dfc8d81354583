"""Experiments in segmentation from their settings: protocols, examples, and trunks that begin with a classifier."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from resnest_core.checkpoints import MANIFEST
from resnest_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from resnest_core.errors import InputError
from resnest_core.evaluation.examples import EXAMPLES, Example, load_examples
from resnest_core.experiments.segmentation import SemanticSegmentation, dataset_of, view_of
from resnest_core.figures import segmentation as segmentation_figures
from resnest_core.models import create_model
from resnest_core.training.segmentation import Recipe

RECIPE = Recipe(epochs=1, batch_size=2, base_size=32, crop_size=32)


def settings(out: Path, **given: object) -> SemanticSegmentation:
    defaults = {"limit": 3, "train_limit": 4, "recipe": RECIPE, "device": "cpu", "examples": 2}
    return SemanticSegmentation("mini_deeplab_resnest11", str(out), **(defaults | given))  # type: ignore[arg-type]


def test_the_authors_protocol_is_that_of_their_files() -> None:
    records = [record for record in MANIFEST.values() if record.task == "semantic_segmentation"]
    assert len(records) == 10
    for record in records:
        view, rule = view_of("multi_scale", dataset_of(record.name)), record.preprocessing
        assert (view.base_size, view.crop_size, view.flip) == (rule["base_size"], rule["crop_size"], rule["flip"])
        assert view.scales == rule["scales"]
        assert (rule["mean"], rule["std"]) == (IMAGENET_MEAN, IMAGENET_STD)
        assert (view.base_side, view.stride) == ("long", 320)


@pytest.mark.parametrize(
    ("model", "dataset"),
    [
        ("deeplab_resnest50_ade", "ade20k"),
        ("fcn_resnest50_pcontext", "pcontext"),
        ("deeplab_resnest101_citys", "cityscapes"),
        ("deeplab_resnetd50", "ade20k"),
        ("mini_deeplab_resnetd11", "scenes"),
    ],
)
def test_the_data_set_of_a_network(model: str, dataset: str) -> None:
    assert dataset_of(model) == dataset


def test_a_trunk_begins_with_a_classifier_and_examples_are_stored(tmp_path: Path) -> None:
    torch.manual_seed(3)
    classifier = create_model("mini_resnest11")
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    still = Recipe(epochs=1, batch_size=2, base_size=32, crop_size=32, learning_rate=0.0, weight_decay=0.0)
    experiment = settings(tmp_path / "e", backbone=str(tmp_path / "classifier.pth"), recipe=still)
    result = experiment.result
    stored = load_file(tmp_path / "e" / "weights.safetensors")
    assert torch.equal(stored["backbone.layer3.0.conv1.weight"], classifier.state_dict()["layer3.0.conv1.weight"])
    assert result["metrics"]["training_seconds"]["value"] > 0
    assert result["parameters"]["protocol"]["base_size"] == 96
    assert result["parameters"]["classes"][0] == "ground"
    examples = load_examples(tmp_path / "e" / EXAMPLES)
    assert len(examples) == 2
    image, truth = experiment.test_set.load(1)
    assert np.array_equal(examples[1].image, np.asarray(image))
    assert np.array_equal(examples[1].truth, truth)
    right = (examples[0].predicted == examples[0].truth).sum()
    assert experiment.records.loc[0, "intersections"].sum() == right
    again = settings(tmp_path / "again", weights=str(tmp_path / "e" / "weights.safetensors"))
    assert again.result["metrics"]["mIoU"] == result["metrics"]["mIoU"]
    assert again.curves is None


def test_a_photograph_of_any_size_is_segmented(tmp_path: Path) -> None:
    torch.save(create_model("mini_deeplab_resnest11").state_dict(), tmp_path / "w.pth")
    Image.new("L", (31, 57), 80).save(tmp_path / "grey.png")
    found = settings(tmp_path, weights=str(tmp_path / "w.pth"), view="multi_scale").segment(tmp_path / "grey.png")
    assert found.image.shape == (57, 31, 3)
    assert found.predicted.shape == (57, 31)
    assert set(np.unique(found.predicted)) <= set(range(11))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"view": "many"}, "unknown protocol 'many'; valid: multi_scale, single_scale"),
        (
            {"weights": "a.pth", "backbone": "b.pth"},
            "weights 'a.pth' hold the trunk already; leave out backbone 'b.pth'",
        ),
    ],
)
def test_bad_settings(given: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        settings(tmp_path, **given)


def test_an_unknown_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown segmentation network 'resnest50'"):
        SemanticSegmentation("resnest50", str(tmp_path))


def test_colours_tell_classes_apart() -> None:
    for classes in (11, 19, 59, 150):
        palette = segmentation_figures.palette(classes)
        assert palette.shape == (classes + 1, 3)
        assert len({tuple(colour) for colour in palette.round(3)}) == classes + 1
        assert ((palette >= 0) & (palette <= 1)).all()


def test_errors_are_where_prediction_and_truth_differ() -> None:
    truth = np.array([[0, 1], [-1, 2]], np.int16)
    example = Example(np.zeros((2, 2, 3), np.uint8), truth, np.array([[0, 2], [1, 2]], np.int16))
    picture = segmentation_figures._errors(example)
    assert tuple(picture[0, 1]) == segmentation_figures.WRONG
    assert tuple(picture[1, 0]) == segmentation_figures.IGNORED_COLOUR
    assert tuple(picture[0, 0]) == tuple(picture[1, 1]) != segmentation_figures.WRONG


def test_pictures_show_all_rows_and_a_legend() -> None:
    predicted = np.full((4, 6), 3, np.int16)
    example = Example(np.zeros((4, 6, 3), np.uint8), np.eye(4, 6, dtype=np.int16), predicted)
    rows = {"a": [example] * 3, "b": [example] * 3}
    figure = segmentation_figures.side_by_side(rows, ["ground", "thing", "other", "fog"])
    assert len(figure.axes) == 3 * 6
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ground", "thing", "fog"]
