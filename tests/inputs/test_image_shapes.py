"""Images of every shape, in every task and view: an answer in bounded memory, or one line."""

import io
import re
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from resnest_core.data import transforms
from resnest_core.data.base import Objects, decode_image
from resnest_core.data.transforms import Preprocessing, as_pixels, training_transform
from resnest_core.errors import InputError
from resnest_core.evaluation import detection, segmentation
from resnest_core.evaluation.views import View, likeliest
from resnest_core.experiments.segmentation import view_of
from resnest_core.explore import pictures
from resnest_core.figures import detection as detection_figures
from resnest_core.figures import segmentation as segmentation_figures
from resnest_core.models import create_model
from resnest_core.models.deeplab import Segmenter
from resnest_core.models.rcnn import panoptic
from resnest_core.models.rcnn.detector import Detector
from resnest_core.models.rcnn.masks import Masks
from resnest_core.models.rcnn.variants import DETECTORS
from resnest_core.training import detection as detection_training
from resnest_core.training import segmentation as segmentation_training

STRIPS = [(1, 1), (1, 5000), (5000, 1), (300, 2), (2, 300), (20000, 3)]  # width, height
PHOTOGRAPH = (3000, 2000)
GIB = 2**30
each_strip = pytest.mark.parametrize("size", STRIPS, ids="{0[0]}x{0[1]}".format)
each_size = pytest.mark.parametrize("size", [*STRIPS, PHOTOGRAPH], ids="{0[0]}x{0[1]}".format)


@contextmanager
def memory(gib: float) -> Iterator[None]:
    """No more than so much memory beyond what the process has: whatever asks for more fails."""
    kib = re.search(r"VmSize:\s*(\d+)", Path("/proc/self/status").read_text())
    assert kib is not None
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(kib[1]) * 1024 + int(gib * GIB), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def picture(size: tuple[int, int]) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_TOP_BOTTOM), ramp))


@each_size
@pytest.mark.parametrize("rule", ["centre_square", "resize_then_crop"])
def test_classifiers_see_a_square(size: tuple[int, int], rule: str) -> None:
    with memory(0.5):
        assert Preprocessing(rule)(picture(size)).shape == (3, 224, 224)
        assert training_transform(224, Preprocessing(rule))(picture(size)).shape == (3, 224, 224)


@pytest.mark.parametrize("size", [(1, 5000), (300, 2), (80, 60), (41, 200)])
def test_a_part_alone_is_the_part_of_the_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Preprocessing("resize_then_crop", crop_size=32)
    whole = rule(picture(size))
    monkeypatch.setattr(transforms, "LARGEST_RESIZED", 0)
    assert (rule(picture(size)) - whole).abs().max() < 0.02, "one step of 255 at the most"


@each_size
def test_segmenters_are_trained_on_a_crop(size: tuple[int, int]) -> None:
    recipe = segmentation_training.Recipe(base_size=520, crop_size=480, smallest=0.5, largest=2)
    target = np.arange(size[0] * size[1], dtype=np.int64).reshape(size[::-1]) % 7
    for seed in range(2):
        with memory(1.0):
            image, classes = segmentation_training.augmented(
                picture(size), target.astype(np.int16), recipe, np.random.default_rng(seed)
            )
        assert (image.shape, classes.shape) == ((3, 480, 480), (480, 480))
        assert -1 <= classes.min() <= classes.max() < 7


@each_size
def test_detectors_are_trained_on_a_short_side_or_less(size: tuple[int, int]) -> None:
    recipe = detection_training.Recipe(smallest=640, largest=800)
    box = np.array([[0.0, 0.0, *size]])
    objects = Objects(box, np.array([1]), np.array([box[0, 2] * box[0, 3]]), np.array([False]))
    with memory(0.5):
        image, target = detection_training.augmented(picture(size), objects, recipe, np.random.default_rng(0))
    assert max(image.shape[1:]) <= 1600
    assert len(target["boxes"]) == 1


def segmenter(classes: int, view: View) -> segmentation.Predictor:
    torch.manual_seed(0)
    model = create_model("mini_deeplab_resnest11", num_classes=classes).eval()
    assert isinstance(model, Segmenter)
    return segmentation.Predictor(model, segmentation.Protocol(view, device="cpu", memory_budget=0.2))


