"""Equality with detectron2: keys of all published detectors, and every stage of those whose outputs are stored.

`tests/golden/detection` holds what detectron2 at 02b5c4e2 with the authors' wrapper gives for golden weights.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from detectron import FACTORS, GOLDEN, TASKS, assert_close, detector, golden_file, keys, published_name
from golden_weights import golden_input
from torch import Tensor

import resnest_core as rc
from resnest_core.checkpoints import MANIFEST
from resnest_core.models.rcnn import boxes as box
from resnest_core.models.rcnn.detector import Detector
from resnest_core.models.rcnn.masks import paste
from resnest_core.models.rcnn.panoptic import combine
from resnest_core.models.rcnn.proposals import anchors
from resnest_core.models.rcnn.variants import DETECTORS
from resnest_core.published_keys import renamed

KEY_FILES = sorted(path.name.removesuffix(".keys.json") for path in GOLDEN.glob("*.keys.json"))
OUTPUT_FILES = sorted(path.name.removesuffix(".golden.npz") for path in GOLDEN.glob("*.golden.npz"))
BACKBONE_FILES = sorted(path.name.removesuffix(".backbone.npz") for path in GOLDEN.glob("*.backbone.npz"))
STAGES = {"stem": "maxpool", "res2": "layer1", "res3": "layer2", "res4": "layer3", "res5": "layer4"}
LEVELS = "p2", "p3", "p4", "p5", "p6"


def image(name: str, shape: tuple[int, ...], model: Detector) -> Tensor:
    """A golden image, whose colours are stored in the order that the network sees."""
    pixels = golden_input(name, shape) * 50 + 115
    return pixels if model.row.pixels.order == "RGB" else pixels.flip(0)


def outputs(model: Detector, batch: Tensor) -> dict[str, Tensor]:
    """Stem, stages and levels."""
    found: dict[str, Tensor] = {}
    for stage, place in STAGES.items():
        module = model.backbone.bottom_up.get_submodule(place)
        module.register_forward_hook(lambda _, __, output, stage=stage: found.__setitem__(stage, output))
    with torch.inference_mode():
        levels = model.backbone(batch)
    return found | dict(zip(LEVELS, levels, strict=True))


def test_every_published_detector_has_a_row_and_stored_keys() -> None:
    published = {name for name, record in MANIFEST.items() if record.task in TASKS}
    assert len(published) == len(KEY_FILES) == 21
    assert published == {published_name(file) for file in KEY_FILES}
    assert published <= set(DETECTORS)
    for name in published:
        assert name in rc.list_models(MANIFEST[name].task)


@pytest.mark.parametrize("file", KEY_FILES)
def test_keys_and_shapes_match_in_both_directions(file: str) -> None:
    with torch.device("meta"):
        state = rc.create_model(published_name(file)).state_dict()
    actual = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in state.items()}
    assert actual == renamed(keys(file))


@pytest.mark.parametrize("file", KEY_FILES)
def test_the_row_is_the_manifests(file: str) -> None:
    record, row = MANIFEST[published_name(file)], DETECTORS[published_name(file)]
    assert record.channels == row.pixels.order
    assert record.preprocessing["mean"] == row.pixels.mean
    assert record.preprocessing["std"] == row.pixels.std
    assert (record.preprocessing["shortest"], record.preprocessing["longest"]) == (row.short_side, row.long_side)


@pytest.mark.parametrize("file", BACKBONE_FILES)
def test_trunk_and_pyramid(file: str) -> None:
    stored, name = np.load(GOLDEN / f"{file}.backbone.npz"), published_name(file)
    model = rc.create_model(name)
    assert isinstance(model, Detector)
    if "_R_" in file and "stride_in_1x1" not in file:  # as the authors' wrapper builds it
        model = Detector(replace(model.row, trunk=replace(model.row.trunk, stride_in_1x1=False)))
    rc.load_weights(model, golden_file(keys(file.split(".")[0]), damped=".damped" in file))
    batch, _ = model.eval().batch([image("det", (3, 256, 320), model)])
    for stage, output in outputs(model, batch).items():
        assert_close(stored, stage, output)


@pytest.mark.parametrize("file", OUTPUT_FILES)
def test_every_stage(file: str) -> None:
    stored, model = np.load(GOLDEN / f"{file}.golden.npz"), golden_detector(file)
    batch, sizes = model.batch([image("det", (3, 256, 320), model)])
    assert_close(stored, "image.normalised", batch)
    found = outputs(model, batch)
    for stage, output in found.items():
        assert_close(stored, stage, output)
    features = [found[level] for level in LEVELS]
    with torch.inference_mode():
        check_proposals(model, features, sizes, stored)
        check_box_heads(model, features[:4], stored)
        if model.row.mask_convolutions:
            check_masks(model, features[:4], stored)
        if model.row.stuff:
            check_semantic(model, features, stored, file)
        check_detections(model, stored)


def golden_detector(file: str) -> Detector:
    """The network of a golden file, with its weights."""
    name, entries = published_name(file), keys(file.split(".")[0])
    factors = json.loads((GOLDEN / f"{file}.golden.json").read_text())["factors"]
    assert factors == FACTORS or "_R_50_" in file
    if ".depth50" not in file:
        return detector(name, golden_file(entries, factors=factors))
    row = replace(DETECTORS[name], trunk=DETECTORS["mask_rcnn_resnest50_fpn"].trunk)
    model = Detector(row)
    trunk = "mask_rcnn_ResNeSt_50_FPN_syncBN_1x"
    entries = {key: value for key, value in entries.items() if ".bottom_up." not in key} | {
        key: value for key, value in keys(trunk).items() if ".bottom_up." in key
    }
    rc.load_weights(model, golden_file(entries, factors=factors))
    return model.eval()


def check_proposals(model: Detector, features: list[Tensor], sizes: list[tuple[int, int]], stored: Any) -> None:
    network = model.proposal_generator
    logits, deltas = network.rpn_head(features)
    for number, level in enumerate(LEVELS):
        assert_close(stored, f"rpn.logits.{level}", logits[number])
        assert_close(stored, f"rpn.deltas.{level}", deltas[number])
        anchors = network.anchors(features[number], number)
        assert_close(stored, f"anchors.{level}", anchors)
        assert np.allclose(anchors[:6], stored[f"anchors.{level}.first6"], atol=1e-4)
    (proposals,), losses = network(features, sizes)
    assert losses == {}
    expected = torch.from_numpy(stored["proposals.boxes"])
    nearest = torch.cdist(proposals, expected, p=torch.inf).min(dim=0).values
    assert len(proposals) == len(expected)
    assert (nearest < 0.05).all()


def check_box_heads(model: Detector, features: list[Tensor], stored: Any) -> None:
    """Each stage on the stored boxes that go into it, and what follows from all."""
    heads, boxes = model.roi_heads, torch.from_numpy(stored["proposals.boxes"])
    probabilities = []
    for number in range(len(model.row.stages)):
        prefix = f"cascade{number}" if model.row.cascade else "box"
        boxes = torch.from_numpy(stored[f"cascade{number}.input_boxes"]) if number else boxes
        pooled = box.pool(features, [boxes], 7)
        assert_close(stored, f"{prefix}.pooled", pooled)
        hidden = heads.box_head[number](pooled)
        assert_close(stored, f"{prefix}.head_first50", hidden[:50])
        logits, deltas = heads.box_predictor[number](hidden)
        assert_close(stored, f"{prefix}.cls_logits_first50", logits[:50])
        assert_close(stored, f"{prefix}.deltas", deltas)
        probabilities.append(logits.softmax(dim=1))
    assert_close(stored, "box.probs", torch.stack(probabilities).mean(dim=0))
    assert_close(stored, "box.pred_boxes", box.decode(deltas, boxes, model.row.stages[-1][1]))


def check_masks(model: Detector, features: list[Tensor], stored: Any) -> None:
    """Masks of the stored detections."""
    head, boxes = model.roi_heads.mask_head, torch.from_numpy(stored["det.boxes"])
    pooled = box.pool(features, [boxes], 14)
    assert_close(stored, "mask.pooled", pooled)
    assert_close(stored, "mask.logits", head(pooled))
    selected = head.logits(features, [boxes], torch.from_numpy(stored["det.classes"]))
    assert_close(stored, "mask.selected_logits", selected)
    assert_close(stored, "mask.selected_logits_first5", selected[:5])


def check_semantic(model: Detector, features: list[Tensor], stored: Any, file: str) -> None:
    """The semantic head as configured, and without norms, as the authors' fork computed it."""
    assert_close(stored, "sem_seg.stride4_logits", model.sem_seg_head(features))
    state = golden_file(keys(file.split(".")[0]), factors=FACTORS)
    own = model.state_dict() | {
        key: value for key, value in state.items() if key.startswith("sem_seg_head.") and ".norm." not in key
    }
    plain = Detector(model.row)
    rc.load_weights(plain, {key: value for key, value in own.items() if not ("sem_seg" in key and ".norm." in key)})
    logits = plain.eval().sem_seg_head(features)
    assert_close(stored, "sem_seg_nonorm.stride4_logits", logits)
    clear = (lambda best: best[0] - best[1] > 1e-4 * logits.std())(logits[0].topk(2, dim=0).values)
    assert (logits[0].argmax(0)[clear].numpy() == stored["sem_seg_nonorm.stride4_argmax"][clear]).all()


