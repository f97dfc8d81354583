"""The evaluator of segmentation networks: counts by image, scores from them, resuming, and what is refused."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score
from torch import Tensor, nn

from resnest_core.errors import InputError
from resnest_core.evaluation import records as records_module
from resnest_core.evaluation.examples import Example, load_examples, save_examples
from resnest_core.evaluation.iou import (
    by_image,
    count,
    mean_iou_all,
    mean_iou_present,
    pixel_accuracy,
    segmentation_metrics,
)
from resnest_core.evaluation.segmentation import Protocol, evaluate_segmenter, score_line
from resnest_core.evaluation.views import View
from resnest_core.models import create_model
from resnest_core.models.deeplab import Segmenter

GOLDEN = np.load(Path(__file__).parent / "golden" / "segmentation" / "metrics.npz")
K = 4
WHOLE = Protocol(View(base_size=24, base_side="short", crop_size=0), device="cpu")


@dataclass
class Squares:
    """Images of odd sizes whose class is where they are bright, with a margin that does not count."""

    n: int = 9
    classes: tuple[str, ...] = ("dark", "dim", "bright", "white")
    name: str = "squares"
    source: str = "made for a test"

    @property
    def paths(self) -> list[str]:
        return [f"{i}.png" for i in range(self.n)]

    @property
    def digest(self) -> str:
        return f"squares {self.n}"

    def load(self, index: int) -> tuple[Image.Image, np.ndarray]:
        rng = np.random.default_rng(index)
        target = np.kron(rng.integers(0, K, (5, 7)), np.ones((6 + index, 5), np.int64)).astype(np.int16)
        image = Image.fromarray(np.repeat((target * 60 + 20).astype(np.uint8)[..., None], 3, axis=2))
        target[:2] = -1
        return image, target

    def __len__(self) -> int:
        return self.n


def network(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    model = create_model("mini_deeplab_resnest11", num_classes=K)
    assert isinstance(model, Segmenter)
    return model.eval()


def confusion(dataset: Squares, model: Segmenter) -> tuple[np.ndarray, np.ndarray]:
    """All labelled pixels of the data set, true and predicted, by plain calls of the network."""
    true, predicted = [], []
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for index in range(len(dataset)):
        image, target = dataset.load(index)
        x = (torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - mean) / std
        short = min(x.shape[1:])
        size = [24 if side == short else int(side * 24 / short + 0.5) for side in x.shape[1:]]
        resize = {"mode": "bilinear", "align_corners": True}
        with torch.no_grad():
            logits = model(nn.functional.interpolate(x[None], size, **resize))["out"]
            classes = nn.functional.interpolate(logits, x.shape[1:], **resize)[0].argmax(0).numpy()
        true.append(target[target >= 0])
        predicted.append(classes[target >= 0])
    return np.concatenate(true), np.concatenate(predicted)


def test_scores_equal_a_second_implementation(tmp_path: Path) -> None:
    dataset, model = Squares(), network()
    result = evaluate_segmenter(model, dataset, tmp_path, WHOLE)
    true, predicted = confusion(dataset, model)
    metrics = {name: metric["value"] for name, metric in result["metrics"].items()}
    assert metrics["pixAcc"] == pytest.approx(100 * (true == predicted).mean(), abs=0.05)
    ious = 100 * jaccard_score(true, predicted, labels=range(K), average=None, zero_division=0.0)
    assert metrics["mIoU"] == pytest.approx(ious.mean(), abs=0.05)
    assert [metrics[f"iou.{name}"] for name in dataset.classes] == pytest.approx(ious.tolist(), abs=0.1)
    for name in ("pixAcc", "mIoU", "mIoU_present"):
        metric = result["metrics"][name]
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["n"] == len(dataset)


def test_records_hold_counts_of_each_image(tmp_path: Path) -> None:
    dataset = Squares()
    evaluate_segmenter(network(), dataset, tmp_path, WHOLE)
    records = pd.read_parquet(tmp_path / "records.parquet")
    assert records["index"].tolist() == list(range(9))
    assert records["image"].tolist() == dataset.paths
    for row in records.to_dict("records"):
        target = dataset.load(row["index"])[1]
        assert (row["height"], row["width"]) == target.shape
        assert row["pixels"].tolist() == np.bincount(target[target >= 0], minlength=K).tolist()
        assert (row["intersections"] <= row["pixels"]).all()
        assert (row["pixels"] <= row["unions"]).all()
        assert row["unions"].sum() == 2 * row["pixels"].sum() - row["intersections"].sum()


def test_an_interrupted_evaluation_goes_on_to_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "SECONDS_BETWEEN_PARTS", 0.0)
    seen: list[int] = []

    class Failing(Squares):
        limit = 5

        def load(self, index: int) -> tuple[Image.Image, np.ndarray]:
            if index == self.limit:
                raise KeyboardInterrupt
            seen.append(index)
            return super().load(index)

    whole = evaluate_segmenter(network(), Squares(), tmp_path / "whole", WHOLE)
    dataset = Failing()
    with pytest.raises(KeyboardInterrupt):
        evaluate_segmenter(network(), dataset, tmp_path / "parts", WHOLE)
    assert not (tmp_path / "parts" / "records.parquet").exists()
    dataset.limit = -1
    seen.clear()
    resumed = evaluate_segmenter(network(), dataset, tmp_path / "parts", WHOLE)
    assert min(seen) == 5
    frames = [pd.read_parquet(tmp_path / name / "records.parquet") for name in ("whole", "parts")]
    assert frames[0].astype(str).equals(frames[1].astype(str))
    assert resumed["metrics"]["mIoU"] == whole["metrics"]["mIoU"]


def test_rows_of_another_view_are_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "SECONDS_BETWEEN_PARTS", 0.0)
    monkeypatch.setattr(
        Squares, "load", lambda self, index, load=Squares.load: load(self, index) if index < 4 else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        evaluate_segmenter(network(), Squares(), tmp_path, WHOLE)
    monkeypatch.undo()
    other = Protocol(View(base_size=30, base_side="short", crop_size=0), device="cpu")
    evaluate_segmenter(network(), Squares(), tmp_path, other)
    evaluate_segmenter(network(), Squares(), tmp_path / "fresh", other)
    frames = [pd.read_parquet(folder / "records.parquet") for folder in (tmp_path, tmp_path / "fresh")]
    assert frames[0].astype(str).equals(frames[1].astype(str))


def test_the_result_tells_protocol_memory_and_data(tmp_path: Path) -> None:
    evaluate_segmenter(network(), Squares(n=2), tmp_path, WHOLE, parameters={"view": "single_scale"})
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["parameters"] == {"view": "single_scale"}
    assert result["provenance"]["data_digest"] == "squares 2"
    assert result["metrics"]["peak_memory"]["value"] > 1e7
    assert result["metrics"]["parameters"]["value"] == sum(p.numel() for p in network().parameters())
    assert result["metrics"]["images_per_second"]["n"] == 2


def test_a_network_with_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the network has 3 classes, data set 'squares' 4"):
        evaluate_segmenter(create_model("mini_deeplab_resnest11", num_classes=3), Squares(), tmp_path, WHOLE)


def test_scores_that_are_not_finite_are_refused_by_image(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model.head.block[-1].bias[0] = torch.nan
    with pytest.raises(InputError, match=r"image '0.png': scores are not finite"):
        evaluate_segmenter(model, Squares(), tmp_path, WHOLE)


def counts_of(predicted: np.ndarray, raw: np.ndarray) -> list[Tensor]:
    """Sums over images of the counts, from labels as in ADE20K's files."""
    found = [
        count(torch.from_numpy(p.astype(np.int64)), torch.from_numpy(r.astype(np.int64) - 1), 150)
        for p, r in zip(predicted, raw, strict=True)
    ]
    return [torch.stack([counts[name] for counts in found]).sum(0) for name in ("intersections", "unions", "pixels")]


