"""Shards: written from folders, read by their index from here and from elsewhere, and what is wrong with bad ones."""

import functools
import importlib.util
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small import Linear

from resnest_core import data
from resnest_core.data.batches import evaluation_batches
from resnest_core.data.shard_index import INDEX, make_index, read_classes, write_index
from resnest_core.data.shard_writer import UNFINISHED, write_shards
from resnest_core.data.stored import StoredImages
from resnest_core.data.transforms import Preprocessing
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol, evaluate_classifier

# Two stems alike, a stem with dots, a folder with dots, capitals and a name longer than a tar's header holds.
NAMES = (
    *("ant/a.jpg", "ant/a.png", "ant/b.v2.png", "bee/x.y/c.JPEG", "bee/d.webp", "cat/é.png"),
    f"cat/{'long' * 30}.jpg",
)


def folders(root: Path) -> Path:
    """Images of as many sizes as there are, each of its own colour."""
    for number, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 16), (30 * number, 200 - 20 * number, 90)).save(path)
    return root


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The images of `folders`, three to a shard."""
    write_shards(data.open_dataset("imagefolder", folders(tmp_path / "folders")), tmp_path / "set", 3)
    return tmp_path / "set"


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def png(grey: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), grey).save(file, "PNG")
    return file.getvalue()


def refused(match: str, name: str = "shards", root: Path | str | None = None, **options: Any) -> None:
    with pytest.raises(InputError, match=match) as error:
        data.open_dataset(name, root, **options)
    assert "\n" not in str(error.value)


def test_shards_hold_the_files_as_they_are_in_their_order(written: Path, tmp_path: Path) -> None:
    images, files = data.open_dataset("shards", written), data.open_dataset("imagefolder", tmp_path / "folders")
    assert sorted(path.name for path in written.iterdir()) == [
        *("000000.tar", "000001.tar", "000002.tar", "classes.txt", INDEX)
    ]
    assert list(images.paths) == files.paths
    assert set(files.paths) == set(NAMES)
    assert images.targets.tolist() == files.targets.tolist()
    assert images.classes == files.classes == ("ant", "bee", "cat")
    assert images.digest == files.digest
    for i, path in enumerate(files.paths):
        assert images.content(i) == (tmp_path / "folders" / path).read_bytes()
        assert images.load(i).tobytes() == files.load(i).tobytes()


def test_webdataset_reads_what_is_written(written: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    images = data.open_dataset("shards", written)
    shards = [str(path) for path in sorted(written.glob("*.tar"))]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert len(samples) == len(images)
    for i, sample in enumerate(samples):
        assert int(sample["cls"]) == images.targets[i]
        assert [sample[key] for key in ("jpg", "jpeg", "png", "webp") if key in sample] == [images.content(i)]


@pytest.mark.parametrize("limit", [0, 4])
def test_the_same_records_from_folders_shards_and_a_list(written: Path, tmp_path: Path, limit: int) -> None:
    lists = tmp_path / "folders"
    files = data.open_dataset("imagefolder", lists)
    (lists / "classes.txt").write_text("ant\nbee\ncat\n")
    lines = [f"{path},{files.classes[target]}\n" for path, target in zip(files.paths, files.targets, strict=True)]
    (lists / "all.csv").write_text("".join(lines))
    sets = {
        "folders": data.open_dataset("imagefolder", lists, limit=limit),
        "shards": data.open_dataset("shards", written, limit=limit),
        "list": data.open_dataset("file_list", lists / "all.csv", limit=limit),
    }
    records = {}
    for name, images in sets.items():
        protocol = Protocol(batch_size=2, device="cpu", workers=2 * (name == "shards"))
        evaluate_classifier(Linear(3), images, Preprocessing(crop_size=8), tmp_path / name, protocol)
        records[name] = pq.read_table(tmp_path / name / "records.parquet")
    assert len(records["folders"]) == (limit or len(NAMES))
    assert records["shards"].equals(records["folders"])
    assert records["list"].equals(records["folders"])
    assert len({images.digest for images in sets.values()}) == 1


def test_classes_take_turns_in_a_limit(written: Path) -> None:
    images = data.open_dataset("shards", written, limit=4)
    assert images.targets.tolist() == [0, 1, 2, 0]
    assert images.source == f"shards: 4 of 7 images, 3 classes, in 3 tars in {written}"
    assert images.digest != data.open_dataset("shards", written).digest


def test_splits_are_folders(tmp_path: Path) -> None:
    files = data.open_dataset("imagefolder", folders(tmp_path / "folders"))
    for split in ("val", "train"):
        write_shards(files, tmp_path / "set" / split)
    for split in ("test", "train"):
        assert len(data.open_dataset("shards", tmp_path / "set", split=split)) == len(NAMES)
    refused(f"no {INDEX} for the train split in '.*val'; make it", root=tmp_path / "set" / "val", split="train")


def test_fashion_mnist_goes_in_as_png(tmp_path: Path) -> None:
    clothes = data.open_dataset("fashion_mnist", limit=5)
    write_shards(clothes, tmp_path)
    images = data.open_dataset("shards", tmp_path)
    assert list(images.paths) == [f"{path}.png" for path in clothes.paths]
    assert [images.load(i).tobytes() for i in range(5)] == [clothes.load(i).tobytes() for i in range(5)]


def test_memory_elsewhere(written: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(f"{written}/", "/shards-elsewhere/", recursive=True)
    images = data.open_dataset("shards", "memory://shards-elsewhere")
    assert [images.content(i) for i in range(len(images))] == contents(written)
    made = make_index("memory://shards-elsewhere", images.classes)
    assert made.column("offset").tolist() == images.starts.tolist()
    memory.pipe("/shards-elsewhere/000001.tar", b"")
    refused(
        r"'memory://shards-elsewhere/000001.tar' has 0 bytes, and .* in the index", root="memory://shards-elsewhere"
    )


def contents(root: Path) -> list[bytes]:
    images = data.open_dataset("shards", root)
    return [images.content(i) for i in range(len(images))]


class Ranges(SimpleHTTPRequestHandler):
    """A server of files, which counts bytes and, unless it is told not to, gives ranges."""

    ranges, sent = True, 0
    together: threading.Barrier | None = None

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return super().do_GET()
        content, asked = path.read_bytes(), self.headers.get("Range")
        if asked and self.ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            content = content[int(first) : int(last) + 1]
        type(self).sent += len(content)
        if self.together:
            self.together.wait(20)
        self.send_response(206 if asked and self.ranges else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(written: Path) -> Iterator[tuple[str, type[Ranges]]]:
    pytest.importorskip("aiohttp")

    class Handler(Ranges):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(written)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_http_gives_the_ranges_alone(served: tuple[str, type[Ranges]], written: Path) -> None:
    url, handler = served
    images = data.open_dataset("shards", url)
    before = handler.sent
    assert images.content(4) == contents(written)[4]
    assert handler.sent - before == images.lengths[4] + 512


def test_a_batch_is_asked_for_at_once(served: tuple[str, type[Ranges]], written: Path) -> None:
    url, handler = served
    images = data.open_dataset("shards", url)
    handler.together = threading.Barrier(3)  # no answer before the third request
    assert images.contents([0, 6, 3]) == [contents(written)[i] for i in (0, 6, 3)]


def test_workers_read_over_http(served: tuple[str, type[Ranges]], written: Path) -> None:
    rule = Preprocessing(crop_size=8)
    sets = [data.open_dataset("shards", place) for place in (served[0], written)]
    there, here = [
        [b for _, b in evaluation_batches(s, rule, batch_size=2, workers=w)] for s, w in zip(sets, (2, 0), strict=True)
    ]
    assert all(a.equal(b) for a, b in zip(there, here, strict=True))


def test_an_index_here_of_tars_there(served: tuple[str, type[Ranges]], written: Path, tmp_path: Path) -> None:
    made = make_index(served[0], read_classes(f"{served[0]}/classes.txt"))
    (tmp_path / "index").mkdir()
    write_index(tmp_path / "index" / INDEX, made, beside=False)
    images = data.open_dataset("shards", tmp_path / "index")
    assert [images.content(i) for i in range(len(images))] == contents(written)


def test_servers_without_ranges_and_without_files(served: tuple[str, type[Ranges]]) -> None:
    url, handler = served
    images = data.open_dataset("shards", url)
    handler.ranges = False
    with pytest.raises(InputError, match=r"bytes where .* were asked for, .*valid: .* a server that gives ranges"):
        images.load(5)
    refused(f"no {INDEX} for the test split in '{url}/nothing'", root=f"{url}/nothing")


def test_places_that_cannot_be_read() -> None:
    refused(r"'nowhere://a/index.parquet' cannot be read .Protocol not known: nowhere", root="nowhere://a")
    refused("data set 'shards' needs a place, and none was given")
    if not importlib.util.find_spec("aiohttp"):
        refused("cannot be read .HTTPFileSystem requires .*aiohttp", root="http://127.0.0.1:9/a")
    else:
        refused("'http://127.0.0.1:9/a/index.parquet' cannot be read .Connect call failed", root="http://127.0.0.1:9/a")


def test_sets_of_others_need_an_index_first(tmp_path: Path) -> None:
    members = {"./dir/": b"", "./dir/a.png": png(3), "./dir/a.json": b"{}", "./dir/a.cls": b"1\n", "._a.png": b"?"}
    tar_of(tmp_path / "x-0.tar", members)
    tar_of(tmp_path / "x-1.tar", {"b.cls": b"0", "b.seg.png": png(), "b.PNG": png(9)})
    refused(f"no {INDEX} for the test split in .*; make it once from the tars with `resnest-core index", root=tmp_path)
    write_index(tmp_path / INDEX, make_index(str(tmp_path), ("no", "yes")), beside=True)
    images = data.open_dataset("shards", tmp_path)
    assert list(images.paths) == ["dir/a.png", "b.PNG"]
    assert images.targets.tolist() == [1, 0]
    assert [images.load(i).getpixel((0, 0)) for i in range(2)] == [(3, 3, 3), (9, 9, 9)]


def test_names_in_another_encoding(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for suffix, content in (("png", png()), ("cls", b"0")):
            entry = tarfile.TarInfo(f"caf\udce9.{suffix}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    made = make_index(str(tmp_path), ("coffee",))
    assert made.table["image"].to_pylist() == [r"caf\xe9.png"]


BAD = {
    "no class": ({"a.png": png(), "b.png": png(), "b.cls": b"0"}, "key 'a' in '.*0.tar' has 1 images and 0 classes"),
    "no image": ({"a.heic": png(), "a.cls": b"0"}, "key 'a' in '.*0.tar' has 0 images and 1 classes; valid: one image"),
    "two images": ({"a.png": png(), "a.jpg": png(), "a.cls": b"0"}, "key 'a' in '.*0.tar' has 2 images and 1 classes"),
    "class beyond": (
        {"a.png": png(), "a.cls": b"2"},
        "'a.cls' in '.*0.tar' says class '2'; valid: a number from 0 to 1",
    ),
    "no number": ({"a.png": png(), "a.cls": b"dog"}, "'a.cls' in '.*0.tar' says class 'dog'; valid: a number"),
    "key again": (
        {
            "a.png": png(),
            "a.cls": b"0",
            "b.png": png(),
            "b.cls": b"0",
            "a.PNG": png(),
            "./a.cls": b"0",
            "./a.png": png(),
        },
        "key 'a' in .* has 2 images and 1 classes",
    ),
    "name again": (
        {"a.png": png(), "a.cls": b"0", "b.png": png(), "b.cls": b"0", "./a.cls": b"0", "./a.png": png()},
        "two images in the tars of '.*' are called 'a.png'",
    ),
    "nothing": ({"a.json": b"{}"}, "no image of '.*' is there"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sets_are_refused(case: str, tmp_path: Path) -> None:
    members, message = BAD[case]
    tar_of(tmp_path / "0.tar", members)
    with pytest.raises(InputError, match=message) as error:
        make_index(str(tmp_path), ("no", "yes"))
    assert "\n" not in str(error.value)


def test_cut_tars_are_refused_wherever_they_are_cut(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "0.tar", {"a.png": png(), "a.cls": b"0", "b.png": png(), "b.cls": b"1"})
    whole = path.read_bytes()
    end = 8 * 512  # of the four files
    for size in (0, 100, 512, 600, 1024, 2048, 3 * 1024, end - 512, end - 1, end):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"'.*0.tar' is cut or damaged"):
            make_index(str(tmp_path), ("no", "yes"))
    path.write_bytes(whole[:2048] + b"rubbish" * 200)
    with pytest.raises(InputError, match=r"'.*0.tar' is cut or damaged"):
        make_index(str(tmp_path), ("no", "yes"))
    path.unlink()
    with pytest.raises(InputError, match=r"no tar in"):
        make_index(str(tmp_path), ("no", "yes"))


def test_an_index_that_does_not_fit_is_refused(written: Path) -> None:
    tar, index = written / "000001.tar", written / INDEX
    whole, content = tar.read_bytes(), index.read_bytes()
    tar.write_bytes(whole[:-512])
    refused(r"'.*000001.tar' has .* bytes, and .* in the index; make the index again", root=written)
    tar.write_bytes(bytes(512) + whole[:-512])
    with pytest.raises(InputError, match=r"image '.*' is not in '.*000001.tar' where the index has it; make"):
        data.open_dataset("shards", written).load(3)
    assert len(data.check("shards", written).problems) == 4
    tar.unlink()
    refused(r"'.*000001.tar' does not exist", root=written)
    index.write_bytes(content[:-100])
    refused("'.*index.parquet' is no whole index of shards", root=written)
    pq.write_table(pq.read_table(io.BytesIO(content)).drop(["size"]), index)
    refused("'.*index.parquet' is no whole index of shards", root=written)


@pytest.mark.parametrize(("column", "value"), [("shard", 3), ("target", 3), ("offset", 10**6), ("size", 10**6)])
def test_rows_beyond_the_set_are_refused(column: str, value: int, written: Path) -> None:
    table = pq.read_table(written / INDEX)
    values = table[column].to_numpy().copy()
    values[2] = value
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, table.schema.field(place), [values]), written / INDEX)
    refused("of '.*index.parquet' lies beyond its tar or its classes; make the index again", root=written)


def test_check_says_what_is_wrong(written: Path) -> None:
    assert str(data.check("shards", written)) == "shards: 7 images of 3 classes, complete, no problem"
    images, tar = data.open_dataset("shards", written), written / "000002.tar"
    content = bytearray(tar.read_bytes())
    content[images.starts[6] : images.starts[6] + 20] = bytes(20)
    tar.write_bytes(content)
    assert data.check("shards", written).problems == [f"{images.paths[6]}: not an image"]


def test_writing_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path
) -> None:
    files, out = data.open_dataset("imagefolder", tmp_path / "folders"), tmp_path / "again"
    content = type(files).content

    def broken(self: StoredImages, index: int) -> bytes:
        if index == 4:
            raise KeyboardInterrupt
        return content(self, index)

    monkeypatch.setattr(type(files), "content", broken)
    with pytest.raises(KeyboardInterrupt):
        write_shards(files, out, 3)
    assert sorted(path.name for path in out.iterdir()) == ["000000.tar", "classes.txt", UNFINISHED]
    read: list[int] = []
    monkeypatch.setattr(type(files), "content", lambda self, i: read.append(i) or content(self, i))
    with pytest.raises(InputError, match=r"'.*again' holds the beginning of another set of shards; give another"):
        write_shards(files, out, 2)
    write_shards(files, out, 3)
    assert read == [3, 4, 5, 6]
    for path in written.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert len(list(out.iterdir())) == len(list(written.iterdir()))


def test_what_cannot_be_written(written: Path, tmp_path: Path) -> None:
    files = data.open_dataset("imagefolder", tmp_path / "folders")
    with pytest.raises(InputError, match=r"'.*set' holds shards already; give another directory"):
        write_shards(files, written, 3)
    with pytest.raises(InputError, match="images_per_shard 0 is not possible"):
        write_shards(files, tmp_path / "new", 0)
    (tmp_path / "folders" / "ant" / "notes.md").write_text("notes")
    with pytest.raises(InputError, match=r"'ant/notes.md' is no image by its name; valid in a shard: names"):
        write_shards(data.open_dataset("imagefolder", tmp_path / "folders"), tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_marker_holds_what_is_written(written: Path) -> None:
    assert not (written / UNFINISHED).exists()
    metadata = pq.read_schema(written / INDEX).metadata[b"resnest_core"]
    assert json.loads(metadata)["tars"] == ["000000.tar", "000001.tar", "000002.tar"]
    assert np.all(pq.read_table(written / INDEX)["offset"].to_numpy() % 512 == 0)
