"""The manifest of the authors' files, and reading weights without running what is in them."""

import hashlib
import json
import os
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from resnest_core import checkpoints
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.models import create_model, list_models, load_weights
from tests.golden_weights import golden_tensor

KEYS = Path(__file__).parent / "golden" / "classification" / "resnest50.keys.json"


class RunsCode:
    """An object whose pickle makes a directory when it is read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.directory),)


class Tiny(nn.Module):
    def __init__(self, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, width, 1), nn.BatchNorm2d(width), nn.Linear(width, classes)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return Tiny().state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def save_zip(path: Path, state: Any, member: str = "weights.pth", extra: dict[str, bytes] | None = None) -> Path:
    """An authors' zip: one .pth, in torch's old format, stored beside what `extra` holds."""
    inner = path.with_suffix(".inner")
    torch.save(state, inner, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, member)
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    inner.unlink()
    return path


# The manifest


def test_manifest_has_every_published_file_once() -> None:
    records = checkpoints.MANIFEST.values()
    assert len(records) == 49 == len({record.file for record in records})
    assert [r.name for r in records if r.digest is None] == [
        "faster_rcnn_resnest50_fpn_dcn",
        "cascade_mask_rcnn_resnest200_fpn_tricks_3x",
    ]
    assert sum(r.format == "zip" for r in records) == 14


@pytest.mark.parametrize("record", checkpoints.MANIFEST.values(), ids=lambda r: r.name)
def test_record_is_whole(record: checkpoints.Checkpoint) -> None:
    assert record.urls
    assert all(url.startswith("https://") for url in record.urls)
    hosts = ["wasabisys" in url for url in record.urls]
    assert hosts == sorted(hosts), "wasabi, which has refused downloads for years, is asked last"
    algorithm, digits = record.digest or ("", "")
    assert len(digits) in {"sha256": (6, 8), "sha1": (40,), "": (0,)}[algorithm]
    assert digits[:8] in record.file, "the authors put the first digits into the file name"
    assert record.file.endswith(".pth")
    assert record.urls[0].endswith(record.format)
    assert len(record.preprocessing["mean"]) == len(record.preprocessing["std"]) == 3
    assert bool(record.score) == bool(record.score_source) == (record.task != "detection_backbone")
    assert all(30 < value < 100 for value in record.score.values())


@pytest.mark.parametrize(
    ("name", "crop_size", "top1"),
    [("resnest50", 224, 81.03), ("resnest101", 256, 82.83), ("resnest200", 320, 83.84), ("resnest269", 416, 84.54)],
)
def test_preprocessing_of_a_classifier_is_the_authors_rule(name: str, crop_size: int, top1: float) -> None:
    record = checkpoints.published(name)
    assert Preprocessing(**record.preprocessing) == Preprocessing(
        "centre_square", crop_size, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    assert record.score == {"top1": top1}
    assert (record.channels, record.pixel_range) == ("RGB", "0..1")


def test_baseline_detectors_take_blue_first_and_unscaled_pixels() -> None:
    baseline, ours = checkpoints.published("mask_rcnn_resnet50_fpn"), checkpoints.published("mask_rcnn_resnest50_fpn")
    assert (baseline.channels, baseline.preprocessing["std"]) == ("BGR", (1.0, 1.0, 1.0))
    assert (ours.channels, ours.preprocessing["std"]) == ("RGB", (58.393, 57.12, 57.375))
    assert baseline.pixel_range == ours.pixel_range == "0..255"


def test_every_published_classifier_can_be_built() -> None:
    ours = {r.name for r in checkpoints.MANIFEST.values() if r.publisher == "authors (resnest.torch)"}
    assert len(ours) == 11
    assert ours <= set(list_models("classification"))


def test_unknown_name_lists_the_published_ones() -> None:
    with pytest.raises(InputError, match=r"unknown published weights 'resnest5' \(did you mean 'resnest50'\?\)"):
        checkpoints.published("resnest5")


# Where a file is, and whether it is right


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNEST_WEIGHTS", str(tmp_path))
    return tmp_path


def publish(monkeypatch: pytest.MonkeyPatch, name: str, **digest: str) -> checkpoints.Checkpoint:
    """Give the record `name` other digests, since no test has the real file."""
    record = replace(checkpoints.published(name), sha256=digest.get("sha256", ""), sha1=digest.get("sha1", ""))
    monkeypatch.setitem(checkpoints.MANIFEST, name, record)
    return record


def digest(path: Path, algorithm: str) -> str:
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


def test_default_directory_is_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RESNEST_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checkpoints.weights_directory() == tmp_path / ".cache" / "resnest_core"


def test_absent_file_gets_every_way_to_have_it(directory: Path) -> None:
    assert checkpoints.locate("resnest50") is None
    with pytest.raises(InputError) as error:
        checkpoints.resolve("published", "resnest50")
    record, text = checkpoints.published("resnest50"), str(error.value)
    for part in (
        *record.urls,
        "528c19ca",
        record.file,
        str(directory),
        "timm/resnest50d.in1k",
        "weights fetch resnest50",
    ):
        assert part in text
    assert "\n" not in text


def test_right_file_is_found(directory: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    path = directory / checkpoints.published("resnest50").file
    torch.save(state, path)
    publish(monkeypatch, "resnest50", sha256=digest(path, "sha256")[:8])
    assert checkpoints.resolve("published", "resnest50") == path


def test_wrong_file_is_not_used(directory: Path, state: dict[str, Tensor]) -> None:
    path = directory / checkpoints.published("resnest50").file
    torch.save(state, path)
    with pytest.raises(InputError, match=f"is not the published file: it has the SHA-256 {digest(path, 'sha256')}"):
        checkpoints.resolve("published", "resnest50")


@pytest.mark.parametrize("zipped", [True, False])
def test_sha1_is_that_of_the_pth_inside_a_zip(
    zipped: bool, directory: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    pth = directory / checkpoints.published("resnest50_encoding").file
    torch.save(state, pth, _use_new_zipfile_serialization=False)
    publish(monkeypatch, "resnest50_encoding", sha1=digest(pth, "sha1"))
    here = pth
    if zipped:
        here = directory / "resnest50-fb9de5b3.zip"
        with zipfile.ZipFile(here, "w") as archive:
            archive.write(pth, pth.name)
        pth.unlink()
    assert checkpoints.resolve("published", "resnest50_encoding") == here
    assert same(checkpoints.read_state_dict(here), state)


def test_file_without_published_digest_must_be_readable(
    directory: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = publish(monkeypatch, "resnest50")
    path = directory / record.file
    path.write_bytes(b"<html>moved</html>")
    assert "begins with b'<html>" in (checkpoints.problem(path, record) or "")
    torch.save(state, path)
    assert checkpoints.problem(path, record) is None


def test_resolve_takes_a_path_and_refuses_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    with pytest.raises(InputError, match=r"own\.pth' are not a file"):
        checkpoints.resolve(path, "resnest50")
    with pytest.raises(InputError, match="are not a file"):
        checkpoints.resolve(tmp_path, "resnest50")
    path.touch()
    assert checkpoints.resolve(str(path), "any name") == path


# Reading


@pytest.mark.parametrize("container", [None, "state_dict", "model"])
@pytest.mark.parametrize("new_format", [True, False])
def test_pth_of_both_formats_and_all_containers(
    container: str | None, new_format: bool, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    content = OrderedDict(state) if container is None else {container: state, "epoch": 3}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=new_format)
    assert same(checkpoints.read_state_dict(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("name", ["w.safetensors", "a_cache_names_it_thus"])
def test_safetensors(name: str, tmp_path: Path, state: dict[str, Tensor]) -> None:
    safetensors.torch.save_file(state, tmp_path / name)
    read = checkpoints.read_state_dict(tmp_path / name)
    assert same({key: read[key] for key in state}, state)


def test_zip_of_the_authors_beside_what_a_mac_adds(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = save_zip(tmp_path / "w.zip", state, "folder/w.pth", {"__MACOSX/._w.pth": b"fork", "folder/read.me": b"."})
    assert same(checkpoints.read_state_dict(path), state)


def test_zip_must_hold_one_pth(tmp_path: Path, state: dict[str, Tensor]) -> None:
    two = save_zip(tmp_path / "two.zip", state, extra={"b.pth": b"another"})
    none = save_zip(tmp_path / "none.zip", state, "weights.bin")
    with pytest.raises(InputError, match=r"two.zip' is a zip with 2 .pth files .*weights.pth, b.pth"):
        checkpoints.read_state_dict(two)
    with pytest.raises(InputError, match=r"none.zip' is a zip with 0 .pth files"):
        checkpoints.read_state_dict(none)


def test_damaged_zip(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = save_zip(tmp_path / "w.zip", state)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w.zip' is a damaged zip \(Bad CRC"):
        checkpoints.read_state_dict(path)


def save_torch(content: Any, path: Path, protocol: int) -> None:
    torch.save(content, path, pickle_protocol=protocol)


def save_old_torch(content: Any, path: Path, protocol: int) -> None:
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)


def save_pickle(content: Any, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("save", [save_torch, save_old_torch, save_pickle])
def test_file_that_would_run_code_is_refused_by_name(
    save: Any, protocol: int, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    save({"state_dict": {"fc.weight": torch.ones(2)}, "extra": [RunsCode(trace), RunsCode(trace)]}, path, protocol)
    # A plain pickle of a tensor holds more: functions that decode and unpickle its bytes.
    also = "torch.storage._load_from_bytes, .*" if save is save_pickle else ""
    with pytest.raises(InputError, match=f"^'{path}' is refused: it holds {also}posix.mkdir, which would run code"):
        checkpoints.read_state_dict(path)
    assert not trace.exists()
    assert recwarn.list == []


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"cposix\nmkdir\n0cposix\nmkdir\n.", "posix.mkdir"),
        (b"(S'trace'\niposix\nmkdir\n.", "posix.mkdir"),
        (pickle.dumps([os.mkdir, os.rmdir], 4), "posix.mkdir, posix.rmdir"),
    ],
)
def test_every_object_is_named_once(content: bytes, names: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=f"it holds {names}, which"):
        checkpoints.read_state_dict(tmp_path / "w.pth")


def test_evil_zip_of_the_authors(tmp_path: Path) -> None:
    path = save_zip(tmp_path / "evil.zip", {"state_dict": RunsCode(tmp_path / "trace")})
    with pytest.raises(InputError, match=r"evil.zip' is refused: it holds posix.mkdir"):
        checkpoints.read_state_dict(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("wrapped", [True, False])
def test_whole_models_are_refused_by_name(wrapped: bool, tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    torch.save({"model": model, "args": Namespace(lr=1)} if wrapped else model, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"it is a whole torch.nn.modules.linear.Linear; save its state_dict\(\)"):
        checkpoints.read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>403</html>", b"PK\x03\x04 cut", b"\x80\x02}q", b"{}"])
def test_what_is_no_weights_file_is_described(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        checkpoints.read_state_dict(path)
    text = str(error.value)
    assert str(path) in text
    assert f"{len(content)} bytes" in text
    assert repr(content[:16]) in text
    assert "\n" not in text


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["new", "old", "safetensors", "zip"])
def test_truncated_file_is_described(kind: str, share: float, tmp_path: Path) -> None:
    state, path = {"a": torch.randn(3000), "b": torch.randn(300)}, tmp_path / "w.pth"
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    elif kind == "zip":
        save_zip(path, state)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "new")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=rf"w.pth' .*it has {path.stat().st_size:,} bytes and begins with b"):
        checkpoints.read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "it is list"),
        ({}, "it is empty"),
        ({"epoch": 3}, "its entry 'epoch' is a int"),
        ({1: torch.ones(1)}, "its entry 1"),
        ({"state_dict": {"a": [1.0]}}, "its entry 'a' is a list"),
    ],
)
def test_what_holds_no_state_dict(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=f"holds no state dict: {message}"):
        checkpoints.read_state_dict(tmp_path / "w.pth")


# Loading


def test_load_copies_every_tensor_and_needs_no_counters(state: dict[str, Tensor]) -> None:
    model = Tiny()
    assert not same(model.state_dict(), state)
    state["bn.running_mean"] += 1
    del state["bn.num_batches_tracked"]
    checkpoints.load_state_dict(model, state)
    own = model.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in state)
    assert len(own) == len(state) + 1


def test_misfit_lists_keys_and_shapes_in_one_line_and_changes_nothing(state: dict[str, Tensor]) -> None:
    model = Tiny()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state["bn.extra"] = state.pop("bn.bias")
    state["fc.weight"] = torch.ones(3, 5)
    with pytest.raises(InputError) as error:
        checkpoints.load_state_dict(model, state, "some.pth")
    assert str(error.value) == (
        "some.pth does not fit the model: 1 missing (bn.bias); 1 unexpected (bn.extra); "
        "1 misshapen (fc.weight: file (3, 5), model (3, 4))"
    )
    assert same(model.state_dict(), before)


def test_long_lists_are_cut(state: dict[str, Tensor]) -> None:
    with pytest.raises(
        InputError, match=r"7 missing \(conv.weight, conv.bias, bn.weight, ...\); 4 unexpected \(a, b, c, ...\)"
    ):
        checkpoints.load_state_dict(Tiny(), {"bn.running_var": torch.ones(4)} | dict.fromkeys("abcd", torch.ones(1)))


def test_misfit_of_the_classifier_alone_may_be_another(state: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=r"model: 1 misshapen \(fc.weight: file \(3, 5\), model \(3, 4\)\)"):
        checkpoints.load_state_dict(Tiny(), {**state, "fc.weight": torch.ones(3, 5)})
    with pytest.raises(InputError, match=r"model: 1 unexpected \(more\); 2 misshapen \(fc.weight"):
        checkpoints.load_state_dict(Tiny(classes=10), {**state, "more": torch.ones(1)})


def test_wrong_number_of_classes_is_said(state: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match="wrong number of classes: file has 3, model 10"):
        checkpoints.load_state_dict(Tiny(classes=10), state)


def test_another_network_is_not_taken_for_wrong_classes(state: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=r"7 misshapen \(conv.weight: file \(4, 3, 1, 1\), model \(8, 3, 1, 1\)"):
        checkpoints.load_state_dict(Tiny(width=8), state)


# The authors' names, with golden numbers


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    """A state dict under the authors' key names, from their own list, without this project's networks."""
    entries = json.loads(KEYS.read_text())
    return {key: golden_tensor(key, tuple(shape)) for key, shape, kind in entries if "float" in kind}


@pytest.mark.parametrize("kind", ["pth", "safetensors", "zip"])
def test_golden_weights_load_under_the_authors_names(kind: str, golden: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"resnest50.{kind}"
    if kind == "zip":
        save_zip(path, golden, "resnest50.pth")
    elif kind == "safetensors":
        safetensors.torch.save_file(golden, path)
    else:
        torch.save({"state_dict": golden}, path)
    model = create_model("resnest50")
    load_weights(model, path)
    path.unlink()  # 110 MB
    own = model.state_dict()
    assert {key for key in own if not key.endswith("num_batches_tracked")} == set(golden)
    assert all(torch.equal(own[key], golden[key]) for key in golden)


def test_hub_mirrors_have_the_authors_key_names(golden: dict[str, Tensor]) -> None:
    import timm

    name = checkpoints.published("resnest50").hub_mirror.removeprefix("timm/")
    with torch.device("meta"):
        theirs = timm.create_model(name).state_dict()
    shapes = {key: tensor.shape for key, tensor in theirs.items() if not key.endswith("num_batches_tracked")}
    assert shapes == {key: tensor.shape for key, tensor in golden.items()}


def test_published_weights_of_a_model_by_name(
    golden: dict[str, Tensor], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / checkpoints.published("resnest50").file
    torch.save(golden, path)
    with pytest.raises(InputError, match="is not the published file"):
        create_model("resnest50", weights="published")
    publish(monkeypatch, "resnest50", sha256=digest(path, "sha256")[:8])
    model = create_model("resnest50", weights="published")
    path.unlink()
    assert torch.equal(model.state_dict()["fc.weight"], golden["fc.weight"])
