"""Ways of carrying out a network: folding changes nothing but rounding, and auto takes what its measurements say."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import resnest_core as rc
from resnest_core import modes
from resnest_core.devices import choose_device
from resnest_core.errors import InputError
from resnest_core.folding import folded
from resnest_core.models.split_attention import SplitAttentionConv2d
from resnest_core.modes import Choice, Execution, Runner, Trial, best, candidates, choose, exact, fast

CPU = choose_device("cpu")


def network(name: str) -> nn.Module:
    """With statistics of normalisation that are not the initial ones, which folding would not feel."""
    torch.manual_seed(0)
    model = rc.create_model(name).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", ["mini_resnest11", "mini_resnetd11", "mini_4s2x40d", "resnest50_fast_2s2x40d"])
@torch.no_grad()
def test_folding_changes_nothing_but_rounding(name: str) -> None:
    model, images = network(name), torch.randn(2, 3, 45, 61)
    expected = model(images)
    found = folded(model, images[:1])
    assert norms(found) == 0
    assert norms(model) > 0, "the network itself stays as it is"
    assert modes.difference(found(images), expected).max() < 1e-5


@torch.no_grad()
def test_segmenters_and_detectors_are_folded_too() -> None:
    model, images = network("mini_deeplab_resnest11"), torch.randn(1, 3, 45, 61)
    found = folded(model, images)
    assert norms(found) == 0
    assert modes.difference(found(images)["out"], model(images)["out"]).max() < 1e-5
    detector, picture = network("mini_mask_rcnn_resnest11"), torch.rand(3, 50, 70) * 255
    found = folded(detector, torch.zeros(1, 3, 64, 64), "backbone")
    assert norms(found.backbone.bottom_up) == 0  # type: ignore[union-attr]
    features = [m.backbone(m.batch([picture])[0]) for m in (detector, found)]  # type: ignore[operator, union-attr]
    for exactly, quickly in zip(*features, strict=True):
        assert modes.difference(quickly, exactly).max() < 1e-4


def test_a_normalisation_that_follows_no_convolution_of_its_own_stays() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.shared = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.first, self.sum, self.twice = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(self.conv(x)) + x
            return self.twice(self.shared(self.shared(self.sum(x))))

    torch.manual_seed(0)
    model, images = Odd().eval(), torch.randn(2, 3, 5, 5)
    for norm in (model.first, model.sum, model.twice):
        norm.running_mean.normal_()
    found = folded(model, images)
    assert norms(found) == 2
    assert isinstance(found.first, nn.Identity)
    assert torch.allclose(found(images), model(images), atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_every_way_stays_near_exact(precision: str, channels_last: bool) -> None:
    model, images = network("mini_resnest11"), torch.randn(5, 3, 28, 28)
    expected = Runner(model, CPU, exact(), images[:1])(images)
    found = Runner(model, CPU, Execution(precision, channels_last), images[:1])(images)
    largest = modes.difference(found.float(), expected).max()
    assert largest < (1e-5 if precision == "fp32" else 0.1)
    assert (largest > 1e-4) == (precision == "bf16"), "half precision must be felt"


@pytest.mark.parametrize(("dilation", "kind"), [(2, torch.bfloat16), (12, torch.float32)])
def test_far_dilations_stay_in_single_precision(dilation: int, kind: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, images = nn.Conv2d(4, 4, 3, padding=dilation, dilation=dilation), torch.randn(2, 4, 15, 13)
    found = Runner(nn.Sequential(layer), CPU, Execution("bf16"), images[:1])(images)
    assert found.dtype == kind
    torch.testing.assert_close(found.float(), layer(images), atol=0.05 if kind == torch.bfloat16 else 1e-6, rtol=0)


@pytest.mark.skipif(not modes.can_compile(CPU), reason="torch.compile finds no compiler")
def test_options_reach_a_compiled_network() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return super().forward(x) * scale

    layer, images = Scaled(3, 3, 1), torch.randn(2, 3, 4, 4)
    found = Runner(layer, CPU, Execution(compiled="default"), images)(images, scale=2.0)
    torch.testing.assert_close(found, 2 * layer(images))


@pytest.mark.skipif(not modes.can_compile(CPU), reason="torch.compile finds no compiler")
def test_any_number_of_networks_is_compiled() -> None:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    images = torch.randn(2, 3, 4, 4)
    layers = [nn.Conv2d(3, 3, 1) for _ in range(10)]  # torch's own limit is 8 of a class
    for layer in layers:
        found = Runner(nn.Sequential(layer), CPU, Execution(compiled="default"), images)(images)
        torch.testing.assert_close(found, layer(images))
    assert torch._dynamo.utils.counters["frames"]["ok"] == len(layers)


@pytest.mark.parametrize(("radix", "cardinality"), [(2, 1), (1, 1), (4, 2)])
def test_compiled_networks_give_the_same_each_with_its_weights(radix: int, cardinality: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 8, 9, 9)
    networks = [SplitAttentionConv2d(8, 8, radix=radix, cardinality=cardinality).eval() for _ in range(2)]
    if not modes.can_compile(CPU):
        with pytest.raises(Exception, match=r"compiler"):
            Runner(networks[0], CPU, Execution(compiled="default"), images)(images)
        return
    runners = [Runner(network, CPU, Execution(compiled="default"), images) for network in networks]
    for _ in range(2):
        for network, runner in zip(networks, runners, strict=True):
            assert modes.difference(runner(images), network(images)).max() < 1e-5
    assert all(type(network.keep) is nn.Identity for network in networks)


def test_auto_takes_the_fastest_within_the_tolerance() -> None:
    slow, near, far, nan = (Execution("fp32", last, fold) for last in (True, False) for fold in (True, False))
    trials = [Trial(slow, 4.0, 0.0), Trial(near, 2.0, modes.ACCEPTED), Trial(far, 1.0, modes.TOLERANCE)]
    assert best([*trials, Trial(nan, 0.5, float("nan"))]).execution == near


def test_auto_measures_what_it_chooses_from(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = network("mini_resnest11"), torch.randn(4, 3, 28, 28)
    built: list[Execution] = []

    def build(way: Execution) -> Runner:
        built.append(way)
        return Runner(model, CPU, dataclasses.replace(way, compiled=""), images[:1])

    choice = choose("auto", "fp32", CPU, build, lambda: (images, 1), seconds=0.01)
    ways = [trial.execution for trial in choice.trials]
    assert ways == candidates(CPU, compiling=False) == built[1:]
    assert ways[0] == exact()
    assert choice.trials[0].difference == 0
    assert choice.execution == best(list(choice.trials)).execution
    assert choice.facts()["mode"] == "auto"
    assert len(choice.facts()["trials"]) == len(ways)
    monkeypatch.setattr(modes, "can_compile", lambda device: True)
    many = choose("auto", "fp32", CPU, build, lambda: (images, 10**9), seconds=0.01)
    assert [t.execution for t in many.trials[len(ways) :]] == candidates(CPU, compiling=True)


def test_the_modes_are_what_the_machine_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("exact", "bf16", CPU, None, None) == Choice("exact", Execution("bf16"))  # type: ignore[arg-type]
    monkeypatch.setattr(modes, "has_bf16", lambda device: True)
    monkeypatch.setattr(modes, "can_compile", lambda device: True)
    assert fast(CPU) == Execution("bf16", compiled="default")
    assert fast(CPU, compiling=False) == Execution("bf16")
    monkeypatch.setattr(modes, "can_compile", lambda device: False)
    assert fast(CPU) == Execution("bf16")
    monkeypatch.setattr(modes, "has_bf16", lambda device: False)
    assert fast(CPU) == Execution("fp32")
    assert {way.precision for way in candidates(CPU, compiling=False)} == {"fp32"}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown mode 'quick'; valid: auto, exact, fast"):
        modes.settled("quick", "fp32", CPU)
    with pytest.raises(InputError, match=r"mode 'fast' sets the precision itself; give 'bf16' with mode exact alone"):
        modes.settled("fast", "bf16", CPU)
    with pytest.raises(InputError, match=r"unknown precision 'int8'"):
        Execution("int8")
    with pytest.raises(InputError, match=r"unknown way of compiling 'best'; valid: default"):
        Execution(compiled="best")
