"""Panoptic quality: counts by hand, void and crowds, averages, and a second, slower way to the same counts."""

import numpy as np
import pandas as pd
import pytest

from resnest_core.errors import InputError
from resnest_core.evaluation.panoptic_quality import count_segments, panoptic_quality

PERSON, CAR, SKY = 1, 2, 9


def strip(*runs: tuple[int, int]) -> np.ndarray:
    """A map (1, W) from runs of id and length."""
    return np.concatenate([np.full(length, number) for number, length in runs])[None]


def counts(*arguments: object, **crowd: object) -> dict[int, tuple]:
    rows = count_segments(*arguments, **crowd)
    return {row["category"]: (row["tp"], row["fp"], row["fn"], row["iou"]) for row in rows.to_dict("records")}


def table(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["index", "category", "tp", "fp", "fn", "iou"])


def test_a_match_a_false_and_a_missing_segment() -> None:
    true = strip((5, 10), (6, 10), (7, 10))
    predicted = strip((1, 8), (2, 12), (3, 4), (4, 6))
    found = counts(
        predicted, [(1, PERSON), (2, PERSON), (3, CAR), (4, CAR)], true, [(5, PERSON), (6, PERSON), (7, SKY)]
    )
    assert found == {PERSON: (2, 0, 0, pytest.approx(8 / 10 + 10 / 12)), CAR: (0, 2, 0, 0), SKY: (0, 0, 1, 0)}


def test_half_is_no_match() -> None:
    assert counts(strip((1, 5), (0, 5)), [(1, CAR)], strip((1, 10)), [(1, CAR)]) == {CAR: (0, 1, 1, 0)}
    assert counts(strip((1, 6), (0, 4)), [(1, CAR)], strip((1, 10)), [(1, CAR)]) == {CAR: (1, 0, 0, 0.6)}


def test_void_is_in_no_union() -> None:
    """Of 10 predicted pixels 4 are void: the others are all of the truth."""
    assert counts(strip((1, 10)), [(1, CAR)], strip((7, 6), (0, 4)), [(7, CAR)]) == {CAR: (1, 0, 0, 1)}


@pytest.mark.parametrize(("void", "false"), [(6, 0), (5, 1), (4, 1)])
def test_a_prediction_mostly_in_void_is_left_out(void: int, false: int) -> None:
    true = strip((0, void), (7, 30))
    predicted = strip((1, 10), (0, 20 + void))
    assert counts(predicted, [(1, CAR)], true, [(7, PERSON)]) == {CAR: (0, false, 0, 0), PERSON: (0, 0, 1, 0)}


@pytest.mark.parametrize(("category", "inside", "false"), [(PERSON, 6, 0), (PERSON, 5, 1), (CAR, 10, 1)])
def test_a_prediction_mostly_in_a_crowd_of_its_category_is_left_out(category: int, inside: int, false: int) -> None:
    true = strip((7, inside), (8, 40 - inside))
    predicted = strip((1, 10), (0, 30))
    found = counts(predicted, [(1, category)], true, [(7, PERSON), (8, SKY)], crowd=[7])
    assert found.pop(category) == (0, false, 0, 0)
    assert found == {SKY: (0, 0, 1, 0)}, "a crowd is never missing"


def test_void_and_crowd_count_together() -> None:
    true = strip((7, 3), (0, 3), (8, 4))
    assert counts(strip((1, 10)), [(1, PERSON)], true, [(7, PERSON), (8, SKY)], crowd=[7])[PERSON] == (0, 0, 0, 0)


def test_a_crowd_does_not_match() -> None:
    whole = strip((7, 10))
    assert counts(whole, [(7, PERSON)], whole, [(7, PERSON)], crowd=[7]) == {PERSON: (0, 0, 0, 0)}
    assert np.isnan(panoptic_quality(count_segments(whole, [(7, 1)], whole, [(7, 1)], [7]), [1])["PQ"])


def test_an_image_of_void_has_no_rows() -> None:
    assert count_segments(np.zeros((2, 3), int), [], np.zeros((2, 3), int), []).empty


