"""Ways from a stored image to what a network is given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnest_core.analyses.conditions import (
    AS_IT_IS,
    STORED,
    Condition,
    Sweep,
    conditions,
    contrasts,
    kept_share,
    needed_side,
)
from resnest_core.data import open_dataset
from resnest_core.data.batches import network_input
from resnest_core.data.transforms import Preprocessing

SMALL = Condition("reference", STORED, AS_IT_IS)
PHOTOGRAPHS = Condition("reference", "pillow", Preprocessing())


def test_fashion_mnist_as_it_is() -> None:
    data = open_dataset("fashion_mnist", limit=5)
    own = network_input(data, Preprocessing(crop_size=28))
    for i in range(5):
        assert torch.equal(AS_IT_IS(data.load(i)), own(data.load(i)))


def test_small_images_are_crossed_whole_and_cropped() -> None:
    plan = conditions(SMALL, Sweep(sizes=(40, 14, 14)))
    names = [condition.name for condition in plan]
    assert names[:4] == ["reference", "whole-bicubic-pillow", "whole-bicubic-torchvision", "whole-bicubic-draft"]
    assert names[-2:] == ["size_14", "size_40"]
    assert len(set(names)) == len(names) == 1 + 3 + 2 * 2 * 4 + 2
    cropped = next(condition for condition in plan if condition.name == "centre_square-bilinear-stored")
    assert cropped.preprocessing == replace(AS_IT_IS, rule="centre_square", interpolation="bilinear", ratio=0.875)
    assert plan[-1].preprocessing == replace(AS_IT_IS, crop_size=40)


def test_photographs_keep_the_reference_out_of_the_crossing() -> None:
    names = [condition.name for condition in conditions(PHOTOGRAPHS, Sweep(sizes=(256,)))]
    assert "centre_square-bicubic-pillow" not in names
    assert len(set(names)) == len(names) == 1 + (2 * 2 * 3 - 1) + 1
    assert not any(name.startswith("whole") for name in names)


def test_contrasts_differ_in_one_factor() -> None:
    plan = conditions(SMALL, Sweep(decoders=("pillow", "draft"), sizes=(14,)))
    assert {(a.name, b.name) for a, b in contrasts(plan)} == {
        ("whole-bicubic-draft", "whole-bicubic-pillow"),
        ("centre_square-bilinear-stored", "centre_square-bicubic-stored"),
        ("resize_then_crop-bilinear-stored", "resize_then_crop-bicubic-stored"),
        ("resize_then_crop-bicubic-stored", "centre_square-bicubic-stored"),
        ("resize_then_crop-bilinear-stored", "centre_square-bilinear-stored"),
    }


@pytest.mark.parametrize(
    ("preprocessing", "side", "kept"),
    [
        (Preprocessing(), 256, 0.875),
        (Preprocessing("resize_then_crop"), 256, 0.875),
        (replace(AS_IT_IS, rule="centre_square"), 60, 28 / 60),
        (AS_IT_IS, 28, 1.0),
    ],
)
def test_how_much_of_an_image_a_rule_needs_and_keeps(preprocessing: Preprocessing, side: int, kept: float) -> None:
    assert (needed_side(preprocessing), kept_share(preprocessing)) == (side, kept)


@pytest.mark.parametrize("rule", ["centre_square", "resize_then_crop"])
@pytest.mark.parametrize("size", [40, 64, 224])
def test_a_rule_does_not_enlarge_an_image_of_the_side_that_it_needs(rule: str, size: int) -> None:
    """The square that is kept of it has `size` pixels, so that nothing is resampled."""
    preprocessing = Preprocessing(rule, size)
    side = needed_side(preprocessing)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    first = (side - size) // 2
    middle = noise[first : first + size, first : first + size]
    expected = replace(AS_IT_IS, crop_size=size, mean=preprocessing.mean, std=preprocessing.std)
    assert torch.equal(preprocessing(Image.fromarray(noise)), expected(Image.fromarray(middle)))