@pytest.mark.parametrize("prefix", ["", "sparse."])
def test_the_authors_metrics(prefix: str) -> None:
    right, union, pixels = (c.numpy() for c in counts_of(GOLDEN[f"{prefix}pred"], GOLDEN[f"{prefix}raw_label"]))
    assert right.tolist() == GOLDEN[f"{prefix}inter"].tolist()
    assert union.tolist() == GOLDEN[f"{prefix}union"].tolist()
    assert right.sum() == GOLDEN[f"{prefix}correct"]
    assert pixels.sum() == GOLDEN[f"{prefix}labeled"]
    assert pixel_accuracy(right, pixels) / 100 == pytest.approx(float(GOLDEN[f"{prefix}pixAcc"]))
    assert mean_iou_all(right, union) / 100 == pytest.approx(float(GOLDEN[f"{prefix}mIoU"]))


def test_the_usual_mean_leaves_absent_classes_out() -> None:
    right, union, _ = (c.numpy() for c in counts_of(GOLDEN["sparse.pred"], GOLDEN["sparse.raw_label"]))
    assert mean_iou_present(right, union) / 100 == pytest.approx(0.512018, abs=1e-6)


def test_hand_arithmetic() -> None:
    target = torch.tensor([[0, 0, 1], [1, -1, 2]])
    predicted = torch.tensor([[0, 1, 1], [1, 0, 1]])
    counts = count(predicted, target, 4)
    assert counts["intersections"].tolist() == [1, 2, 0, 0]
    assert counts["unions"].tolist() == [2, 4, 1, 0]
    assert counts["pixels"].tolist() == [2, 2, 1, 0]
    right, union, pixels = (counts[name].numpy() for name in ("intersections", "unions", "pixels"))
    assert pixel_accuracy(right, pixels) == pytest.approx(60)
    assert mean_iou_all(right, union) == pytest.approx(100 * (0.5 + 0.5) / 4)
    assert mean_iou_present(right, union) == pytest.approx(100 * (0.5 + 0.5) / 3)


def test_an_image_without_labels_counts_nothing() -> None:
    counts = count(torch.zeros(3, 3, dtype=torch.long), torch.full((3, 3), -1), 2)
    assert all(value.sum() == 0 for value in counts.values())
    frame = pd.DataFrame({name: [value.tolist()] * 3 for name, value in counts.items()})
    metrics = segmentation_metrics(frame, ["a", "b"])
    assert not metrics, "scores of no pixel are undefined"
    assert score_line({"metrics": metrics}) == "pixAcc: undefined | mIoU: undefined"
    assert by_image(frame)["unions"].shape == (3, 2)


def test_examples_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    examples = [
        Example(
            rng.integers(0, 255, (h, 5, 3), dtype=np.uint8), np.full((h, 5), -1, np.int16), np.ones((h, 5), np.int16)
        )
        for h in (3, 4)
    ]
    save_examples(tmp_path / "examples.npz", examples)
    found = load_examples(tmp_path / "examples.npz")
    assert len(found) == 2
    assert all(
        np.array_equal(getattr(a, n), getattr(b, n)) for a, b in zip(examples, found, strict=True) for n in vars(a)
    )
