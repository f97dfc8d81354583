"""The categories of COCO 2017 by their numbers: 80 things, and the 53 kinds of stuff of its panoptic annotations."""

import csv
from importlib import resources


def _read(thing: str) -> dict[int, str]:
    text = (resources.files(__package__) / "coco_categories.csv").read_text(encoding="utf-8")
    return {int(row["id"]): row["name"] for row in csv.DictReader(text.splitlines()) if row["thing"] == thing}


THINGS = _read("1")
STUFF = _read("0")
