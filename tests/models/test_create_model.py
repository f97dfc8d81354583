"""Networks by name, and what is said of names and weights that do not fit."""

import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import resnest_core as rc
from resnest_core.errors import InputError
from resnest_core.models.variants import CLASSIFIERS

PUBLISHED = ["resnest50", "resnest101", "resnest200", "resnest269"]
SETTINGS = ["1s1x64d", "2s1x64d", "4s1x64d", "1s2x40d", "2s2x40d", "4s2x40d", "1s4x24d"]


def test_the_list_has_every_network_of_the_study() -> None:
    names = rc.list_models("classification")
    fast = [f"resnest50_fast_{setting}" for setting in SETTINGS]
    mini = [f"mini_{setting}" for setting in ["0s1x64d", *SETTINGS]]
    assert {*PUBLISHED, *fast, "resnetd50", "resnetd101", *mini} <= {*names}
    assert len([name for name in names if name.startswith("mini_resnest")]) == 4
    assert {name.replace("resnest", "resnetd") for name in names if name.startswith("mini_resnest")} <= {*names}
    assert set(names) <= set(rc.list_models())
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["resnest50", "resnetd50", "mini_resnest11"])
def test_no_constructor_touches_the_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments, **options):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with torch.device("meta"):
        model = rc.create_model(name)
    assert model.training


def test_the_crop_sizes_are_those_of_the_paper() -> None:
    assert [CLASSIFIERS[name].crop_size for name in PUBLISHED] == [224, 256, 320, 416]


def test_num_classes_replaces_the_published_number() -> None:
    with torch.device("meta"):
        assert rc.create_model("resnest50").fc.out_features == 1000
        assert rc.create_model("resnest50", num_classes=1).fc.out_features == 1
        assert rc.create_model("mini_resnest11").fc.out_features == 10


def test_an_unknown_model() -> None:
    with pytest.raises(
        InputError, match=r"unknown model 'resnest51' \(did you mean 'resnest50'\?\); valid: .*resnetd101"
    ):
        rc.create_model("resnest51")


def test_an_unknown_task() -> None:
    with pytest.raises(InputError, match=r"unknown task 'regression'; valid: .*classification"):
        rc.list_models("regression")


def test_an_option_that_no_network_has() -> None:
    with pytest.raises(TypeError, match="dropblok"):
        rc.create_model("mini_resnest11", dropblok=0.1)


def test_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = rc.create_model("mini_resnest11", num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    loaded = rc.create_model("mini_resnest11", num_classes=7, weights=tmp_path / "weights.safetensors").eval()
    x = torch.randn(2, 3, 28, 28)
    assert torch.equal(loaded(x), model(x))


def test_weights_for_another_number_of_classes(tmp_path: Path) -> None:
    save_file(rc.create_model("mini_resnest11", num_classes=7).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="wrong number of classes: file has 7, model 10"):
        rc.create_model("mini_resnest11", weights=tmp_path / "weights.safetensors")


def test_weights_of_another_network_leave_the_model_as_it_was() -> None:
    model = rc.create_model("mini_resnest11")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"missing|unexpected|shape"):
        rc.load_weights(model, rc.create_model("mini_resnetd11").state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises((InputError, OSError), match=r"none\.pth"):
        rc.create_model("mini_resnest11", weights=tmp_path / "none.pth")