def test_the_averages() -> None:
    rows = table([(0, PERSON, 2, 1, 1, 1.5), (1, PERSON, 1, 0, 0, 0.9), (0, CAR, 0, 1, 0, 0.0), (1, SKY, 1, 0, 2, 0.8)])
    person, sky = {"PQ": 2.4 / 4, "SQ": 2.4 / 3, "RQ": 3 / 4}, {"PQ": 0.8 / 2, "SQ": 0.8, "RQ": 1 / 2}
    found = panoptic_quality(rows, [PERSON, CAR])
    for name in ("PQ", "SQ", "RQ"):
        assert found[f"{name}_things"] == pytest.approx(100 * person[name] / 2)
        assert found[f"{name}_stuff"] == pytest.approx(100 * sky[name])
        assert found[name] == pytest.approx(100 * (person[name] + sky[name]) / 3)


def test_weights_repeat_images() -> None:
    rows = table([(0, PERSON, 2, 1, 1, 1.5), (1, PERSON, 1, 0, 3, 0.9), (2, SKY, 1, 0, 0, 0.7)])
    again = pd.concat([rows, rows[rows["index"] == 1].assign(index=3)])
    assert panoptic_quality(rows, [PERSON], [1, 2, 1]) == panoptic_quality(again, [PERSON])
    assert panoptic_quality(rows, [PERSON], [1, 1, 1]) == panoptic_quality(rows, [PERSON])
    without = panoptic_quality(rows, [PERSON], [1, 1, 0])
    assert [without[name] for name in ("PQ", "SQ", "RQ")] == [without[f"{name}_things"] for name in ("PQ", "SQ", "RQ")]
    assert np.isnan(without["PQ_stuff"])


@pytest.mark.parametrize("seed", range(10))
def test_equals_sets_of_pixels(seed: int) -> None:
    """The definition with sets, one pair of segments after the other."""
    rng = np.random.default_rng(seed)
    true = np.kron(rng.integers(0, 6, (4, 5)), np.ones((5, 5), int)) * 1000
    predicted = np.where(rng.random(true.shape) < 0.2, rng.integers(0, 6, true.shape), true // 1000)
    predicted[:, 12:] = np.roll(predicted[:, 12:], 2, axis=0)
    truths = [(int(i), int(i) // 1000 % 2) for i in np.unique(true) if i]
    segments = [(int(i), int(i) % 2) for i in np.unique(predicted) if i]
    crowd = [truths[0][0]]
    expected = {category: [0, 0, 0, 0.0] for _, category in segments + truths[1:]}
    void, free = pixels(true, 0), dict(truths[1:])
    for number, category in segments:
        mine = pixels(predicted, number)
        for other in [other for other, of in free.items() if of == category]:
            theirs = pixels(true, other)
            share = len(mine & theirs) / len((mine - void) | theirs)
            if share > 0.5:
                del free[other]
                expected[category][0] += 1
                expected[category][3] += share
                break
        else:
            unknown = void | (pixels(true, crowd[0]) if truths[0][1] == category else set())
            expected[category][1] += len(mine & unknown) <= len(mine) / 2
    for category in free.values():
        expected[category][2] += 1
    found = counts(predicted, segments, true, truths, crowd)
    assert found == {category: pytest.approx(tuple(values)) for category, values in expected.items()}


def pixels(image: np.ndarray, number: int) -> set[int]:
    return set(np.flatnonzero(image == number).tolist())


def test_bad_maps() -> None:
    one = strip((1, 4))
    with pytest.raises(InputError, match=r"shape \(1, 4\), the true one \(1, 5\)"):
        count_segments(one, [(1, CAR)], strip((1, 5)), [(1, CAR)])
    with pytest.raises(InputError, match="predicted segment 1 is in the map or among the segments only"):
        count_segments(one, [], one, [(1, CAR)])
    with pytest.raises(InputError, match="true segment 2 is in the map or among the segments only"):
        count_segments(one, [(1, CAR)], one, [(1, CAR), (2, CAR)])
