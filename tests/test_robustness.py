"""Robustness: measures by hand and by simulation, tiny runs under corruption, and reassessed labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from resnest_core.analyses.corruption_scores import (
    CLEAN,
    counterparts,
    image_errors,
    image_scores,
    metrics,
    scores,
)
from resnest_core.analyses.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from resnest_core.analyses.predictions import accuracies
from resnest_core.analyses.robustness import evaluate, measure_robustness
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.finished import Finished, open_runs
from resnest_core.figures.robustness import by_severity, examples
from resnest_core.training.classification import Recipe

IMAGES, LIMIT = 40, 12
CONDITIONS = [(CLEAN, 0), *((name, severity) for name in CORRUPTIONS for severity in SEVERITIES)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two networks, trained a little, and evaluated on images of Fashion-MNIST in batches of different size."""
    root = tmp_path_factory.mktemp("runs")
    for model, batch in (("mini_resnest11", 7), ("mini_resnetd11", 20)):
        recipe = Recipe(epochs=1, batch_size=32)
        settings = {"limit": IMAGES, "train_limit": 128, "recipe": recipe, "protocol": Protocol(batch, "cpu")}
        Classification(model, str(root / model), **settings).result  # noqa: B018 - the work is done on access
    return [str(root / "mini_resnest11"), str(root / "mini_resnetd11")]


@pytest.fixture(scope="module")
def measured(runs: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, pd.DataFrame]:
    out = tmp_path_factory.mktemp("measured")
    result = measure_robustness(runs, out, limit=LIMIT, device="cpu")
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    return result, pd.read_parquet(out / "records.parquet")


def made(n: int = 60, *, rates: dict[str, float], seed: int = 0) -> pd.DataFrame:
    """Records of runs that are wrong at random, with a rate that grows with the severity from 0.1 to that given."""
    random = np.random.default_rng(seed)
    tables = [
        pd.DataFrame(
            {
                "index": np.arange(n),
                "run": run,
                "corruption": corruption,
                "severity": severity,
                "correct": random.random(n) >= 0.1 + (rate - 0.1) * severity / 5,
            }
        )
        for run, rate in rates.items()
        for corruption, severity in CONDITIONS
    ]
    return pd.concat(tables, ignore_index=True)


class TestScores:
    def test_by_hand(self) -> None:
        """Two runs, of which the second is the baseline; clean errors 0.1 and 0.2."""
        means = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.2, 0.4, 0.3, 0.8, 0.5, 0.4]])
        found = scores(means, 1)
        assert [found[f"{name}.ce"][0] for name in CORRUPTIONS] == pytest.approx([50, 100, 50, 100, 150])
        assert found["mce"].tolist() == pytest.approx([90, 100])
        rises = [0.1 / 0.2, 0.2 / 0.1, 0.3 / 0.6, 0.4 / 0.3, 0.5 / 0.2]
        assert found["relative_mce"].tolist() == pytest.approx([100 * np.mean(rises), 100])
        assert found["loss"].tolist() == pytest.approx([30, 28])

    @pytest.mark.parametrize("clean", [0.4, 0.45])
    def test_the_relative_error_needs_a_baseline_that_loses(self, clean: float) -> None:
        means = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [clean, 0.4, 0.5, 0.8, 0.5, 0.5]])
        assert np.isnan(scores(means, 1)["relative_mce"]).all()

    def test_many_draws_at_once(self) -> None:
        means = np.random.default_rng(0).uniform(0.1, 0.9, (4, 3, 6))
        together = scores(means, 2)
        for i in range(4):
            apart = scores(means[i], 2)
            for name in apart:
                np.testing.assert_allclose(together[name][i], apart[name])

    def test_errors_of_images_are_means_over_severities(self) -> None:
        records = made(8, rates={"b": 0.9, "a": 0.5}).sample(frac=1, random_state=0)
        names, errors = image_errors(records)
        assert set(names) == {"a", "b"}
        assert errors.shape == (8, 2, 6)
        for i, name in enumerate(names):
            for c, corruption in enumerate([CLEAN, *CORRUPTIONS]):
                own = records[(records["run"] == name) & (records["corruption"] == corruption)]
                for image in range(8):
                    right = own[own["index"] == image]["correct"]
                    assert errors[image, i, c] == pytest.approx(1 - right.mean())

    def test_contributions_of_images_add_up(self) -> None:
        _, errors = image_errors(made(rates={"a": 0.5, "b": 0.9}))
        values = scores(errors.mean(axis=0), 1)
        for name, contributions in image_scores(errors, 1).items():
            np.testing.assert_allclose(contributions.mean(axis=0), values[name])


