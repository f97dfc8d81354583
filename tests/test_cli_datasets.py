"""The commands on data sets, as their users call them."""

import sys
from pathlib import Path

import pytest
import torch

from resnest_core import cli
from resnest_core.data import open_dataset
from resnest_core.models import create_model


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["resnest-core", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_shards_are_made_indexed_again_and_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    options = ["--dataset", "fashion_mnist", "--limit", 7, "--images-per-shard", 3, "--out", out]
    status, text, _ = run(capsys, monkeypatch, "shard", *options)
    assert status == 0
    assert text.splitlines()[-1] == f"{out / 'test'}: 7 images in 3 tars"
    expected = open_dataset("shards", out)
    (out / "test" / "index.parquet").unlink()
    status, text, _ = run(capsys, monkeypatch, "index", "--data", out / "test", "--out", tmp_path / "index")
    assert status == 0
    assert text.splitlines()[-1] == f"{tmp_path / 'index' / 'index.parquet'}: 7 images in 3 tars"
    again = open_dataset("shards", tmp_path / "index")
    assert again.digest == expected.digest
    weights = tmp_path / "weights.pth"
    torch.save(create_model("mini_resnest11").state_dict(), weights)
    options = ["--dataset", "shards", "--data", tmp_path / "index", "--weights", weights, "--out", tmp_path / "e"]
    status, text, _ = run(
        capsys, monkeypatch, "evaluate", "mini_resnest11", *options, "--device", "cpu", "--workers", 0
    )
    assert status == 0
    assert text.splitlines()[-1].startswith("Top1 Acc: ")
    assert run(capsys, monkeypatch, "index", "--data", out / "test")[0] == 0
    assert open_dataset("shards", out).digest == expected.digest


BAD = {
    "url": (["index", "--data", "memory://x"], "the index of 'memory://x' cannot be written there; give --out DIR"),
    "classes": (["index", "--data", "HERE"], "classes are missing: no file '"),
    "set": (["shard", "--dataset", "imagfolder", "--out", "HERE"], "(did you mean 'imagefolder'?)"),
    "segmentation": (["shard", "--dataset", "ade20k", "--out", "HERE"], "unknown data set 'ade20k'"),
    "scheme": (["shard", "--dataset", "shards", "--data", "no://x", "--out", "HERE"], "Protocol not known: no"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, message = BAD[case]
    status, _, error = run(capsys, monkeypatch, *(tmp_path if word == "HERE" else word for word in arguments))
    assert status == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