def check_detections(model: Detector, stored: Any) -> None:
    """Final results of an image that is enlarged, in a batch with one of another size."""
    first, odd = image("det", (3, 256, 320), model), image("det_odd", (3, 250, 310), model)
    large, odd_result = model([first, odd], sizes=[(384, 480), (250, 310)])
    assert_detections(odd_result, stored, "odd.det")
    assert_detections({**large, "boxes": large["boxes"] / 1.5}, stored, "det")
    order = assert_detections(large, stored, "post")
    if model.row.mask_convolutions:
        masks = large["masks"][order]
        areas = masks.sum(dim=(1, 2)).numpy()
        assert (np.abs(areas - stored["post.mask_area"]) <= np.maximum(2, 1e-3 * stored["post.mask_area"])).all()
        packed = np.packbits(masks[:5].flatten(1).numpy(), axis=1)
        assert np.mean(np.unpackbits(packed ^ stored["post.mask_first5_packbits"])) < 1e-4
    if model.row.stuff:
        check_panoptic(large, stored)


def assert_detections(result: dict[str, Any], stored: Any, prefix: str) -> Tensor:
    """All 100 detections are found with class, box and score; their order in `result`."""
    boxes = torch.from_numpy(stored[f"{prefix}.boxes"])
    labels, scores = torch.from_numpy(stored[f"{prefix}.classes"]), torch.from_numpy(stored[f"{prefix}.scores"])
    distance = torch.cdist(boxes, result["boxes"], p=torch.inf)
    distance[labels[:, None] != result["labels"][None]] = torch.inf
    nearest, order = distance.min(dim=1)
    assert len(result["boxes"]) == len(boxes) == 100
    assert (nearest < 0.05).all(), prefix
    assert len(order.unique()) == 100
    assert (result["scores"][order] - scores).abs().max() < 1e-4
    return order