@each_strip
@pytest.mark.parametrize("protocol", ["single_scale", "multi_scale"])
@pytest.mark.parametrize("dataset", ["ade20k", "cityscapes", "scenes"])
def test_segmenters_give_each_pixel_a_class(
    size: tuple[int, int], protocol: str, dataset: str, capfd: pytest.CaptureFixture[str]
) -> None:
    view = view_of(protocol, dataset)
    if dataset == "cityscapes" or protocol == "multi_scale":  # the same at a smaller size, in less time
        view = replace(view, base_size=view.base_size // 4, crop_size=view.crop_size // 4)
    with memory(2.0):
        found = segmenter(30, view)(as_pixels(picture(size)), "strip.png")
    assert found.shape == (size[1], size[0])
    said = capfd.readouterr().err
    if protocol == "single_scale" and max(size) > 8 * min(size):
        assert said.count("\n") == 1
        assert f"image 'strip.png' of {size[0]}x{size[1]} pixels is stretched by more than 8 to 1" in said
    else:
        assert not said, "benchmarks' protocols are kept, whatever the shape"


@pytest.mark.parametrize("size", [(2049, 257), (500, 71), (1024, 2048), (683, 512)])
def test_shapes_of_benchmarks_are_scaled_as_published(size: tuple[int, int]) -> None:
    short, long = sorted(View(base_size=512, base_side="short", crop_size=0).size(size[1], size[0], 1.0))
    assert (short, long) == (512, int(512 * max(size) / min(size) + 0.5))


def test_a_photograph_is_segmented_in_parts_of_its_classes() -> None:
    predict = segmenter(150, View(base_size=64, crop_size=48))
    predict.infer.budget = 2**26
    image = as_pixels(picture((1200, 800)))
    with memory(0.35):  # all scores take 0.55 GiB, and as much again
        found = predict(image)
    assert found.shape == (800, 1200)
    assert len(found.unique()) > 1


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 7, 100])
def test_classes_in_parts_are_those_at_once(at_once: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randint(0, 3, (7, *size), generator=generator).float() for size in ((9, 12), (5, 7))]  # with ties
    size = (13, 10)
    together = sum(torch.nn.functional.interpolate(m[None], size, mode="bilinear", align_corners=True) for m in maps)
    assert isinstance(together, torch.Tensor)
    assert torch.equal(likeliest(maps, size, at_once), together[0].argmax(dim=0))


def detector(name: str) -> detection.Predictor:
    torch.manual_seed(0)
    row = replace(DETECTORS[name], least_score=0.0)
    return detection.Predictor(Detector(row), detection.Protocol(device="cpu", short_side=64))


@each_size
def test_detectors_find_masks_of_the_size_of_the_image(size: tuple[int, int]) -> None:
    predict = detector("mini_mask_rcnn_resnest11")
    with memory(0.45):  # a hundred masks of the photograph take 0.6 GiB
        found = predict(predict.resized(picture(size)), (size[1], size[0]))
        rows = detection.detections_table(0, found, tuple(range(len(predict.run.model.row.categories))))  # type: ignore[union-attr]
    assert all(mask["size"] == [size[1], size[0]] for mask in found["masks"])
    assert len(rows) == len(found["boxes"]) > (0 if min(size) > 3 else -1)


def test_masks_one_at_a_time_are_those_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(5, 2, generator=generator) * 20
    boxes = torch.cat([corners, corners + 15], dim=1)
    masks = Masks(torch.rand(5, 28, 28, generator=generator), boxes, (40, 30))
    assert torch.equal(torch.stack(list(masks)), masks.all())


def test_stuff_in_parts_is_that_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    head = panoptic.SemanticHead(8, [2, 3], 9)
    logits = torch.randn(9, 16, 20, generator=torch.Generator().manual_seed(0))
    together = head.classes(logits, (60, 78), (90, 117))
    monkeypatch.setattr(panoptic, "MOST_VALUES", 2 * 90 * 117)
    assert torch.equal(head.classes(logits, (60, 78), (90, 117)), together)


@each_size
def test_pictures_fit_on_a_page(size: tuple[int, int]) -> None:
    image, classes = picture(size), np.zeros(size[::-1], np.int16)
    whole = np.asfortranarray(np.ones(size[::-1], np.uint8))
    thing = detection_figures.Thing((0, 0, *size), "cat", 0.9, detection_figures.run_lengths.encode(whole))
    example = segmentation_figures.Example(np.asarray(image), classes, classes)
    with memory(1.5), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check(detection_figures.demonstration(image, [thing]))
        check(detection_figures.side_by_side([image], {"truth": [[thing]]}, ["cat"]))
        check(segmentation_figures.demonstration(np.asarray(image), classes, ["cat"]))
        check(segmentation_figures.side_by_side({"prediction": [example]}, ["cat"]))
        check(pictures.objects(image, {"found": [thing]}))


def check(figure: Figure) -> None:
    assert max(figure.get_size_inches()) < 40
    figure.savefig(io.BytesIO(), dpi=50)
    assert all(max(shown.get_array().shape[:2]) <= 2048 for axes in figure.axes for shown in axes.images)


def png(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel."""
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 1)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_large_image_is_read_without_a_word_and_one_too_large_refused_in_one_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "large.png").write_bytes(png(10_000, 9_000))
    read = "import pathlib, resnest_core.data.base as b; print(b.read_image(pathlib.Path('large.png')).size)"
    done = subprocess.run([sys.executable, "-c", read], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(10000, 9000)\n", "")
    with memory(0.5), pytest.raises(InputError, match=r"image 'bomb.png' cannot be read \(it has more than") as caught:
        decode_image(png(30_000, 30_000), "bomb.png", upright=False)
    assert "\n" not in str(caught.value)
