"""Build directories of whole profiles, with invented results."""

from pathlib import Path

import fabricate_attention
import fabricate_calibration
import fabricate_errors
import fabricate_frontier
import fabricate_modes
import fabricate_preprocessing
import fabricate_robustness
import fabricate_saliency
from fabricate import SETTINGS, Study
from fabricate_detection import detector

ANALYSES = (
    fabricate_attention,
    fabricate_saliency,
    fabricate_errors,
    fabricate_calibration,
    fabricate_robustness,
    fabricate_preprocessing,
    fabricate_frontier,
    fabricate_modes,
)

DEFAULT = {  # how often networks of the default profile find an object
    "object_detection": {
        "faster_rcnn_resnest11": 0.5,
        "faster_rcnn_resnetd11": 0.45,
        "cascade_rcnn_resnest11": 0.95,
    },
    "instance_segmentation": {
        "mask_rcnn_resnest11": 0.6,
        "mask_rcnn_resnetd11": 0.6,
        "cascade_mask_rcnn_resnest11": 0.9,
        "cascade_mask_rcnn_resnetd11": 0.7,
    },
}


def default(directory: Path) -> Study:
    """The studies of the default profile, without its plan."""
    study = Study(directory, "default")
    for layers, ours, theirs in ((11, 87.6, 86.9), (14, 88.4, 86.2), (17, 88.9, 88.3), (20, 89.3, 88.8)):
        study.classifier(f"base_results/mini_resnest{layers}", ours, model=f"mini_resnest{layers}")
        study.classifier(f"base_results/mini_resnetd{layers}", theirs, model=f"mini_resnetd{layers}")
    batch = {"model": "mini_resnest11", "weights": "build/default/base_results/mini_resnest11/weights.safetensors"}
    study.classifier("batch_size/evaluation_32", 87.6, logits=True, batch_size=32, **batch)
    for size, flipped, shift in ((1, 1, 3e-6), (16, 0, 9e-7), (64, 0, 0.0), (256, 1, 2e-6)):
        key = f"batch_size/evaluation_{size}"
        study.copy(key, "batch_size/evaluation_32", flipped=flipped, shift=shift, batch_size=size, **batch)
    study.alias("batch_size/training_64", "base_results/mini_resnest11")
    study.classifier("batch_size/training_128", 86.1, model="mini_resnest11", train_batch_size=128)
    study.classifier("batch_size/training_256", 81.3, model="mini_resnest11", train_batch_size=256)
    for number, setting in enumerate(SETTINGS):
        for seed in (0, 1):
            if (setting, seed) == ("2s1x64d", 0):
                study.alias(f"ablation/mini_{setting}_seed0", "base_results/mini_resnest11")
                continue
            key, accuracy = (
                f"ablation/mini_{setting}_seed{seed}",
                86.8 + 0.15 * number + (0.4 - 0.1 * (number % 3)) * seed,
            )
            study.classifier(key, accuracy, model=f"mini_{setting}", seed=seed)
    segmentation(study)
    detectors(study)
    for analysis in ANALYSES:
        analysis.add(study)
    study.efficiency()
    return study


def segmentation(study: Study) -> None:
    """The study of segmentation of the default profile: ResNeSt is better, and beginning with a classifier helps."""
    for trunk, start, quality in (
        ("resnest11", "pretrained", 0.7),
        ("resnetd11", "pretrained", 0.6),
        ("resnest11", "random", 0.5),
        ("resnetd11", "random", 0.5),
    ):
        backbone = f"build/default/base_results/mini_{trunk}/weights.safetensors" if start == "pretrained" else ""
        for seed in (0, 1):
            given = {"model": f"mini_deeplab_{trunk}", "backbone": backbone, "seed": seed}
            study.segmenter(f"semantic_segmentation/{trunk}_{start}_seed{seed}", quality, **given)
    for trunk in ("resnest11", "resnetd11"):
        weights = f"build/default/semantic_segmentation/{trunk}_pretrained_seed0/weights.safetensors"
        given = {"model": f"mini_deeplab_{trunk}", "weights": weights, "view": "multi_scale", "images": 10}
        study.segmenter(f"semantic_segmentation/{trunk}_multi_scale", 0.72, **given)


def detectors(study: Study) -> None:
    """The studies of detection of the default profile."""
    for name, networks in DEFAULT.items():
        for network, quality in networks.items():
            backbone = f"build/default/base_results/mini_{network.rpartition('_')[2]}/weights.safetensors"
            detector(study, f"{name}/{network}_seed0", quality, model=f"mini_{network}", backbone=backbone)


def published_detectors(study: Study, missing: str) -> None:
    """Those of the paper's profile, of which most weights are missing."""
    given = {"weights": "published", "dataset": "coco"}
    for model, quality in (("faster_rcnn_resnest50_fpn", 0.95), ("faster_rcnn_resnet50_fpn", 0.4)):
        detector(study, f"object_detection/{model}", quality, model=model, **given)
    for model in ("cascade_rcnn_resnest50_fpn", "faster_rcnn_resnest50_fpn_dcn"):
        detector(study, f"object_detection/{model}", 0.5, model=model, missing=missing, **given)
    for model in ("mask_rcnn_resnest50_fpn", "panoptic_fpn_resnest200_tricks_3x"):
        detector(study, f"instance_segmentation/{model}", 0.5, model=model, missing=missing, **given)


def paper(directory: Path, missing: str) -> Study:
    """The paper's profile, of which some weights were missing."""
    study = Study(directory, "paper")
    given = {"dataset": "imagenet", "weights": "published", "batch_size": 32}
    for layers, accuracy in ((50, 81.0), (101, 82.8), (200, 83.8)):
        study.classifier(
            f"base_results/resnest{layers}", accuracy, model=f"resnest{layers}", logits=layers == 50, **given
        )
    study.classifier("base_results/resnest269", 84.5, model="resnest269", missing=missing, **given)
    study.alias("batch_size/evaluation_32", "base_results/resnest50")
    for size in (16, 64):
        changed = given | {"batch_size": size}
        study.copy(f"batch_size/evaluation_{size}", "base_results/resnest50", model="resnest50", **changed)
    for number, setting in enumerate(SETTINGS[1:]):
        model = f"resnest50_fast_{setting}"
        absent = missing if setting == "1s4x24d" else None
        study.classifier(f"ablation/{model}", 80.3 + 0.1 * number, model=model, missing=absent, **given)
    published = {"dataset": "ade20k", "weights": "published", "view": "multi_scale"}
    for depth, quality in ((50, 0.6), (101, 0.65)):
        name = f"deeplab_resnest{depth}_ade"
        study.segmenter(f"semantic_segmentation/{name}", quality, model=name, **published)
        single = published | {"view": "single_scale"}
        study.segmenter(f"semantic_segmentation/{name}_single_scale", quality - 0.05, model=name, **single)
    for name, dataset in (("deeplab_resnest200_ade", "ade20k"), ("fcn_resnest50_pcontext", "pcontext")):
        given = published | {"dataset": dataset}
        study.segmenter(f"semantic_segmentation/{name}", 0.5, model=name, missing=missing, **given)
    published_detectors(study, missing)
    study.efficiency()
    return study
