"""Checkpoints as trainers write them: each loads to the same tensors, or one line says what is wrong."""

import datetime
import pickle
import subprocess
from argparse import Namespace
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from enum import Enum
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

import resnest_core as rc
from resnest_core import checkpoints, trained_weights
from resnest_core.errors import InputError
from resnest_core.models import load_weights

State = dict[str, Tensor]
NETWORKS = {
    "mini_resnest11": {"num_classes": 3},
    "mini_deeplab_resnest11": {"num_classes": 3},
    "mini_cascade_mask_rcnn_resnest11": {"categories": ("nut", "bolt")},
}


@cache
def network(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return rc.create_model(name, **NETWORKS[name])  # type: ignore[arg-type]


def scratch(name: str) -> Any:
    """A network to load into."""
    return network(name, seed=2)


def state_of(name: str) -> State:
    return dict(network(name).state_dict())


def same(model: nn.Module, state: State) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[key], value) for key, value in state.items())


def loads(name: str, content: Any, path: Path, **saved: Any) -> None:
    """The content is saved, and a network of that name gets the weights of `network(name)` from it."""
    torch.save(content, path, **saved)
    assert same(rc.create_model(name, weights=path, **NETWORKS[name]), state_of(name))  # type: ignore[arg-type]


def below(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


PREFIXES = ["module.", "_orig_mod.", "model.", "backbone.", "net.", "module._orig_mod.", "_orig_mod.module.", "a.b.c."]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_come_off(name: str, prefix: str, tmp_path: Path) -> None:
    loads(name, {"epoch": 3, "state_dict": below(prefix, state_of(name))}, tmp_path / "w.pth")
    save_file({key: value.contiguous() for key, value in below(prefix, state_of(name)).items()}, tmp_path / "w.st")
    loaded = rc.create_model(name, weights=tmp_path / "w.st", **NETWORKS[name])  # type: ignore[arg-type]
    assert same(loaded, state_of(name))


def test_wrapped_parts_come_off(tmp_path: Path) -> None:
    name = "mini_deeplab_resnest11"
    inner = {
        key.replace("backbone.layer1.", "backbone._orig_mod.layer1.module."): v for key, v in state_of(name).items()
    }
    loads(name, inner, tmp_path / "w.pth")


WRAPPERS = ["state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "ema", "state_dict_ema"]


@settings(max_examples=60, deadline=None)
@given(
    prefixes=st.lists(st.sampled_from(["module.", "_orig_mod.", "model.", "backbone.", "net."]), max_size=4),
    wrappers=st.lists(st.sampled_from(WRAPPERS), max_size=3),
    name=st.sampled_from(list(NETWORKS)),
)
def test_any_nesting_loads_to_the_same_tensors(prefixes: list[str], wrappers: list[str], name: str) -> None:
    content: Any = below("".join(prefixes), state_of(name))
    for wrapper in wrappers:
        content = {wrapper: content, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
    state, _ = trained_weights.unwrapped(content)
    model = scratch(name)
    load_weights(model, state)
    assert same(model, state_of(name))


class Mode(Enum):
    FAST = 1


class Options(dict):  # type: ignore[type-arg]
    """As EasyDict and Lightning's AttributeDict."""


class Settings:
    """As OmegaConf's nodes, and a trainer's own classes."""

    def __init__(self) -> None:
        self.rate, self.nested = 0.1, [Mode.FAST]


def counted() -> defaultdict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    found["a"].append(1)
    return found


BESIDE: dict[str, Callable[[], Any]] = {
    "numpy number": lambda: np.float64(0.6),
    "numpy array": lambda: {"confusion": np.eye(3), "names": np.array(["a", "b"])},
    "numpy random state": lambda: (np.random.RandomState(0), np.random.default_rng(0), np.random.get_state()),
    "options": lambda: Namespace(lr=0.1, out=Path("runs"), func=same, type=int),
    "windows path": lambda: PureWindowsPath("c:/runs"),
    "time": lambda: (datetime.datetime.now(datetime.UTC), datetime.timedelta(1), datetime.date(2020, 1, 1)),
    "defaultdict": counted,
    "deque": lambda: deque([1.0], maxlen=3),
    "enum": lambda: Mode.FAST,
    "dictionary class": lambda: Options(lr=1),
    "own class": Settings,
    "keys": lambda: {Path("a"): 1, np.int64(2): 3},
    "sets": lambda: ({1}, frozenset([2]), 2**70, 1j, b"a"),
    "dtype": lambda: (torch.float16, torch.Size([2]), torch.device("cuda"), np.dtype("f4"), type(None)),
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", BESIDE)
def test_what_lies_beside_the_weights_is_not_in_the_way(case: str, old: bool, tmp_path: Path) -> None:
    content = {"beside": BESIDE[case](), "state_dict": state_of("mini_resnest11")}
    loads("mini_resnest11", content, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)


def test_numbers_of_an_older_numpy(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": state_of("mini_resnest11"), "best_pred": np.float64(0.6)}, path)
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    torch.save(
        {"state_dict": state_of("mini_resnest11"), "best_pred": np.float64(0.6)},
        path,
        _use_new_zipfile_serialization=False,
    )
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert same(rc.create_model("mini_resnest11", num_classes=3, weights=path), state_of("mini_resnest11"))


def trained() -> dict[str, Any]:
    """What PyTorch's tutorial, timm, Lightning, and PyTorch-Encoding's trainer store, in one."""
    model = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 3)
    return {
        "epoch": 3,
        "optimizer": optimiser.state_dict(),
        "optimizer_states": [optimiser.state_dict()],
        "schedule": schedule,
        "lr_scheduler": schedule.state_dict(),
        "amp_scaler": {"scale": 65536.0},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.3)}},
        "hyper_parameters": Options(lr=1),
        "rng": {"cpu": torch.get_rng_state()},
        "best_pred": np.float64(0.6),
    }


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "module", "generator"])
def test_whole_trainings(name: str, key: str, tmp_path: Path) -> None:
    content = trained()
    if key == "generator":  # an unknown name counts where it is the only one
        del content["rng"], content["callbacks"]
    loads(name, content | {key: below("model.", state_of(name))}, tmp_path / "w.pth")


