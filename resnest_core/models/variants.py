"""The tables of networks: a row a network."""

from dataclasses import replace

from resnest_core.models.deeplab import Segmentation
from resnest_core.models.resnet import Architecture

Rows = dict[str, Architecture]

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 200: (3, 24, 36, 3), 269: (3, 30, 48, 8)}
FAST = Architecture(DEPTHS[50], avd_first=True)
BASELINE = Architecture(DEPTHS[50], radix=0, avd=False)

# For images of 28 pixels that two cores can train on: three stages at strides 4, 8, 16. 32 planes are the fewest whose
# groups divide in every row of the ablation.
MINI = replace(FAST, planes=(32, 32, 64), stem_width=8, crop_size=28, num_classes=10)
MINI_BASELINE = replace(MINI, radix=0, avd=False, avd_first=False)
MINI_DEPTHS = {11: (1, 1, 1), 14: (1, 2, 1), 17: (1, 3, 1), 20: (1, 4, 1)}  # the third has maps of 2 x 2


def _ablation(base: Architecture) -> Rows:
    """The rows of the paper's table of radix, cardinality and width that have split attention."""
    return {
        "1s1x64d": replace(base, radix=1),
        "2s1x64d": replace(base, radix=2),
        "4s1x64d": replace(base, radix=4),
        "1s2x40d": replace(base, radix=1, cardinality=2, bottleneck_width=40),
        "2s2x40d": replace(base, radix=2, cardinality=2, bottleneck_width=40),
        "4s2x40d": replace(base, radix=4, cardinality=2, bottleneck_width=40),
        "1s4x24d": replace(base, radix=1, cardinality=4, bottleneck_width=24),
    }


CLASSIFIERS: Rows = {
    "resnest50": Architecture(DEPTHS[50]),
    "resnest101": Architecture(DEPTHS[101], stem_width=64, crop_size=256),
    "resnest200": Architecture(DEPTHS[200], stem_width=64, crop_size=320),
    "resnest269": Architecture(DEPTHS[269], stem_width=64, crop_size=416),
    **{f"resnest50_fast_{name}": row for name, row in _ablation(FAST).items()},
    "resnetd50": BASELINE,
    "resnetd101": replace(BASELINE, layers=DEPTHS[101], stem_width=64, crop_size=256),
    **{f"mini_resnest{depth}": replace(MINI, layers=layers) for depth, layers in MINI_DEPTHS.items()},
    **{f"mini_resnetd{depth}": replace(MINI_BASELINE, layers=layers) for depth, layers in MINI_DEPTHS.items()},
    # The paper's 0s1x64d is ResNet-D, and 2s1x64d the smallest of the family above.
    **{f"mini_{name}": replace(row, layers=MINI_DEPTHS[11]) for name, row in _ablation(MINI).items()},
    "mini_0s1x64d": replace(MINI_BASELINE, layers=MINI_DEPTHS[11]),
}

SEGMENTATION_CLASSES = {"ade": 150, "pcontext": 59, "citys": 19}
SEGMENTERS: dict[str, Segmentation] = {
    **{
        f"deeplab_resnest{depth}_{dataset}": Segmentation(CLASSIFIERS[f"resnest{depth}"], classes)
        for dataset, classes in SEGMENTATION_CLASSES.items()
        for depth in DEPTHS
    },
    **{
        f"fcn_resnest50_{dataset}": Segmentation(CLASSIFIERS["resnest50"], SEGMENTATION_CLASSES[dataset], rates=())
        for dataset in ("ade", "pcontext")
    },
    "deeplab_resnetd50": Segmentation(BASELINE, SEGMENTATION_CLASSES["ade"]),
    # For scenes, seen at 96 pixels: a map of 12 x 12, a fifth of the published one. Half the channels dropped would be
    # too much of so few.
    **{
        f"mini_deeplab_{trunk}": Segmentation(CLASSIFIERS[f"mini_{trunk}"], 11, rates=(3, 6, 9), dropout=0.1)
        for trunk in ("resnest11", "resnetd11")
    },
}
