"""The evaluator: records row by row against scikit-learn and hand arithmetic, and going on after an interruption."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score
from small import CLASSES, Coloured, Linear
from torch import Tensor, nn

from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.evaluation import records as stored
from resnest_core.evaluation.classification import Protocol, accuracy_line, evaluate_classifier
from resnest_core.evaluation.records import CLASSIFICATION, Parts

RULE = Preprocessing(crop_size=8)


def evaluate(out: Path, batch_size: int = 4, n: int = 23, model: nn.Module | None = None) -> tuple[dict, pd.DataFrame]:
    protocol = Protocol(batch_size=batch_size, device="cpu", keep_logits=True)
    result = evaluate_classifier(model or Linear(), Coloured(n), RULE, out, protocol)
    return result, pd.read_parquet(out / "records.parquet")


def test_records_equal_a_second_implementation(tmp_path: Path) -> None:
    result, records = evaluate(tmp_path)
    images = torch.stack([RULE(Coloured().load(i)) for i in range(23)])
    with torch.no_grad():
        logits = Linear()(images).numpy()
    target = np.arange(23) % 7
    assert records["index"].tolist() == list(range(23))
    assert records["image"].tolist() == [f"{i}.png" for i in range(23)]
    assert records["target"].tolist() == target.tolist()
    np.testing.assert_allclose(np.stack(records["logits"]), logits, rtol=1e-5)
    assert records["predicted"].tolist() == logits.argmax(1).tolist()
    assert records["correct"].tolist() == (logits.argmax(1) == target).tolist()
    ranks = [int((row > row[t]).sum()) + 1 for row, t in zip(logits, target, strict=True)]
    assert records["rank"].tolist() == ranks
    np.testing.assert_allclose(records["loss"], -log_softmax(logits, axis=1)[np.arange(23), target], rtol=1e-5)
    best = np.argsort(-logits, axis=1)[:, :5]
    assert np.stack(records["top5"]).tolist() == best.tolist()
    expected = np.take_along_axis(softmax(logits, axis=1), best, axis=1)
    np.testing.assert_allclose(np.stack(records["top5_probability"]), expected, rtol=1e-4)
    metrics = result["metrics"]
    assert metrics["top1"]["value"] == pytest.approx(100 * accuracy_score(target, logits.argmax(1)))
    assert metrics["top5"]["value"] == pytest.approx(100 * top_k_accuracy_score(target, logits, k=5))
    assert metrics["loss"]["value"] == pytest.approx(log_loss(target, softmax(logits.astype(float), axis=1)), rel=1e-5)
    assert 0 < metrics["top1"]["value"] < 100, "an all-right or all-wrong network would test little"


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_the_batch_size_does_not_change_the_records(tmp_path: Path, batch_size: int) -> None:
    _, expected = evaluate(tmp_path / "four")
    _, records = evaluate(tmp_path / "other", batch_size)
    pd.testing.assert_frame_equal(records.drop(columns="logits"), expected.drop(columns="logits"), rtol=1e-5)


def test_ties_are_broken_by_the_lower_class_everywhere(tmp_path: Path) -> None:
    class Same(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 7)

    _, records = evaluate(tmp_path, model=Same())
    assert records["predicted"].eq(0).all()
    assert records["rank"].tolist() == [t + 1 for t in records["target"]]
    assert records["correct"].tolist() == records["rank"].eq(1).tolist()


def test_fewer_than_five_classes(tmp_path: Path) -> None:
    data = Coloured(9, classes=CLASSES[:3])
    result = evaluate_classifier(Linear(3), data, RULE, tmp_path, Protocol(batch_size=4, device="cpu"))
    assert result["metrics"]["top5"]["value"] == 100
    assert pd.read_parquet(tmp_path / "records.parquet")["top5"].map(len).eq(3).all()


class Killed(Exception):
    """Stands for the end of the process."""


def test_an_interrupted_evaluation_goes_on_to_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "SECONDS_BETWEEN_PARTS", -1.0)
    _, expected = evaluate(tmp_path / "undisturbed")

    class Dying(Coloured):
        def load(self, index: int):
            if index == 14:
                raise Killed
            return super().load(index)

    protocol = Protocol(batch_size=4, device="cpu", keep_logits=True)
    with pytest.raises(Killed):
        evaluate_classifier(Linear(), Dying(), RULE, tmp_path / "killed", protocol)
    assert not (tmp_path / "killed" / "records.parquet").exists()
    seen: list[int] = []

    class Watched(Coloured):
        def load(self, index: int):
            seen.append(index)
            return super().load(index)

    evaluate_classifier(Linear(), Watched(), RULE, tmp_path / "killed", protocol)
    assert set(seen[4:]) == set(range(12, 23)), "after the first batch, which warms up, only what was missing is read"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "killed" / "records.parquet"), expected)
    assert not (tmp_path / "killed" / "partial").exists()


def test_rows_of_other_weights_are_not_continued(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "partial", {"weights": "a"})
    parts.append(CLASSIFICATION.empty_table())
    old = set((tmp_path / "partial").iterdir())
    assert Parts(tmp_path / "partial", {"weights": "b"}).rows == 0
    assert not old & set((tmp_path / "partial").iterdir())


def test_missing_and_doubled_rows_are_refused(tmp_path: Path) -> None:
    _, records = evaluate(tmp_path)
    import pyarrow as pa

    rows = pa.Table.from_pandas(records.drop(columns="logits"), schema=CLASSIFICATION, preserve_index=False)
    for wrong in (rows.slice(0, 22), pa.concat_tables([rows.slice(0, 22), rows.slice(0, 1)])):
        parts = Parts(tmp_path / "partial", {"case": wrong.num_rows})
        parts.append(wrong)
        with pytest.raises(InputError, match="not one per image"):
            parts.merge(tmp_path / "merged.parquet", 23)
        assert not (tmp_path / "merged.parquet").exists()


def test_a_network_with_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"network has 3 classes, data set 'coloured' 7; give a network of 7 classes"):
        evaluate(tmp_path, model=Linear(3))
    assert not (tmp_path / "result.json").exists()


def test_logits_that_are_not_finite_are_refused_by_image(tmp_path: Path) -> None:
    class Broken(Linear):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            logits[images.mean(dim=(1, 2, 3)) > 1.5] = float("nan")
            return logits

    with pytest.raises(InputError, match=r"logits of image '\d+.png' are not finite"):
        evaluate(tmp_path, model=Broken())
    assert not (tmp_path / "result.json").exists()


def test_result_file_says_what_it_was_made_with(tmp_path: Path) -> None:
    result, _ = evaluate(tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    provenance = result["provenance"]
    assert provenance["data_digest"] == Coloured().digest
    assert provenance["precision"] == "fp32"
    assert provenance["versions"]["torch"] == torch.__version__.split("+")[0]
    assert provenance["peak_memory"] > 1e8, "a process with torch in it holds more than 100 MB"
    assert result["metrics"]["parameters"]["value"] == 7 * 4


def test_the_line_that_the_authors_script_prints() -> None:
    result = {"metrics": {"top1": {"value": 81.0336}, "top5": {"value": 95.424}}}
    assert accuracy_line(result) == "Top1 Acc: 81.034 | Top5 Acc: 95.424"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device 'gpu' cannot be used"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"batch_size": 0}, "batch_size 0 is not possible"),
    ],
)
def test_bad_protocols(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_classifier(Linear(), Coloured(), RULE, tmp_path, Protocol(**({"device": "cpu"} | options)))