def test_averages_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, other = "mini_resnest11", dict(network("mini_resnest11", seed=1).state_dict())
    for plain, average in (("model", "model_ema"), ("state_dict", "state_dict_ema"), ("model", "ema")):
        loads(name, {average: other, plain: state_of(name)}, tmp_path / "w.pth")
        assert f"w.pth: '{plain}' is loaded, and not '{average}'" in capsys.readouterr().out
    loads(name, {"ema": {"module": state_of(name)}}, tmp_path / "w.pth")
    assert "w.pth: 'ema.module', a moving average, is loaded" in capsys.readouterr().out
    loads(name, below("model.", state_of(name)) | below("ema_model.", other), tmp_path / "w.pth")
    assert "119 of 238 keys are not below 'model.', and left out" in capsys.readouterr().out


def test_entries_of_a_loss_beside_all_of_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"state_dict": below("model.", state_of("mini_resnest11")) | {"criterion.weight": torch.ones(3)}}
    loads("mini_resnest11", content, tmp_path / "w.pth")
    assert "w.pth: 1 of 120 keys are not below 'model.', and left out (criterion.weight)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [{"model": 0, "net": 1}, {"student": 0, "pupil": 1}, {"state_dict": {"a": 0, "b": 1}}]
)
def test_several_sets_of_weights_are_named(content: Any, tmp_path: Path) -> None:
    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(value) for key, value in part.items()}
        return dict(network("mini_resnest11", seed=part).state_dict())

    torch.save(filled(content), tmp_path / "w.pth")
    with pytest.raises(
        InputError, match=r"w.pth' holds several sets of weights: '.*', '.*'; save the one that is meant"
    ):
        checkpoints.read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_copied(kind: torch.dtype) -> None:
    state = state_of("mini_resnest11")
    changed = {key: value.to(kind) for key, value in state.items()}  # counters, too
    load_weights(scratch("mini_resnest11"), changed)
    assert same(scratch("mini_resnest11"), {key: value.to(kind).to(value.dtype) for key, value in state.items()})


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.float8_e4m3fn, torch.qint8])
def test_quantised_weights_are_refused(kind: torch.dtype) -> None:
    state = state_of("mini_resnest11")
    weights = state["fc.weight"]
    state["fc.weight"] = torch.quantize_per_tensor(weights, 0.1, 0, kind) if kind is torch.qint8 else weights.to(kind)
    with pytest.raises(InputError, match=f"fc.weight is {kind}; valid: weights of 16 bits or more, not quantised"):
        load_weights(scratch("mini_resnest11"), state)


