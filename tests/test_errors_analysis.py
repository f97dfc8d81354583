"""Errors of two classifiers: tables against scikit-learn and arithmetic, examples, and runs on real images."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score, confusion_matrix, recall_score

from resnest_core.analyses.errors import (
    CLASSES,
    KINDS,
    by_class,
    choose_examples,
    compare_errors,
    confused_pairs,
    confusion,
    paired_records,
    shared_mistakes,
    similar_order,
    similarity,
)
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.evaluation.examples import EXAMPLES, load_images
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.finished import Finished, open_runs
from resnest_core.figures import errors as error_figures
from resnest_core.statistics import bootstrap, holm, mcnemar
from resnest_core.training.classification import Recipe

NAMES = ("zero", "one", "two", "three", "four", "five")


def records(targets: np.ndarray, predicted: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Records with random losses and confidences."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"index": range(len(targets)), "image": "x.png", "target": targets, "predicted": predicted})
    confidence = rng.random((len(targets), 1))
    return table.assign(correct=targets == predicted, loss=rng.random(len(targets)), top5_probability=list(confidence))


def invented(n: int, accuracy: float, seed: int, classes: int = len(NAMES)) -> tuple[np.ndarray, np.ndarray]:
    rng, targets = np.random.default_rng(seed), np.arange(n) % classes
    return targets, np.where(rng.random(n) < accuracy, targets, rng.integers(0, classes, n))


def kappa(wrong: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cohen's kappa of booleans (..., n), from its definition."""
    a, b = wrong.mean(axis=-1), other.mean(axis=-1)
    chance = a * b + (1 - a) * (1 - b)
    return ((wrong == other).mean(axis=-1) - chance) / (1 - chance)


@pytest.fixture
def pair() -> pd.DataFrame:
    """Two networks of different accuracy on 600 images."""
    return paired_records(records(*invented(600, 0.8, 1), 1), records(*invented(600, 0.7, 2), 2))


class TestConfusion:
    def test_as_scikit_learn_has_it(self) -> None:
        targets, predicted = invented(300, 0.6, 0)
        assert (confusion(targets, predicted, 6) == confusion_matrix(targets, predicted)).all()

    def test_similarity_by_hand(self) -> None:
        """3 of 10 zeros are called one, 2 of 20 ones zero; class two has no images."""
        alike = similarity([[7, 3, 0], [2, 18, 0], [0, 0, 0]])
        np.testing.assert_allclose(alike, [[0, 0.2, 0], [0.2, 0, 0], [0, 0, 0]])

    def test_similar_classes_stand_together(self) -> None:
        """Classes are confused along 4, 1, 5, 0, 3, 2, and nowhere else."""
        chain = [4, 1, 5, 0, 3, 2]
        table = 100 * np.eye(6, dtype=int)
        for a, b in pairwise(chain):
            table[a, b] = table[b, a] = 20
        order = similar_order(table)
        assert order in (chain, chain[::-1])

    def test_of_many_classes_those_of_the_most_confused_pairs_are_shown(self) -> None:
        table = 100 * np.eye(1000, dtype=int)
        for rank, a in enumerate(range(700, 740, 2)):
            table[a, a + 1] = 60 - rank
        assert set(similar_order(table)) == set(range(700, 720))
        assert set(similar_order(table, most=3)) == {700, 701, 702}
        assert confused_pairs(table, 2) == [(700, 701), (702, 703)]

    @pytest.mark.parametrize("classes", [1, 2, 3])
    def test_few_classes_and_no_mistakes(self, classes: int) -> None:
        assert sorted(similar_order(np.eye(classes, dtype=int))) == list(range(classes))


class TestShared:
    def test_kappa_as_scikit_learn_has_it(self) -> None:
        rng = np.random.default_rng(0)
        wrong = rng.random(500) < 0.3
        other = np.where(rng.random(500) < 0.6, wrong, rng.random(500) < 0.2)
        cells = [~wrong & ~other, ~wrong & other, wrong & ~other, wrong & other]
        found = shared_mistakes(*(int(cell.sum()) for cell in cells))
        assert found["kappa"]["value"] == pytest.approx(cohen_kappa_score(wrong, other))
        again = bootstrap(lambda at: kappa(wrong[at], other[at]), 500)
        assert [found["kappa"][end] for end in ("low", "high")] == pytest.approx([again.low, again.high], abs=0.02)

    def test_the_ratio_by_hand(self) -> None:
        """Of 100 images one network errs on 20, the other on 10: by chance on 2 together."""
        found = shared_mistakes(76, 4, 14, 6)
        assert found["common_ratio"]["value"] == pytest.approx(3)
        assert found["kappa"]["value"] == pytest.approx((0.82 - 0.74) / (1 - 0.74))
        assert found["common_ratio"]["low"] < 3 < found["common_ratio"]["high"]

    def test_independent_mistakes(self) -> None:
        found = shared_mistakes(720, 80, 180, 20)
        assert (found["common_ratio"]["value"], found["kappa"]["value"]) == (1, 0)
        assert found["common_ratio"]["low"] < 1 < found["common_ratio"]["high"]

    def test_draws_without_a_mistake_are_left_out(self) -> None:
        found = shared_mistakes(9, 0, 0, 1)
        assert found["kappa"] == {"value": 1.0, "low": None, "high": None, "n": 10, "unit": "1"}
        assert found["common_ratio"]["value"] == 10


