"""Verdicts follow from records and seeds, to the single image."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricate import IMAGES, SETTINGS, Study

from resnest_core.article.ablation import Ablation
from resnest_core.article.base_results import BaseResults
from resnest_core.article.batch_size import EVALUATED, TRAINED, BatchSize
from resnest_core.article.comparisons import Comparison, corrected
from resnest_core.article.efficiency import Efficiency
from resnest_core.article.results import Store
from resnest_core.errors import InputError


def pair(study: Study, only_resnest: int, only_resnetd: int, layers: int = 11) -> None:
    """Two networks of one depth that disagree on so many images."""
    correct = np.ones(IMAGES, dtype=bool)
    for family, first, wrong in (("resnest", 0, only_resnetd), ("resnetd", 500, only_resnest)):
        own = correct.copy()
        own[first : first + wrong] = False
        study.evaluated(f"base_results/mini_{family}{layers}", study.rows(own), model=f"mini_{family}{layers}")


def base_results(study: Study) -> BaseResults:
    return BaseResults(Store(study.write_plan()))


def test_one_flipped_record_flips_the_wording(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    pair(study, 8, 1)  # two-sided: 2 * (1 + 9) / 2**9 = 0.039
    ((_, test),) = base_results(study).families
    assert test.sentence.startswith("ResNeSt-11 differs from ResNet-D-11 and is better (+0.70 points, 95 % interval ")
    path = tmp_path / "base_results/mini_resnetd11/records.parquet"
    records = pd.read_parquet(path)
    records.loc[500, ["predicted", "correct", "rank"]] = [records.target[500], True, 1]
    records.to_parquet(path)  # 7 against 1: 2 * (1 + 8) / 2**8 = 0.070
    results = base_results(study)
    ((_, test),) = results.families
    assert test.sentence.startswith("ResNeSt-11 does not differ detectably from ResNet-D-11 (+0.60 points")
    assert results.conclusion == "At no depth does split attention change accuracy detectably."


def test_holm_corrects_within_the_table(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    pair(study, 8, 1, layers=11)
    pair(study, 5, 5, layers=14)
    tests = [test for _, test in base_results(study).families]
    assert tests[0].p == pytest.approx(2 * 20 / 512)  # two comparisons, so 0.039 counts twice
    assert [test.verdict for test in tests] == ["not detectably different"] * 2


def test_correction_passes_over_what_was_not_tested() -> None:
    untested = Comparison("a", "b", "t", 1.0, None, None, None)
    tested = Comparison("c", "d", "t", 1.0, 0.5, 1.5, 0.03)
    assert corrected([None, untested, tested]) == [None, untested, tested]


def test_worse_networks_are_called_worse(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    pair(study, 0, 40)
    results = base_results(study)
    assert results.conclusion == "Split attention lowered accuracy at every depth tested."
    assert results.best == ("ResNet-D-11", 100.0)


def test_records_of_other_images_are_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    pair(study, 8, 1)
    path = tmp_path / "base_results/mini_resnetd11/records.parquet"
    pd.read_parquet(path).iloc[:-1].to_parquet(path)
    with pytest.raises(
        InputError, match="'base_results/mini_resnest11' and 'base_results/mini_resnetd11' were not eval"
    ):
        _ = base_results(study).families


def test_another_preprocessing_is_compared_with_the_usual_one(tmp_path: Path) -> None:
    study = Study(tmp_path, "paper")
    given = {"model": "resnest50", "weights": "published", "dataset": "imagenet"}
    study.classifier("base_results/resnest50", 81.0, **given)
    study.classifier("base_results/resnest50_resize", 80.0, preprocessing="resize_then_crop", **given)
    results = base_results(study)
    (test,) = results.rules
    assert (test.first, test.second) == ("ResNeSt-50 (resize then crop)", "ResNeSt-50")
    assert results.families == []
    assert results.replication.startswith(
        "The authors' figure lies inside our 95 % interval for ResNeSt-50 (−0.03 points)"
    )
    rows = results.accuracy_table().markdown()
    assert "*81.034*" in rows.split("| [ResNeSt-50](base_results/resnest50/index.html) |")[1].split("\n")[0]
    assert "| – | – | – | *80.958*" in rows.split("| [ResNeSt-50 (resize then crop)](")[1].split("\n")[0]


def test_a_published_figure_outside_our_interval_is_said_to_be(tmp_path: Path) -> None:
    study = Study(tmp_path, "paper")
    study.classifier("ablation/x", 70.0, model="resnest50_fast_2s1x64d", weights="published", dataset="imagenet")
    sentence = Ablation(Store(study.write_plan())).replication
    assert sentence == "The authors' figure lies outside our 95 % interval for 2s1x64d (−10.53 points)."


def test_settings_are_compared_over_seeds(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    gains = {0: (0.0, 0.0, 0.0), 1: (-3.0, -3.2, -3.1), 3: (0.5, -0.4, 0.1)}
    for number, setting in enumerate(SETTINGS[:4]):
        for seed, gain in enumerate(gains.get(number, (0.2, 0.0, 0.4))):
            study.classifier(f"ablation/{setting}_{seed}", 80 + gain, model=f"mini_{setting}", seed=seed)
    ablation = Ablation(Store(study.write_plan()))
    assert {setting.label: test.verdict for setting, test in ablation.tests.items()} == {
        "0s1x64d": "not detectably different",
        "1s1x64d": "worse",
        "4s1x64d": "not detectably different",
    }
    assert ablation.conclusion == "1s1x64d is worse than 2s1x64d and 0s1x64d and 4s1x64d do not differ detectably."
    assert ablation.test_names == "paired t test over seeds"


def test_the_families_are_settings_too(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    study.classifier("base_results/mini_resnest11", 80, model="mini_resnest11")
    study.alias("ablation/mini_2s1x64d_seed0", "base_results/mini_resnest11")
    study.classifier("base_results/mini_resnetd11", 70, model="mini_resnetd11")
    study.alias("ablation/mini_0s1x64d_seed0", "base_results/mini_resnetd11")
    assert Ablation(Store(study.write_plan())).conclusion == "0s1x64d is worse than 2s1x64d."


def test_a_network_without_a_setting_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    study.classifier("ablation/x", 80, model="vgg16")
    with pytest.raises(
        InputError, match="experiment 'ablation/x' is of 'vgg16', whose name tells no setting such as 2s"
    ):
        Ablation(Store(study.write_plan()))


def test_a_seed_that_stands_twice_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    for name in ("a", "b"):
        study.classifier(f"ablation/{name}", 80, model="mini_2s1x64d", seed=0)
    study.classifier("ablation/c", 80, model="mini_1s1x64d", seed=0)
    with pytest.raises(InputError, match="the runs ablation/a, ablation/b do not have a seed each"):
        _ = Ablation(Store(study.write_plan())).tests


def test_one_seed_each_is_compared_image_by_image(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    for setting, accuracy in (("2s1x64d", 80), ("1s1x64d", 70)):
        study.classifier(f"ablation/{setting}", accuracy, model=f"mini_{setting}")
    (test,) = Ablation(Store(study.write_plan())).tests.values()
    assert (test.test, test.verdict) == ("exact McNemar test", "worse")


def test_flips_are_counted_against_batches_of_32(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    given = {"model": "mini_resnest11", "weights": "w"}
    study.classifier("batch_size/evaluation_32", 80, logits=True, batch_size=32, **given)
    study.copy("batch_size/evaluation_1", "batch_size/evaluation_32", flipped=3, shift=0.25, batch_size=1, **given)
    study.copy("batch_size/evaluation_64", "batch_size/evaluation_32", batch_size=64, **given)
    batches = BatchSize(Store(study.write_plan()))
    assert (batches.reference(EVALUATED), batches.reference(TRAINED)) == (32, None)
    assert {batch: (flips.changed, flips.n) for batch, flips in batches.flips.items()} == {
        1: (3, IMAGES),
        64: (0, IMAGES),
    }
    assert batches.flips[1].logits == pytest.approx(0.25, rel=1e-5)
    assert (
        batches.evaluation_conclusion == "In evaluation, none of batch 1 and batch 64 differs detectably from batch 32."
    )
    assert batches.training_conclusion == ""


def test_counts_that_drift_from_the_published_ones(tmp_path: Path) -> None:
    study = Study(tmp_path, "tiny")
    study.efficiency()
    efficiency = Efficiency(Store(study.write_plan()))
    (drift,) = efficiency.drifts
    assert (drift.network, drift.counted, drift.published.text) == ("resnest50_fast_1s1x64d", 26217896, "26.3")
    assert efficiency.agreeing == 6
    assert efficiency.baseline is not None
    assert efficiency.baseline.speed == pytest.approx(8 / 11)
