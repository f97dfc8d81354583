"""A small study in a directory of its own: the real runner and workflow, with a core and notebooks of a few lines."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from resnest_core.study.layout import ROOT, Layout
from resnest_core.study.plan import Plan, make_plan
from resnest_core.study.processes import MARK

CORE = {
    "__init__.py": '''"""Lazy."""
from importlib import import_module

def __getattr__(name):
    if name != "train":
        raise AttributeError(name)
    return getattr(import_module("resnest_core.training"), name)
''',
    # A training that writes a line an epoch to a file from which it goes on, and whose result is made of those lines.
    # It waits before the epoch whose number is in the file "hold", so that tests can kill it at a known point.
    "training.py": '''"""Trains."""
import json, os, signal, time
from pathlib import Path
from resnest_core.files import write_json

def train(out, model, epochs, fail=""):
    """Docstring."""
    hold = Path("hold")
    with Path(out, "starts.txt").open("a") as file:
        file.write("x")
    lines = Path(out, "partial.txt")
    for epoch in range(len(lines.read_text().splitlines()) if lines.exists() else 0, epochs):
        while hold.exists() and epoch >= int(hold.read_text()):
            time.sleep(0.05)
        with lines.open("a") as file:
            file.write(f"{model} {epoch}\\n")
    if fail == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fail:
        raise ValueError(f"{fail}\\nmore of it")
    Path(out, "weights.safetensors").write_text(lines.read_text())
    top1 = {"value": float(epochs), "low": None, "high": None, "n": None, "unit": "%"}
    more = {"lines": lines.read_text(), "threads": os.environ["OMP_NUM_THREADS"], "time": time.time()}
    more["began_with"] = Path("/proc/self/environ").read_text()
    write_json(Path(out, "result.json"), {"metrics": {"top1": top1}, **more})
''',
    "evaluation.py": """import json, os, time
from pathlib import Path
from resnest_core.files import write_json

def evaluate(out, weights, batch_size):
    content = Path(weights).read_text() if weights not in ("", "published") else weights
    result = {"metrics": {}, "weights": content, "threads": os.environ["OMP_NUM_THREADS"], "time": time.time()}
    write_json(Path(out, "result.json"), result)
""",
    "checkpoints.py": """from resnest_core.errors import InputError

def resolve(source, name):
    raise InputError(f"the weights of '{name}' are not here: fetch {name}")
""",
    "data/__init__.py": """from resnest_core.errors import InputError

def open_any(name, root=None):
    print("data: noise")
    if root is None:
        raise InputError(f"{name} is not embedded")
""",
    "article/__init__.py": "",
    "article/__main__.py": """import json, sys
from pathlib import Path
build = Path(sys.argv[1])
plan = json.loads((build / "plan.json").read_text())
keys = [f"{e['study']}/{e['name']}" for e in plan["experiments"] if e["status"] == "run" and not e["same_as"]]
for key in keys:
    json.loads((build / key / "result.json").read_text())
if Path("report/wrong").exists():
    sys.exit("error: placeholder 'x' is not resolved")
for suffix in ("html", "pdf"):
    (build / f"article.{suffix}").write_text(" ".join(keys))
""",
    "site/__init__.py": "",
    "site/__main__.py": """import sys
import time
from collections.abc import Callable
from pathlib import Path
if Path("report/wrong_site").exists():
    sys.exit("error: a notebook is missing")
