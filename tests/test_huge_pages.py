"""Programs begin anew once, with what they were given."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
from resnest_core.huge_pages import VARIABLE, restart
print("here", flush=True)
restart()
print(os.environ[VARIABLE], sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages by glibc are Linux's")
@pytest.mark.parametrize(
    ("given", "starts", "value"),
    [({}, 2, "glibc.malloc.hugetlb=1"), ({"GLIBC_TUNABLES": "glibc.malloc.check=0"}, 1, "glibc.malloc.check=0")],
)
def test_a_program_begins_anew_once(tmp_path: Path, given: dict[str, str], starts: int, value: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), **given}
    ran = subprocess.run(
        [sys.executable, "script.py", "two words", "-x"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == ["here"] * starts + [f"{value} ['two words', '-x']"]
