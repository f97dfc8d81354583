"""The panels for looking at runs: what they show, and what they say when something is missing or wrong."""

import html
import io
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from tiny_runs import IMAGES, SCENES

from resnest_core import checkpoints
from resnest_core.article.phrases import HARD
from resnest_core.data import open_dataset, open_detection
from resnest_core.data.base import Objects
from resnest_core.errors import InputError
from resnest_core.experiments.detection import ObjectDetection
from resnest_core.explore import comparing, drawing, explore, looking, opening
from resnest_core.explore.application import panels_of
from resnest_core.explore.comparing import Comparing
from resnest_core.explore.drawing import Drawing
from resnest_core.explore.looking import Looking, attention_blocks, block_attention
from resnest_core.explore.panel import Panel, Sight
from resnest_core.explore.runs import Run, find_runs, of_tasks, published_networks
from resnest_core.files import sha256
from resnest_core.models.split_attention import SplitAttentionConv2d
from resnest_core.plots import STYLE

SPLIT, PLAIN = "default/base_results/mini_resnest11", "default/base_results/mini_resnetd11"
SEGMENTER, DETECTOR = "default/semantic_segmentation/segmenter", "default/instance_segmentation/detector"


@pytest.fixture(autouse=True)
def no_weights_here(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("RESNEST_WEIGHTS", str(tmp_path_factory.mktemp("weights")))


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which take a third of the time."""
    monkeypatch.setitem(STYLE, "figure.dpi", 40)


def runs_in(build: Path) -> dict[str, Run]:
    return {run.title: run for run in find_runs(build)[0]}


def looking_at(build: Path, title: str = SPLIT) -> Looking:
    panel = panels_of(find_runs(build)[0])["Look"]
    assert isinstance(panel, Looking)
    panel.open()
    panel.run.value = runs_in(build)[title]
    return panel


def comparing_in(build: Path) -> Comparing:
    panel = panels_of(find_runs(build)[0])["Compare"]
    assert isinstance(panel, Comparing)
    panel.open()
    return panel


def drawing_of(build: Path, title: str) -> Drawing:
    panel = panels_of(find_runs(build)[0])["Draw"]
    assert isinstance(panel, Drawing)
    panel.run.value = runs_in(build)[title]
    panel.open()
    return panel


def words(panel: Panel) -> str:
    """What the panel says; a picture must stand below it unless something is wrong."""
    assert "\n" not in panel.line.value
    assert panel.picture.value[:4] == b"\x89PNG"
    assert panel.picture.layout.display is None
    assert "color" not in panel.line.value
    return _text(panel.line)


def complaint(panel: Panel) -> str:
    """What the panel says is wrong, in one line and without a picture."""
    assert "\n" not in panel.line.value
    assert panel.picture.value == b""
    assert panel.picture.layout.display == "none"
    assert "color: #b00020" in panel.line.value
    return _text(panel.line)


def _text(line: widgets.HTML) -> str:
    return html.unescape(re.sub("<[^>]*>", "", line.value)).replace(HARD, " ")


def upload(panel: Looking | Drawing, content: bytes, name: str = "photo.png") -> None:
    """As the browser hands a file over."""
    file = {"name": name, "type": "image/png", "size": len(content), "last_modified": datetime.now(UTC)}
    panel.upload.value = ({**file, "content": memoryview(content)},)


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


# Finding runs


def test_runs_are_found_by_task_the_base_results_first(build: Path) -> None:
    found, problems = find_runs(build)
    assert problems == []
    assert [run.title for run in found] == [SPLIT, PLAIN, DETECTOR, SEGMENTER]
    assert [run.task for run in found[2:]] == ["instance_segmentation", "semantic_segmentation"]
    assert [run.title for run in of_tasks(found, classification=True)] == [SPLIT, PLAIN]
    assert [run.title for run in of_tasks(found, classification=False)] == [DETECTOR, SEGMENTER]


def test_results_by_hand_are_found_and_those_of_analyses_are_not(copied: Path) -> None:
    shutil.copytree(copied / SPLIT, copied / "mine")
    shutil.copytree(copied / SPLIT, copied / "explore" / "base_results")
    analysis = copied / "default" / "calibration" / "all"
    analysis.mkdir(parents=True)
    (analysis / "result.json").write_text(json.dumps({"metrics": {}, "parameters": {"runs": []}, "provenance": {}}))
    found, problems = find_runs(copied)
    assert problems == []
    assert {run.title for run in found} == {SPLIT, PLAIN, DETECTOR, SEGMENTER, "mine", "explore/base_results"}


def test_results_that_cannot_be_read_are_named(copied: Path) -> None:
    for name, content in {
        SPLIT: "{",
        PLAIN: json.dumps({"metrics": {}, "parameters": {"model": "resnext"}}),
        DETECTOR: "[]",
        SEGMENTER: json.dumps({"metrics": {}, "parameters": []}),
    }.items():
        (copied / name / "result.json").write_text(content)
    found, problems = find_runs(copied)
    assert found == []
    assert len(problems) == 5
    for name, reason in {
        SPLIT: "JSONDecodeError",
        PLAIN: "network 'resnext'; valid: those of 'resnest-core models'",
        DETECTOR: "TypeError",
        SEGMENTER: "no parameters and metrics",
    }.items():
        (line,) = [line for line in problems if reason in line]
        assert name in line
    assert "no experiment has run" in problems[-1]


def test_without_a_build_directory_published_networks_remain(tmp_path: Path) -> None:
    box = explore(tmp_path / "build")
    note, tabs = box.children
    assert f"no experiment has run in '{tmp_path / 'build'}'; run ./run_all.sh" in _text(note)
    assert tabs.titles == ("Look", "Compare", "Draw")
    assert "resnest-core weights fetch resnest50" in _text(tabs.children[0].children[-2])
    tabs.selected_index = 1
    assert "no such experiment has run; run ./run_all.sh" in _text(tabs.children[1].children[-2])
    tabs.selected_index = 2
    assert "resnest-core weights fetch" in _text(tabs.children[2].children[-2])


def test_a_tab_shows_nothing_before_it_is_opened(build: Path) -> None:
    tabs = explore(build).children[-1]
    pictures = [panel.children[-1] for panel in tabs.children]
    assert [bool(picture.value) for picture in pictures] == [True, False, False]
    tabs.selected_index = 2
    assert [bool(picture.value) for picture in pictures] == [True, False, True]


def test_many_problems_are_counted(copied: Path) -> None:
    for number in range(5):
        (copied / f"broken{number}").mkdir()
        (copied / f"broken{number}" / "result.json").write_text("{")
    *notes, _ = explore(copied).children
    assert len(notes) == 4
    assert _text(notes[-1]) == "and 2 more of the kind"


# Looking


def test_probabilities_are_those_of_the_records(build: Path) -> None:
    panel = looking_at(build)
    records = pd.read_parquet(build / SPLIT / "records.parquet")
    classes = open_dataset("fashion_mnist", limit=IMAGES).classes
    for index in (0, 7, IMAGES - 1):
        panel.index.value = index
        row = records.to_dict("records")[index]
        pairs = zip(row["top5"], row["top5_probability"], strict=True)
        listed = ", ".join(f"{classes[i]} {100 * p:.1f} %" for i, p in pairs)
        assert words(panel) == (
            f"Test image {index} of {IMAGES} ({row['image']}): {listed}. True class: {classes[row['target']]}."
        )
    assert panel.index.max == IMAGES - 1


def test_another_image_block_or_run_gives_another_picture(build: Path) -> None:
    panel, seen = looking_at(build), []
    seen.append(panel.picture.value)
    panel.index.value = 3
    seen.append(panel.picture.value)
    panel.block.value = panel.block.options[1][1]
    seen.append(panel.picture.value)
    panel.run.value = runs_in(build)[PLAIN]
    seen.append(panel.picture.value)
    assert len(set(seen)) == 4
    assert plt.get_fignums() == []


def test_a_change_is_answered_once(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel, calls = looking_at(build), []
    sight = Looking.sight

    def counted(panel: Looking, changed: widgets.Widget | None) -> Sight:
        calls.append(changed)
        return sight(panel, changed)

    monkeypatch.setattr(Looking, "sight", counted)
    panel.run.value = runs_in(build)[PLAIN]  # takes the blocks away, too
    panel.index.value = 5
    assert calls == [panel.run, panel.index]


def test_attention_of_a_block_by_hand(build: Path) -> None:
    classifier = opening.classifier(runs_in(build)[SPLIT])
    inputs = classifier.input(classifier.test_set.load(4))
    name = list(attention_blocks(classifier.network))[1]
    block, given = classifier.network.get_submodule(name), []
    assert isinstance(block, SplitAttentionConv2d)
    hook = block.register_forward_hook(lambda module, inputs, output: given.append(inputs[0]))
    with torch.inference_mode():
        classifier.network(inputs)
        hook.remove()
        splits = torch.relu(block.bn0(block.conv(given[0])))  # (1, 2 C, H, W), radix-major
        pooled = splits.mean((2, 3), keepdim=True)
        first, second = block.fc2(torch.relu(block.bn1(block.fc1(sum(pooled.chunk(2, 1)))))).flatten().chunk(2)
    expected = np.stack([1 / (1 + np.exp((second - first).numpy())), 1 / (1 + np.exp((first - second).numpy()))])
    found = block_attention(classifier.network, inputs, name)
    assert found.shape == (2, 32)
    assert np.allclose(found, expected, atol=1e-6)
    assert np.ptp(found) > 1e-3


def test_attention_of_no_such_block_or_of_two_images(build: Path) -> None:
    classifier = opening.classifier(runs_in(build)[SPLIT])
    inputs = classifier.input(classifier.test_set.load(4))
    with pytest.raises(InputError, match=r"unknown block with split attention 'layer9'.*valid: layer1\.0\.conv2"):
        block_attention(classifier.network, inputs, "layer9")
    with pytest.raises(InputError, match="there are 2 images"):
        block_attention(classifier.network, inputs.repeat(2, 1, 1, 1), "layer1.0.conv2")


def test_a_network_without_split_attention_says_so(build: Path) -> None:
    panel = looking_at(build, PLAIN)
    assert "Its radix is 0: there is no split attention to show." in words(panel)
    assert panel.block.disabled
    panel.run.value = runs_in(build)[SPLIT]
    assert "radix" not in words(panel)
    assert not panel.block.disabled
    assert panel.block.value == "layer1.0.conv2"


def test_what_the_network_saw_is_the_image(build: Path) -> None:
    classifier = opening.classifier(runs_in(build)[SPLIT])
    image = classifier.test_set.load(2)
    seen = classifier.seen(classifier.input(image))
    assert seen.shape == (28, 28, 3)
    assert np.allclose(seen, np.asarray(image) / 255, atol=1e-6)


def test_an_upload_is_shown_until_the_slider_moves(build: Path) -> None:
    panel = looking_at(build)
    test_images = open_dataset("fashion_mnist", limit=IMAGES)
    upload(panel, as_png(test_images.load(7)))
    uploaded = words(panel)
    panel.index.value = 7
    assert panel.upload.value == ()
    top = words(panel).partition(": ")[2].partition(". True")[0]
    assert uploaded == f"Uploaded image: {top}."
    upload(panel, as_png(Image.effect_noise((400, 300), 80)))
    assert "Uploaded image" in words(panel)
    panel.run.value = runs_in(build)[PLAIN]
    assert "Uploaded image" in words(panel)


def test_photographs_are_turned_upright_and_made_smaller() -> None:
    from resnest_core.explore.choices import uploaded

    photo, buffer = Image.new("RGB", (3000, 1500)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    photo.save(buffer, "jpeg", exif=exif)
    assert uploaded({"name": "p.jpg", "content": memoryview(buffer.getvalue())}).size == (666, 1333)


@pytest.mark.parametrize(
    "content", [b"no image", b"", as_png(Image.new("RGB", (60, 60), 9))[:60]], ids=["text", "empty", "half"]
)
def test_a_broken_upload_is_named(build: Path, content: bytes) -> None:
    panel = looking_at(build)
    upload(panel, content, "<holiday>.png")
    assert re.match(r"image '<holiday>\.png' cannot be read \(.+\); valid: a whole image file$", complaint(panel))
    assert "<holiday>" not in panel.line.value
    panel.index.value = 1
    assert words(panel)


# Published networks


def test_published_weights_that_are_not_here_are_to_be_fetched(build: Path) -> None:
    panel = looking_at(build)
    names = {run.model: run for run in published_networks()}
    panel.run.value = names["resnest101"]
    assert "the weights of 'resnest101' are not here: run 'resnest-core weights fetch resnest101'" in complaint(panel)
    drawn = drawing_of(build, DETECTOR)
    for name in ("mask_rcnn_resnest50_fpn", "deeplab_resnest50_ade"):
        drawn.run.value = names[name]
        assert f"run 'resnest-core weights fetch {name}'" in complaint(drawn)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, build: Path) -> Any:
    """Makes a mini network one that is published, with the weights of a file."""

    def publish(name: str, like: str, weights: Path) -> Run:
        shutil.copy(weights, checkpoints.weights_directory() / f"{name}.safetensors")
        record = replace(
            checkpoints.MANIFEST[like], name=name, file=f"{name}.safetensors", sha256=sha256(weights), format="pth"
        )
        monkeypatch.setitem(checkpoints.MANIFEST, name, record)
        return {run.model: run for run in published_networks()}[name]

    return publish


def test_a_published_classifier_looks_at_uploads_without_any_data(published: Any, build: Path, tmp_path: Path) -> None:
    run = published("mini_resnest11", "resnest50", build / SPLIT / "weights.safetensors")
    panel = Looking([run])
    panel.open()
    said = complaint(panel)
    assert said.startswith("data set 'imagenet' needs a data directory, and none was given")
    assert said.endswith("(here explore(data=DIR)); or upload an image")
    assert panel.index.disabled
    upload(panel, as_png(Image.effect_noise((300, 260), 80)))
    assert re.search(r"Uploaded image: .*(tench|goldfish|shark|hen|ostrich|ray|cock|hammerhead)", words(panel))


def test_a_published_classifier_looks_at_images_of_its_data_set(published: Any, build: Path, tmp_path: Path) -> None:
    folder = tmp_path / "val" / "n01440764"
    folder.mkdir(parents=True)
    Image.effect_noise((300, 260), 80).save(folder / "one.png")
    panel = Looking([published("mini_resnest11", "resnest50", build / SPLIT / "weights.safetensors")], str(tmp_path))
    panel.open()
    assert words(panel).startswith("Test image 0 of 1 (n01440764/one.png): ")
    assert words(panel).endswith("True class: tench.")


@pytest.mark.parametrize(
    ("name", "like", "title"),
    [
        ("mini_deeplab_resnest11", "deeplab_resnest50_ade", SEGMENTER),
        ("mini_mask_rcnn_resnest11", "mask_rcnn_resnest50_fpn", DETECTOR),
    ],
)
def test_published_networks_draw(published: Any, build: Path, name: str, like: str, title: str) -> None:
    panel = Drawing([published(name, like, build / title / "weights.safetensors")])
    panel.open()
    assert words(panel).startswith("Test image 0 of 1,000")


# What may go wrong with a run


def test_a_run_that_is_removed_meanwhile(copied: Path) -> None:
    panel = looking_at(copied)
    assert words(panel)
    shutil.rmtree(copied / SPLIT)
    panel.index.value = 1
    assert complaint(panel) == (
        f"'{copied / SPLIT / 'result.json'}' is gone; run that experiment again, and then this cell"
    )
    panel.run.value = runs_in(copied)[PLAIN]
    assert words(panel)


@pytest.mark.parametrize("title", [SPLIT, SEGMENTER])
def test_weights_that_are_gone_or_others(copied: Path, title: str) -> None:
    weights = copied / title / "weights.safetensors"
    show = looking_at if title == SPLIT else drawing_of
    weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
    assert f"the weights '{weights}' are not those that '{title}' was evaluated with" in complaint(show(copied, title))
    weights.unlink()
    assert f"the weights '{weights}' of '{title}' are gone" in complaint(show(copied, title))


def test_a_network_is_read_once_until_its_experiment_runs_again(copied: Path) -> None:
    run = runs_in(copied)[SPLIT]
    first = opening.classifier(run)
    assert opening.classifier(run) is first
    result = copied / SPLIT / "result.json"
    content = result.read_bytes()
    result.unlink()
    result.write_bytes(content)
    assert opening.classifier(run) is not first


def test_a_result_of_another_version(copied: Path) -> None:
    path = copied / DETECTOR / "result.json"
    result = json.loads(path.read_text())
    del result["parameters"]["dataset"]  # has a default
    result["parameters"]["limit"] = "few"
    path.write_text(json.dumps(result))
    line = complaint(drawing_of(copied, DETECTOR))
    assert re.match(rf"'{path}' is not of this version \(limit: .+\); run that experiment again$", line)


def test_what_nobody_expected_is_one_line_too(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = looking_at(build)

    def broken(*given: object) -> None:
        raise RuntimeError("first <line>\nsecond")

    monkeypatch.setattr(looking, "heat_map", broken)
    panel.index.value = 2
    assert complaint(panel) == "this cannot be shown (RuntimeError: first <line> second)"
    monkeypatch.undo()
    panel.index.value = 3
    assert words(panel)


# Comparing


def test_the_paired_test_by_hand(build: Path) -> None:
    panel = comparing_in(build)
    first, second = (
        pd.read_parquet(build / title / "records.parquet")["correct"].to_numpy() for title in (SPLIT, PLAIN)
    )
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    assert only_first > 0 < only_second
    p = binomtest(only_first, only_first + only_second).pvalue
    said = words(panel)
    assert said.startswith(
        f"All classes, {IMAGES} images: {SPLIT} ({100 * first.mean():.2f} %) is not detectably different from {PLAIN} "
        f"({100 * second.mean():.2f} %). "
    )
    assert f"exact McNemar test, p = {p:.3f}. Only the first is right on {only_first} images, " in said
    assert said.endswith(f"only the second on {only_second}.")


def fabricated(only_first: int, only_second: int, *, both: int = 10) -> comparing.Pair:
    """A pair of runs with so many disagreements, each of a class of its own kind: 0, 1 and 2."""
    n = only_first + only_second + both
    right = np.arange(n) < only_first + both
    other = (np.arange(n) < both) | (np.arange(n) >= only_first + both)
    records = pd.DataFrame(
        {
            "index": np.arange(n),
            "target": np.repeat([0, 1, 2], [both, only_first, only_second]),
            "correct_first": right,
            "correct_second": other,
            "loss_first": np.linspace(0, 1, n),
            "loss_second": np.linspace(0, 3, n),
        }
    )
    return comparing.Pair(Run("a", "mini_resnest11"), Run("b", "mini_resnetd11"), records)


def said(only_first: int, only_second: int) -> str:
    return comparing.in_words(fabricated(only_first, only_second, both=5), "all").replace(HARD, " ")


def test_words_follow_the_test() -> None:
    assert "a (83.33 %) is better than b (33.33 %)." in said(20, 5)
    assert "p = 0.004." in said(20, 5)
    assert "a (33.33 %) is worse than b (83.33 %)." in said(5, 20)
    assert "p < 0.001." in said(30, 0)
    none = said(0, 0)
    assert "is not detectably different from" in none
    assert "p = 1.000. Only the first is right on 0 images, only the second on 0." in none


def test_disagreements_of_one_class_the_worst_first() -> None:
    pair = fabricated(3, 4)
    assert pair.only("first")["index"].tolist() == [12, 11, 10]
    assert pair.only("second")["index"].tolist() == [13, 14, 15, 16]
    assert pair.of_class(1).test.only_a == pair.of_class(1).test.n == 3
    assert pair.of_class(0).only("first").empty
    assert pair.of_class(-1) is pair
    with pytest.raises(InputError, match="none of the images is of that class"):
        pair.of_class(5)


def test_the_class_filter(build: Path) -> None:
    panel = comparing_in(build)
    everything = panel.picture.value
    panel.label.value = 0
    assert words(panel).startswith("T-shirt/top, 2 images: ")
    assert panel.picture.value != everything
    panel.first.value, panel.second.value = panel.second.value, panel.first.value
    assert panel.label.value == 0, "the class stays"


def test_disagreements_have_pages(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "SHOWN", 1)
    panel = comparing_in(build)
    assert panel.page.max == 1, "two images that only one gets right"
    first = panel.picture.value
    panel.page.value = 1
    assert panel.picture.value != first
    panel.label.value = 9
    assert panel.page.value == 0


def test_runs_that_cannot_be_compared(copied: Path) -> None:
    panel = comparing_in(copied)
    panel.second.value = panel.first.value
    assert complaint(panel) == f"'{SPLIT}' is chosen twice; choose two runs"
    path = copied / PLAIN / "records.parquet"
    records = pd.read_parquet(path)
    for spoil, reason in {
        "images": "not of the same images",
        "columns": f"'{path}' has no column correct, loss; run that experiment again",
        "file": f"'{path}' cannot be read",
        "none": f"'{path}' cannot be read",
    }.items():
        _spoil(path, records, spoil)
        panel = comparing_in(copied)
        assert reason in complaint(panel)


def _spoil(path: Path, records: pd.DataFrame, how: str) -> None:
    path.parent.joinpath("result.json").touch()
    if how == "images":
        records.assign(image="another").to_parquet(path)
    elif how == "columns":
        records.drop(columns=["correct", "loss"]).to_parquet(path)
    elif how == "file":
        path.write_text("nothing")
    else:
        path.unlink()


# Drawing


def test_a_segmentation_is_that_of_the_records(build: Path) -> None:
    panel = drawing_of(build, SEGMENTER)
    records = pd.read_parquet(build / SEGMENTER / "records.parquet")
    for index in range(SCENES):
        panel.index.value = index
        row = records.loc[index]
        right = 100 * row["intersections"].sum() / row["pixels"].sum()
        assert words(panel) == (
            f"Test image {index} of {SCENES} ({row['image']}): of the pixels that count {right:.1f} % have the right "
            "class."
        )
    assert panel.least.disabled


def test_detections_are_those_of_the_records(build: Path) -> None:
    panel = drawing_of(build, DETECTOR)
    detections = pd.read_parquet(build / DETECTOR / "detections.parquet")
    truths = pd.read_parquet(build / DETECTOR / "truths.parquet")
    panel.index.value = 1
    panel.least.value = 0.05
    experiment = opening.dense(runs_in(build)[DETECTOR])
    assert isinstance(experiment, ObjectDetection)
    image, objects = experiment.test_set.load(1)
    true = drawing.true_things(experiment.test_set, image, objects)
    assert len(true) == (truths["index"] == 1).sum()
    assert [thing.box for thing in true] == [
        tuple(row) for row in truths.loc[truths["index"] == 1, ["x", "y", "width", "height"]].to_numpy()
    ]
    mine = detections[detections["index"] == 1]
    assert "100 objects found with a score of 0.05 or more" in words(panel)
    assert len(mine) == 100
    assert f" {mine['score'].max():.2f}," in words(panel)
    assert words(panel).endswith(", ….")
    assert not panel.least.disabled


def test_another_least_score_needs_no_network(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = drawing_of(build, DETECTOR)
    assert "no objects found with a score of 0.30 or more." in words(panel)
    before = panel.picture.value

    def detect(*given: object) -> Sequence[object]:
        raise AssertionError("the network looks at the image again")

    monkeypatch.setattr(ObjectDetection, "detect", detect)
    panel.least.value = 0.05
    assert "100 objects found" in words(panel)
    assert panel.picture.value != before


@pytest.mark.parametrize("title", [SEGMENTER, DETECTOR])
def test_an_upload_is_drawn(build: Path, title: str) -> None:
    panel = drawing_of(build, title)
    upload(panel, as_png(Image.effect_noise((90, 70), 80)))
    assert words(panel).startswith("Uploaded image")
    upload(panel, b"no image")
    assert "'photo.png' cannot be read (not an image)" in complaint(panel)


def test_an_image_without_objects() -> None:
    images = open_detection("scenes", limit=1)
    none = Objects(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))
    assert drawing.true_things(images, Image.new("RGB", (8, 8)), none) == []
