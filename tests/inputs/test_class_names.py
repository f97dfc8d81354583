"""Classes are matched by their names, wherever two parts of a data set, or weights and a data set, meet."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs.sets import DETECTOR, SEGMENTER, SETS, ade20k, photograph, save, write
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from resnest_core import checkpoints, data
from resnest_core.analyses.real_labels import real_accuracy
from resnest_core.checkpoints import CLASSES
from resnest_core.data.classes import in_order
from resnest_core.data.coco_categories import THINGS
from resnest_core.data.imagenet import synsets
from resnest_core.data.shard_writer import write_shards
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.evaluation import classification as classifying
from resnest_core.evaluation import detection as detecting
from resnest_core.evaluation.classification import evaluate_classifier
from resnest_core.evaluation.detection import evaluate_detector
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.detection import ObjectDetection
from resnest_core.experiments.finished import Finished, open_runs
from resnest_core.experiments.segmentation import SemanticSegmentation
from resnest_core.explore import opening
from resnest_core.explore.runs import Run
from resnest_core.models import create_model
from resnest_core.training import classification, detection
from resnest_core.training.detection import train_detector

TRAINED = ("cat", "dog", "elephant")
# The classes of the test set, and what is said of them; another order is no fault.
OTHERS = {
    "other": (("ant", "cat", "dog"), r"lacks 'elephant' and has 'ant' besides"),
    "fewer": (("cat", "elephant"), r"lacks 'dog';"),
    "more": (("ant", "cat", "dog", "elephant"), r"has 'ant' besides;"),
}
each_other = pytest.mark.parametrize(("names", "said"), OTHERS.values(), ids=OTHERS)


def folders(root: Path, names: Sequence[str]) -> None:
    for name in names:
        for i in range(4):
            save(root / name / f"{i}.png", photograph(f"{name}{i}"))


def class_folders(root: Path, train: Sequence[str], test: Sequence[str]) -> None:
    folders(root / "train", train)
    folders(root / "val", test)


def shards(root: Path, train: Sequence[str], test: Sequence[str]) -> None:
    """In the order of the names."""
    class_folders(root / "source", train, test)
    for split, names in (("train", train), ("test", test)):
        images = data.open_dataset("imagefolder", root / "source", split=split)
        write_shards(in_order(images, names, "the test"), root / split, 100)


def annotations(root: Path, split: str, names: Sequence[str], first: int = 1) -> None:
    """An object of each name in each of four images; ids follow the order of the names, from `first` on."""
    images = [{"id": i, "file_name": f"{split}{i}.png", "width": 40, "height": 32} for i in range(1, 5)]
    for image in images:
        save(root / "images" / image["file_name"], photograph(image["file_name"]))
    objects = [
        {"image_id": image["id"], "category_id": first + names.index(name), "bbox": [3 + 5 * place, 4, 20, 18]}
        for image in images
        for place, name in enumerate(sorted(names))
    ]
    categories = [{"id": first + i, "name": name} for i, name in enumerate(names)]
    listed = [{"id": i, "area": 360, "iscrowd": 0, **found} for i, found in enumerate(objects)]
    content = {"images": images, "annotations": listed, "categories": categories}
    write(root / f"annotations/instances_{split}.json", json.dumps(content))


def own_coco(root: Path, train: Sequence[str], test: Sequence[str]) -> None:
    annotations(root, "train", train)
    annotations(root, "val", test)


def classifier(root: Path, out: Path, dataset: str, **given: Any) -> Classification:
    recipe = classification.Recipe(batch_size=4)
    protocol = classifying.Protocol(batch_size=4, device="cpu")
    return Classification("mini_resnest11", str(out), dataset, str(root), protocol=protocol, recipe=recipe, **given)


def detector(root: Path | str, out: Path, dataset: str = "coco_format", **given: Any) -> ObjectDetection:
    recipe = detection.Recipe(batch_size=2, smallest=32, largest=32)
    protocol = detecting.Protocol(device="cpu", short_side=32)
    return ObjectDetection(DETECTOR, str(out), dataset, str(root), protocol=protocol, recipe=recipe, **given)


def nameless(weights: Path) -> Path:
    """The same weights as earlier versions or others wrote them."""
    path = weights.with_name("nameless.safetensors")
    save_file(load_file(weights), path)
    return path


KINDS: dict[str, tuple[Any, Any]] = {
    "imagefolder": (class_folders, partial(classifier, dataset="imagefolder")),
    "shards": (shards, partial(classifier, dataset="shards")),
    "coco_format": (own_coco, detector),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def test_every_set_with_classes_of_its_own_is_here() -> None:
    """The two splits of file lists share their classes.txt."""
    assert {row.name for row in SETS if row.own_classes} == {*KINDS, "file_list"}


@each_kind
@each_other
def test_other_classes_are_refused_before_any_training(
    kind: str, names: Sequence[str], said: str, tmp_path: Path
) -> None:
    build, experiment = KINDS[kind]
    build(tmp_path / "data", TRAINED, names)
    with pytest.raises(InputError, match=f"^data set '{kind}' has other classes than the training images: it {said}"):
        _ = experiment(root=tmp_path / "data", out=tmp_path / "out").result
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that was trained here, in `out`, and its class folders in `data`."""
    root = tmp_path_factory.mktemp("trained")
    class_folders(root / "data", TRAINED, TRAINED)
    _ = classifier(root / "data", root / "out", "imagefolder").result
    return root


