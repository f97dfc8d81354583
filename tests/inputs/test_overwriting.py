"""No run replaces what another one left, unless it is told to; the same run again changes nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from inputs.sets import imagefolder
from PIL import Image

import resnest_core as rc
from resnest_core.cli import app, run
from resnest_core.data import open_dataset
from resnest_core.data.shard_index import make_index, read_index, write_index
from resnest_core.data.shard_writer import write_shards
from resnest_core.errors import InputError
from resnest_core.evaluation import classification, detection
from resnest_core.evaluation.efficiency import measure_efficiency
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.detection import ObjectDetection
from resnest_core.experiments.segmentation import SemanticSegmentation
from resnest_core.outputs import MARK, claimed
from resnest_core.training import loop
from resnest_core.training.classification import Recipe

CLASSIFIED = Classification(
    "mini_resnest11", "", limit=20, train_limit=64, protocol=classification.Protocol(device="cpu"), recipe=Recipe()
)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Classification:
    experiment = replace(CLASSIFIED, out=str(tmp_path_factory.mktemp("trained")))
    assert experiment.result
    return experiment


OTHERS: dict[str, tuple[Callable[[Classification], Classification], str]] = {
    "network": (lambda e: replace(e, model="mini_resnetd11"), "model: mini_resnest11 -> mini_resnetd11"),
    "recipe": (lambda e: replace(e, recipe=Recipe(epochs=2.0)), "recipe epochs: 1.0 -> 2.0"),
    "training images": (lambda e: replace(e, train_limit=128), "train_limit: 64 -> 128, training images: "),
    "test images": (lambda e: replace(e, limit=30), "limit: 20 -> 30, images: "),
    "mode": (lambda e: replace(e, protocol=replace(e.protocol, precision="bf16")), "protocol precision: fp32 -> bf16"),
    "its own weights": (
        lambda e: replace(e, weights=f"{e.out}/weights.safetensors"),
        "a finished training of mini_resnest11, and this is another evaluation",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_run_is_refused_and_changes_nothing(trained: Classification, case: str) -> None:
    other, difference = OTHERS[case]
    before = contents(Path(trained.out))
    with pytest.raises(InputError, match=r"holds a finished training of mini_resnest11.*; give") as refused:
        _ = other(trained).result
    assert difference in str(refused.value)
    assert contents(Path(trained.out)) == before


def test_the_same_run_again_changes_nothing(trained: Classification, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(Path(trained.out))
    monkeypatch.setattr(loop.Training, "_run_epoch", None)  # not called
    again = replace(trained, protocol=replace(trained.protocol, device="auto", workers=1))
    assert again.result["metrics"]["top1"] == trained.result["metrics"]["top1"]
    after = contents(Path(trained.out))
    assert {name for name in before if before[name] != after[name]} <= {"result.json"}  # its time and its date


def test_overwrite_leaves_nothing_of_the_old_run(trained: Classification, tmp_path: Path) -> None:
    out = tmp_path / "out"
    old = replace(trained, out=str(out), train_limit=32, recipe=Recipe(batch_size=32))
    assert old.network
    (out / "notes.txt").write_text("of the user")
    new = replace(trained, out=str(out), weights=str(Path(trained.out) / "weights.safetensors"), overwrite=True)
    assert "overwrite" not in new.result["parameters"]
    assert set(contents(out)) == {"notes.txt", "records.parquet", "result.json"}


def test_an_unfinished_training_is_refused_and_goes_on(trained: Classification, tmp_path: Path) -> None:
    experiment = replace(trained, out=str(tmp_path), recipe=Recipe(epochs=2))
    killed = loop.Training._run_epoch

    def dying(self: loop.Training, epoch: int, bar: object) -> None:
        if epoch == 1:
            raise KeyboardInterrupt
        killed(self, epoch, bar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Training, "_run_epoch", dying)
        with pytest.raises(KeyboardInterrupt):
            _ = experiment.result
    before = contents(tmp_path)
    for other in (replace(experiment, model="mini_resnetd11"), replace(experiment, recipe=Recipe(epochs=3))):
        with pytest.raises(InputError, match="holds an unfinished training of mini_resnest11"):
            _ = other.result
    with pytest.raises(InputError, match="holds an unfinished training"):
        _ = replace(experiment, weights=str(Path(trained.out) / "weights.safetensors")).result
    assert contents(tmp_path) == before
    assert replace(experiment).result
    assert not (tmp_path / MARK).exists(), "the result says whose it is"


def test_weights_that_lie_there_are_not_written_by_an_evaluation_but_by_a_training(
    trained: Classification, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((Path(trained.out) / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"holds weights.safetensors of another run"):
        _ = replace(trained, out=str(tmp_path)).network
    assert replace(trained, out=str(tmp_path), weights=str(weights)).result


def test_a_run_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise InputError("the training loss is nan")

    monkeypatch.setattr(loop.Training, "_add_point", failing)
    with pytest.raises(InputError, match="the training loss is"):
        _ = replace(CLASSIFIED, out=str(tmp_path)).result
    assert list(tmp_path.iterdir()) == []
    with claimed(tmp_path, {"kind": "training", "model": "another"}):
        pass


def detector(out: Path, weights: str) -> ObjectDetection:
    protocol = detection.Protocol(device="cpu")
    return ObjectDetection("mini_faster_rcnn_resnest11", str(out), weights=weights, limit=2, protocol=protocol)


def segmenter(out: Path, weights: str) -> SemanticSegmentation:
    return SemanticSegmentation("mini_deeplab_resnest11", str(out), weights=weights, limit=2, device="cpu")


@pytest.mark.parametrize("make", [detector, segmenter])
def test_every_task_keeps_its_evaluations(make: Callable[..., ObjectDetection], tmp_path: Path) -> None:
    weights, out = tmp_path / "w.pth", tmp_path / "out"
    torch.save(rc.create_model(make(out, str(weights)).model).state_dict(), weights)
    assert make(out, str(weights)).result
    before = contents(out)
    with pytest.raises(InputError, match=rf"finished evaluation of {make(out, '').model} \(limit: 2 -> 3"):
        _ = replace(make(out, str(weights)), limit=3).result
    with pytest.raises(InputError, match=r"finished evaluation .*, and this is another training"):
        _ = make(out, "").result
    assert contents(out) == before
    assert replace(make(out, str(weights)), limit=3, overwrite=True).result["parameters"]["limit"] == 3


def test_analyses_keep_what_others_left(trained: Classification) -> None:
    with pytest.raises(InputError, match=r"finished training .*, and this is another measurement of efficiency"):
        measure_efficiency(["mini_resnest11"], trained.out, batch_size=1, crop_size=32, rounds=1, device="cpu")


def test_pictures(tmp_path: Path) -> None:
    picture, shown, weights = tmp_path / "p.png", tmp_path / "shown.png", tmp_path / "w.pth"
    Image.new("RGB", (40, 30)).save(picture)
    shown.write_text("a user's")
    for command, name in (("segment", "mini_deeplab_resnest11"), ("detect", "mini_faster_rcnn_resnest11")):
        torch.save(rc.create_model(name).state_dict(), weights)
        with pytest.MonkeyPatch.context() as patch:
            arguments = [command, name, str(picture), "--weights", str(weights), "--device", "cpu", "--out", str(shown)]
            patch.setattr("sys.argv", ["resnest-core", *arguments])
            with pytest.raises(InputError, match=r"shown.png' is there already; give another --out, or --overwrite"):
                run(app)
            assert shown.read_text() == "a user's"
            patch.setattr("sys.argv", ["resnest-core", *arguments, "--overwrite"])
            run(app)
        assert shown.read_bytes()[:4] == b"\x89PNG"
        shown.write_text("a user's")


def test_shards_and_indices(tmp_path: Path) -> None:
    imagefolder(tmp_path / "folders")
    images, out = open_dataset("imagefolder", tmp_path / "folders"), tmp_path / "set"
    write_shards(images, out, 3)
    before = contents(out)
    fewer = open_dataset("imagefolder", tmp_path / "folders", limit=4)
    with pytest.raises(InputError, match="holds shards already; give another directory, or --overwrite"):
        write_shards(fewer, out, 4)
    assert contents(out) == before
    write_shards(fewer, out, 4, overwrite=True)
    assert set(contents(out)) == {"000000.tar", "classes.txt", "index.parquet"}
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "classes.txt").write_text("a user's")
    with pytest.raises(InputError, match=r"holds a classes.txt already"):
        write_shards(images, tmp_path / "foreign")


def index(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["resnest-core", "index", *map(str, arguments)])
    run(app)


def test_an_index_is_renewed_for_its_own_tars_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imagefolder(tmp_path / "folders")
    images, sets = open_dataset("imagefolder", tmp_path / "folders"), [tmp_path / "a", tmp_path / "b"]
    for out, number in zip(sets, (3, 4), strict=True):
        write_shards(images, out, number)
    before = contents(sets[0])
    index(monkeypatch, "--data", sets[0])
    assert read_index(str(sets[0])).table == make_index(str(sets[0]), images.classes).table
    with pytest.raises(InputError, match=r"'.*a' holds an index of the tars in '.*a'; give another --out"):
        index(monkeypatch, "--data", sets[1], "--out", sets[0])
    (tmp_path / "other.txt").write_text("dog\ncat\n")
    with pytest.raises(InputError, match="holds an index of these tars with other classes"):
        index(monkeypatch, "--data", sets[0], "--classes", tmp_path / "other.txt")
    assert contents(sets[0])["000000.tar"] == before["000000.tar"]
    (sets[0] / "000002.tar").unlink()
    index(monkeypatch, "--data", sets[0])
    assert len(read_index(str(sets[0])).tars) == 2
    write_index(sets[0] / "index.parquet", read_index(str(sets[1])), beside=False)
    index(monkeypatch, "--data", sets[0], "--overwrite")
    assert read_index(str(sets[0])).root == str(sets[0])


def test_the_facts_of_a_result_say_which_run_it_is_of(trained: Classification) -> None:
    facts = json.loads((Path(trained.out) / "result.json").read_text())["run"]
    assert {"kind": "training", "model": "mini_resnest11", "recipe epochs": 1.0}.items() <= facts.items()
    assert not facts.keys() & {"out", "device", "protocol device", "protocol workers"}
