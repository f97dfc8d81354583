"""Detectors with random weights: sizes, batches, losses, frozen stages, files, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import resnest_core as rc
from resnest_core.errors import InputError
from resnest_core.models.deformable import DeformableConv2d
from resnest_core.models.rcnn import boxes as box
from resnest_core.models.rcnn.detector import Detector
from resnest_core.models.rcnn.matching import match, sample
from resnest_core.models.rcnn.panoptic import combine
from resnest_core.models.rcnn.variants import DETECTORS

MINI = sorted(name for name in DETECTORS if name.startswith("mini_"))
MASKED = "mini_cascade_mask_rcnn_resnest11"


def small(name: str, **changed: Any) -> Detector:
    """A detector with random weights that finds something."""
    torch.manual_seed(0)
    model = Detector(replace(DETECTORS[name], least_score=0.0, **changed))
    for key, parameter in model.named_parameters():
        if "cls_score.weight" in key:
            torch.nn.init.normal_(parameter, std=1.0)
    return model.eval()


def images(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) * 255 for size in sizes]


def target(*, masks: bool = True, n: int = 2, size: tuple[int, int] = (64, 80)) -> dict[str, Tensor]:
    corners = torch.tensor([[4.0, 6.0, 40.0, 50.0], [30.0, 10.0, 70.0, 60.0]])[:n]
    found = {"boxes": corners, "labels": torch.tensor([3, 7])[:n]}
    shown = torch.zeros(n, *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(shown, corners.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    return found | ({"masks": shown} if masks else {})


@pytest.mark.parametrize("name", MINI)
@pytest.mark.parametrize("size", [(64, 80), (37, 51), (1, 1)])
def test_results_at_any_size(name: str, size: tuple[int, int]) -> None:
    model = small(name)
    with torch.no_grad():
        (found,) = model(images(size))
    n = len(found["boxes"])
    assert found["boxes"].shape == (n, 4)
    assert found["scores"].shape == found["labels"].shape == (n,)
    assert n <= model.row.detections
    assert (found["scores"].diff() <= 0).all()
    height, width = size
    assert (found["boxes"] >= 0).all()
    assert (found["boxes"][:, [0, 2]] <= width).all()
    assert (found["boxes"][:, [1, 3]] <= height).all()
    assert ((found["labels"] >= 0) & (found["labels"] < len(model.categories))).all()
    assert ("masks" in found) == ("mask" in name)
    if "mask" in name:
        assert found["masks"].shape == (n, *size)
        assert found["masks"].dtype == torch.bool


def test_an_image_is_found_alike_alone_and_among_others_of_its_size() -> None:
    model, shown = small(MASKED), images((64, 80), (64, 80))
    with torch.no_grad():
        together, alone = model(shown), model(shown[:1])
    assert len(alone[0]["boxes"]) > 10
    assert torch.allclose(together[0]["scores"], alone[0]["scores"], atol=1e-5)
    assert torch.allclose(together[0]["boxes"], alone[0]["boxes"], atol=1e-2)


def test_results_are_scaled_to_the_sizes_asked_for() -> None:
    model, shown = small(MASKED), images((64, 80))
    with torch.no_grad():
        (own,), (large,) = model(shown), model(shown, sizes=[(128, 240)])
    assert torch.allclose(large["boxes"], own["boxes"] * torch.tensor([3.0, 2.0, 3.0, 2.0]), atol=1e-3)
    assert large["masks"].shape[1:] == (128, 240)


def test_images_are_normalised_then_padded_with_zero() -> None:
    model = small("mini_faster_rcnn_resnest11")
    shown = images((33, 40), (48, 20))
    batch, sizes = model.batch(shown)
    assert sizes == [(33, 40), (48, 20)]
    assert batch.shape == (2, 3, 48, 48)  # a multiple of 16, the coarsest stage's stride
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.row.pixels.mean, model.row.pixels.std))
    assert torch.allclose(batch[0, :, :33, :40], (shown[0] - mean) / std)
    assert (batch[0, :, 33:] == 0).all()
    assert (batch[1, :, :, 20:] == 0).all()


def test_colours_are_turned_for_networks_that_see_blue_first() -> None:
    with torch.device("meta"):
        model = rc.create_model("faster_rcnn_resnet50_fpn")
    assert isinstance(model, Detector)
    assert model.row.pixels.order == "BGR"
    row = replace(DETECTORS["mini_faster_rcnn_resnest11"], pixels=model.row.pixels)
    shown = images((16, 16))
    batch, _ = Detector(row).batch(shown)
    assert torch.allclose(batch[0, 0], shown[0][2] - 103.53)


def test_nothing_is_found_where_no_score_is_high_enough() -> None:
    model = small(MASKED)
    model.roi_heads.row = replace(model.row, least_score=1.0)
    with torch.no_grad():
        found = model(images((64, 80), (32, 32)))
    assert [len(result["boxes"]) for result in found] == [0, 0]
    assert found[0]["masks"].shape == (0, 64, 80)


@pytest.mark.parametrize("name", MINI)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = small(name).train()
    losses = model(images((64, 80), (64, 80)), [target(), target(n=1)])
    expected = {"loss_objectness", "loss_rpn_box_reg"} | ({"loss_mask"} if "mask" in name else set())
    stages = [f"_stage{number}" for number in range(3)] if "cascade" in name else [""]
    assert set(losses) == expected | {f"loss_{part}{stage}" for part in ("classifier", "box_reg") for stage in stages}
    assert all(torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("name", ["mini_faster_rcnn_resnest11", MASKED])
def test_images_without_objects_can_be_learned_from(name: str) -> None:
    model = small(name).train()
    losses = model(images((64, 80), (64, 80)), [target(n=0), target(n=0)])
    assert losses["loss_rpn_box_reg"] == 0
    assert all(torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()


def test_frozen_stages_stay_as_they_are() -> None:
    model = small("mini_faster_rcnn_resnest11", frozen_stages=2).train()
    trunk = model.backbone.bottom_up
    frozen = {"conv1": trunk.conv1, "bn1": trunk.bn1, "layer1": trunk.layer1}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    losses = model(images((64, 80), (64, 80)), [target(masks=False)] * 2)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is None for module in frozen.values() for p in module.parameters())
    assert not any(module.training for module in frozen.values())
    after = model.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert not any(key.startswith(tuple(f"backbone.bottom_up.{name}." for name in frozen)) for key in changed)
    assert any(key.startswith("backbone.bottom_up.layer2.") for key in changed)


def test_the_trunk_begins_with_a_classifier() -> None:
    classifier = rc.create_model("mini_resnest11")
    model = small("mini_faster_rcnn_resnest11")
    model.load_backbone(classifier.state_dict())
    for key, value in model.backbone.bottom_up.state_dict().items():
        assert torch.equal(value, classifier.state_dict()[key]), key
    with pytest.raises(InputError, match="the backbone does not fit the model"):
        model.load_backbone(rc.create_model("mini_resnetd11").state_dict())


def test_our_own_files_load_again(tmp_path: Path) -> None:
    model = small(MASKED)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    again = rc.create_model(MASKED, weights=tmp_path / "own.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_categories() -> None:
    named = rc.create_model("mini_faster_rcnn_resnest11", categories=("cat", "dog"))
    counted = rc.create_model("mini_faster_rcnn_resnest11", num_classes=3)
    assert isinstance(named, Detector)
    assert isinstance(counted, Detector)
    assert named.categories == ("cat", "dog")
    assert counted.categories == ("class 0", "class 1", "class 2")
    assert counted.roi_heads.box_predictor[0].cls_score.out_features == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "there are no images"),
        (([torch.zeros(1, 8, 8)],), r"image 0 has the shape \(1, 8, 8\); valid: \(3, height, width\)"),
        (([torch.zeros(3, 0, 8)],), "image 0 has the shape"),
        (([torch.zeros(3, 8, 8)], [{}, {}]), "there are 2 targets for 1 images"),
        (([torch.zeros(3, 8, 8)],), "there are no targets"),
    ],
)
def test_bad_input(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small("mini_faster_rcnn_resnest11").train()(*arguments)


def test_masks_are_needed_to_learn_masks() -> None:
    with pytest.raises(InputError, match="targets have no masks; a network with a mask head is trained with masks"):
        small(MASKED).train()(images((64, 80), (64, 80)), [target(masks=False)] * 2)


def test_bad_sizes_and_classes() -> None:
    with pytest.raises(InputError, match="there are 2 sizes for 1 images"):
        small("mini_faster_rcnn_resnest11")(images((8, 8)), sizes=[(8, 8), (9, 9)])
    with pytest.raises(InputError, match="num_classes is 0"):
        rc.create_model("mini_faster_rcnn_resnest11", num_classes=0)


def test_offsets_lead_back() -> None:
    torch.manual_seed(0)
    corners = torch.rand(50, 2) * 100
    boxes = torch.cat([corners, corners + 1 + torch.rand(50, 2) * 60], dim=1)
    targets = boxes.flip(0)
    there = box.decode(box.encode(boxes, targets, (10.0, 10.0, 5.0, 5.0)), boxes, (10.0, 10.0, 5.0, 5.0))
    # Scales above 1000 / 16 are cut, of which there are none here.
    assert torch.allclose(there, targets, atol=1e-3)


def test_matching() -> None:
    iou = torch.tensor([[0.9, 0.2, 0.0, 0.5, 0.35], [0.1, 0.25, 0.0, 0.65, 0.3]])
    index, labels = match(iou, 0.3, 0.7)
    assert index.tolist() == [0, 1, 0, 1, 0]
    assert labels.tolist() == [1, 0, 0, -1, -1]
    assert match(iou, 0.3, 0.7, keep_best=True)[1].tolist() == [1, 0, 0, 1, -1]
    nothing, negative = match(torch.zeros(0, 3), 0.3, 0.7)
    assert nothing.tolist() == negative.tolist() == [0, 0, 0]


def test_sampling() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([1] * 10 + [0] * 100 + [-1] * 50)
    positive, negative = sample(labels, 16, 0.25)
    assert (len(positive), len(negative)) == (4, 12)
    assert (labels[positive] == 1).all()
    assert (labels[negative] == 0).all()
    assert len(positive.unique()) == 4
    positive, negative = sample(labels, 64, 0.5)
    assert (len(positive), len(negative)) == (10, 54)


def test_a_deformable_convolution_that_moves_nothing_is_half_a_plain_one() -> None:
    torch.manual_seed(0)
    layer = DeformableConv2d(8, 12, stride=1, dilation=1, groups=2, offset_groups=2)
    torch.nn.init.zeros_(layer.offset.weight)
    torch.nn.init.zeros_(layer.offset.bias)
    x = torch.randn(2, 8, 9, 11)
    plain = torch.nn.functional.conv2d(x, layer.weight, padding=1, groups=2)
    assert torch.allclose(layer(x), plain / 2, atol=1e-5)


def test_offsets_of_taps_begin_with_zero() -> None:
    row = replace(DETECTORS["mini_faster_rcnn_resnest11"].trunk, deformable=2)
    model = Detector(replace(DETECTORS["mini_faster_rcnn_resnest11"], trunk=row))
    offsets = [value for key, value in model.named_parameters() if ".offset." in key]
    assert len(offsets) == 2 * 2  # of the only block of each stage but the first
    assert all((value == 0).all() for value in offsets)


def test_panoptic_by_hand() -> None:
    masks = torch.zeros(3, 100, 100, dtype=torch.bool)
    masks[0, :50, :50] = True
    masks[1, :50, :60] = True  # 83 % of it lies under the first
    masks[2, 50:, :50] = True
    classes = torch.zeros(100, 100, dtype=torch.int64)
    classes[:, 50:] = 2  # 5,000 pixels
    classes[60:, :10] = 5  # all under the third
    found, segments = combine(torch.tensor([0.9, 0.8, 0.6]), torch.tensor([1, 1, 4]), masks, classes)
    assert [(s.id, s.is_thing, s.label) for s in segments] == [(1, True, 1), (2, True, 4), (3, False, 2)]
    assert segments[2].area == 5000
    assert (found[:50, :50] == 1).all()
    assert (found[50:, :50] == 2).all()
    assert (found[:, 50:] == 3).all()
    found, segments = combine(torch.tensor([0.4]), torch.tensor([0]), masks[:1], torch.zeros_like(classes))
    assert segments == []
    assert (found == 0).all()