def check_panoptic(result: dict[str, Any], stored: Any) -> None:
    """Classes of all pixels and segments; the golden run took instances from a score of 0.3."""
    assert (result["semantic"].numpy() == stored["post.sem_seg_argmax"]).mean() > 0.9999
    found, segments = combine(result["scores"], result["labels"], result["masks"], result["semantic"], least_score=0.3)
    expected = json.loads((GOLDEN / f"{PANOPTIC}.golden.json").read_text())["panoptic_segments"]
    assert [(s.id, s.is_thing, s.label) for s in segments] == [
        (e["id"], e["isthing"], e["category_id"]) for e in expected
    ]
    assert [s.instance for s in segments if s.is_thing] == [e["instance_id"] for e in expected if e["isthing"]]
    for segment, e in zip(segments, expected, strict=True):
        assert segment.is_thing or abs(segment.area - e["area"]) <= 1e-3 * e["area"]
    assert (found.numpy() == stored["post.panoptic_seg"]).mean() > 0.999


PANOPTIC = "panoptic_ResNeSt_200_FPN_syncBN_tricks_3x.depth50"


OPERATORS = np.load(GOLDEN / "ops.npz")


@pytest.mark.parametrize("weights", [(1.0, 1.0), (10.0, 5.0), (20.0, 10.0), (30.0, 15.0)])
def test_offsets(weights: tuple[float, float]) -> None:
    name = "_".join(f"{weight:.0f}" for weight in weights)
    scales = (weights[0], weights[0], weights[1], weights[1])
    boxes, deltas = torch.from_numpy(OPERATORS["coder.boxes"]), torch.from_numpy(OPERATORS["coder.deltas"])
    expected = torch.from_numpy(OPERATORS[f"coder.apply.{name}"])
    assert torch.allclose(box.decode(deltas, boxes, scales), expected, rtol=1e-5, atol=1e-3)
    between = box.encode(boxes, boxes + torch.tensor([3.0, -2.0, 8.0, 5.0]), scales)
    assert torch.allclose(between, torch.from_numpy(OPERATORS[f"coder.get_deltas.{name}"]), rtol=1e-4, atol=1e-5)
    if name == "10_5":
        by_class = box.decode(torch.from_numpy(OPERATORS["coder.deltas_3cls"]), boxes, scales)
        assert torch.allclose(by_class, torch.from_numpy(OPERATORS["coder.apply_3cls.10_5"]), rtol=1e-5, atol=1e-3)


def test_levels() -> None:
    sides = torch.from_numpy(OPERATORS["levels.size"])
    squares = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides, sides], dim=1)
    assert (box.levels(squares, 4) + 2).tolist() == OPERATORS["levels.level"].tolist()


@pytest.mark.parametrize("size", [7, 14])
def test_pooling(size: int) -> None:
    maps = [golden_input(f"pool{level}", (1, 3, 256 // 2**level, 320 // 2**level)) for level in (2, 3, 4, 5)]
    pooled = box.pool(maps, [torch.from_numpy(OPERATORS["pooler.boxes"])], size)
    assert torch.allclose(pooled, torch.from_numpy(OPERATORS[f"pooler.{size}"]), atol=1e-5)


@pytest.mark.parametrize(("name", "size", "stride"), [("5x7_s4", (5, 7), 4), ("3x4_s8", (3, 4), 8)])
def test_anchors(name: str, size: tuple[int, int], stride: int) -> None:
    found = anchors(size, stride, 8.0 * stride, (0.5, 1.0, 2.0))
    assert torch.allclose(found, torch.from_numpy(OPERATORS[f"anchors.{name}"]), atol=1e-4)


def test_masks_are_pasted() -> None:
    masks, boxes = torch.from_numpy(OPERATORS["paste.masks"]), torch.from_numpy(OPERATORS["paste.boxes"])
    pasted = paste(masks, boxes, (90, 120))
    assert (pasted.numpy() == OPERATORS["paste.out"]).all()
