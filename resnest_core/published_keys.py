"""What the authors call parts of a network, and what they are called here: the one place where keys are renamed."""

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_TRUNK = "backbone.bottom_up."  # of a detector; detectron2 has the norm of a convolution as its part
_STEM = {
    "conv1_1.norm": "conv1.1",
    "conv1_1": "conv1.0",
    "conv1_2.norm": "conv1.4",
    "conv1_2": "conv1.3",
    "conv1_3.norm": "bn1",
    "conv1_3": "conv1.6",
    "conv1.norm": "bn1",
    "conv1": "conv1",
}
# Patterns and what takes their place, each tried in turn on every key.
RULES = (
    (r"^pretrained\.", "backbone."),  # PyTorch-Encoding's segmenters
    (r"^auxlayer\.", "auxiliary."),
    *((rf"^{_TRUNK}stem\.{theirs}\.", f"{_TRUNK}{ours}.") for theirs, ours in _STEM.items()),
    (rf"^({_TRUNK}res\d\.\d+)\.conv([123])\.norm\.", r"\1.bn\2."),
    (rf"^({_TRUNK}res\d\.\d+)\.conv2_offset\.", r"\1.conv2.conv.offset."),
    *((rf"^{_TRUNK}res{stage}\.", f"{_TRUNK}layer{stage - 1}.") for stage in (2, 3, 4, 5)),
    (r"^roi_heads\.(box_head|box_predictor)\.(?!\d)", r"roi_heads.\1.0."),  # one stage is a cascade of one here
)
# A shortcut begins with pooling, or, in networks with a plain stem, has none.
POOLED_SHORTCUT = (r"\.shortcut\.norm\.", ".downsample.2."), (r"\.shortcut\.", ".downsample.1.")
PLAIN_SHORTCUT = (r"\.shortcut\.norm\.", ".downsample.1."), (r"\.shortcut\.", ".downsample.0.")
PLAIN_STEM = f"{_TRUNK}stem.conv1.weight"
NO_WEIGHTS = "proposal_generator.anchor_generator.cell_anchors."  # the anchors, which the authors' fork stores


def renamed(state_dict: Mapping[str, T]) -> dict[str, T]:
    """The entries of a published file under their names here; ours stay as they are."""
    rules = (*RULES, *(PLAIN_SHORTCUT if PLAIN_STEM in state_dict else POOLED_SHORTCUT))
    return {_named(key, rules): value for key, value in state_dict.items() if not key.startswith(NO_WEIGHTS)}


def _named(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key, count=1)
    return key