def test_counts_of_operations_are_left_out(tmp_path: Path) -> None:
    counts = {"total_ops": torch.zeros(1), "layer1.0.total_params": torch.zeros(1), "n_averaged": torch.ones(1)}
    loads("mini_resnest11", below("module.", state_of("mini_resnest11") | counts), tmp_path / "w.pth")


def test_wrong_classes_are_said_through_a_prefix() -> None:
    state = below("module.", rc.create_model("mini_resnest11", num_classes=4).state_dict())
    with pytest.raises(InputError, match="wrong number of classes: file has 4, model 3"):
        load_weights(scratch("mini_resnest11"), state)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "mini_resnest11"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "encoder."])
def test_backbones_of_trainers(name: str, prefix: str, tmp_path: Path) -> None:
    classifier = state_of("mini_resnest11")
    torch.save({"state_dict": below(prefix, classifier), "best_pred": np.float64(1)}, tmp_path / "w.pth")
    model = rc.create_model(name, **NETWORKS[name])  # type: ignore[arg-type]
    model.load_backbone(checkpoints.read_state_dict(tmp_path / "w.pth"))  # type: ignore[operator]
    trunk = model.backbone if name.startswith("mini_deeplab") else model.backbone.bottom_up  # type: ignore[union-attr]
    assert same(trunk, {key: v for key, v in classifier.items() if not key.startswith("fc.")})  # type: ignore[arg-type]


class RunsCode:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.made = call, arguments

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("call", [subprocess.Popen, eval, np.fromfile, same, getattr])
def test_code_is_refused_by_name_and_not_run(call: Any, old: bool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = {"state_dict": state_of("mini_resnest11"), "beside": [np.float64(1), RunsCode(call, f"touch {trace}")]}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(InputError, match=f"w.pth' is refused: it holds .*{call.__name__}, which would run code"):
        checkpoints.read_state_dict(tmp_path / "w.pth")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("save", "said"),
    [
        (lambda content, path: path.write_bytes(pickle.dumps(content)), "was written by pickle.dump, .*torch.save"),
        (lambda content, path: torch.save(content, path, pickle_protocol=4), "cannot be read as weights .*numpy"),
    ],
)
def test_what_only_is_not_supported_is_not_called_code(save: Any, said: str, tmp_path: Path) -> None:
    save({"state_dict": state_of("mini_resnest11"), "best_pred": np.float64(1)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=said) as error:
        checkpoints.read_state_dict(tmp_path / "w.pth")
    assert "code" not in str(error.value)


def test_a_directory_and_an_index_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are not a file; give 'published'"):
        checkpoints.resolve(tmp_path, "mini_resnest11")
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text('{"weight_map": {"fc.weight": "pytorch_model-00001-of-00002.bin"}}')
    with pytest.raises(InputError, match="cannot be read as weights"):
        checkpoints.read_state_dict(path)


def test_an_ordered_state_with_metadata(tmp_path: Path) -> None:
    state = OrderedDict(nn.DataParallel(network("mini_resnest11")).state_dict())
    loads("mini_resnest11", state, tmp_path / "w.pth")
