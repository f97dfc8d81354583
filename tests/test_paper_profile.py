"""The paper profile on small trees in the data sets' layouts, with golden weights in place of the published ones."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from golden_weights import golden_state_dict
from models.detectron import FACTORS, golden_file, keys
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from repository import copy_repository, run_all

from resnest_core.checkpoints import MANIFEST
from resnest_core.data.coco_categories import THINGS
from resnest_core.data.imagenet import synsets
from resnest_core.data.transforms import Preprocessing
from resnest_core.files import sha256
from resnest_core.models import create_model
from resnest_core.published_keys import renamed

FIXTURES = Path(__file__).parent / "data" / "fixtures"
GOLDEN = Path(__file__).parent / "golden" / "segmentation"
HERE = ("resnest50", "resnest50_fast_1s1x64d")
SEGMENTER = "deeplab_resnest50_ade"
DETECTOR = "mask_rcnn_resnest50_fpn"
DETECTING = ("object_detection", "instance_segmentation")
ANNOTATIONS = "annotations/instances_val2017.json"
PHOTOGRAPHS = {7: "wide_251x60", 42: "colour_181x137"}  # by their ids; the second has no object
PERSON, BENCH = 1, 15
# Where the golden detector, run once by itself, finds benches in the first photograph: x, y, width and height.
FOUND = ([112, 37, 18, 22], [237, 34, 14, 26], [189, 34, 21, 25], [228, 38, 21, 21])
N = 6


def plant_images(root: Path) -> None:
    """`N` JPEGs of odd sizes, grey and CMYK among them, two of a class, in class folders below `root`/val."""
    sources = sorted(FIXTURES.glob("*.jpg"))
    for number in range(N):
        folder = root / "val" / synsets()[(number // 2 * 177) % 1000]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(sources[number % len(sources)], folder / f"ILSVRC2012_val_{number + 1:08d}.JPEG")


def plant_labelled_images(root: Path) -> None:
    """Two photographs with labels in ADE20K's layout: raw 0 counts nothing, 1 to 150 are the classes."""
    for number, source in enumerate(sorted(FIXTURES.glob("*.jpg"))[:2], start=1):
        image, label = (root / kind / "validation" / f"ADE_val_{number:08d}" for kind in ("images", "annotations"))
        image.parent.mkdir(parents=True, exist_ok=True)
        label.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, image.with_suffix(".jpg"))
        with Image.open(source) as photograph:
            columns, rows = photograph.size
        raw = np.add.outer(np.arange(rows) // 9, np.arange(columns) // 7) % 151
        Image.fromarray(raw.astype(np.uint8)).save(label.with_suffix(".png"))


def plant_objects(root: Path) -> None:
    """Two photographs in COCO's layout: benches where the detector sees them, a person it misses and a crowd."""
    images = []
    for number, source in PHOTOGRAPHS.items():
        target = root / "val2017" / f"{number:012d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FIXTURES / f"{source}.jpg", target)
        with Image.open(target) as photograph:
            size = dict(zip(("width", "height"), photograph.size, strict=True))
        images.insert(0, {"id": number, "file_name": target.name, **size})  # the last first, as COCO has no order
    # The second mask is a third of its box, so that masks and boxes score differently.
    shares = (1, 1 / 3, 1, 1)
    objects = [(BENCH, box, [corners(box, share)], 0) for box, share in zip(FOUND, shares, strict=True)]
    objects.append((PERSON, [150, 5, 40, 50], [corners([150, 5, 40, 50])], 0))
    columns, (height, width) = 90, (60, 251)
    runs = {"size": [height, width], "counts": [0, columns * height, (width - columns) * height]}
    objects.append((BENCH, [0, 0, columns, height], runs, 1))
    annotations = [
        {
            "id": number,
            "image_id": min(PHOTOGRAPHS),
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "segmentation": segmentation,
            "iscrowd": crowd,
        }
        for number, (category, box, segmentation, crowd) in enumerate(objects, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in THINGS.items()]
    (root / ANNOTATIONS).parent.mkdir()
    said = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (root / ANNOTATIONS).write_text(json.dumps(said))


def corners(box: list[int], share: float = 1) -> list[float]:
    """The left `share` of a box as a polygon."""
    x, y, width, height = box
    right, bottom = x + share * width, y + height
    return [x, y, right, y, right, bottom, x, bottom]


def segmenter_file() -> dict[str, torch.Tensor]:
    """Golden weights under the authors' keys."""
    rows = json.loads((GOLDEN / f"{SEGMENTER}.keys.json").read_text())
    return golden_state_dict({key: torch.empty(shape, dtype=getattr(torch, kind)) for key, shape, kind in rows})


def detector_file() -> dict[str, torch.Tensor]:
    """Golden weights under the authors' keys, changed so that something is found."""
    state = golden_file(keys(MANIFEST[DETECTOR].file.rpartition("-")[0]), factors=FACTORS)
    state["roi_heads.mask_head.predictor.bias"] += 1  # without that nearly every mask is empty
    return state


def plant_weights(root: Path, folder: Path) -> None:
    """Golden weights under the published names, one in a zip as published; the copy's manifest gets their digests."""
    folder.mkdir()
    digests = {}
    for name in HERE:
        torch.save(golden_state_dict(create_model(name).state_dict()), folder / MANIFEST[name].file)
        digests[MANIFEST[name].file] = sha256(folder / MANIFEST[name].file)
    record, bare = MANIFEST[SEGMENTER], folder / "bare.pth"
    torch.save({"state_dict": segmenter_file()}, bare)
    digests[record.file] = hashlib.sha1(bare.read_bytes()).hexdigest()
    with zipfile.ZipFile(folder / record.urls[0].rpartition("/")[2], "w") as archive:
        archive.write(bare, record.file)
    bare.unlink()
    record = MANIFEST[DETECTOR]
    torch.save({"model": detector_file()}, folder / record.file)
    digests[record.file] = sha256(folder / record.file)
    manifest = root / "resnest_core" / "checkpoints.csv"
    with manifest.open(newline="") as file:
        rows = list(csv.reader(file))
    for row in rows:
        for file_name, digest in digests.items():
            if file_name in row:
                row[:] = [digest if value == MANIFEST[row[0]].digest[1] else value for value in row]
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def make_small(root: Path) -> None:
    """Measure the cost of two networks instead of thirteen, segment at one scale, and show one image each."""
    path = root / "profiles" / "paper.yaml"
    profile = yaml.safe_load(path.read_text())
    study = profile["studies"]["efficiency"]
    study["parameters"] = {"batch_size": 1, "rounds": 1}
    study["experiments"][0]["parameters"]["networks"] = ["resnetd50", "resnest50"]
    study = profile["studies"]["semantic_segmentation"]
    study["parameters"] |= {"view": "single_scale", "examples": 1}
    study["experiments"] = [entry for entry in study["experiments"] if "single_scale" not in entry["name"]]
    for name in DETECTING:
        profile["studies"][name]["parameters"]["examples"] = 1
    path.write_text(yaml.safe_dump(profile, sort_keys=False))


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    base = tmp_path_factory.mktemp("paper")
    root = copy_repository(base / "clone")
    plant_images(base / "data" / "imagenet")
    plant_labelled_images(base / "data" / "ADEChallengeData2016")
    plant_objects(base / "data" / "coco")
    plant_weights(root, base / "weights")
    make_small(root)
    arguments = ["--profile", "paper", "--data", str(base / "data"), "--allow-missing"]
    return root, base, run_all(root, *arguments, RESNEST_WEIGHTS=str(base / "weights"))


def test_everything_that_is_missing_is_listed_before_any_work(tmp_path: Path) -> None:
    root = copy_repository(tmp_path / "clone")
    done = run_all(root, "--profile", "paper", RESNEST_WEIGHTS=str(tmp_path / "none"))
    assert done.returncode == 2
    for name in ("resnest269", "resnest50_fast_4s2x40d"):
        assert f"resnest-core weights fetch {name}" in done.stderr
    assert "imagenet" in done.stderr
    for name in ("ADE20K", "PASCAL Context", "data set 'coco'", MANIFEST[SEGMENTER].file, MANIFEST[DETECTOR].file):
        assert name in done.stderr
    assert not list((root / "build").rglob("result.json"))


def test_what_is_there_runs_and_the_rest_is_marked(paper: tuple) -> None:
    root, _, done = paper
    assert done.returncode == 0, done.stdout + done.stderr
    plan = json.loads((root / "build/paper/plan.json").read_text())
    status = {f"{e['study']}/{e['name']}": e["status"] for e in plan["experiments"]}
    assert status["base_results/resnest50"] == "run"
    assert status["base_results/resnest50_resize_then_crop"] == "run"
    assert status["batch_size/evaluation_64"] == "run"
    assert status["ablation/resnest50_fast_1s1x64d"] == "run"
    assert status[f"semantic_segmentation/{SEGMENTER}"] == "run"
    assert status["semantic_segmentation/deeplab_resnest269_ade"] == "missing"
    assert status["semantic_segmentation/deeplab_resnest50_pcontext"] == "missing"
    assert status["base_results/resnest269"] == "missing"
    assert status["ablation/resnest50_fast_4s2x40d"] == "missing"
    html = (root / "build/paper/article.html").read_text()
    assert re.search("not run", html)
    for study in DETECTING:
        assert f'id="sec:{study}"' in html


def test_every_other_detector_is_missing_for_its_weights(paper: tuple) -> None:
    root, _, _ = paper
    plan = json.loads((root / "build/paper/plan.json").read_text())
    found = {e["name"]: e for e in plan["experiments"] if e["study"] in DETECTING}
    published = {name for name, record in MANIFEST.items() if record.task in (*DETECTING, "panoptic_segmentation")}
    assert set(found) == published
    assert found.pop(DETECTOR)["status"] == "run"
    for name, experiment in found.items():
        assert experiment["status"] == "missing"
        assert f"weights of {name}" in experiment["reason"]
    assert "data set coco_panoptic" in found["panoptic_fpn_resnest200_tricks_3x"]["reason"]


def test_records_equal_a_direct_evaluation(paper: tuple) -> None:
    root, base, _ = paper
    model = create_model("resnest50").eval()
    model.load_state_dict(golden_state_dict(model.state_dict()))
    records = pd.read_parquet(root / "build/paper/base_results/resnest50/records.parquet")
    assert len(records) == N
    rule = Preprocessing()
    for row in records.to_dict("records"):
        path = next((base / "data" / "imagenet").rglob(Path(row["image"]).name))
        assert synsets()[row["target"]] == path.parent.name
        with Image.open(path) as image, torch.no_grad():
            logits = model(rule(image.convert("RGB"))[None])[0]
        assert int(logits.argmax()) == row["predicted"]
        assert row["loss"] == pytest.approx(-float(logits.log_softmax(0)[row["target"]]), rel=1e-4)


def test_segmentation_records_equal_a_direct_evaluation(paper: tuple) -> None:
    root, base, _ = paper
    out = root / "build/paper/semantic_segmentation" / SEGMENTER
    records = pd.read_parquet(out / "records.parquet")
    assert records["image"].tolist() == [f"images/validation/ADE_val_{n:08d}.jpg" for n in (1, 2)]
    model = create_model(SEGMENTER).eval()
    model.load_state_dict(renamed(segmenter_file()))
    row, folder = records.iloc[0], base / "data" / "ADEChallengeData2016"
    with (
        Image.open(folder / row["image"]) as photograph,
        Image.open(folder / "annotations/validation/ADE_val_00000001.png") as raw,
    ):
        pixels, truth = np.array(photograph.convert("RGB")), np.array(raw).astype(int) - 1
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = ((torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std)[None]
    short = min(truth.shape)
    size = [512 if side == short else int(side * 512 / short + 0.5) for side in truth.shape]
    with torch.no_grad():
        logits = model(torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=True))["out"]
    found = (
        torch.nn.functional.interpolate(logits, truth.shape, mode="bilinear", align_corners=True)[0].argmax(0).numpy()
    )
    assert row["pixels"].tolist() == np.bincount(truth[truth >= 0], minlength=150).tolist()
    assert abs(row["intersections"].sum() - (found == truth).sum()) <= 0.001 * truth.size
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    right = np.stack(records["intersections"]).sum() / np.stack(records["pixels"]).sum()
    assert metrics["pixAcc"]["value"] == pytest.approx(100 * right)


def test_detection_scores_equal_those_of_cocos_own_code(paper: tuple) -> None:
    root, base, _ = paper
    out = root / "build/paper/instance_segmentation" / DETECTOR
    records, found = (pd.read_parquet(out / f"{name}.parquet") for name in ("records", "detections"))
    assert records["image"].tolist() == [f"val2017/{number:012d}.jpg" for number in PHOTOGRAPHS]
    assert records[["height", "width"]].to_numpy().tolist() == [[60, 251], [137, 181]]
    seen = found[(found["index"] == 0) & (found["category"] == BENCH)][["x", "y", "width", "height"]].to_numpy()
    for box in FOUND:
        assert np.abs(seen - box).max(axis=1).min() < 1
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    annotations = base / "data" / "coco" / ANNOTATIONS
    for kind, prefix in (("bbox", "box"), ("segm", "mask")):
        for name, score in coco_scores(annotations, records, found, kind).items():
            # COCO says -1 where there is no object of that size; the package leaves the score out.
            expected = None if score < 0 else pytest.approx(100 * score, abs=1e-6)
            assert metrics.get(f"{prefix}_{name}", {}).get("value") == expected, (prefix, name)
    assert metrics["box_AP"]["value"] > metrics["mask_AP"]["value"] > 1
    assert metrics["box_AP.person"]["value"] == 0


def coco_scores(annotations: Path, records: pd.DataFrame, found: pd.DataFrame, kind: str) -> dict[str, float]:
    """The scores (0 to 1) of stored detections against an annotation file, by pycocotools alone."""
    truth = COCO(annotations)
    sizes = records.set_index("index")[["height", "width"]]
    entries = []
    for row in found.to_dict("records"):
        size = [int(side) for side in sizes.loc[row["index"]]]
        where = {
            "bbox": [row[name] for name in ("x", "y", "width", "height")],
            "segm": {"size": size, "counts": row["mask"]},
        }
        image = int(Path(records["image"][row["index"]]).stem)
        entry = {"image_id": image, "category_id": row["category"], "score": row["score"]}
        entries.append({**entry, {"bbox": "bbox", "segm": "segmentation"}[kind]: where[kind]})
    evaluation = COCOeval(truth, truth.loadRes(entries), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(("AP", "AP50", "AP75", "APs", "APm", "APl"), evaluation.stats, strict=False))


def test_the_batch_size_moves_no_logit_by_more_than_rounding(paper: tuple) -> None:
    root, _, _ = paper
    logits = [
        torch.tensor(pd.read_parquet(root / f"build/paper/batch_size/evaluation_{size}/records.parquet")["logits"])
        for size in (16, 64)
    ]
    assert (logits[0] - logits[1]).abs().max() / logits[0].std() < 1e-4


def test_a_bad_image_ends_the_experiment_by_name(paper: tuple) -> None:
    root, base, _ = paper
    broken = next((base / "data" / "imagenet").rglob("ILSVRC2012_val_00000002.JPEG"))
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    try:
        arguments = ["--profile", "paper", "--data", str(base / "data"), "--allow-missing", "--only", "ablation"]
        done = run_all(root, *arguments, "--force", RESNEST_WEIGHTS=str(base / "weights"))
    finally:
        broken.write_bytes(content)
    assert done.returncode == 1
    line = next(line for line in done.stderr.splitlines() if line.startswith("ablation/resnest50_fast_1s1x64d: cell"))
    assert "ILSVRC2012_val_00000002.JPEG" in line
    assert not (root / "build/paper/ablation/resnest50_fast_1s1x64d/result.json").exists()