class TestPairs:
    def test_other_images_or_targets_are_refused(self) -> None:
        first = records(*invented(6, 1, 0))
        for other in (first[:5], first.assign(target=1), first.assign(image="y.png")):
            with pytest.raises(InputError, match="not of the same images and targets"):
                paired_records(first, other)

    def test_classes_add_up_to_the_difference(self, pair: pd.DataFrame) -> None:
        table = by_class(pair, NAMES)
        right, other = pair["correct_first"].to_numpy(), pair["correct_second"].to_numpy()
        assert table["contribution"].sum() == pytest.approx(100 * (right.mean() - other.mean()))
        recalls = [
            recall_score(pair["target"], pair[f"predicted_{which}"], average=None) for which in ("first", "second")
        ]
        own = table.set_index("class")
        assert own.loc[list(NAMES), "difference"].tolist() == pytest.approx(100 * (recalls[0] - recalls[1]))
        raw = [mcnemar(right[rows], other[rows]).p for rows in (pair["target"] == i for i in range(6))]
        assert own.loc[list(NAMES), "p"].tolist() == pytest.approx(holm(raw))
        assert table["p"].is_monotonic_increasing
        assert own["n"].tolist() == [100] * 6

    def test_a_class_without_images_has_no_row(self, pair: pd.DataFrame) -> None:
        assert "two" not in by_class(pair[pair["target"] != 2], NAMES)["class"].tolist()

    def test_examples_are_the_extreme_ones_and_none_is_there_twice(self, pair: pd.DataFrame) -> None:
        found = choose_examples(pair, 5)
        assert found["kind"].tolist() == [kind for kind in KINDS for _ in range(5)]
        assert found["index"].is_unique
        alone, other, hardest, confident = (found[found["kind"] == kind] for kind in KINDS)
        assert (alone["correct_first"] & ~alone["correct_second"]).all()
        assert (other["correct_second"] & ~other["correct_first"]).all()
        assert not hardest["correct_first"].any()
        gap = (pair["loss_second"] - pair["loss_first"])[pair["correct_first"] & ~pair["correct_second"]]
        assert alone.index.tolist() == gap.nlargest(5).index.tolist()
        left = pair[~pair["correct_first"]].drop(index=other.index)
        assert hardest.index.tolist() == left["loss_first"].nlargest(5).index.tolist()
        left = left.drop(index=hardest.index)
        assert confident.index.tolist() == left["confidence_first"].nlargest(5).index.tolist()

    def test_fewer_mistakes_than_asked_for(self) -> None:
        targets, predicted = invented(12, 1, 0)
        first, second = predicted.copy(), predicted.copy()
        first[:2] = 5
        second[4] = 0
        found = choose_examples(paired_records(records(targets, first), records(targets, second)), 6)
        assert found["kind"].tolist() == [KINDS[0], KINDS[1], KINDS[1]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Finished]:
    """A ResNeSt and a ResNet-D, hardly trained."""
    directories = []
    for model in ("mini_resnest11", "mini_resnetd11"):
        out = str(tmp_path_factory.mktemp("base") / model)
        experiment = Classification(model, out, limit=100, train_limit=64, recipe=Recipe(epochs=1, batch_size=32))
        replace(experiment, protocol=Protocol(batch_size=50, device="cpu")).result  # noqa: B018
        directories.append(out)
    return open_runs(directories)


