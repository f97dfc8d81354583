"""The analysis of attention: weights fed back, changes against networks built so, variation against theory."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from safetensors.torch import save_file
from torch import Tensor

from resnest_core.analyses import interventions
from resnest_core.analyses.attention import analyse_attention
from resnest_core.analyses.attention_effects import ALL, CONSTANT, NONE, effects
from resnest_core.analyses.attention_maps import (
    BINS,
    PARTS,
    Sums,
    entropy,
    halves_of,
    quantile,
    shares,
    variation,
)
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.finished import Finished
from resnest_core.figures import attention as attention_figures
from resnest_core.models import create_model
from resnest_core.models.resnet import ResNet
from resnest_core.statistics import holm, mcnemar
from resnest_core.training.classification import Recipe

LIMIT = 100
REPETITIONS = 80
NETWORKS = ("mini_2s1x64d", "mini_4s2x40d", "mini_1s4x24d")
Runs = Callable[[str], str]


def network(name: str) -> ResNet:
    torch.manual_seed(0)
    model = create_model(name).eval()
    assert isinstance(model, ResNet)
    return model


def blocks(model: ResNet) -> list[interventions.SplitAttentionConv2d]:
    return [block for stage in interventions.stages_of(model) for block in interventions.blocks_of(stage)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a network of radix 2, trained a little."""
    out = str(tmp_path_factory.mktemp("runs") / "trained")
    protocol, recipe = Protocol(batch_size=30, device="cpu"), Recipe(epochs=1, batch_size=32)
    experiment = Classification("mini_resnest11", out, limit=LIMIT, protocol=protocol, train_limit=320, recipe=recipe)
    experiment.result  # noqa: B018 - the work is done on access
    return out


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The directory of an evaluation of a network with random weights."""
    root = tmp_path_factory.mktemp("random")

    def evaluated(name: str) -> str:
        if not (root / name).exists():
            save_file(create_model(name).state_dict(), root / f"{name}.safetensors")
            given = {"limit": LIMIT, "weights": str(root / f"{name}.safetensors")}
            Classification(name, str(root / name), protocol=Protocol(batch_size=40, device="cpu"), **given).result  # noqa: B018
        return str(root / name)

    return evaluated


@pytest.fixture(scope="module")
def analysed(trained: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("analysed")
    analyse_attention([trained], out, device="cpu")
    return out


# Weights read and given back


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [1, 3])
@torch.inference_mode()
def test_own_weights_fed_back_give_equal_logits(name: str, n: int) -> None:
    model, images = network(name), torch.randn(n, 3, 28, 28)
    expected = model(images)
    with interventions.recorded(blocks(model)) as own:
        maps = interventions.entering(model, images)
    assert [tuple(weights.shape[:2]) for weights in own.values()] == [(n, model.architecture.radix)] * 3
    for first, entering in enumerate(maps):
        with interventions.given(own):
            assert torch.equal(interventions.logits_from(model, entering, first), expected)
    with interventions.given({block: weights / 2 for block, weights in own.items()}):
        assert not torch.allclose(model(images), expected, atol=1e-3), "what is given is used"
    assert torch.equal(model(images), expected)


@pytest.mark.parametrize("how", [interventions.recorded, lambda found: interventions.given(dict.fromkeys(found))])
def test_blocks_are_as_before_after_an_error(how: Callable) -> None:
    model = network("mini_2s1x64d")
    before = [set(vars(block)) for block in blocks(model)]

    def fail() -> None:
        with how(blocks(model)):
            assert all("attention" in vars(block) for block in blocks(model))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [set(vars(block)) for block in blocks(model)] == before
    assert blocks(model)[0].attention.__func__ is interventions.SplitAttentionConv2d.attention  # type: ignore[attr-defined]


def test_changes_by_hand() -> None:
    own = torch.tensor([[[0.1], [0.2], [0.7]], [[0.5], [0.3], [0.2]]])  # 2 images, 3 splits, 1 channel
    mean, other = torch.tensor([[[0.4], [0.4], [0.2]]]), torch.tensor([1, 0])
    changed = {name: change(own, mean, other)[..., 0].tolist() for name, change in interventions.CHANGES.items()}
    assert changed["mean"] == mean[..., 0].tolist()
    assert changed["shuffled"] == own[[1, 0], :, 0].tolist()
    assert changed["uniform"] == [pytest.approx([1 / 3] * 3)] * 2
    assert changed["rolled"] == [pytest.approx([0.7, 0.1, 0.2]), pytest.approx([0.2, 0.5, 0.3])]
    assert list(interventions.changes_for(1)) == ["mean", "shuffled"]
    assert list(interventions.changes_for(2)) == list(interventions.CHANGES)


@pytest.mark.parametrize("n", [2, 3, 7, 50])
def test_donors_are_others_and_each_gives_once(n: int) -> None:
    found = interventions.donors(n, torch.Generator().manual_seed(1))
    assert sorted(found.tolist()) == list(range(n))
    assert (found != torch.arange(n)).all()
    assert torch.equal(found, interventions.donors(n, torch.Generator().manual_seed(1)))


# What the weights are like


def test_sums_do_not_depend_on_batches_and_means_are_of_the_other_half() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(30, 2, 3, generator=generator)
    targets = torch.arange(30) % 4
    halves = torch.from_numpy(halves_of(targets.numpy()))
    whole, parts = Sums(5), Sums(5)
    whole.add(weights, targets, halves)
    for chunk in torch.arange(30).split(7):
        parts.add(weights[chunk], targets[chunk], halves[chunk])
    means = parts.means()
    assert torch.allclose(means.halves, whole.means().halves)
    for i in (0, 1, 29):
        others = halves != halves[i]
        assert torch.allclose(means.over_others(halves)[i], weights[others].double().mean(dim=0))
        alike = others & (targets == targets[i])
        assert torch.allclose(means.over_class(targets, halves)[i], weights[alike].double().mean(dim=0))
    assert means.classes[:, 4].isnan().all(), "no image is of the fifth class"
    for share in (0.05, 0.5, 0.95):
        expected = torch.quantile(weights.flatten(), share)
        spacing = weights.flatten().sort().values.diff().max()
        assert quantile(parts.histogram, share) == pytest.approx(float(expected), abs=float(spacing) + 1 / BINS)


def test_halves_take_turns_in_each_class() -> None:
    assert halves_of(np.array([3, 3, 1, 3, 1, 0])).tolist() == [0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("radix", [2, 4])
def test_entropy_is_scipys(radix: int) -> None:
    weights = torch.rand(5, radix, 6, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    expected = scipy.stats.entropy(weights.double().numpy(), axis=1, base=radix).mean(axis=1)
    assert entropy(weights).numpy() == pytest.approx(expected, rel=1e-6)


def test_entropy_of_equal_certain_and_single_weights() -> None:
    assert entropy(torch.full((1, 3, 2), 1 / 3)).item() == pytest.approx(1)
    assert entropy(torch.eye(3)[None]).item() == 0
    gates = torch.tensor([[[0.5, 0.5]], [[0.0, 1.0]], [[0.25, 0.25]]])
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert entropy(gates).tolist() == pytest.approx([1, 0, quarter])


def test_variation_by_hand_adds_up_to_the_squared_deviation() -> None:
    weights = torch.tensor([[[0.9, 0.4], [0.1, 0.6]]])
    mean, of_class = torch.tensor([[[0.7, 0.5], [0.3, 0.5]]]), torch.tensor([[[0.8, 0.4], [0.2, 0.6]]])
    # In the first split, deviations from 1/2 of 0.4 and -0.1; terms of 0.2 and 0, 0.1 and -0.1, 0.1 and 0.
    found = variation(weights, mean, of_class)
    assert found.tolist() == [pytest.approx([0.4 * 0.2 / 2, (0.4 * 0.1 + 0.1 * 0.1) / 2, 0.4 * 0.1 / 2])]
    assert found.sum().item() == pytest.approx(((weights - 0.5) ** 2).mean().item())


def drawn(random: np.random.Generator, n: int, centres: np.ndarray, spread: float) -> tuple[Tensor, np.ndarray]:
    """Weights (n, 2, C) about the `centres` (classes, C) of the first split, whose channels err together."""
    targets = np.arange(n) % len(centres)
    noise = 0.8 * random.normal(0, spread, (n, centres.shape[1])) + 0.6 * random.normal(0, spread, (n, 1))
    first = centres[targets] + noise
    return torch.from_numpy(np.stack([first, 1 - first], axis=1)), targets


def divided(weights: Tensor, targets: np.ndarray) -> pd.DataFrame:
    halves, classes = torch.from_numpy(halves_of(targets)), torch.from_numpy(targets)
    sums = Sums(int(targets.max()) + 1)
    sums.add(weights, classes, halves)
    means = sums.means()
    parts = variation(weights, means.over_others(halves), means.over_class(classes, halves))
    return pd.DataFrame(parts.numpy(), columns=PARTS)


def test_shares_are_unbiased_and_their_intervals_hold_the_truth() -> None:
    random = np.random.default_rng(0)
    constant, classes = random.normal(0, 0.1, 8), random.normal(0, 0.1, (5, 8))
    classes -= classes.mean(axis=0)
    truth = np.array([(constant**2).mean(), (classes**2).mean(), 0.12**2])
    truth *= 100 / truth.sum()
    found = []
    for _ in range(REPETITIONS):
        weights, targets = drawn(random, 100, 0.5 + constant + classes, 0.12)
        found.append(list(shares(divided(weights, targets), pd.Series(targets)).values()))
    values, low, high = (np.array([[getattr(i, f) for i in row] for row in found]) for f in ("value", "low", "high"))
    assert np.abs(values.mean(axis=0) - truth).max() < 4 * (values.std(axis=0) / math.sqrt(REPETITIONS)).max()
    covered = ((low <= truth) & (truth <= high)).mean(axis=0)
    assert (covered > 0.86).all(), covered


def test_the_share_of_classes_is_omega_squared() -> None:
    random = np.random.default_rng(1)
    weights, targets = drawn(random, 4000, 0.5 + random.normal(0, 0.05, (4, 1)), 0.1)
    parts = divided(weights, targets).mean()
    statistic = scipy.stats.f_oneway(*(weights[targets == k, 0, 0].numpy() for k in range(4))).statistic
    omega = 3 * (statistic - 1) / (3 * (statistic - 1) + len(weights))
    assert parts["class"] / (parts["class"] + parts["image"]) == pytest.approx(omega, abs=0.01)


def test_images_without_another_of_their_class_do_not_count() -> None:
    random = np.random.default_rng(2)
    weights, targets = drawn(random, 9, np.full((4, 3), 0.5), 0.1)
    targets[8] = 4
    parts = divided(weights, targets)
    assert parts.isna().any(axis=1).tolist() == [False] * 8 + [True]
    assert {share.n for share in shares(parts, pd.Series(targets)).values()} == {8}


def test_weights_that_never_vary_are_an_error() -> None:
    parts = divided(torch.full((8, 2, 3), 0.5, dtype=torch.float64), np.arange(8) % 2)
    with pytest.raises(InputError, match="does not vary"):
        shares(parts, pd.Series(np.arange(8) % 2))


# What becomes of accuracy


def rows(intervention: str, correct: list[bool], stage: str = ALL, run: str = "a") -> pd.DataFrame:
    frame = pd.DataFrame({"index": range(len(correct)), "target": 1, "correct": correct})
    return frame.assign(predicted=frame["correct"].astype(int), intervention=intervention, stage=stage, run=run)


def test_effects_are_paired_tests_corrected_within_their_family() -> None:
    base, mean = [True] * 12 + [False] * 8, [True] * 4 + [False] * 8 + [True] * 2 + [False] * 6
    uniform, alone = [False] * 20, [True] * 6 + [False] * 14
    cases = {"mean": mean, "uniform": uniform}
    records = pd.concat([rows(NONE, base), *(rows(*case) for case in cases.items()), rows("mean", alone, "stage1")])
    found = {(e.stage, e.intervention): e for e in effects(records.sample(frac=1, random_state=0))}
    assert set(found) == {(ALL, "mean"), (ALL, "uniform"), (ALL, CONSTANT), ("stage1", "mean")}
    raw = [mcnemar(np.array(a), np.array(b)) for a, b in ((base, mean), (base, uniform), (mean, uniform))]
    order = [(ALL, "mean"), (ALL, "uniform"), (ALL, CONSTANT)]
    assert [found[key].p for key in order] == pytest.approx(holm([test.p for test in raw]))
    assert found["stage1", "mean"].p == pytest.approx(mcnemar(np.array(base), np.array(alone)).p), "a family of its own"
    loss = found[ALL, "mean"].loss
    assert (loss.value, loss.low, loss.high) == pytest.approx((100 * (8 - 2) / 20, raw[0].low, raw[0].high))
    assert found[ALL, "mean"].changed.value == pytest.approx(50)


def test_the_tables_hold_every_image_and_change(trained: str, analysed: Path) -> None:
    records, run = pd.read_parquet(analysed / "records.parquet"), Finished(trained)
    assert len(records) == LIMIT * (1 + 4 * 4)
    untouched = records[records["intervention"] == NONE].set_index("index").sort_index()
    expected = run.records.set_index("index")
    assert untouched["predicted"].tolist() == expected["predicted"].tolist()
    assert (records["correct"] == (records["predicted"] == records["target"])).all()
    maps = pd.read_parquet(analysed / "attention.parquet")
    assert len(maps) == LIMIT * 3
    assert maps["entropy"].between(0, 1).all()
    metrics = json.loads((analysed / "result.json").read_text())["metrics"]
    for place in ("stage1", "stage2", "stage3", ALL):
        assert sum(metrics[f"trained.{place}.{part}"]["value"] for part in PARTS) == pytest.approx(100)
        assert {f"trained.{place}.{name}.{of}" for name in interventions.CHANGES for of in ("loss", "p")} <= set(
            metrics
        )
    mean = records[(records["intervention"] == "mean") & (records["stage"] == ALL)]
    lost = metrics["trained.top1"]["value"] - 100 * mean["correct"].mean()
    assert metrics["trained.all.mean.loss"]["value"] == pytest.approx(lost)
    assert pd.read_parquet(analysed / "blocks.parquet")["block"].tolist() == ["1", ALL] * 3


def predictions(directory: Path, intervention: str, stage: str) -> list[int]:
    records = pd.read_parquet(directory / "records.parquet")
    chosen = records[(records["intervention"] == intervention) & (records["stage"] == stage)]
    return chosen.sort_values("index")["predicted"].tolist()


def with_logits(run: Finished, change: Callable[[Tensor, int], Tensor], stages: tuple[int, ...]) -> list[int]:
    """Predictions of the network with its dense layer of attention rewritten, bias and all, in some stages."""
    model = create_model(run.model_name, weights=str(run.path / "weights.safetensors")).eval()
    assert isinstance(model, ResNet)
    for stage in stages:
        for block in interventions.blocks_of(interventions.stages_of(model)[stage]):
            channels = block.fc2.out_channels // block.radix
            for parameter in (block.fc2.weight, block.fc2.bias):
                parameter.data = change(parameter.data, channels)
    images = torch.stack([run.input(run.test_set.load(i)) for i in range(LIMIT)])
    with torch.inference_mode():
        return model(images).argmax(dim=1).tolist()


def test_equal_weights_are_those_of_a_network_without_logits(trained: str, analysed: Path) -> None:
    for stage, stages in ((ALL, (0, 1, 2)), ("stage1", (0,)), ("stage3", (2,))):
        expected = with_logits(Finished(trained), lambda values, channels: torch.zeros_like(values), stages)
        assert predictions(analysed, "uniform", stage) == expected
    assert predictions(analysed, "uniform", ALL) != predictions(analysed, NONE, ALL), "or the test would show nothing"


def test_rolled_weights_are_those_of_a_network_with_rolled_logits(trained: str, analysed: Path) -> None:
    for number in range(3):
        expected = with_logits(Finished(trained), lambda values, channels: values.roll(channels, dims=0), (number,))
        assert predictions(analysed, "rolled", f"stage{number + 1}") == expected


@torch.inference_mode()
def test_means_and_other_images_weights_by_a_loop(trained: str, analysed: Path) -> None:
    """The second stage, image by image, its weights set in a copy of the block's computation."""
    run = Finished(trained)
    model = run.network
    images = torch.stack([run.input(run.test_set.load(i)) for i in range(LIMIT)])
    halves = halves_of(run.test_set.targets)
    (block,) = interventions.blocks_of(model.layer2)
    with interventions.recorded([block]) as own:
        before = model.layer1(model.stem(images))
        model.layer2(before)
    found = []
    for i in range(LIMIT):
        mean = own[block][halves != halves[i]].mean(dim=0, keepdim=True)
        with interventions.given({block: mean}):
            found.append(int(interventions.logits_from(model, before[i : i + 1], 1).argmax()))
    assert predictions(analysed, "mean", "stage2") == found
    shuffled = predictions(analysed, "shuffled", "stage2")
    assert shuffled != predictions(analysed, NONE, ALL)
    for i in range(0, LIMIT, 30):
        options = set()
        for donor in range(LIMIT):
            with interventions.given({block: own[block][donor : donor + 1]}):
                options.add(int(interventions.logits_from(model, before[i : i + 1], 1).argmax()))
        assert shuffled[i] in options


