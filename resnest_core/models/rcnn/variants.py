"""The table of detectors: a row a network."""

from dataclasses import replace
from typing import Any

from resnest_core.data.coco_categories import STUFF, THINGS
from resnest_core.data.fashion_mnist import CLASSES
from resnest_core.models.rcnn.settings import Detection, Pixels, Proposing
from resnest_core.models.resnet import Architecture
from resnest_core.models.variants import CLASSIFIERS, DEPTHS

# The baselines begin with the weights of the first ResNets, which saw blue first and had their strides in the 1x1
# convolutions. (The authors' wrapper builds them without, for which those weights are not.)
BGR = Pixels("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
RGB = Pixels("RGB", (123.68, 116.779, 103.939), (58.393, 57.12, 57.375))
RESNET = Architecture(
    DEPTHS[50], radix=0, avd=False, deep_stem=False, average_down=False, stride_in_1x1=True, num_classes=1000
)

KINDS: dict[str, dict[str, Any]] = {
    "faster_rcnn": {},
    "cascade_rcnn": {"cascade": True},
    "mask_rcnn": {"mask_convolutions": 4},
    "cascade_mask_rcnn": {"cascade": True, "mask_convolutions": 4},
}


def _coco(kind: str, trunk: str, **changed: Any) -> Detection:
    depth = int(trunk.removeprefix("resnest").removeprefix("resnet"))
    settings = KINDS[kind] | changed
    return Detection(
        trunk=CLASSIFIERS[trunk] if trunk.startswith("resnest") else replace(RESNET, layers=DEPTHS[depth]),
        pixels=RGB if trunk.startswith("resnest") else BGR,
        categories=tuple(THINGS.values()),
        proposing=Proposing(train=2000 if settings.get("cascade") else 1000),
        **settings,
    )


TRICKS = _coco("cascade_mask_rcnn", "resnest200", mask_convolutions=8)


def _deformable(row: Detection) -> Detection:
    return replace(row, trunk=replace(row.trunk, deformable=2))


def _mini(kind: str, trunk: str) -> Detection:
    """For scenes seen at 80 pixels: three levels and one coarser, narrow heads without convolutions, few proposals."""
    proposing = Proposing(
        anchor_sizes=(10, 20, 40, 60), per_level_train=200, train=100, per_level_test=200, test=100, sampled=64
    )
    masks = {"mask_convolutions": 2} if KINDS[kind].get("mask_convolutions") else {}
    return Detection(
        trunk=CLASSIFIERS[f"mini_{trunk}"],
        pixels=RGB,
        categories=CLASSES,
        frozen_stages=0,
        proposing=proposing,
        channels=32,
        hidden=128,
        box_convolutions=0,
        canonical_box=40.0,
        sampled=64,
        short_side=80,
        long_side=133,
        **(KINDS[kind] | masks),
    )


TRUNKS = "resnet50", "resnet101", "resnest50", "resnest101"
DETECTORS: dict[str, Detection] = {
    **{f"{kind}_{trunk}_fpn": _coco(kind, trunk) for kind in KINDS for trunk in TRUNKS},
    "faster_rcnn_resnest50_fpn_dcn": _deformable(_coco("faster_rcnn", "resnest50")),
    "cascade_rcnn_resnest200_fpn": _coco("cascade_rcnn", "resnest200"),
    "cascade_mask_rcnn_resnest200_fpn_tricks_3x": TRICKS,
    "cascade_mask_rcnn_resnest200_fpn_dcn_tricks_3x": _deformable(TRICKS),
    "panoptic_fpn_resnest200_tricks_3x": replace(
        TRICKS, mask_convolutions=4, mask_norm=False, stuff=("things", *STUFF.values())
    ),
    **{f"mini_{kind}_{trunk}": _mini(kind, trunk) for kind in KINDS for trunk in ("resnest11", "resnetd11")},
}


def task_of_row(row: Detection) -> str:
    """What a detector is for."""
    if row.stuff:
        return "panoptic_segmentation"
    return "instance_segmentation" if row.mask_convolutions else "object_detection"