class TestRuns:
    def test_results_are_those_of_the_records(self, runs: list[Finished], tmp_path: Path) -> None:
        result = compare_errors(runs, tmp_path, per_kind=2)
        assert json.loads((tmp_path / "result.json").read_text()) == result
        assert {p.name for p in tmp_path.iterdir()} == {"result.json", "records.parquet", CLASSES, EXAMPLES}
        marked, table = (pd.read_parquet(tmp_path / name) for name in ("records.parquet", CLASSES))
        first, second = (run.records["correct"].to_numpy() for run in runs)
        values = {name: entry["value"] for name, entry in result["metrics"].items()}
        assert values["mini_resnest11.mistakes"] == pytest.approx(100 - 100 * first.mean())
        assert values["mini_resnetd11.only_right"] == pytest.approx(100 * (second & ~first).mean())
        assert values["mini_resnest11.common_mistakes"] == pytest.approx(100 * (~second & ~first).mean())
        same = (runs[0].records["predicted"] == runs[1].records["predicted"])[~first & ~second]
        assert values["mini_resnest11.same_answer"] == pytest.approx(100 * same.mean())
        assert values["mini_resnest11.difference"] == pytest.approx(table["contribution"].sum())
        assert values["mini_resnest11.common_ratio"] * values["mini_resnest11.common_by_chance"] == pytest.approx(
            values["mini_resnest11.common_mistakes"]
        )
        images = load_images(tmp_path / EXAMPLES)
        shown = marked[marked["example"] >= 0].sort_values("example")
        assert shown["example"].tolist() == list(range(len(images)))
        assert marked["kind"].notna().equals(marked["example"] >= 0)
        for image, index in zip(images, shown["index"], strict=True):
            assert (np.asarray(image) == np.asarray(runs[0].test_set.load(int(index)))).all()

    def test_figures_show_examples_with_their_classes(self, runs: list[Finished], tmp_path: Path) -> None:
        result = compare_errors(runs, tmp_path, per_kind=2)
        marked, images = pd.read_parquet(tmp_path / "records.parquet"), load_images(tmp_path / EXAMPLES)
        classes = result["parameters"]["classes"]
        found = error_figures.pictures(marked, images, classes, ["a", "b"])
        assert list(found) == ["only a right", "only b right", "greatest loss", "most confident"]
        row = marked[marked["kind"] == KINDS[2]].sort_values("example").iloc[0]
        text = f"{classes[row.target]},\nnot {classes[row.predicted_first]} ({100 * row.confidence_first:.0f} %)"
        assert found["greatest loss"][0][1] == text
        row = marked[marked["kind"] == KINDS[0]].sort_values("example").iloc[0]
        assert found["only a right"][0][1].startswith(f"{classes[row.target]},\nnot {classes[row.predicted_second]}")
        gallery = error_figures.gallery(found)
        assert sum(bool(axes.images) for axes in gallery.axes) == len(images)
        order = similar_order(confusion(marked["target"], marked["predicted_first"], 10))
        labels = [label.get_text() for label in error_figures.confusion(marked, classes).axes[0].get_yticklabels()]
        assert labels == [classes[i] for i in order]

    def test_large_images_are_made_small(self, runs: list[Finished], tmp_path: Path) -> None:
        run = Finished(runs[0].directory)
        large = replace(run.test_set)  # type: ignore[type-var]
        object.__setattr__(large, "load", lambda index: Image.new("RGB", (640, 320)))
        object.__setattr__(run.settings, "test_set", large)
        compare_errors([run, runs[1]], tmp_path)
        assert {image.size for image in load_images(tmp_path / EXAMPLES)} == {(160, 80)}

    @pytest.mark.parametrize("count", [1, 3])
    def test_other_than_two(self, runs: list[Finished], tmp_path: Path, count: int) -> None:
        with pytest.raises(InputError, match=f"{count} runs are given; mistakes are compared of two"):
            compare_errors((runs * 2)[:count], tmp_path / "out")

    def test_no_examples(self, runs: list[Finished], tmp_path: Path) -> None:
        with pytest.raises(InputError, match="per_kind 0 is not possible; valid: a whole number from 1"):
            compare_errors(runs, tmp_path / "out", per_kind=0)

    @pytest.mark.parametrize(("right", "count"), [(True, "100"), (False, "0")])
    def test_networks_that_are_always_right_or_never(
        self, runs: list[Finished], tmp_path: Path, right: bool, count: str
    ) -> None:
        always = Finished(runs[1].directory)
        always.__dict__["records"] = runs[1].records.assign(correct=right)
        with pytest.raises(InputError, match=f"'mini_resnetd11' gets {count} of 100 images right"):
            compare_errors([runs[0], always], tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_thousand_classes_are_drawn_without_numbers() -> None:
    targets, predicted = invented(5000, 0.8, 0, classes=1000)
    table = confusion(targets, predicted, 1000)
    order = similar_order(table)
    pictures = {"hardest": [(Image.new("RGB", (40, 30)), "n01440764,\nnot n01443537 (90 %)")]}
    figure = error_figures.overview(table[np.ix_(order, order)], [f"n{i:08}" for i in order], pictures)
    axes = next(axes for axes in figure.axes if axes.get_ylabel() == "true")
    assert len(axes.get_yticklabels()) == 20
    assert not axes.texts
    assert sum(bool(axes.images) for axes in figure.axes) == 2


def test_long_names_are_cut() -> None:
    assert error_figures.shorten("T-shirt/top") == "T-shirt/top"
    assert error_figures.shorten("great white shark") == "great white s…"
