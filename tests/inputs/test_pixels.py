"""Pixels: which reading of a photograph that EXIF turns each data set takes, and image files beyond 8 bits."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs.sets import HEIGHT, SETS, WIDTH, Row, each_set, photograph, save, write
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resnest_core import data
from resnest_core.data.base import content_problem, decode_image, image_problem, read_image
from resnest_core.data.decoders import DECODERS, decode
from resnest_core.data.imagenet import synsets
from resnest_core.data.shard_index import CLASSES, make_index, write_index
from resnest_core.data.shard_writer import write_shards
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError

USERS = {"imagefolder", "file_list", "shards", "coco_format"}
FREE = {row.name for row in SETS if row.task == "classification"}  # no annotation tells the size
TURNS: dict[int, Callable[[NDArray], NDArray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
each_turn = pytest.mark.parametrize("number", TURNS)


def turning(number: int, *, lying: bool = False) -> Callable[[Path, Image.Image], None]:
    """Writes pictures with EXIF's orientation; `lying` swaps their sides first, so that the turned one has the size."""
    exif = Image.Exif()
    exif[0x0112] = number

    def store(path: Path, image: Image.Image) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = image.transpose(Image.Transpose.TRANSPOSE) if lying and number > 4 else image
        image.save(path, exif=exif)

    return store


def stored_pixels(dataset: Any, index: int) -> NDArray:
    """As Pillow gives them."""
    file = dataset.content(index) if hasattr(dataset, "content") else (dataset.root / dataset.paths[index]).read_bytes()
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def loaded(dataset: Any, index: int) -> NDArray:
    found = dataset.load(index)
    return np.asarray(found[0] if isinstance(found, tuple) else found)


@each_set
@each_turn
@pytest.mark.parametrize("lying", [False, True], ids=["stored_fits", "turned_fits"])
def test_each_set_reads_photographs_its_own_way(row: Row, number: int, lying: bool, tmp_path: Path) -> None:
    dataset = row.open(row.make(tmp_path, turning(number, lying=lying)))
    swaps = number > 4
    turns = row.name in USERS if row.name in FREE or not swaps else lying
    stored = stored_pixels(dataset, 1)
    assert np.array_equal(loaded(dataset, 1), TURNS[number](stored) if turns else stored)
    assert (TURNS[number](stored).shape != stored.shape) == swaps


