"""Heat maps against gradients taken by hand, and what is measured with them against arithmetic."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.contour import ContourSet
from scipy import stats
from torch import Tensor, nn

from resnest_core.analyses import saliency
from resnest_core.analyses.saliency import analyse_saliency, cam_layer, heat_map, heat_maps
from resnest_core.analyses.saliency_cases import read_cases
from resnest_core.analyses.saliency_scores import COMPARED, saliency_metrics
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.evaluation.examples import EXAMPLES
from resnest_core.evaluation.results import RECORDS
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.finished import Finished, open_runs
from resnest_core.figures import saliency as saliency_figures
from resnest_core.models import create_model
from resnest_core.models.resnet import ResNet

IMAGES, STEP = 25, 12  # the last batch has one image


def network(name: str = "mini_resnest11") -> ResNet:
    """A network with random weights and normalisation, in evaluation mode."""
    torch.manual_seed(0)
    model = create_model(name).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    assert isinstance(model, ResNet)
    return model


def images(n: int = 1, size: int = 28) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def by_hand(model: ResNet, inputs: Tensor, index: int) -> Tensor:
    """Grad-CAM at the second stage of a mini network, as the paper writes it."""
    channels = model.features(inputs)[1].detach().requires_grad_()  # (1, K, 4, 4)
    logits = model.fc(model.avgpool(model.layer3(channels)).flatten(1))
    torch.testing.assert_close(logits, model(inputs))
    (gradient,) = torch.autograd.grad(logits[0, index], channels)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * channels).sum(dim=1, keepdim=True).relu().detach()  # (1, 1, 4, 4)


@pytest.mark.parametrize("name", ["mini_resnest11", "mini_resnetd14", "mini_4s2x40d"])
def test_heat_is_that_of_the_gradients(name: str) -> None:
    model, inputs = network(name), images()
    heated = [index for index in range(10) if by_hand(model, inputs, index).max() > 0]
    assert heated, "a network whose maps are all empty would test nothing"
    for index in heated:
        raw = by_hand(model, inputs, index)
        scaled = (raw - raw.min()) / (raw.max() - raw.min())
        large = torch.nn.functional.interpolate(scaled, size=28, mode="bilinear")[0, 0]
        wanted = (large - large.min()) / (large.max() - large.min())
        found = heat_map(model, inputs, index)
        assert found.shape == (28, 28)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


def test_a_batch_has_the_heat_of_each_image() -> None:
    model, inputs, classes = network(), images(5), [3, 0, 9, 3, 1]
    together = heat_maps(model, inputs, classes)
    assert together.min() == 0
    assert together.max() <= 1
    for number, index in enumerate(classes):
        alone = heat_map(model, inputs[number : number + 1], index)
        np.testing.assert_allclose(together[number], alone, atol=1e-5)


def test_a_map_without_heat_is_zero() -> None:
    model = network()
    nn.init.zeros_(model.fc.weight)  # type: ignore[arg-type]
    assert heat_map(model, images(), 2).tolist() == np.zeros((28, 28)).tolist()


def state(model: nn.Module) -> list[object]:
    modules = [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()]
    return [*modules, *((p.requires_grad, None if p.grad is None else p.grad.sum().item()) for p in model.parameters())]


def test_the_network_is_left_as_it_was() -> None:
    model = network().train()
    model.layer1.eval()
    model.conv1.requires_grad_(False)
    model(images(4))[:, 0].sum().backward()
    before, buffers = state(model), {name: buffer.clone() for name, buffer in model.named_buffers()}
    heat = heat_map(model, images(), 1)
    assert state(model) == before
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    with pytest.raises(RuntimeError, match="channels") as error:
        heat_map(model, torch.zeros(1, 1, 28, 28), 1, model.layer2)
    assert state(model) == before, "while the error still holds what the package made"
    assert error.tb is not None
    with torch.inference_mode():
        np.testing.assert_array_equal(heat_map(model, images(), 1), heat)
        assert torch.is_inference_mode_enabled()


def test_the_layer_is_the_last_with_room() -> None:
    small, large = network(), network("resnetd50")
    assert cam_layer(small, 28) is small.layer2, "maps of 7, 4 and 2"
    assert cam_layer(small, 64) is small.layer3, "maps of 16, 8 and 4"
    assert cam_layer(large, 112) is large.layer4, "maps of 28, 14, 7 and 4"
    assert cam_layer(large, 64) is large.layer3
    assert cam_layer(small, 28, 3) is small.layer3
    np.testing.assert_array_equal(heat_map(small, images(), 0, small.layer2), heat_map(small, images(), 0))
    assert not np.allclose(heat_map(small, images(), 0, small.layer1), heat_map(small, images(), 0), atol=0.1)


def test_what_cannot_be_is_refused() -> None:
    model = network()
    with pytest.raises(InputError, match=r"class 10 is not one of the network's; valid: 0 to 9"):
        heat_map(model, images(), 10)
    with pytest.raises(InputError, match="class -1 is not"):
        heat_map(model, images(), -1)
    with pytest.raises(InputError, match=r"inputs have shape \(2, 3, 28, 28\); a heat map is of one image"):
        heat_map(model, images(2), 0)
    with pytest.raises(InputError, match="1 classes for 2 images"):
        heat_maps(model, images(2), [0])
    with pytest.raises(InputError, match="stage is 4; valid: 1 to 3"):
        cam_layer(model, 28, 4)
    with pytest.raises(InputError, match="crop size 12 gives maps of side 3, 2, 1; one of 4 or more"):
        cam_layer(model, 12)


def test_the_hottest_fifth_is_marked() -> None:
    heat = np.linspace(0, 1, 25, dtype=np.float32).reshape(1, 5, 5)
    assert np.flatnonzero(saliency.marked(heat)).tolist() == [20, 21, 22, 23, 24]
    few = np.zeros((1, 5, 5), np.float32)
    few[0, 2, 3] = 1
    assert np.argwhere(saliency.marked(few)).tolist() == [[0, 2, 3]], "nothing is marked without heat"


def test_a_mask_moves_around_the_edges() -> None:
    mask = np.zeros((2, 4, 4), bool)
    mask[:, 3, 3] = mask[:, 3, 2] = True
    found = saliency.moved(mask, np.array([5, 3]))  # one down and one to the right; three to the right
    assert np.argwhere(found).tolist() == [[0, 0, 0], [0, 0, 3], [1, 3, 1], [1, 3, 2]]


def test_hidden_pixels_have_the_mean_of_their_image() -> None:
    inputs, mask = images(2, 4), np.zeros((2, 4, 4), bool)
    mask[1, 2, 0] = True
    hidden = saliency.hide(inputs, mask)
    assert torch.equal(hidden[0], inputs[0])
    torch.testing.assert_close(hidden[1, :, 2, 0], inputs[1].mean(dim=(1, 2)))
    assert int((hidden != inputs).sum()) == 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Finished]:
    """Two networks with random weights, evaluated on a few images."""
    directory = tmp_path_factory.mktemp("runs")
    for name in ("mini_resnest11", "mini_resnetd11"):
        (directory / name).mkdir()
        weights = directory / f"{name}.pth"
        torch.save(network(name).state_dict(), weights)
        protocol = Protocol(batch_size=STEP, device="cpu")
        run = Classification(name, str(directory / name), weights=str(weights), limit=40, protocol=protocol)
        run.result  # noqa: B018 - the work is done on access
    return open_runs(str(directory / name) for name in ("mini_resnest11", "mini_resnetd11"))


@pytest.fixture(scope="module")
def analysed(runs: list[Finished], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saliency")
    analyse_saliency(runs, out, limit=IMAGES)
    return out


def test_every_row_can_be_computed_again(runs: list[Finished], analysed: Path) -> None:
    records = pd.read_parquet(analysed / RECORDS)
    assert records.groupby("run").size().tolist() == [IMAGES, IMAGES]
    for number in (0, 3, IMAGES - 1, IMAGES + 4):
        row = records.iloc[number]
        run = next(run for run in runs if run.name == row["run"])
        inputs = run.input(run.test_set.load(int(row["index"])))[None]
        heat = heat_map(run.network, inputs, int(row["predicted"]))
        mask = saliency.marked(heat[None])
        with torch.no_grad():
            chances = [
                run.network(x).softmax(dim=1)[0, int(row["predicted"])] for x in (inputs, saliency.hide(inputs, mask))
            ]
        assert [row["before"], row["after_marked"]] == pytest.approx([float(c) for c in chances], abs=1e-5)
        assert row["hot"] == pytest.approx((heat >= 0.5).mean())
        thing = run.test_set.images[int(row["index"])] >= 26  # type: ignore[attr-defined]
        assert row["on_object"] == pytest.approx(heat[thing].sum() / heat.sum(), rel=1e-4)
        stored = run.records.loc[run.records["index"] == row["index"]].iloc[0]
        assert (row["target"], row["predicted"]) == (stored["target"], stored["predicted"])


def test_pairs_are_of_one_image_and_of_the_image_before(runs: list[Finished], analysed: Path) -> None:
    records = pd.read_parquet(analysed / RECORDS)
    first, second = (records[records["run"] == run.name].reset_index(drop=True) for run in runs)
    assert first["index"].tolist() == second["index"].tolist()
    assert first["target"].tolist() == [i % 10 for i in range(IMAGES)], "classes take turns"
    assert first["correlation"].isna().all()
    maps = [
        [
            heat_map(run.network, run.input(run.test_set.load(i))[None], p)
            for i, p in zip(rows["index"], rows["predicted"], strict=True)
        ]
        for run, rows in zip(runs, (first, second), strict=True)
    ]
    for number in (1, 12, 24):
        same = stats.spearmanr(maps[1][number].ravel(), maps[0][number].ravel()).statistic
        before = stats.spearmanr(maps[1][number].ravel(), maps[0][number - 1].ravel()).statistic
        assert second["correlation"][number] == pytest.approx(same, abs=1e-3)
        assert second["correlation_other"][number] == pytest.approx(before, abs=1e-3)


def test_the_order_of_the_test_set_does_not_matter(runs: list[Finished], analysed: Path, tmp_path: Path) -> None:
    run = Finished(runs[0].directory)
    data, order = run.test_set, np.argsort(run.test_set.targets, kind="stable")
    sorted_data = replace(data, **{name: getattr(data, name)[order] for name in ("images", "targets", "places")})  # type: ignore[type-var]
    run.settings.__dict__["test_set"] = sorted_data
    run.result["provenance"]["data_digest"] = sorted_data.digest
    run.__dict__["records"] = run.records.iloc[order].assign(index=range(len(order))).reset_index(drop=True)
    analyse_saliency([run], tmp_path, limit=IMAGES)
    found, own = pd.read_parquet(tmp_path / RECORDS), pd.read_parquet(analysed / RECORDS)[:IMAGES]
    assert found["index"].tolist() != own["index"].tolist()
    pd.testing.assert_frame_equal(found.drop(columns="index"), own[found.columns].drop(columns="index"))


def test_the_seed_moves_what_is_hidden_elsewhere_alone(runs: list[Finished], analysed: Path, tmp_path: Path) -> None:
    analyse_saliency(runs, tmp_path / "same", limit=IMAGES)
    analyse_saliency(runs, tmp_path / "other", limit=IMAGES, seed=1)
    own, same, other = (pd.read_parquet(out / RECORDS) for out in (analysed, tmp_path / "same", tmp_path / "other"))
    pd.testing.assert_frame_equal(own, same)
    assert not np.allclose(own["after_random"], other["after_random"])
    pd.testing.assert_frame_equal(own.drop(columns="after_random"), other.drop(columns="after_random"))


def test_the_result_names_what_was_done(runs: list[Finished], analysed: Path, tmp_path: Path) -> None:
    result = analyse_saliency(runs[:1], tmp_path, limit=3, stage=1)
    assert result["parameters"]["models"] == {"mini_resnest11": "mini_resnest11"}
    assert (result["parameters"]["stages"], result["parameters"]["map_sides"]) == (
        {"mini_resnest11": 1},
        {"mini_resnest11": 7},
    )
    assert {name.split(".")[0] for name in result["metrics"]} == {"mini_resnest11"}
    assert not any("less" in name or "agreement_" in name for name in result["metrics"])
    assert {path.name for path in tmp_path.iterdir()} == {RECORDS, "result.json", EXAMPLES}
    metrics = saliency_metrics(pd.read_parquet(analysed / RECORDS))
    assert {f"mini_resnest11.{score}_less_mini_resnetd11" for score in COMPARED} <= metrics.keys()


def test_pictures_are_stored_with_their_heat(runs: list[Finished], analysed: Path) -> None:
    found = read_cases(analysed)
    records = pd.read_parquet(analysed / RECORDS).set_index(["run", "index"])
    shown = json.loads((analysed / "result.json").read_text())["parameters"]["shown"]
    right = [all(records.loc[(run.name, index), "correct"] for run in runs) for index in shown]
    assert right == sorted(right, reverse=True), "those that both get right come first"
    assert (len(found), sum(not both for both in right)) == (len(shown), 4)
    for case, index in zip(found, shown, strict=True):
        for look, run in zip(case.looks, runs, strict=True):
            row = records.loc[(run.name, index)]
            assert (look.run, look.predicted) == (run.name, run.test_set.classes[row["predicted"]])
            inputs = run.input(run.test_set.load(index))[None]
            np.testing.assert_allclose(look.heat, heat_map(run.network, inputs, row["predicted"]), atol=0.003)
            assert (look.true_heat is None) == row["correct"]
            if look.true_heat is not None:
                true = heat_map(run.network, inputs, row["target"])
                np.testing.assert_allclose(look.true_heat, true, atol=0.003)
        assert case.truth == run.test_set.classes[row["target"]]
        np.testing.assert_allclose(case.image, np.asarray(run.test_set.load(index)), atol=3)
    figure = saliency_figures.cases(found, {"mini_resnest11": "ResNeSt-11"})
    axes = np.array(figure.axes, object).reshape(3, len(found))
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["image", "ResNeSt-11", "mini_resnetd11"]
    assert [axis.get_title() for axis in axes[0]] == [case.truth for case in found]
    for column, case in zip(axes.T, found, strict=True):
        assert [axis.get_xlabel() for axis in column[1:]] == [look.predicted for look in case.looks]
        assert [len(axis.images) for axis in column] == [1, 2, 2], "the image, and heat over it"
        lines = [axis.findobj(ContourSet) != [] for axis in column[1:]]
        assert lines == [look.true_heat is not None and look.true_heat.any() for look in case.looks]


def test_bad_requests(runs: list[Finished], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="limit -1 is not possible"):
        analyse_saliency(runs, tmp_path, limit=-1)
    other = Finished(runs[1].directory)
    other.__dict__["settings"] = replace(runs[1].settings, preprocessing="resize_then_crop")
    with pytest.raises(InputError, match=r"sees its images by \('resize_then_crop', 0.875\), .*give runs of one rule"):
        analyse_saliency([runs[0], other], tmp_path, limit=3)
    assert list(tmp_path.iterdir()) == []