class TestMetrics:
    def test_accuracies_and_signs(self) -> None:
        records = made(rates={"a": 0.5, "b": 0.9})
        found = metrics(records, "b", {"a": "b"})
        rows = records[(records["run"] == "a") & (records["corruption"] == "jpeg") & (records["severity"] == 5)]
        assert found["a.jpeg-5.top1"]["value"] == pytest.approx(100 * rows["correct"].mean())
        clean = records[(records["run"] == "a") & (records["corruption"] == CLEAN)]
        assert found["a.clean.top1"]["value"] == pytest.approx(100 * clean["correct"].mean())
        assert found["b.mce"] == {"value": 100.0, "low": None, "high": None, "n": 60, "unit": "%"}
        assert found["a.mce"]["low"] < found["a.mce"]["value"] < found["a.mce"]["high"] < 100
        assert found["a.mce_difference"]["value"] == pytest.approx(found["a.mce"]["value"] - 100)
        assert found["a.loss_difference"]["value"] == pytest.approx(found["a.loss"]["value"] - found["b.loss"]["value"])
        assert found["a.mce_p"]["value"] < 0.01
        assert not any(name.startswith("b.mce_") for name in found)

    def test_networks_that_are_equal_do_not_differ(self) -> None:
        records = made(rates={"a": 0.7})
        found = metrics(pd.concat([records, records.assign(run="b")]), "b", {"a": "b"})
        assert (found["a.mce"]["value"], found["a.mce_difference"]["value"], found["a.mce_p"]["value"]) == (100, 0, 1)

    def test_intervals_and_p_are_those_of_other_methods(self) -> None:
        """Scipy's bootstrap of the whole measure, and the t test, which is good for so many images."""
        records = made(200, rates={"a": 0.6, "b": 0.7})
        found = metrics(records, "b", {"a": "b"})
        _, errors = image_errors(records)

        def mce(chosen: np.ndarray) -> float:
            return float(scores(errors[chosen].mean(axis=0), 1)["mce"][0])

        expected = stats.bootstrap(
            (np.arange(200),), mce, n_resamples=2000, vectorized=False, rng=1, method="percentile"
        )
        width = found["a.mce"]["high"] - found["a.mce"]["low"]
        assert found["a.mce"]["low"] == pytest.approx(expected.confidence_interval.low, abs=0.1 * width)
        assert found["a.mce"]["high"] == pytest.approx(expected.confidence_interval.high, abs=0.1 * width)
        for name, contributions in image_scores(errors, 1).items():
            p = stats.ttest_rel(contributions[:, 0], contributions[:, 1]).pvalue
            assert found[f"a.{name}_p"]["value"] == pytest.approx(p, abs=0.03)

    def test_p_is_corrected_for_the_pairs(self) -> None:
        rates = {"a": 0.5, "b": 0.9, "c": 0.5, "d": 0.9}
        one = metrics(made(30, rates=rates), "b", {"a": "b"})["a.mce_p"]["value"]
        two = metrics(made(30, rates=rates), "b", {"a": "b", "c": "d"})["a.mce_p"]["value"]
        assert two == pytest.approx(2 * one)

    def test_of_one_image(self) -> None:
        records = made(1, rates={"a": 0.5, "b": 0.9}).assign(correct=False)
        found = metrics(records, "b", {"a": "b"})
        assert found["a.mce"]["value"] == 100
        assert found["a.mce"]["low"] is None
        assert found["a.mce_p"]["value"] == 1
        assert "a.relative_mce" not in found

    def test_a_baseline_without_errors_is_refused(self) -> None:
        records = made(rates={"a": 0.5, "b": 0.9})
        records.loc[(records["run"] == "b") & (records["corruption"] == "jpeg"), "correct"] = True
        with pytest.raises(
            InputError, match="baseline 'b' makes no error under some corruption; give another, or more"
        ):
            metrics(records, "b", {})


def test_counterparts_have_as_many_layers_and_no_split_attention() -> None:
    models = {"x": "mini_resnest11", "y": "mini_resnest20", "p": "mini_resnetd20", "q": "mini_resnetd20"}
    assert counterparts(models) == {"y": "p"}
    assert counterparts({"a": "resnest50", "b": "resnetd50"}) == {"a": "b"}
    assert counterparts({"a": "resnest50", "b": "resnest101"}) == {}


