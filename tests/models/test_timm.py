"""timm's ResNeSt and ResNet-D as a second implementation: the same weights under the same keys give the same logits.

They cover the networks whose outputs from the authors' code are not stored here.
"""

import pytest
import timm
import torch
from golden_weights import golden_input, golden_state_dict

from resnest_core.models import create_model
from resnest_core.profiling import count_parameters

PAIRS = [
    ("resnest50", "resnest50d", {}),
    ("resnest101", "resnest101e", {}),
    ("resnest200", "resnest200e", {}),
    ("resnest269", "resnest269e", {}),
    ("resnest50_fast_4s2x40d", "resnest50d_4s2x40d", {}),
    ("resnest50_fast_1s4x24d", "resnest50d_1s4x24d", {}),
    ("resnetd50", "resnet50d", {}),
    ("resnetd101", "resnet101d", {"stem_width": 64}),  # as Gluon's resnet101_v1d, the paper's baseline; timm's is 32
]


@pytest.mark.parametrize(("name", "name_in_timm", "options"), PAIRS)
def test_the_same_weights_give_the_same_logits(name: str, name_in_timm: str, options: dict) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name).eval(), timm.create_model(name_in_timm, **options).eval()
    weights = golden_state_dict(ours.state_dict(), damping=0.5)
    for model in (ours, theirs):
        model.load_state_dict(weights, assign=True)
    assert count_parameters(ours) == count_parameters(theirs)
    images = golden_input("image", (2, 3, 97, 64))
    with torch.inference_mode():
        expected = theirs(images)
        assert (ours(images) - expected).abs().max() < 1e-4 * expected.std()
        images_differ = (expected[0] - expected[1]).abs().max() / expected.std()
        assert images_differ > 1e-2  # or the tolerance would hide a wrong stage
