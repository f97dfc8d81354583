"""Sensitivity to preprocessing: conditions, records and metrics, on tiny runs and on made records."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from resnest_core.analyses.conditions import (
    AS_IT_IS,
    STORED,
    Condition,
    Sweep,
    conditions,
    needed_side,
    reference,
)
from resnest_core.analyses.predictions import accuracies
from resnest_core.analyses.preprocessing import measure_preprocessing, metrics
from resnest_core.data.decoders import decode, encode
from resnest_core.errors import InputError
from resnest_core.evaluation.classification import Protocol
from resnest_core.experiments.classification import Classification
from resnest_core.experiments.finished import Finished, open_runs
from resnest_core.figures.preprocessing import resolution, views
from resnest_core.models import create_model
from resnest_core.training.classification import Recipe

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")  # torchvision's, of itself
FIXTURES = Path(__file__).parent / "data" / "fixtures"
IMAGES, LIMIT, SIZES = 60, 33, (14, 28, 40)
QUALITY = 3  # so that predictions change
SMALL = Condition("reference", STORED, AS_IT_IS)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two networks, trained a little, and evaluated on images of Fashion-MNIST."""
    root = tmp_path_factory.mktemp("small")
    for model in ("mini_resnest11", "mini_resnetd11"):
        recipe = Recipe(epochs=1, batch_size=32)
        settings = {"limit": IMAGES, "train_limit": 128, "recipe": recipe, "protocol": Protocol(20, "cpu")}
        Classification(model, str(root / model), **settings).result  # noqa: B018 - the work is done on access
    return [str(root / "mini_resnest11"), str(root / "mini_resnetd11")]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network with random weights that has seen photographs of several sizes at 40 pixels."""
    root = tmp_path_factory.mktemp("photographs")
    for number, path in enumerate(sorted(FIXTURES.glob("*.jpg"))):
        folder = root / "data" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert("RGB").resize((3 * image.width, 3 * image.height)).save(folder / f"{number}.jpg", quality=95)
    torch.manual_seed(0)
    save_file(create_model("mini_resnest11", num_classes=2).state_dict(), root / "weights.safetensors")
    settings = {"dataset": "imagefolder", "data": str(root / "data"), "weights": str(root / "weights.safetensors")}
    settings |= {"crop_size": 40, "protocol": Protocol(4, "cpu")}
    experiment = Classification("mini_resnest11", str(root / "run"), **settings)
    assert experiment.result["metrics"]["top1"]["n"] == 5
    return str(root / "run")


@pytest.fixture(scope="module")
def measured(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, pd.DataFrame]:
    out = tmp_path_factory.mktemp("measured")
    result = measure_preprocessing(small, out, Sweep(sizes=SIZES, quality=QUALITY), limit=LIMIT, device="cpu")
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    return result, pd.read_parquet(out / "records.parquet")


def made(correct: dict[tuple[str, str], list[bool]], pixels: dict[str, int] | None = None) -> pd.DataFrame:
    """Records of runs and conditions: class 1 where correct, else 0."""
    tables = [
        pd.DataFrame({"index": range(len(right)), "correct": right, "predicted": np.array(right, int)}).assign(
            run=run, condition=condition, pixels=(pixels or {}).get(condition, 0)
        )
        for (run, condition), right in correct.items()
    ]
    return pd.concat(tables, ignore_index=True)


PLAN = conditions(SMALL, Sweep(rules=(), decoders=("pillow", "draft"), sizes=(14, 28)))


class TestMetrics:
    def test_by_hand(self) -> None:
        yes, no = [True] * 10, [False] * 10
        given = {
            ("a", "reference"): yes,
            ("a", "whole-bicubic-pillow"): [*no[:6], *yes[:4]],
            ("a", "whole-bicubic-draft"): [*no[:5], *yes[:5]],
            ("a", "size_14"): [*no[:8], *yes[:2]],
            ("a", "size_28"): yes,
            ("b", "reference"): yes,
            ("b", "whole-bicubic-pillow"): yes,
            ("b", "whole-bicubic-draft"): yes,
            ("b", "size_14"): [*no[:4], *yes[:6]],
            ("b", "size_28"): yes,
        }
        records = made(given, {"whole-bicubic-pillow": 7, "whole-bicubic-draft": 7})
        found = metrics(records.sample(frac=1, random_state=0), {"a": PLAN, "b": PLAN})
        value = {name: entry["value"] for name, entry in found.items()}
        assert value["a.whole-bicubic-pillow.top1"] == 40
        assert value["a.whole-bicubic-pillow.changed"] == 60
        assert value["a.whole-bicubic-pillow.difference"] == -60
        assert value["a.whole-bicubic-pillow.identical"] == 0
        assert value["a.whole-bicubic-draft_less_whole-bicubic-pillow.identical"] == 100
        assert value["a.whole-bicubic-draft_less_whole-bicubic-pillow.difference"] == pytest.approx(10)
        assert value["a.whole-bicubic-draft_less_whole-bicubic-pillow.changed"] == pytest.approx(10)
        assert value["a.curve.change"] == -40, "of -80 and 0"
        assert value["b.curve.excess"] == pytest.approx(20), "-20 against -40"
        assert "a.curve.excess" not in value
        assert "a.size_28.difference" not in value, "is the reference itself"
        assert "a.size_14.identical" not in value, "is no question of the decoder"

    def test_p_is_corrected_for_all_comparisons(self) -> None:
        random = np.random.default_rng(0)
        given = {(run, c.name): (random.random(80) < 0.7).tolist() for run in "ab" for c in PLAN}
        given |= {(run, "size_28"): given[run, "reference"] for run in "ab"}
        found = metrics(made(given), {"a": PLAN, "b": PLAN})
        pairs = [
            (run, name, "reference")
            for run in "ab"
            for name in ("whole-bicubic-pillow", "whole-bicubic-draft", "size_14")
        ]
        pairs += [(run, "whole-bicubic-draft", "whole-bicubic-pillow") for run in "ab"]
        raw = [
            mcnemar(pd.crosstab(np.array(given[run, a]), np.array(given[run, b])).to_numpy(), exact=True).pvalue
            for run, a, b in pairs
        ]
        expected = multipletests(raw, method="holm")[1]
        keys = [f"{run}.{a}.p" if b == "reference" else f"{run}.{a}_less_{b}.p" for run, a, b in pairs]
        assert [found[key]["value"] for key in keys] == pytest.approx(expected.tolist())
        assert sum(name.endswith(".p") for name in found) == len(pairs)

    def test_of_one_image_and_without_anything_to_compare(self) -> None:
        plan = conditions(SMALL, Sweep(rules=(), decoders=()))
        found = metrics(made({("a", "reference"): [True]}), {"a": plan})
        assert list(found) == ["a.reference.top1"]


class TestSmallRuns:
    def test_one_row_for_each_image_run_and_condition(self, measured: tuple[dict, pd.DataFrame]) -> None:
        result, records = measured
        assert not records.duplicated(["index", "run", "condition"]).any()
        plan = result["parameters"]["conditions"]["mini_resnest11"]
        assert len(records) == LIMIT * 2 * len(plan)
        assert set(records["condition"]) == {condition["name"] for condition in plan}
        assert len(set(records["index"])) == LIMIT
        assert result["parameters"]["encoded"]

    def test_the_reference_and_the_own_size_repeat_the_records(
        self, measured: tuple[dict, pd.DataFrame], small: list[str]
    ) -> None:
        _, records = measured
        for directory in small:
            run = Finished(directory)
            for name in ("reference", "size_28"):
                rows = records[(records["run"] == run.name) & (records["condition"] == name)]
                assert rows["predicted"].tolist() == run.records["predicted"][rows["index"]].tolist()
                assert rows["correct"].tolist() == run.records["correct"][rows["index"]].tolist()

    @pytest.mark.parametrize("decoder", ["stored", "pillow", "torchvision", "draft"])
    @pytest.mark.parametrize("rule", ["centre_square", "resize_then_crop"])
    def test_each_condition_is_what_its_name_says(
        self, measured: tuple[dict, pd.DataFrame], small: list[str], rule: str, decoder: str
    ) -> None:
        _, records = measured
        run = Finished(small[0])
        rows = records[(records["run"] == run.name) & (records["condition"] == f"{rule}-bilinear-{decoder}")]
        images = [run.test_set.load(int(i)) for i in rows["index"]]
        if decoder != STORED:
            images = [decode(decoder, encode(image, QUALITY), short=28) for image in images]
        transform = replace(AS_IT_IS, rule=rule, interpolation="bilinear", ratio=0.875)
        assert run.logits(images, transform).argmax(dim=1).tolist() == rows["predicted"].tolist()

    def test_conditions_make_a_difference(self, measured: tuple[dict, pd.DataFrame]) -> None:
        found = {name: entry["value"] for name, entry in measured[0]["metrics"].items()}
        assert found["mini_resnest11.centre_square-bicubic-stored.changed"] > 0
        assert found["mini_resnest11.size_14.changed"] > 0
        assert found["mini_resnest11.whole-bicubic-pillow.changed"] > 0
        assert found["mini_resnest11.whole-bicubic-pillow.identical"] < 100

    def test_figures(self, measured: tuple[dict, pd.DataFrame], small: list[str]) -> None:
        records = measured[1]
        table = accuracies(records[records["part"] == "resolution"], ["run", "size"])
        rows = records[(records["condition"] == "size_14") & (records["run"] == "mini_resnetd11")]
        own = table[(table["run"] == "mini_resnetd11") & (table["size"] == 14)]
        assert own["top1"].item() == pytest.approx(100 * rows["correct"].mean())
        assert own["low"].item() <= own["top1"].item() <= own["high"].item()
        lines = resolution(table, [28]).axes[0].get_lines()
        assert [line.get_label() for line in lines[:2]] == ["mini_resnest11", "mini_resnetd11"]
        assert all(list(line.get_xdata()) == sorted(SIZES) for line in lines[:2])
        run = open_runs(small)[0]
        assert len(views(run.test_set, conditions(reference(run), Sweep()), count=2).axes) == 2 * 5

    def test_one_image(self, small: list[str], tmp_path: Path) -> None:
        result = measure_preprocessing(small[:1], tmp_path, Sweep(sizes=(14,)), limit=1, device="cpu")
        assert result["metrics"]["mini_resnest11.reference.top1"]["n"] == 1
        assert result["metrics"]["mini_resnest11.curve.change"]["low"] is None

    def test_records_that_are_not_repeated_are_an_error(self, small: list[str], tmp_path: Path) -> None:
        run = Path(shutil.copytree(small[0], tmp_path / "run"))
        records = pd.read_parquet(run / "records.parquet")
        records.loc[3, "predicted"] = (records.loc[3, "predicted"] + 1) % 10
        records.to_parquet(run / "records.parquet")
        with pytest.raises(
            InputError, match=r"run' recorded class \d for image 'test/\d+', and now it is \d \(1 of 20"
        ):
            measure_preprocessing([str(run)], tmp_path / "out", Sweep(), device="cpu")
        assert not (tmp_path / "out").exists(), "nothing is left behind"

    @pytest.mark.parametrize(
        ("sweep", "message"),
        [
            ({"rules": ("middle",)}, "unknown preprocessing rule 'middle'"),
            ({"interpolations": ("nearest",)}, "unknown interpolation 'nearest'"),
            ({"decoders": ("opencv",)}, "unknown decoder 'opencv'"),
            ({"sizes": (0,)}, "sizes 0 is not possible"),
            ({"quality": 100}, "quality 100 is not possible; valid: a whole number"),
        ],
    )
    def test_bad_sweeps_are_refused(
        self, small: list[str], tmp_path: Path, sweep: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            measure_preprocessing(small, tmp_path, Sweep(**sweep), limit=2, device="cpu")
        assert list(tmp_path.iterdir()) == []


class TestPhotographs:
    def test_files_are_decoded_by_every_decoder(self, photographs: str, tmp_path: Path) -> None:
        result = measure_preprocessing([photographs], tmp_path, Sweep(sizes=(40, 64)), device="cpu")
        records, run = pd.read_parquet(tmp_path / "records.parquet"), Finished(photographs)
        assert not result["parameters"]["encoded"]
        data = run.test_set
        for rule in ("centre_square", "resize_then_crop"):
            preprocessing = replace(run.settings.rule, rule=rule, interpolation="bilinear")
            files = [(data.root / path).read_bytes() for path in data.paths]  # type: ignore[attr-defined]
            for decoder in ("pillow", "torchvision", "draft"):
                images = [decode(decoder, content, short=needed_side(preprocessing)) for content in files]
                rows = records[records["condition"] == f"{rule}-bilinear-{decoder}"].sort_values("index")
                assert run.logits(images, preprocessing).argmax(dim=1).tolist() == rows["predicted"].tolist()
        draft = result["metrics"]["run.centre_square-bicubic-draft.identical"]["value"]
        assert draft < 100, "these images are so large that less than the whole is decoded"

    def test_a_file_that_vanishes_is_named(self, photographs: str, tmp_path: Path) -> None:
        root = Path(shutil.copytree(Path(photographs).parent, tmp_path / "copy"))
        result = json.loads((root / "run" / "result.json").read_text())
        result["parameters"] |= {"data": str(root / "data"), "weights": str(root / "weights.safetensors")}
        (root / "run" / "result.json").write_text(json.dumps(result))
        run = Finished(str(root / "run"))
        _ = run.test_set
        next((root / "data").rglob("3.jpg")).write_bytes(b"")
        with pytest.raises(InputError, match=r"images of '.*' are not those that it was evaluated on"):
            measure_preprocessing([str(root / "run")], tmp_path / "out", Sweep(), device="cpu")
        result["provenance"]["data_digest"] = Finished(str(root / "run")).settings.test_set.digest
        (root / "run" / "result.json").write_text(json.dumps(result))
        with pytest.raises(InputError, match=r"image 'class1/3.jpg' cannot be decoded by pillow"):
            measure_preprocessing([str(root / "run")], tmp_path / "out", Sweep(), device="cpu")


def test_the_notebook_says_what_the_function_takes(small: list[str], tmp_path: Path) -> None:
    """Its code cells, run with the parameters of a tiny study."""
    notebook = json.loads((Path(__file__).parents[1] / "notebooks" / "preprocessing.ipynb").read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    exec(code[0], names)
    names |= {"runs": small, "limit": 6, "sizes": [14], "out": str(tmp_path), "device": "cpu"}
    for cell in code[1:]:
        exec(cell, names)
    assert {path.name for path in tmp_path.iterdir()} == {"records.parquet", "result.json"}
