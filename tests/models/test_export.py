"""Networks leave Python: scripted, compiled, exported, and run by ONNX Runtime, with any batch size."""

from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from resnest_core.models import create_model
from resnest_core.models.resnet import ResNet
from resnest_core.models.variants import CLASSIFIERS

DYNAMIC = {"x": {0: torch.export.Dim("batch")}}
# Every kind of block: two splits and pooling after them, four in two groups and pooling before, one split, and none.
SIDES = {"shallow": 64, "mini_4s2x40d": 28, "mini_1s1x64d": 28, "mini_0s1x64d": 28}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "shallow":
        return ResNet(replace(CLASSIFIERS["resnest50"], layers=(1, 1, 1, 1))).eval()
    return create_model(name).eval()


def images(name: str, batch: int) -> Tensor:
    return torch.randn(batch, 3, SIDES[name], SIDES[name], generator=torch.Generator().manual_seed(batch))


@torch.inference_mode()
def assert_equal_outputs(model: nn.Module, other, name: str, batches: tuple[int, ...] = (1, 3)) -> None:
    for batch in batches:
        x = images(name, batch)
        torch.testing.assert_close(other(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SIDES)
class TestLeavingPython:
    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
    def test_scripts(self, name: str) -> None:
        model = network(name)
        assert_equal_outputs(model, torch.jit.script(model), name)

    def test_compiles_without_a_graph_break(self, name: str) -> None:
        model = network(name)
        torch.compiler.reset()  # networks share the code of `forward`, and the number of its versions is limited
        assert_equal_outputs(model, torch.compile(model, backend="aot_eager", fullgraph=True), name, batches=(3,))

    @pytest.mark.parametrize("gradients", [True, False])
    def test_exports_with_a_dynamic_batch(self, name: str, gradients: bool) -> None:
        model = network(name)
        with torch.set_grad_enabled(gradients):
            program = torch.export.export(model, (images(name, 2),), dynamic_shapes=DYNAMIC)
        assert not any("resnest_core" in str(node.target) for node in program.graph.nodes), "only operators of torch"
        assert_equal_outputs(model, program.module(), name)


@pytest.mark.parametrize("name", ["shallow", "mini_4s2x40d"])
def test_runs_in_onnx_runtime_with_a_dynamic_batch(name: str, tmp_path: Path) -> None:
    model, path = network(name), str(tmp_path / "model.onnx")
    torch.onnx.export(model, (images(name, 2),), path, dynamo=True, dynamic_shapes=DYNAMIC, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])

    assert_equal_outputs(model, run, name)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_the_stochastic_options_script_and_compile_in_training() -> None:
    model = create_model("mini_resnest11", dropblock=0.1, dropout=0.2)
    x = torch.randn(4, 3, 28, 28)
    assert torch.jit.script(model)(x).shape == (4, 10)
    torch.compiler.reset()
    assert torch.compile(model, backend="aot_eager", fullgraph=True)(x).shape == (4, 10)
