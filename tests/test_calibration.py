"""Calibration: scores against scikit-learn and arithmetic, intervals against simulated truth, runs as trained here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, log_loss

from resnest_core.analyses.calibration import (
    UNITS,
    Measured,
    by_run,
    calibrate,
    equal_mass,
    equal_width,
    errors_by_chance,
    fit_temperature,
    held_out_temperatures,
    image_scores,
    interval,
    measures,
    p_value,
    reliability,
)
from resnest_core.errors import InputError
from resnest_core.evaluation.average_precision import resamples
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.finished import Finished, open_runs
from resnest_core.figures import calibration as calibration_figures
from resnest_core.training.classification import Recipe

CLASSES = 5


def drawn(n: int, temperature: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, 5), and targets drawn from their probabilities; the logits are then too large by `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, CLASSES))
    targets = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return temperature * logits, targets


def scores(confidence: list[float], correct: list[bool]) -> pd.DataFrame:
    return pd.DataFrame({"correct": correct, "confidence": confidence, "log_loss": 0.5, "brier": 0.25})


class TestScores:
    @pytest.mark.parametrize(("n", "temperature"), [(1, 1.0), (200, 1.0), (200, 2.5)])
    def test_as_scikit_learn_has_them(self, n: int, temperature: float) -> None:
        logits, targets = drawn(n)
        found = image_scores(logits.astype(np.float32), targets, temperature)
        p = softmax(logits.astype(np.float32).astype(float) / temperature, axis=1)
        labels = list(range(CLASSES))
        assert found["log_loss"].mean() == pytest.approx(log_loss(targets, p, labels=labels))
        brier = brier_score_loss(targets, p, labels=labels, scale_by_half=False)
        assert found["brier"].mean() == pytest.approx(brier)
        assert found["confidence"].tolist() == pytest.approx(p.max(axis=1).tolist())
        assert found["correct"].tolist() == (p.argmax(axis=1) == targets).tolist()

    def test_each_image_may_have_a_temperature_of_its_own(self) -> None:
        logits, targets = drawn(6)
        both = image_scores(logits, targets, np.array([1, 1, 1, 3, 3, 3]))
        apart = pd.concat([image_scores(logits[:3], targets[:3]), image_scores(logits[3:], targets[3:], 3)])
        pd.testing.assert_frame_equal(both, apart.reset_index(drop=True))

    def test_huge_logits_stay_finite(self) -> None:
        found = image_scores([[1e4, 0.0], [1e4, 0.0]], [0, 1])
        assert found["log_loss"].tolist() == [0.0, 1e4]
        assert found["brier"].tolist() == [0.0, 2.0]


class TestBins:
    def test_a_border_belongs_to_the_lower_bin(self) -> None:
        assert equal_width([0.0, 0.25, 0.26, 0.5, 0.75, 1.0], 4).tolist() == [0, 0, 1, 1, 2, 3]

    def test_equal_mass_is_equal_to_one(self) -> None:
        confidence = np.random.default_rng(0).random(103)
        of = equal_mass(confidence, 10)
        assert set(np.bincount(of)) == {10, 11}
        assert (np.diff(of[confidence.argsort()]) >= 0).all()
        assert equal_mass([0.5, 0.5, 0.5, 0.5], 2).tolist() == [0, 0, 1, 1]

    def test_errors_by_hand(self) -> None:
        """Gaps of two bins: 0.2 - 0.6 and 0.6 - 0.2 - 0.1 if equally wide; 0.2 - 0.6 + 0.6 and -0.2 - 0.1 else."""
        table = scores([0.4, 0.2, 0.6, 0.8, 0.9], [True, False, False, True, True])
        found = measures(table, 2).iloc[0]
        assert found["ece"] == pytest.approx(100 * (0.4 + 0.3) / 5)
        assert found["ece_adaptive"] == pytest.approx(100 * (0.2 + 0.3) / 5)
        assert found["overconfidence"] == pytest.approx(100 * (0.58 - 0.6))
        assert (found["log_loss"], found["brier"]) == (0.5, 0.25)

    def test_one_bin_has_the_mean_gap(self) -> None:
        table = image_scores(*drawn(50))
        found = measures(table, 1).iloc[0]
        assert found["ece"] == found["ece_adaptive"] == pytest.approx(abs(found["overconfidence"]))

    def test_weights_repeat_images(self) -> None:
        table = image_scores(*drawn(40))
        weights = np.stack([*resamples(40, 3)])
        names = [name for name in UNITS if name != "ece_adaptive"]  # of which the bins would not be the same
        repeated = [measures(table.loc[np.repeat(np.arange(40), row)])[names] for row in weights]
        found = measures(table, weights=weights.astype(np.float32))[names]
        np.testing.assert_allclose(found, pd.concat(repeated), rtol=1e-5, atol=1e-6)

    def test_reliability_leaves_small_bins_out(self) -> None:
        table = scores([0.95] * 150 + [0.25] * 50 + [0.55], [True] * 120 + [False] * 30 + [True] * 10 + [False] * 41)
        found = reliability(table, 10)
        assert found["n"].tolist() == [50, 150]
        assert found["accuracy"].tolist() == [0.2, 0.8]
        assert found["confidence"].tolist() == pytest.approx([0.25, 0.95])


class TestTemperature:
    def test_the_true_one_is_found(self) -> None:
        assert fit_temperature(*drawn(20_000, 2.0)) == pytest.approx(2.0, rel=0.03)

    def test_the_loss_is_least_there(self) -> None:
        logits, targets = drawn(300, 0.6, seed=3)
        best = fit_temperature(logits, targets)
        losses = [image_scores(logits, targets, best * factor)["log_loss"].mean() for factor in (0.99, 1, 1.01)]
        assert losses[1] == min(losses)
        # There the mean logit of the target is the mean expected one.
        p = np.exp(log_softmax(logits / best, axis=1))
        assert logits[np.arange(300), targets].mean() == pytest.approx((p * logits).sum(axis=1).mean(), abs=1e-4)

    def test_where_everything_is_right_the_bound_is_found(self) -> None:
        assert fit_temperature(0.5 * np.eye(3), [0, 1, 2]) == pytest.approx(0.05, rel=0.01)

    @pytest.mark.parametrize("n", [2, 41])
    def test_no_image_has_a_hand_in_its_own(self, n: int) -> None:
        logits, targets = drawn(n)
        found = held_out_temperatures(logits, targets, seed=1)
        for t in set(found):
            assert fit_temperature(logits[found != t], targets[found != t]) == t
        assert sorted({int((found == t).sum()) for t in set(found)}) == sorted({n // 2, n - n // 2})

    def test_the_seed_halves(self) -> None:
        first, again, other = (held_out_temperatures(*drawn(41), seed=seed) for seed in (0, 0, 1))
        assert first.tolist() == again.tolist() != other.tolist()

    def test_one_image_has_no_halves(self) -> None:
        with pytest.raises(InputError, match="1 image; a temperature is fitted on one half"):
            held_out_temperatures(*drawn(1), seed=0)


class TestIntervals:
    def test_limits_by_hand(self) -> None:
        """Percentiles 2.5 and 97.5 of 0 to 40 are 1 and 39."""
        assert interval(25.0, np.arange(41.0)) == (11.0, 49.0)
        assert interval(3.0, [3.0, 3.0]) == (None, None)

    def test_p_is_that_of_the_interval(self) -> None:
        rng = np.random.default_rng(0)
        seen = set()
        for value in np.linspace(-4, 4, 81):
            draws = rng.normal(value, 1, 999)
            low, high = interval(value, draws)
            assert low is not None
            assert high is not None
            if abs(p_value(value, draws) - 0.05) > 0.004:
                seen.add(p_value(value, draws) < 0.05)
                assert (p_value(value, draws) < 0.05) == (not low <= 0 <= high)
        assert seen == {True, False}
        assert p_value(1.0, [1.0, 1.0]) == 1.0
        assert p_value(9.0, rng.normal(9, 1, 999)) == pytest.approx(2 / 1000)

    def test_they_cover_the_truth_where_percentiles_do_not(self) -> None:
        """2,000 images that are right 3 points more often than they say: the ECE of all such images is 3 %.

        That is no more than the noise of a bin, the worst case: intervals of larger errors cover more often.
        """
        rng, weights = np.random.default_rng(2), np.stack([w.astype(np.float32) for w in resamples(2000, 300)])
        basic = percentile = 0
        for _ in range(60):
            stated = rng.uniform(0.2, 0.95, 2000)
            table = scores(stated.tolist(), (rng.random(2000) < stated + 0.03).tolist())
            found = Measured.of(table, 15, weights)
            low, high = interval(found.values["ece"], found.draws["ece"])
            assert low is not None
            assert high is not None
            basic += low <= 3 <= high
            bounds = np.quantile(found.draws["ece"], [0.025, 0.975])
            percentile += bounds[0] <= 3 <= bounds[1]
        assert basic >= 45
        assert percentile <= 36

    def test_what_chance_gives(self) -> None:
        """The sum over one bin of n gaps of a true 0.8 is nearly normal with deviation sqrt(0.16 n)."""
        draws = errors_by_chance(np.full(4000, 0.8))
        assert draws.mean() == pytest.approx(100 * np.sqrt(2 / np.pi * 0.16 / 4000), rel=0.1)
        assert np.quantile(draws, 0.95) == pytest.approx(100 * norm.ppf(0.975) * np.sqrt(0.16 / 4000), rel=0.1)

    def test_a_difference_from_itself_is_none(self) -> None:
        weights = np.stack([w.astype(np.float32) for w in resamples(30, 50)])
        found = Measured.of(image_scores(*drawn(30)), 15, weights)
        none = (found - found).metrics("x_", 30)
        assert {(m["value"], m["low"], m["high"]) for m in none.values()} == {(0.0, None, None)}
        assert {m["value"] for m in (found - found).tests("x_").values()} == {1.0}

    def test_differences_are_paired(self) -> None:
        """Networks that agree on most images differ by less than two intervals suggest."""
        logits, targets = drawn(800)
        weights = np.stack([w.astype(np.float32) for w in resamples(800, 300)])
        a, b = (Measured.of(image_scores(z, targets), 15, weights) for z in (logits, 1.1 * logits))
        width = {name: m["high"] - m["low"] for name, m in {**a.metrics("a_", 800), **(a - b).metrics("", 800)}.items()}
        assert width["log_loss"] < width["a_log_loss"] / 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Finished]:
    """A ResNeSt and a ResNet-D, hardly trained."""
    directories = []
    for model in ("mini_resnest11", "mini_resnetd11"):
        out = str(tmp_path_factory.mktemp("base") / model)
        experiment = Classification(model, out, limit=120, train_limit=64, recipe=Recipe(epochs=1, batch_size=32))
        replace(experiment, protocol=Protocol(batch_size=60, device="cpu", keep_logits=True)).result  # noqa: B018
        directories.append(out)
    return open_runs(directories)


class TestRuns:
    def test_results_are_those_of_the_records(self, runs: list[Finished], tmp_path: Path) -> None:
        result = calibrate(runs, tmp_path, bins=10, seed=3)
        assert json.loads((tmp_path / "result.json").read_text()) == result
        assert {path.name for path in tmp_path.iterdir()} == {"result.json", "records.parquet"}
        records = pd.read_parquet(tmp_path / "records.parquet")
        assert len(records) == 2 * 2 * 120
        for (run, scaled), rows in records.groupby(["run", "scaled"]):
            prefix = f"{run}.{'scaled_' if scaled else ''}"
            found = measures(rows, 10).iloc[0]
            for name in UNITS:
                entry = result["metrics"][prefix + name]
                assert entry["value"] == pytest.approx(found[name])
                assert entry["n"] == 120
            assert rows["index"].tolist() == list(range(120))
            assert rows["temperature"].nunique() == (2 if scaled else 1)
        values = by_run(result)
        first, second = values.loc["mini_resnest11"], values.loc["mini_resnetd11"]
        assert first["less_baseline_ece"] == pytest.approx(first["ece"] - second["ece"])
        assert first["change_log_loss"] == pytest.approx(first["scaled_log_loss"] - first["log_loss"])
        assert np.isnan(second["less_baseline_ece"])
        assert result["parameters"]["baselines"] == {"mini_resnest11": "mini_resnetd11"}
        assert result["parameters"]["label_smoothing"] == {"mini_resnest11": 0.1, "mini_resnetd11": 0.1}
        assert result["metrics"]["mini_resnest11.log_loss"]["value"] == pytest.approx(
            runs[0].result["metrics"]["loss"]["value"]
        )

    def test_the_figure_shows_both_states(self, runs: list[Finished], tmp_path: Path) -> None:
        result = calibrate(runs[:1], tmp_path)
        figure = calibration_figures.of_result(result, pd.read_parquet(tmp_path / "records.parquet"))
        before, after, errors = figure.axes
        assert before.get_title() == "as they are"
        assert len(after.get_lines()) == 2, "the network, and no gap"
        points = [float(line.get_xdata()[0]) for line in errors.get_lines() if line.get_marker() == "o"]
        metrics = result["metrics"]
        assert points == [metrics[f"mini_resnest11.{name}"]["value"] for name in ("ece", "scaled_ece")]
        assert result["parameters"]["baselines"] == {}

    def test_a_run_without_logits_says_how_to_keep_them(self, runs: list[Finished], tmp_path: Path) -> None:
        bare = Finished(runs[0].directory)
        bare.__dict__["records"] = runs[0].records.drop(columns="logits")
        with pytest.raises(InputError, match=r"mini_resnest11' has no logits; .* keep_logits: true"):
            calibrate([bare], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_no_bins(self, runs: list[Finished], tmp_path: Path) -> None:
        with pytest.raises(InputError, match="bins 0 is not possible; valid: a whole number from 1"):
            calibrate(runs, tmp_path / "out", bins=0)
        assert not (tmp_path / "out").exists()
