"""What a network's name says about it."""

import re
from dataclasses import dataclass

from resnest_core.errors import InputError

HEADS = {"deeplab": "", "fcn": "FCN, "}  # DeepLabV3 goes without saying
FAMILIES = {"resnest": "ResNeSt", "resnetd": "ResNet-D", "resnet": "ResNet"}
DETECTORS = {
    "faster_rcnn": "Faster R-CNN",
    "cascade_rcnn": "Cascade R-CNN",
    "mask_rcnn": "Mask R-CNN",
    "cascade_mask_rcnn": "Cascade Mask R-CNN",
    "panoptic_fpn": "Panoptic FPN",
}
TRICKS = {"dcn": "deformable", "tricks_3x": "3×"}
# The paper's like-for-like baseline stands in its ablation table as radix 0.
PUBLISHED_AS = {"resnetd50": "resnest50_fast_0s1x64d"}


@dataclass(frozen=True)
class Depth:
    """A network of the base results: its family, its number of layers, and the preprocessing if not its own."""

    family: str
    layers: int
    small: bool
    preprocessing: str = ""

    @property
    def label(self) -> str:
        rule = f" ({self.preprocessing.replace('_', ' ')})" if self.preprocessing else ""
        return f"{FAMILIES[self.family]}-{self.layers}{rule}"


@dataclass(frozen=True)
class Setting:
    """Radix, cardinality and bottleneck width, written 2s1x64d."""

    radix: int
    cardinality: int
    width: int

    @property
    def label(self) -> str:
        return f"{self.radix}s{self.cardinality}x{self.width}d"


OF_FAMILY = {"resnest": Setting(2, 1, 64), "resnetd": Setting(0, 1, 64)}


def depth(model: str) -> Depth | None:
    """Family and depth from names like resnest50 and mini_resnetd14; None for other names."""
    match = re.fullmatch(r"(mini_)?(resnest|resnetd)(\d+)", model)
    return Depth(match[2], int(match[3]), bool(match[1])) if match else None


def setting(model: str) -> Setting | None:
    """The setting from names like mini_2s1x64d and resnest50_fast_2s1x64d; None for other names."""
    match = re.search(r"(?:^|_)(\d+)s(\d+)x(\d+)d$", model)
    return Setting(int(match[1]), int(match[2]), int(match[3])) if match else None


def built_as(model: str) -> Setting | None:
    """The setting of any classifier: that in its name, or that of its family."""
    network = depth(model)
    return setting(model) if network is None else OF_FAMILY[network.family]


def classifier_label(model: str) -> str:
    """A classifier as the text calls it: "ResNeSt-50", or by its setting, "2s1x64d"."""
    if (found := depth(model) or setting(model)) is None:
        raise InputError(f"'{model}' is no name of a classifier; valid: as resnest50, resnest50_fast_2s1x64d")
    return found.label


def segmenter_label(model: str) -> str:
    """A segmentation network as the text calls it, by its trunk: "ResNeSt-50", "FCN, ResNeSt-50"."""
    match = re.search(r"(deeplab|fcn)_(resnest|resnetd)(\d+)", model)
    if match is None:
        raise InputError(f"'{model}' is no name of a segmentation network; valid: as deeplab_resnest50_ade")
    return f"{HEADS[match[1]]}{FAMILIES[match[2]]}-{match[3]}"


def detector_label(model: str) -> str:
    """A detector as the text calls it: "Faster R-CNN on ResNeSt-50", "Cascade R-CNN on ResNeSt-200, deformable"."""
    match = re.fullmatch(r"(?:mini_)?([a-z_]+?)_(resnest|resnetd|resnet)(\d+)(?:_fpn)?(.*)", model)
    if match is None or match[1] not in DETECTORS:
        raise InputError(f"'{model}' is no name of a detector; valid: as faster_rcnn_resnest50_fpn")
    tricks = [text for name, text in TRICKS.items() if name in match[4]]
    return ", ".join([f"{DETECTORS[match[1]]} on {FAMILIES[match[2]]}-{match[3]}", *tricks])


def published_name(model: str) -> str:
    """The name under which published.csv has a full-size network."""
    return PUBLISHED_AS.get(model, model)


def ablation_name(setting: Setting) -> str:
    """The published ImageNet network with that setting."""
    return f"resnest50_fast_{setting.label}"