@pytest.fixture(scope="module")
def detecting_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `trained`, a detector on objects of three categories."""
    root = tmp_path_factory.mktemp("detecting")
    own_coco(root / "data", TRAINED, TRAINED)
    _ = detector(root / "data", root / "out").result
    return root


def result(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "result.json").read_text()))


@pytest.mark.parametrize("name", ["trained", "detecting_own"])
def test_names_are_stored_with_weights_and_result(name: str, request: pytest.FixtureRequest) -> None:
    out = request.getfixturevalue(name) / "out"
    assert checkpoints.class_names(out / "weights.safetensors") == TRAINED
    assert result(out)["parameters"]["classes"] == list(TRAINED)


@pytest.mark.parametrize("content", [{}, {CLASSES: "80"}, {CLASSES: "[1, 2]"}, {CLASSES: "cat, dog"}])
def test_weights_of_others_name_no_classes(content: dict[str, str], tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(2, 3)}, tmp_path / "w.safetensors", metadata=content)
    torch.save({"fc.weight": torch.zeros(2, 3)}, tmp_path / "w.pth")
    write(tmp_path / "damaged.safetensors", "\x00" * 8 + "{")
    for name in ("w.safetensors", "w.pth", "damaged.safetensors"):
        assert checkpoints.class_names(tmp_path / name) is None


@each_other
def test_weights_are_refused_on_other_classes(trained: Path, names: Sequence[str], said: str, tmp_path: Path) -> None:
    class_folders(tmp_path / "data", names, names)
    weights = trained / "out" / "weights.safetensors"
    with pytest.raises(InputError, match=f"than weights '{weights}': it {said}"):
        _ = classifier(tmp_path / "data", tmp_path / "out", "imagefolder", weights=str(weights)).result
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["file_list", "shards"])
def test_another_order_changes_no_prediction(kind: str, trained: Path, tmp_path: Path) -> None:
    turned = TRAINED[::-1]
    if kind == "shards":
        shards(tmp_path, turned, turned)
    else:
        folders(tmp_path, turned)
        write(tmp_path / "classes.txt", "\n".join(turned))
        write(tmp_path / "val.csv", "".join(f"{name}/{i}.png,{name}\n" for name in turned for i in range(4)))
    weights = str(trained / "out" / "weights.safetensors")
    found = classifier(tmp_path, tmp_path / "out", kind, weights=weights)
    assert found.result["parameters"]["classes"] == TRAINED
    assert found.result["metrics"]["top1"] == result(trained / "out")["metrics"]["top1"]
    columns = ["image", "target", "predicted"]
    tables = [pd.read_parquet(out / "records.parquet")[columns] for out in (trained / "out", tmp_path / "out")]
    pd.testing.assert_frame_equal(*(table.sort_values("image", ignore_index=True) for table in tables))


def test_weights_without_names_go_by_number(trained: Path, tmp_path: Path) -> None:
    weights = str(nameless(trained / "out" / "weights.safetensors"))
    class_folders(tmp_path / "three", (), ("x", "y", "z"))
    class_folders(tmp_path / "two", (), ("x", "y"))
    found = classifier(tmp_path / "three", tmp_path / "out", "imagefolder", weights=weights)
    assert found.result["parameters"]["classes"] == ("x", "y", "z")
    with pytest.raises(InputError, match="wrong number of classes: file has 3, model 2"):
        _ = classifier(tmp_path / "two", tmp_path / "e", "imagefolder", weights=weights).result


def test_an_earlier_training_without_names_is_still_done(trained: Path, tmp_path: Path) -> None:
    out, finished = tmp_path / "out", trained / "out"
    out.mkdir()
    for name in ("curves.csv", "result.json"):
        (out / name).write_bytes((finished / name).read_bytes())
    with safe_open(finished / "weights.safetensors", framework="numpy") as file:
        facts = {key: value for key, value in file.metadata().items() if key != CLASSES}
    save_file(load_file(finished / "weights.safetensors"), out / "weights.safetensors", metadata=facts)
    before = (out / "weights.safetensors").read_bytes()
    assert classifier(trained / "data", out, "imagefolder").result["parameters"]["classes"] == TRAINED
    assert (out / "weights.safetensors").read_bytes() == before


def test_classes_that_were_renamed_are_another_training(tmp_path: Path) -> None:
    """Where a list has numbers the images and targets stay the same."""
    folders(tmp_path, TRAINED)
    for split in ("train", "test"):
        lines = [f"{name}/{i}.png,{number}\n" for number, name in enumerate(TRAINED) for i in range(4)]
        write(tmp_path / f"{split}.csv", "".join(lines))
    for names in (TRAINED, TRAINED[::-1]):
        write(tmp_path / "classes.txt", "\n".join(names))
        if names != TRAINED:
            with pytest.raises(InputError, match=r"training images: .*; give another --out, or --overwrite"):
                _ = classifier(tmp_path, tmp_path / "out", "file_list").network
        _ = replace(classifier(tmp_path, tmp_path / "out", "file_list"), overwrite=True).network
        assert checkpoints.class_names(tmp_path / "out" / "weights.safetensors") == names


def test_published_weights_have_the_classes_they_were_published_with(tmp_path: Path) -> None:
    folders(tmp_path, TRAINED)
    settings = Classification("resnest50", "", "imagefolder", str(tmp_path), weights="published")
    assert settings.assumed_classes == synsets()
    with pytest.raises(InputError, match=r"than weights 'published': it lacks 'n01440764', .* and 995 more and has"):
        _ = settings.test_set


def test_segmentation_networks_know_their_classes(tmp_path: Path) -> None:
    ade20k(tmp_path)
    names, weights = data.segmentation_classes("cityscapes"), tmp_path / "w.safetensors"
    state = create_model(SEGMENTER, num_classes=19).state_dict()
    save_file(state, weights, metadata={CLASSES: json.dumps(names)})
    settings = SemanticSegmentation(
        SEGMENTER, str(tmp_path / "out"), "ade20k", str(tmp_path), str(weights), device="cpu"
    )
    with pytest.raises(InputError, match=r"^data set 'ade20k' has other classes than weights '.*': it lacks"):
        _ = settings.result
    assert not (tmp_path / "out").exists()
    assert replace(settings, dataset="scenes", data="").segment(tmp_path / "images/training/ADE_00000000.jpg")
    assert replace(settings, dataset="scenes", data="").classes == names


@pytest.mark.parametrize(("names", "first"), [(TRAINED[::-1], 1), (TRAINED, 40), (("dog", "elephant", "cat"), 7)])
def test_ids_of_categories_do_not_matter(names: Sequence[str], first: int, detecting_own: Path, tmp_path: Path) -> None:
    """Neither to metrics, nor to what is found; labels are those of the training file."""
    annotations(tmp_path, "train", TRAINED)
    annotations(tmp_path, "val", names, first)
    weights = str(detecting_own / "out" / "weights.safetensors")
    found = detector(tmp_path, tmp_path / "out", weights=weights)
    expected = result(detecting_own / "out")["metrics"]
    scores = {name: metric["value"] for name, metric in expected.items() if "AP" in name}
    assert max(scores.values()) > 0
    assert {name: found.result["metrics"][name]["value"] for name in scores} == pytest.approx(scores, nan_ok=True)
    assert found.found.names == {first + names.index(name): name for name in TRAINED}
    assert found.result["parameters"]["classes"] == TRAINED
    for table in ("truths", "detections"):
        own, theirs = (pd.read_parquet(out / f"{table}.parquet") for out in (tmp_path / "out", detecting_own / "out"))
        own["category"] = own["category"].map(found.found.names)
        theirs["category"] = theirs["category"].map(dict(enumerate(TRAINED, 1)))
        pd.testing.assert_frame_equal(own, theirs)


@pytest.mark.parametrize("source", ["training", "test"])
def test_foreign_detectors_have_the_labels_of_the_training_file(
    source: str, detecting_own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(nameless(detecting_own / "out" / "weights.safetensors"))
    if source == "training":
        annotations(tmp_path, "train", TRAINED)
    annotations(tmp_path, "val", TRAINED[::-1])
    found = detector(tmp_path, tmp_path / "out", weights=weights)
    expected = TRAINED if source == "training" else TRAINED[::-1]
    said = f"the {source} file's categories, in order of their ids"
    parameters = found.result["parameters"]
    assert (parameters["classes"], parameters["classes_from"]) == (expected, said)
    assert f"classes: '{weights}' names none; taken are {said}" in capsys.readouterr().out.splitlines()


@each_other
def test_detectors_are_refused_on_other_categories(
    names: Sequence[str], said: str, detecting_own: Path, tmp_path: Path
) -> None:
    own_coco(tmp_path, names, names)
    weights = detecting_own / "out" / "weights.safetensors"
    with pytest.raises(InputError, match=f"than weights '{weights}': it {said}"):
        _ = detector(tmp_path, tmp_path / "out", weights=str(weights)).result
    with pytest.raises(InputError, match=r"^data set 'scenes' has other classes"):
        _ = detector("", tmp_path / "out", "scenes", weights=str(weights), limit=1).test_set
    assert not (tmp_path / "out").exists()


def test_a_detector_of_any_name_learns_the_classes_of_its_training_set(tmp_path: Path) -> None:
    """It was published for others: those of scenes."""
    next(row for row in SETS if row.name == "coco").make(tmp_path / "data")
    _ = detector(tmp_path / "data", tmp_path / "out", "coco").result
    assert checkpoints.class_names(tmp_path / "out" / "weights.safetensors") == tuple(THINGS.values())
    assert result(tmp_path / "out")["parameters"]["classes"] == list(THINGS.values())


def test_what_is_looked_at_again_has_the_classes_of_the_network(detecting_own: Path, trained: Path) -> None:
    annotations(detecting_own / "data", "val", TRAINED[::-1])
    images = opening.dense(Run("own", DETECTOR, detecting_own / "out")).test_set
    assert images.classes == TRAINED
    annotations(detecting_own / "data", "val", TRAINED)
    folders(trained / "data" / "val", ["ant"])
    with pytest.raises(InputError, match="it has 'ant' besides"):
        _ = Finished(str(trained / "out")).test_set
    with pytest.raises(InputError, match="has 'ant' besides"):
        opening.classifier(Run("own", "mini_resnest11", trained / "out"))


def test_runs_beside_each_other_have_their_classes_in_one_order(tmp_path: Path) -> None:
    for name, classes in (("a", TRAINED), ("b", TRAINED), ("c", TRAINED[::-1]), ("d", ("x", "y", "z"))):
        content = {"metrics": {"top1": {}}, "parameters": {"classes": classes}, "provenance": {"data_digest": "1"}}
        write(tmp_path / name / "result.json", json.dumps(content))
    assert len(open_runs([str(tmp_path / "a"), str(tmp_path / "b")])) == 2
    with pytest.raises(InputError, match="have their classes in different orders"):
        open_runs([str(tmp_path / "a"), str(tmp_path / "c")])
    with pytest.raises(InputError, match="it lacks 'cat', 'dog', 'elephant' and has 'x', 'y', 'z' besides"):
        open_runs([str(tmp_path / "a"), str(tmp_path / "d")])


@given(st.permutations(range(10)))
@settings(max_examples=20, deadline=None)
def test_every_image_keeps_its_name(order: list[int]) -> None:
    images = data.open_dataset("fashion_mnist", limit=40)
    turned = in_order(images, [images.classes[i] for i in order], "the test")
    assert [turned.classes[i] for i in turned.targets] == [images.classes[i] for i in images.targets]
    np.testing.assert_array_equal(turned.load(3), images.load(3))


def test_names_that_look_alike_are_the_same(tmp_path: Path) -> None:
    """Some systems store an umlaut as a letter and its dots."""
    folders(tmp_path, ["Bär", "Zebra"])
    images = in_order(data.open_dataset("imagefolder", tmp_path), ["Ba\u0308r", "Zebra"], "the test")
    assert images.targets.tolist() == [0] * 4 + [1] * 4


def test_names_that_occur_twice_are_not_guessed() -> None:
    images = data.open_dataset("fashion_mnist", limit=40)
    twice = replace(images, classes=("a", "b", "a"), targets=np.zeros(40, np.int64))
    with pytest.raises(InputError, match="it has 'a' more than once, in another order"):
        in_order(twice, ("a", "a", "b"), "the test")
    with pytest.raises(InputError, match="it has 'a' besides"):
        in_order(twice, ("a", "b"), "the test")


def test_evaluators_by_themselves_match_names_too(trained: Path, detecting_own: Path, tmp_path: Path) -> None:
    """Of networks and sets that no experiment has brought together."""
    folders(tmp_path, ["ant", "cat", "dog"])
    images, weights = data.open_dataset("imagefolder", tmp_path), trained / "out" / "weights.safetensors"
    model = create_model("mini_resnest11", num_classes=3, weights=weights)
    with pytest.raises(InputError, match=f"than weights '{weights}': it lacks 'elephant' and has 'ant'"):
        evaluate_classifier(model, images, Preprocessing(crop_size=32), tmp_path / "out", weights_file=weights)
    annotations(tmp_path / "turned", "val", TRAINED[::-1])
    annotations(tmp_path / "other", "val", ("ant", "cat", "dog"))
    own, turned, other = (
        data.open_detection("coco_format", root)
        for root in (detecting_own / "data", tmp_path / "turned", tmp_path / "other")
    )
    detecting_three: Any = create_model(DETECTOR, num_classes=3)
    train_detector(detecting_three, own, tmp_path / "learned", detection.Recipe(batch_size=2), facts={}, device="cpu")
    assert detecting_three.categories == TRAINED
    evaluate_detector(detecting_three, turned, tmp_path / "out", detecting.Protocol(device="cpu"))
    truths = pd.read_parquet(tmp_path / "out" / "truths.parquet")
    assert truths.groupby("category").size().to_dict() == {1: 4, 2: 4, 3: 4}
    with pytest.raises(InputError, match="than the network: it lacks 'elephant' and has 'ant'"):
        evaluate_detector(detecting_three, other, tmp_path / "out", detecting.Protocol(device="cpu"))


def test_reassessed_labels_go_by_names(tmp_path: Path) -> None:
    """They are numbers in the order of the synsets; a network that learned from a list may have another."""
    names = synsets()[::-1]
    content = {
        "metrics": {"top1": {}},
        "parameters": {
            "model": "resnest50",
            "out": "",
            "dataset": "imagenet",
            "protocol": {},
            "recipe": {},
            "weights": "x",
            "data": "",
            "classes": names,
        },
    }
    write(tmp_path / "result.json", json.dumps(content))
    write(tmp_path / "real.json", json.dumps([[0], [1]]))
    rows = {"index": [0, 1], "image": [f"ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2)], "predicted": [999, 999]}
    pd.DataFrame(rows).to_parquet(tmp_path / "records.parquet")
    assert real_accuracy(Finished(str(tmp_path)), tmp_path / "real.json")["value"] == 50
