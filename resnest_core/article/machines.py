"""What `python -m benchmarks` measured on machines: benchmarks/results/machines/, a file each."""

import json
from pathlib import Path
from typing import Any

from resnest_core.article.phrases import count, number, significant
from resnest_core.article.published import elsewhere
from resnest_core.figures.cost import Point, Roof, Speed

MACHINES = Path(__file__).parents[2] / "benchmarks" / "results" / "machines"
REFERENCE, LITERAL, TIMM, MODES = "resnest50", "authors' way", "timm", ("exact", "fast")
BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}  # of a number
Row = dict[str, Any]


class Machine:
    """One machine's measurements, as their file holds them."""

    def __init__(self, file: Path) -> None:
        self.file = file.name
        self.content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))

        found = self.content["provenance"]
        on_cpu = found["device"] == "cpu"
        # What did the work: the processor, or the accelerator.
        self.device = found["processor"].replace("(R)", "").replace(" Processor", "") if on_cpu else found["device"]
        self.name = f"{self.device}, {found['threads']} threads" if on_cpu else self.device

    @property
    def rows(self) -> list[Row]:
        return list(self.content["networks"])

    @property
    def ways(self) -> dict[str, Row]:
        """Those of the reference network that have a name: the authors', the modes, and of timm's the last measured."""
        rows = {_called(row): row for row in self.rows if row["network"] == REFERENCE}
        return {way: rows[way] for way in (LITERAL, TIMM, *MODES) if way in rows}

    def label(self, way: str, row: Row) -> str:
        """What a row of the reference network is called in the figure."""
        return f"{self.device}: {way}, {row['precision']}"

    def intensity(self, row: Row) -> float:
        """Operations for each byte that the layers read and write; a multiply-add is two."""
        return float(2 * row["multiply_adds"] / (row["traffic"] * BYTES[row["precision"]]))

    def rate(self, row: Row) -> float:
        """Operations a second."""
        return float(2 * row["multiply_adds"] * row["images_per_second"]["value"])

    def ceiling(self, precision: str) -> float:
        """Operations a second of a large matrix product."""
        return float(self.content["ceilings"]["matrix_product"][precision]["value"])

    @property
    def copying(self) -> float:
        """Bytes a second."""
        return float(self.content["ceilings"]["copy"]["value"])

    def share(self, row: Row) -> float:
        """Of the rate of a large matrix product in the row's precision in the same rounds, in per cent."""
        return 100 * float(row["share_of_product"]["value"])

    @property
    def roof(self) -> tuple[Roof, list[Point]]:
        """Ceilings, and each classifier in the authors' way and in the modes."""
        products = self.content["ceilings"]["matrix_product"]
        points = [
            Point(way, self.intensity(row), self.rate(row))
            for row in self.rows
            if (way := _called(row)) in (LITERAL, *MODES)
        ]
        return Roof(self.name, {name: self.ceiling(name) for name in products}, self.copying), points

    @property
    def sentence(self) -> str:
        """How fast the reference network is in each mode, against the authors' way and against the ceiling."""
        base, *others = ((way, row) for way, row in self.ways.items() if way != TIMM)
        batch = count(base[1]["batch_size"])
        told = "; ".join(self._mode(way, row) for way, row in others)
        return (
            f"On {self.name} (`{self.file}`), `{REFERENCE}` in batches of {batch} runs at "
            f"{significant(base[1]['images_per_second']['value'])} images a second in the authors' way; {told}."
        )

    def _mode(self, way: str, row: Row) -> str:
        found = row["times_as_fast"]
        spread = f"quartiles {number(found['low'])} to {number(found['high'])}"
        return (
            f"{way} ({row['precision']}) is {number(found['value'])} times as fast ({spread}), at "
            f"{number(self.share(row), 0)} % of the rate of a large matrix product{self._limit(row)}, its convolutions "
            f"alone at {number(self._convolutions(row['precision']), 0)} %"
        )

    def _limit(self, row: Row) -> str:
        """How much of that rate copies of memory leave possible, if not all."""
        allowed = 100 * self.intensity(row) * self.copying / self.ceiling(row["precision"])
        return f" (memory allows {number(allowed, 0)} %)" if allowed < 100 else ""

    def _convolutions(self, precision: str) -> float:
        """What the reference network's convolutions reach one by one, in per cent of the product between them."""
        found = next(alone for alone in self.content["convolutions"] if alone["precision"] == precision)
        return 100 * float(found["operations_per_second"] / found["product_per_second"])


def measured(directory: Path = MACHINES) -> list[Machine]:
    """All that were measured, in the order of their files' names."""
    return [Machine(file) for file in sorted(directory.glob("[!.]*.json"))]


def sentence(found: list[Machine]) -> str:
    """The speed of each machine, and the best that is published."""
    best = max(elsewhere(REFERENCE), key=lambda speed: speed.value)
    published = f"The best published rate of this network is {count(best.value)} ({best.device}) [@wightman2019timm]."
    return " ".join([*(machine.sentence for machine in found), published])


def caption(found: list[Machine]) -> str:
    """What the figure shows beside accuracy: the machines, if there are any, and speeds."""
    published = f"Last: images a second of `{REFERENCE}`"
    if not found:
        return f"{published}, as published [@wightman2019timm]."
    return (
        "Then each classifier at 224 pixels in the authors' way and in two modes, under what the machine can do: "
        "large matrix products in two precisions (level; convolutions can be faster), copies of memory (slope; inputs, "
        "outputs and weights of every layer are counted, so that caches lift points above it). "
        f"{published}, measured (dots) and published (diamonds) [@wightman2019timm]."
    )


def speeds(found: list[Machine]) -> list[Speed]:
    """The reference network's on the machines, then what is published."""
    own = [
        Speed(machine.label(way, row), row["images_per_second"]["value"], False)
        for machine in found
        for way, row in machine.ways.items()
    ]
    return own + [Speed(speed.device, speed.value, True) for speed in elsewhere(REFERENCE)]


def _called(row: Row) -> str:
    """The mode that a row stands for, or whose way it is."""
    return str(row["mode"] or row["way"].partition(",")[0])
