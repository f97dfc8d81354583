"""The panels together."""

from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets

from resnest_core.explore.comparing import Comparing
from resnest_core.explore.drawing import Drawing
from resnest_core.explore.looking import Looking
from resnest_core.explore.panel import Panel, error_line
from resnest_core.explore.runs import Run, find_runs, of_tasks, published_networks
from resnest_core.places import ROOT, expanded

MOST_PROBLEMS = 3


def explore(build: str | Path = ROOT / "build", data: str | Path = "") -> widgets.VBox:
    """Panels to look at the experiments that have run below the directory `build`, and at published networks.

    `data` is the data directory of the images that published networks are shown. What is missing is said in the panels.
    """
    runs, problems = find_runs(Path(expanded(str(build))))
    panels = panels_of(runs, expanded(str(data)))
    tabs = widgets.Tab([panel.box for panel in panels.values()], titles=list(panels), selected_index=0)
    shown = list(panels.values())
    tabs.observe(lambda change: shown[change["new"]].open(), "selected_index")
    shown[0].open()
    more = [f"and {len(problems) - MOST_PROBLEMS} more of the kind"] if len(problems) > MOST_PROBLEMS else []
    notes = [widgets.HTML(error_line(problem)) for problem in (*problems[:MOST_PROBLEMS], *more)]
    return widgets.VBox([*notes, tabs])


def panels_of(runs: Sequence[Run], data: str = "") -> dict[str, Panel]:
    """The tabs by title; each shows nothing until it is opened."""
    everything = [*runs, *published_networks()]
    return {
        "Look": Looking(of_tasks(everything, classification=True), data),
        "Compare": Comparing(of_tasks(runs, classification=True)),
        "Draw": Drawing(of_tasks(everything, classification=False), data),
    }
