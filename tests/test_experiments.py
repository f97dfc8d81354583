"""Experiments as the notebooks set them up."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.evaluation.efficiency import measure_efficiency
from resnest_core.experiments.classification import Classification
from resnest_core.figures import records as record_figures
from resnest_core.models.variants import CLASSIFIERS
from resnest_core.training.classification import Recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Classification:
    out = tmp_path_factory.mktemp("experiment")
    protocol = Protocol(batch_size=50, device="cpu", keep_logits=True)
    recipe = Recipe(epochs=1, batch_size=32)
    experiment = Classification("mini_2s1x64d", str(out), limit=100, protocol=protocol, train_limit=320, recipe=recipe)
    experiment.result  # noqa: B018 - the work is done on access
    return experiment


def test_a_trained_experiment_has_all_it_promises(trained: Classification) -> None:
    metrics = trained.result["metrics"]
    assert {"top1", "top5", "loss", "parameters", "multiply_adds", "activation_memory", "images_per_second"} <= set(
        metrics
    )
    assert metrics["training_seconds"]["value"] > 0
    assert metrics["training_images_per_second"]["value"] > 0
    assert len(trained.records) == 100
    assert trained.curves is not None
    assert trained.curves["epoch"].iloc[-1] == 1
    assert trained.result["parameters"]["recipe"]["batch_size"] == 32
    names = {path.name for path in Path(trained.out).iterdir()}
    assert names == {"records.parquet", "result.json", "weights.safetensors", "curves.csv"}


def test_its_weights_evaluate_to_the_same_records(trained: Classification, tmp_path: Path) -> None:
    weights = str(Path(trained.out) / "weights.safetensors")
    again = replace(trained, out=str(tmp_path), weights=weights)
    assert again.result["metrics"]["top1"] == trained.result["metrics"]["top1"]
    assert again.records["logits"].map(list).tolist() == trained.records["logits"].map(list).tolist()
    assert again.curves is None
    assert "training_seconds" not in again.result["metrics"]
    assert again.result["provenance"]["weights_sha256"] == trained.result["provenance"]["weights_sha256"]


def test_weights_of_another_network_are_refused(trained: Classification, tmp_path: Path) -> None:
    weights = str(Path(trained.out) / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        replace(trained, model="mini_resnetd11", out=str(tmp_path), weights=weights).result  # noqa: B018


def test_preprocessing_belongs_to_the_published_weights() -> None:
    experiment = Classification("resnest101", "out", dataset="imagenet", weights="published")
    assert (experiment.rule.rule, experiment.rule.crop_size, experiment.rule.interpolation) == (
        "centre_square",
        256,
        "bicubic",
    )
    other = replace(experiment, preprocessing="resize_then_crop", interpolation="bilinear", crop_size=224)
    assert (other.rule.rule, other.rule.interpolation, other.rule.crop_size) == ("resize_then_crop", "bilinear", 224)


def test_aliases_of_the_ablation_are_the_same_networks() -> None:
    """The profiles take these rows' first seed from the base results."""
    assert CLASSIFIERS["mini_2s1x64d"] == CLASSIFIERS["mini_resnest11"]
    assert CLASSIFIERS["mini_0s1x64d"] == CLASSIFIERS["mini_resnetd11"]


@pytest.mark.parametrize(("batch_size", "rounds"), [(1, 1), (2, 3)])
def test_efficiency_writes_passes_and_medians(tmp_path: Path, batch_size: int, rounds: int) -> None:
    names = ["mini_resnetd11", "mini_resnest11"]
    result = measure_efficiency(names, tmp_path, batch_size=batch_size, crop_size=28, rounds=rounds, device="cpu")
    for name in names:
        assert result["metrics"][f"{name}.images_per_second"]["n"] == rounds
    passes = pd.read_parquet(tmp_path / "records.parquet")
    assert len(passes) == rounds * 2 * batch_size, "rounds, networks, and batches of one and of two"
    assert record_figures.relative_speed(passes).axes[0].get_lines()
    assert result["parameters"]["networks"] == names
    assert torch.get_num_threads() == result["provenance"]["threads"]
