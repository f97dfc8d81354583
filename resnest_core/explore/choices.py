"""The widgets by which runs and images are chosen."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets as widgets
from PIL import Image

from resnest_core.data.base import Images, read_image
from resnest_core.errors import InputError
from resnest_core.explore.panel import Panel
from resnest_core.explore.runs import Run

LARGEST_SIDE = 1333  # pixels of an uploaded image
UPLOAD = "or upload an image, below 10 MB"  # Jupyter's server closes the connection on a longer message
LABEL = {"description_width": "7em"}


def dropdown(description: str, options: Sequence[Any] = ()) -> widgets.Dropdown:
    """A choice of one of some (label, value)."""
    return widgets.Dropdown(options=options, description=description, style=LABEL, layout=_layout())


def slider(description: str) -> widgets.IntSlider:
    """A choice of a number, whose limits are set later."""
    return widgets.IntSlider(max=0, description=description, continuous_update=False, style=LABEL, layout=_layout())


def score_slider(description: str, value: float) -> widgets.FloatSlider:
    """A choice of a score."""
    limits = {"min": 0.05, "max": 0.95, "step": 0.05}
    return widgets.FloatSlider(
        value, description=description, continuous_update=False, style=LABEL, layout=_layout(), **limits
    )


def run_choice(description: str, runs: Sequence[Run]) -> widgets.Dropdown:
    """A choice of a run."""
    return dropdown(description, [(run.title, run) for run in runs])


def chosen_run(choice: widgets.Dropdown) -> Run:
    """The run chosen; InputError if there is none to choose."""
    if choice.value is None:
        raise InputError("no such experiment has run; run ./run_all.sh, and then this cell again")
    run: Run = choice.value
    return run


def offer(choice: widgets.Dropdown, options: Sequence[tuple[str, Any]]) -> None:
    """Let the choice be one of `options`: the one it was if that is still among them, else the first."""
    values = [value for _, value in options]
    before = choice.value
    choice.options, choice.disabled = options, not options
    choice.value = before if before in values else next(iter(values), None)


def limit(choice: widgets.IntSlider, count: int) -> None:
    """Let the choice be one of `count` numbers from 0 on."""
    choice.max, choice.disabled = max(count - 1, 0), count < 2


class ImagePanel(Panel):
    """A panel on a run and an image, of the run's test set or uploaded: whichever was chosen last."""

    def __init__(self, runs: Sequence[Run], *choices: widgets.Widget) -> None:
        self.run = run_choice("run", runs)
        self.index = slider("test image")
        self.upload = widgets.FileUpload(accept="image/*", description=UPLOAD, layout=_layout("22em"))
        super().__init__(self.run, self.index, self.upload, *choices)

    def image(self, changed: widgets.Widget | None, test_set: Callable[[], Images]) -> Image.Image | int:
        """The uploaded image, or the index of that of the test set; InputError if there is neither."""
        if changed is self.index:
            self.upload.value = ()
        try:
            limit(self.index, len(test_set()))
        except InputError as error:
            limit(self.index, 0)
            if not self.upload.value:
                raise InputError(f"{error} (here explore(data=DIR)); or upload an image") from None
        return uploaded(self.upload.value[0]) if self.upload.value else int(self.index.value)


def uploaded(file: Mapping[str, Any]) -> Image.Image:
    """The image of an uploaded file in RGB, upright, of 1,333 pixels at most; InputError if it is none."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(file["content"])
        try:
            image = read_image(path, upright=True)
        except InputError as error:
            raise InputError(str(error).replace(str(path), file["name"])) from None
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return image


def _layout(width: str = "min(100%, 44em)") -> widgets.Layout:
    return widgets.Layout(width=width)
