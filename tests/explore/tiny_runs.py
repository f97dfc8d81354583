"""A build directory of tiny runs: networks with random weights on a few images of the embedded data."""

from pathlib import Path

from resnest_core.evaluation import classification as classifying
from resnest_core.evaluation import detection as detecting
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.detection import ObjectDetection
from resnest_core.experiments.segmentation import SemanticSegmentation
from resnest_core.training import classification, detection, segmentation

IMAGES, SCENES = 20, 2


def make(build: Path) -> None:
    """Two classifiers, with split attention and without, a segmentation network and a detector, each in its place."""
    study = build / "default"
    for experiment in (
        classifier(study / "base_results" / "mini_resnest11", seed=0),
        classifier(study / "base_results" / "mini_resnetd11", seed=1),
        SemanticSegmentation(
            "mini_deeplab_resnest11",
            str(study / "semantic_segmentation" / "segmenter"),
            limit=SCENES,
            device="cpu",
            examples=0,
            train_limit=4,
            recipe=segmentation.Recipe(epochs=0, batch_size=2, base_size=32, crop_size=32),
        ),
        ObjectDetection(
            "mini_mask_rcnn_resnest11",
            str(study / "instance_segmentation" / "detector"),
            limit=SCENES,
            examples=0,
            protocol=detecting.Protocol(device="cpu"),
            train_limit=4,
            recipe=detection.Recipe(epochs=0, batch_size=2),
        ),
    ):
        assert experiment.result["metrics"]


def classifier(out: Path, seed: int) -> Classification:
    """A classifier by the name of its directory."""
    return Classification(
        out.name,
        str(out),
        limit=IMAGES,
        protocol=classifying.Protocol(batch_size=IMAGES, device="cpu"),
        train_limit=64,
        recipe=classification.Recipe(epochs=0, seed=seed),
    )
