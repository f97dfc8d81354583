"""Evaluation and training of all tasks, by one process or under torchrun: `several_tasks.py OUT`."""

import atexit
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from several import classify
from test_detection_evaluation import PanopticallyKnowing, panoptic_tree, random_detector
from torch import nn

import resnest_core as rc
from resnest_core import cli, distributed
from resnest_core.data import open_dataset, open_detection, open_segmentation
from resnest_core.data.coco_panoptic import PanopticImages
from resnest_core.evaluation import records
from resnest_core.evaluation.detection import evaluate_detector
from resnest_core.evaluation.segmentation import Protocol, evaluate_segmenter
from resnest_core.evaluation.views import View
from resnest_core.models.deeplab import Segmenter
from resnest_core.models.rcnn.detector import Detector
from resnest_core.provenance import state_digest
from resnest_core.training import classification, detection, segmentation
from resnest_core.training.classification import Recipe, train_classifier
from resnest_core.training.detection import train_detector
from resnest_core.training.segmentation import train_segmenter

VIEW = Protocol(View(base_size=48, base_side="short", crop_size=0), device="cpu")


def precise(trunk: nn.Module) -> None:
    """Double precision, in which rounding hides nothing, and does not grow in a few steps to what can be seen."""
    trunk.double()
    trunk.get_submodule("conv1").register_forward_pre_hook(lambda _, images: (images[0].double(),))


def precise_classifier(*given: object, **options: object) -> nn.Module:
    model = rc.create_model(*given, **options)  # type: ignore[arg-type]
    precise(model)
    return model


def segmenter() -> Segmenter:
    """Without dropout, which each process draws for itself."""
    torch.manual_seed(0)
    model = rc.create_model("mini_deeplab_resnest11")
    assert isinstance(model, Segmenter)
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    return model


def evaluate(out: Path) -> None:
    """All tasks, among them rows that others have left."""
    classify(out / "classification")
    classify(out / "left")
    evaluate_segmenter(segmenter(), open_segmentation("scenes", limit=5), out / "segmentation", VIEW)
    evaluate_detector(random_detector(), open_detection("scenes", limit=5), out / "detection")
    scenes = distributed.of_first(lambda: panoptic_tree(out / "data"))
    panoptic = open_detection("coco_panoptic", scenes)
    assert isinstance(panoptic, PanopticImages)
    model = PanopticallyKnowing(panoptic)
    model.seen = distributed.rank()  # it knows images by their order
    evaluate_detector(model, panoptic, out / "panoptic")


def learn_classes(out: Path) -> nn.Module:
    """In batches that do not fall into equal parts."""
    images = open_dataset("fashion_mnist", split="train", limit=128)
    recipe = Recipe(epochs=2, batch_size=33, augment=True)
    with patch.object(classification, "create_model", precise_classifier):
        return train_classifier("mini_resnest11", images, open_dataset("fashion_mnist", limit=50), out, recipe).model


def learn_pixels(out: Path) -> nn.Module:
    model = segmenter()
    model.double()
    precise(model.backbone)
    recipe = segmentation.Recipe(batch_size=5, solver="sgd", base_size=48, crop_size=40)
    scenes = [open_segmentation("scenes", split="train", limit=16), open_segmentation("scenes", limit=2)]
    return train_segmenter(model, *scenes, out, recipe, VIEW, facts={}).model


def learn_objects(out: Path) -> nn.Module:
    model = rc.create_model("mini_mask_rcnn_resnest11")
    assert isinstance(model, Detector)
    recipe = detection.Recipe(batch_size=3, smallest=40, largest=56)
    return train_detector(model, open_detection("scenes", split="train", limit=6), out, recipe, facts={}).model


def train(out: Path) -> None:
    """All tasks; each process leaves a digest of its weights."""
    for name, learn in {"classes": learn_classes, "pixels": learn_pixels, "objects": learn_objects}.items():
        torch.manual_seed(0)
        model = learn(out / name)
        (out / name / f"digest{distributed.rank()}").write_text(state_digest(model))


def run_the_program(out: Path) -> None:
    weights = str(out / "classes" / "weights.safetensors")
    given = ["--dataset", "fashion_mnist", "--limit", "23", "--batch-size", "4", "--device", "cpu"]
    sys.argv = ["resnest-core", "evaluate", "mini_resnest11", "--weights", weights, *given, "--out", str(out / "cli")]
    cli.main()


def note_threads(out: Path) -> None:
    """Leave the names of this process's threads."""
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    (out / f"threads{distributed.rank()}").write_text("".join(names))


if __name__ == "__main__":
    atexit.register(note_threads, Path(sys.argv[1]))
    torch.set_num_threads(1)
    records.GROUP_ROWS = 2
    evaluate(Path(sys.argv[1]))
    train(Path(sys.argv[1]))
    run_the_program(Path(sys.argv[1]))