class TestRuns:
    def test_one_row_for_each_image_run_corruption_and_severity(self, measured: tuple[dict, pd.DataFrame]) -> None:
        result, records = measured
        assert not records.duplicated(["index", "run", "corruption", "severity"]).any()
        assert len(records) == LIMIT * 2 * len(CONDITIONS)
        assert result["parameters"]["baseline"] == "mini_resnetd11", "the first without split attention"
        assert result["parameters"]["counterparts"] == {"mini_resnest11": "mini_resnetd11"}
        assert result["metrics"]["mini_resnest11.clean.top1"]["n"] == LIMIT

    def test_severity_0_is_what_was_recorded(self, measured: tuple[dict, pd.DataFrame], runs: list[str]) -> None:
        clean = measured[1][measured[1]["corruption"] == CLEAN]
        for run in open_runs(runs):
            rows = clean[clean["run"] == run.name]
            for column in ("predicted", "correct"):
                assert rows[column].tolist() == run.records[column][rows["index"]].tolist()

    @pytest.mark.parametrize(("corruption", "severity"), [("gaussian_noise", 3), ("occlusion", 5), ("jpeg", 1)])
    def test_every_network_sees_the_same_corrupted_images(
        self, measured: tuple[dict, pd.DataFrame], runs: list[str], corruption: str, severity: int
    ) -> None:
        records = measured[1]
        chosen = records[(records["corruption"] == corruption) & (records["severity"] == severity)]
        for run in open_runs(runs):
            rows, data = chosen[chosen["run"] == run.name], run.test_set
            images = [corrupted(data.load(i), corruption, severity, key=data.paths[i]) for i in rows["index"]]
            assert run.logits(images).argmax(dim=1).tolist() == rows["predicted"].tolist()

    def test_neither_order_nor_batch_matters(self, measured: tuple[dict, pd.DataFrame], runs: list[str]) -> None:
        """The first run's batches are of 7 images, the second's of 20."""
        other = evaluate(open_runs(runs[::-1]), np.arange(LIMIT)[::-1].copy(), 0, torch.device("cpu"))
        keys = ["run", "corruption", "severity", "index"]
        chosen = measured[1][measured[1]["index"] < LIMIT]
        both = [
            t.astype({"run": str, "corruption": str}).set_index(keys)["predicted"].sort_index() for t in (chosen, other)
        ]
        assert len(both[0]) > 0
        assert both[0].equals(both[1][both[0].index])

    def test_figures(self, measured: tuple[dict, pd.DataFrame], runs: list[str]) -> None:
        figure = by_severity(accuracies(measured[1], ["run", "corruption", "severity"]))
        assert [axes.get_title() for axes in figure.axes] == ["noise", "blur", "contrast", "JPEG", "occlusion"]
        assert all(list(axes.get_lines()[1].get_xdata()) == [0, 1, 2, 3, 4, 5] for axes in figure.axes)
        data = Finished(runs[0]).test_set
        assert len(examples(data.load(0), data.paths[0]).axes) == 5 * 6

    def test_a_baseline_can_be_named(self, runs: list[str], tmp_path: Path) -> None:
        result = measure_robustness(runs, tmp_path, baseline="mini_resnest11", limit=2, device="cpu")
        assert result["metrics"]["mini_resnest11.mce"]["value"] == 100
        assert result["parameters"]["baseline"] == "mini_resnest11"

    def test_without_a_resnet_d_the_first_run_is_the_baseline(self, runs: list[str], tmp_path: Path) -> None:
        result = measure_robustness(runs[:1], tmp_path, limit=2, device="cpu")
        assert result["parameters"]["baseline"] == "mini_resnest11"
        assert result["parameters"]["counterparts"] == {}

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"baseline": "resnet"}, "unknown baseline 'resnet'.*; valid: mini_resnest11, mini_resnetd11"),
            ({"limit": -1}, "limit -1 is not possible"),
            ({"device": "tpu"}, "device 'tpu' cannot be used"),
            ({"real_labels": "real.json"}, "is of data set 'fashion_mnist'; ReaL's labels are of 'imagenet'"),
        ],
    )
    def test_bad_requests_are_refused(
        self, runs: list[str], tmp_path: Path, given: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            measure_robustness(runs, tmp_path / "out", **{"device": "cpu", **given})
        assert not any((tmp_path / "out").glob("*")), "nothing is left behind"


def test_the_notebook_says_what_the_function_takes(runs: list[str], tmp_path: Path) -> None:
    """Its code cells, run with the parameters of a tiny study."""
    notebook = json.loads((Path(__file__).parents[1] / "notebooks" / "robustness.ipynb").read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    exec(code[0], names)
    names |= {"runs": runs, "limit": 2, "out": str(tmp_path), "device": "cpu"}
    for cell in code[1:]:
        exec(cell, names)
    assert {path.name for path in tmp_path.iterdir()} == {"records.parquet", "result.json"}