build = Path(sys.argv[1])
(build / "index.html").write_text((build / "article.html").read_text())
""",
    "plots.py": "",
}

NOTEBOOKS = {
    "base": (
        'out: str = "x"\nmodel: str = "a"  # of the net\nepochs: int = 1\nfail: str = ""\n',
        "import resnest_core as rc",
        "%pwd\nrc.train(out, model, epochs, fail)",
        "from pathlib import Path\nimport time\nwhile Path('hold_end').exists():\n    time.sleep(0.05)",
    ),
    "sizes": (
        'out: str = "x"\nmodel: str = "a"\nweights: str = ""\nbatch_size: int = 1\ndataset: str = ""\ndata: str = ""\n',
        "from resnest_core.evaluation import evaluate\nevaluate(out, weights, batch_size)",
    ),
}

PROFILE = """
description: a tiny study
parameters: {epochs: 2}
studies:
  base:
    experiments:
      - {name: "{model}", grid: {model: [a, b]}}
      - {name: c, parameters: {model: c, epochs: 3}}
  sizes:
    threads: all
    experiments:
      - {name: "of_{model}", grid: {model: [a, b]}, weights_from: "base/{model}", parameters: {batch_size: 16}}
      - {name: again, same_as: base/c}
"""


class Tree:
    """The repository of the small study."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout("default", root)
        self.started: list[subprocess.Popen[str]] = []
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.environment = environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def notebook(self, name: str, parameters: str, *cells: str) -> None:
        tags = [["parameters"], *[[] for _ in cells]]
        listed = [
            {"cell_type": "code", "metadata": {"tags": tag}, "source": source, "outputs": [], "execution_count": None}
            | {"id": f"cell-{number}"}
            for number, (tag, source) in enumerate(zip(tags, (parameters, *cells), strict=True))
        ]
        content = {"cells": listed, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        self.write(f"notebooks/{name}.ipynb", json.dumps(content))

    def plan(self, **wishes: Any) -> Plan:
        return make_plan(self.layout, **wishes)

    def set_profile(self, experiments: str, name: str = "default") -> None:
        """Let a profile have these `experiments` of the study base, one line of YAML."""
        self.write(f"profiles/{name}.yaml", f"description: one\nstudies: {{base: {{experiments: [{experiments}]}}}}\n")

    def reasons(self, **wishes: Any) -> dict[str, str]:
        """Why each experiment that runs does so."""
        return {key: str(step.reason) for key, step in self.plan(**wishes).to_run.items()}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [str(self.root / "run_all.sh"), *arguments]
        process = subprocess.Popen(command, env=self.environment, text=True, start_new_session=True, **pipes)
        self.started.append(process)
        return process

    def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Output and errors of ./run_all.sh, which must end with `status`."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=400)
        assert process.returncode == status, output + errors
        return output, errors

    def results(self) -> dict[str, Any]:
        """The content of each result.json, without its time."""
        paths = sorted(self.layout.build.glob("*/*/result.json"))
        contents = {str(path.relative_to(self.layout.build)): json.loads(path.read_text()) for path in paths}
        return {path: {**content, "time": None} for path, content in contents.items()}

    def events(self, kind: str) -> list[str]:
        """The experiments of the last run with an event of that kind."""
        lines = [line for path in self.layout.plans.glob("events/**/*.jsonl") for line in path.open()]
        return [event["key"] for event in map(json.loads, lines) if event["kind"] == kind]

    def processes(self, *words: str) -> list[psutil.Process]:
        """The running processes of this tree's runs whose command has one of the `words`."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get(MARK) == str(self.layout.build)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found += [process] if any(word in " ".join(process.cmdline()) for word in words or [""]) else []
            except psutil.Error:
                continue
        return found


def plant(root: Path) -> Tree:
    """Make the small study in `root`."""
    tree = Tree(root)
    for name in ("run_all.sh", "workflow/Snakefile", "resnest_core/errors.py", "resnest_core/files.py", "resnest_core/texts.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(
        ROOT / "resnest_core/study", root / "resnest_core/study", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, text in CORE.items():
        tree.write(f"resnest_core/{name}", text)
    for name, cells in NOTEBOOKS.items():
        tree.notebook(name, *cells)
    tree.write("profiles/default.yaml", PROFILE)
    tree.write("report/article.md", "text")
    for name in ("requirements.txt", "requirements.lock", "requirements-test.txt"):
        tree.write(name, "")
    return tree


def wait_for(condition: Callable[[], object], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