@pytest.mark.parametrize(("number", "said"), [(1, 0), (3, 1), (6, 0)])
def test_where_annotations_cannot_tell_it_is_said_once(
    number: int, said: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(row for row in SETS if row.name == "coco_format")
    dataset = row.open(row.make(tmp_path, turning(number, lying=True)))
    dataset.load(0), dataset.load(1)
    assert capsys.readouterr().err.count("turned by EXIF") == said
    report = data.check(row.name, tmp_path)
    assert report.problems == []
    assert [remark.startswith("2 images: turned by EXIF") for remark in report.remarks] == [True] * said
    assert str(report).count("turned by EXIF") == said


@each_turn
def test_folders_lists_shards_and_decoders_give_the_same_pixels(number: int, tmp_path: Path) -> None:
    store = turning(number)
    for name in ("cat", "dog"):
        store(tmp_path / f"set/val/{name}/0.jpg", photograph(name))
    folder = data.open_dataset("imagefolder", tmp_path / "set")
    write(tmp_path / "set/classes.txt", "cat\ndog\n")
    write(tmp_path / "set/val.csv", "val/cat/0.jpg,cat\nval/dog/0.jpg,dog\n")
    write_shards(folder, tmp_path / "shards")
    sets = [folder, data.open_dataset("file_list", tmp_path / "set"), data.open_dataset("shards", tmp_path / "shards")]
    expected = TURNS[number](stored_pixels(folder, 0))
    for dataset in sets:
        assert np.array_equal(loaded(dataset, 0), expected)
        assert decode("pillow", dataset.content(0), upright=dataset.upright).tobytes() == expected.tobytes()
        for decoder in DECODERS:
            found = np.asarray(decode(decoder, dataset.content(0), short=HEIGHT, upright=dataset.upright), int)
            assert found.shape == expected.shape
            assert abs(found - expected).mean() < 2
    assert np.array_equal(np.asarray(read_image(folder.root / folder.paths[0], upright=True)), expected)


def test_shards_of_imagenet_stay_as_they_are_with_an_index_of_any_age(tmp_path: Path) -> None:
    row = next(row for row in SETS if row.name == "imagenet")
    images = row.open(row.make(tmp_path / "imagenet", turning(6)))
    write_shards(images, tmp_path / "shards")
    write_index(tmp_path / "shards/index.parquet", make_index(str(tmp_path / "shards"), synsets()), beside=True)
    (again := tmp_path / "list").mkdir()
    write(again / CLASSES, "\n".join(synsets()))
    write(again / "val.txt", "".join(f"{images.root / path}\t{synsets()[0]}\n" for path in images.paths))
    for dataset in (data.open_dataset("shards", tmp_path / "shards"), data.open_dataset("file_list", again)):
        assert np.array_equal(loaded(dataset, 0), stored_pixels(images, 0))


def test_label_and_panoptic_maps_are_never_turned(tmp_path: Path) -> None:
    for row in SETS:
        if row.name not in ("ade20k", "coco_panoptic"):
            continue
        root = row.make(tmp_path / row.name)
        before = [row.open(root).load(0)]
        for path in root.glob(row.labels):
            for file in path.glob("*.png") if path.is_dir() else [path] if path.suffix == ".png" else []:
                turning(3)(file, Image.open(file).copy())
        after = row.open(root).load(0)
        for old, new in zip(before[0], after, strict=True):
            same = [np.asarray(x) if not hasattr(x, "boxes") else x.boxes for x in (old, new)]
            assert np.array_equal(*same)


def png(colour: int, rows: NDArray) -> bytes:
    """A PNG of 16 bits by hand: values (H, W, C)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def content(image: Image.Image, kind: str, **options: Any) -> bytes:
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


RAMP = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (8, 1))
WHOLE = ((RAMP.astype(float) * 255 / 65535) + 0.5).astype(np.uint8)  # rounded
CHANNELS = np.stack([RAMP] * 3, axis=-1)
ALPHA = np.full_like(RAMP, 65535)
GREY16 = Image.fromarray(RAMP)
DEEP = {
    "png": png(0, RAMP[..., None]),
    "png of Pillow": content(GREY16, "PNG"),
    "png with alpha": png(4, np.stack([RAMP, ALPHA], axis=-1)),
    "png in colour": png(2, CHANNELS),
    "png in colour with alpha": png(6, np.concatenate([CHANNELS, ALPHA[..., None]], axis=-1)),
    "tiff": content(GREY16, "TIFF"),
    "big-endian tiff": content(Image.frombytes("I;16B", (64, 8), RAMP.astype(">u2").tobytes()), "TIFF"),
    "deflated tiff": content(GREY16, "TIFF", compression="tiff_deflate"),
    "tiff of which 0 is white": content(Image.fromarray(65535 - RAMP), "TIFF", tiffinfo={262: 0}),
    "pgm": b"P5 64 8 65535\n" + RAMP.astype(">u2").tobytes(),
    "jpeg 2000": content(GREY16, "JPEG2000"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    found = np.asarray(decode_image(DEEP[kind], kind, upright=True))
    assert found.shape == (8, 64, 3)
    assert abs(found.astype(int) - WHOLE[..., None]).max() <= (0 if "alpha" not in kind and "colour" not in kind else 1)
    assert content_problem(DEEP[kind]) is None


def test_sixteen_bits_given_to_the_preprocessing_itself_are_scaled_too() -> None:
    square = Image.fromarray(np.tile(RAMP, (8, 1)))
    eight = Image.fromarray(np.tile(WHOLE, (8, 1)))
    preprocessing = Preprocessing(crop_size=32)
    assert np.array_equal(preprocessing(square), preprocessing(eight))


UNDEFINED = {
    "float tiff": content(Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF"),
    "tiff of 32 bits": content(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
    "pfm": content(Image.fromarray((RAMP / 65535).astype(np.float32)), "PPM"),
}


@pytest.mark.parametrize("kind", UNDEFINED)
def test_values_without_a_defined_range_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^image '{kind}' cannot be read \(its values are .*; save it with 8 or 16"):
        decode_image(UNDEFINED[kind], kind, upright=True)
    (tmp_path / "x").write_bytes(UNDEFINED[kind])
    for problem in (content_problem(UNDEFINED[kind]), image_problem(tmp_path / "x")):
        assert str(problem).startswith("its values are")


def two_frames(kind: str) -> bytes:
    first, second = photograph("first", (64, 8)), photograph("second", (64, 8))
    return content(first, kind, save_all=True, append_images=[second])


PLAIN = photograph("plain", (64, 8))
EIGHT = {
    "palette": (content(PLAIN.convert("P"), "PNG"), PLAIN.convert("P").convert("RGB")),
    "palette with transparency": (
        content(PLAIN.convert("P"), "PNG", transparency=3),
        PLAIN.convert("P").convert("RGB"),
    ),
    "1 bit": (content(PLAIN.convert("1"), "PNG"), PLAIN.convert("1").convert("RGB")),
    "grey": (content(PLAIN.convert("L"), "PNG"), PLAIN.convert("L").convert("RGB")),
    "alpha": (content(PLAIN.convert("RGBA"), "PNG"), PLAIN),
    "grey with alpha": (content(PLAIN.convert("LA"), "PNG"), PLAIN.convert("L").convert("RGB")),
    "cmyk tiff": (content(PLAIN.convert("CMYK"), "TIFF"), PLAIN),
    "two frames of tiff": (two_frames("TIFF"), PLAIN),
    "broken profile": (content(PLAIN, "PNG", icc_profile=b"no profile"), PLAIN),
    "broken exif": (content(PLAIN, "PNG", exif=b"Exif\0\0no exif at all"), PLAIN),
    "exif of no turn": (content(PLAIN, "PNG", exif=(lambda e: (e.__setitem__(0x0112, 9), e)[1])(Image.Exif())), PLAIN),
}


@pytest.mark.parametrize("kind", EIGHT)
def test_other_files_keep_the_pixels_that_pillow_gives(kind: str) -> None:
    file, expected = EIGHT[kind]
    expected = photograph("first", (64, 8)) if kind.startswith("two frames") else expected
    assert np.array_equal(np.asarray(decode_image(file, kind, upright=True)), np.asarray(expected))


def test_a_drawn_arrow_points_up_for_segment_detect_and_explore(tmp_path: Path) -> None:
    """The demonstrations read by one function; here the photograph of a telephone held upright."""
    from resnest_core.explore.choices import uploaded

    image = Image.new("RGB", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).rectangle((0, 0, 9, HEIGHT), fill="white")  # left as stored, above when turned
    turning(6)(tmp_path / "x.jpg", image)
    shown = [
        np.asarray(read_image(tmp_path / "x.jpg", upright=True)),
        np.asarray(uploaded({"name": "x.jpg", "content": (tmp_path / "x.jpg").read_bytes()})),
    ]
    for pixels in shown:
        assert pixels.shape == (WIDTH, HEIGHT, 3)
        assert pixels[:5].mean() > 200 > 50 > pixels[-5:].mean()


@pytest.mark.parametrize("notebook", ["object_detection", "instance_segmentation"])
def test_notebooks_turn_a_photograph_of_ones_own(notebook: str) -> None:
    cells = json.loads((Path(__file__).parents[2] / f"notebooks/{notebook}.ipynb").read_text())["cells"]
    lines = [line for cell in cells for line in cell["source"] if "read_image(" in line]
    assert ["upright=True" in line for line in lines] == [True]


def test_a_sixteen_bit_image_is_read_in_every_set_of_files(tmp_path: Path) -> None:
    deep = Image.fromarray(np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1)))

    def store(path: Path, image: Image.Image) -> None:
        save(path.with_suffix(".png"), deep)
        path.with_suffix(".png").rename(path)

    for row in SETS:
        dataset = row.open(row.make(tmp_path / row.name, store))
        assert len(np.unique(loaded(dataset, 0))) == WIDTH, row.name