@pytest.mark.parametrize("limit", [11, 61])
def test_every_number_of_images_works(trained: str, tmp_path: Path, limit: int) -> None:
    result = analyse_attention([trained], tmp_path, limit=limit, device="cpu")
    assert result["metrics"]["trained.top1"]["n"] == limit
    assert result["metrics"]["trained.all.mean.loss"]["n"] == limit
    counted = result["metrics"]["trained.all.image"]["n"]
    assert counted == (2 if limit == 11 else limit), "those with another image of their class"


def test_the_seed_draws_the_donors_and_nothing_else(trained: str, analysed: Path, tmp_path: Path) -> None:
    analyse_attention([trained], tmp_path, device="cpu", seed=1)
    first, other = (pd.read_parquet(directory / "records.parquet") for directory in (analysed, tmp_path))
    assert not first.equals(other)
    kept = first["intervention"] != "shuffled"
    assert first[kept].equals(other[kept])


def test_other_networks_from_the_notebook(run_of: Runs, tmp_path: Path) -> None:
    names = ("mini_1s4x24d", "mini_resnest14")
    result = analyse_attention([run_of(name) for name in names], tmp_path, limit=40, device="cpu")
    assert result["parameters"]["models"] == {name: name for name in names}
    assert result["parameters"]["radix"] == dict(zip(names, (1, 2), strict=True))
    for name, changes in zip(names, (2, 4), strict=True):
        stages = result["parameters"]["stages"][name]
        assert {f"{name}.{stages[-1]}.{change}.loss" in result["metrics"] for change in ("mean", "shuffled")} == {True}
        assert (f"{name}.all.rolled.loss" in result["metrics"]) == (changes == 4)
        figure = attention_figures.overview(attention_figures.scores_of(result, name), stages)
        legend = figure.axes[2].get_legend()
        assert legend is not None
        drawn = [text.get_text() for text in legend.get_texts()]
        assert drawn == list(attention_figures.INTERVENTIONS.values())[:changes]
    maps = pd.read_parquet(tmp_path / "attention.parquet")
    assert maps.groupby("run", sort=False)["block"].max().tolist() == [1, 2]


# Bad input


def test_networks_without_split_attention_are_named(run_of: Runs, trained: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run 'mini_resnetd11' is of 'mini_resnetd11', which has no split attention"):
        analyse_attention([trained, run_of("mini_resnetd11")], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("limit", "words"), [(-1, "limit -1 is not possible"), (1, "limit is 1: no class"), (10, "more than its 10")]
)
def test_bad_limits(trained: str, tmp_path: Path, limit: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        analyse_attention([trained], tmp_path, limit=limit)


def test_records_of_other_weights_are_refused(trained: str, tmp_path: Path) -> None:
    run = Finished(trained)
    changed = run.records.copy()
    changed.loc[7, "predicted"] = (changed.loc[7, "predicted"] + 1) % 10
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("result.json", "weights.safetensors"):
        (copy / name).write_bytes((run.path / name).read_bytes())
    changed.to_parquet(copy / "records.parquet")
    with pytest.raises(InputError, match=r"run 'copy' predicts class \d for image 7, its records say \d"):
        analyse_attention([str(copy)], tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
