"""Small notebooks as papermill leaves them, for build directories with invented results."""

import base64
import io
import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

WIDGET = "application/vnd.jupyter.widget-view+json"


def add_notebooks(directory: Path) -> None:
    """Add the executed notebook to every experiment of the plan that ran."""
    for line in json.loads((directory / "plan.json").read_text())["experiments"]:
        if line["status"] == "run" and line["same_as"] is None:
            path = directory / line["study"] / line["name"] / "notebook.ipynb"
            nbformat.write(notebook(line["name"]), path)


def notebook(name: str) -> nbformat.NotebookNode:
    """A text, code with a bar, a line of output, a table and a figure."""
    bar = {WIDGET: {"model_id": "1", "version_major": 2, "version_minor": 0}, "text/plain": "training: 0%"}
    table = {"text/html": "<table><tr><td>0.5</td></tr></table>", "text/plain": "0.5"}
    outputs = [
        new_output("display_data", data=bar),
        new_output("stream", name="stdout", text="data: <2> images\n"),
        new_output("execute_result", data=table, execution_count=1),
        new_output("display_data", data={"image/png": _picture(), "text/plain": "<Figure>"}),
    ]
    cells = [
        new_markdown_cell(f"# A study\n\nOf *{name}*."),
        new_code_cell('model: str = "<b>"  # the network', execution_count=1),
        new_markdown_cell("## Which classes are confused"),
        new_code_cell("show(model)", execution_count=2, outputs=outputs),
    ]
    language = {"name": "python", "pygments_lexer": "ipython3"}
    return new_notebook(cells=cells, metadata={"language_info": language, "widgets": {}})


def _picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (200, 30, 30)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
