"""The check on coverage sees what is left out, and nothing else."""

import subprocess
import sys
from pathlib import Path

import coverage
import pytest

from tests import decisions
from tests.decisions import CACHING, DECIDING, uncovered


def test_every_module_that_decides_is_there() -> None:
    assert [name for name in DECIDING if not (CACHING / f"{name}.py").exists()] == []


def test_a_branch_that_no_test_takes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "judge.py"
    source.write_text("import sys\nfor x in sys.argv[1:]:\n    if x > '0':\n        x = '1'\n")
    monkeypatch.setattr(decisions, "CACHING", tmp_path)

    def told(*values: str) -> str:
        file = tmp_path / "data"
        command = ["coverage", "run", "--branch", f"--data-file={file}", "--rcfile=/dev/null"]
        subprocess.run([sys.executable, "-m", *command, source, *values], check=True, timeout=60)
        data = coverage.Coverage(data_file=file, config_file=False)
        data.load()
        return "\n".join(uncovered(data, ["judge"]))

    assert "3->2" in told("1")
    assert "4" in told("0")
    assert told("0", "1") == ""
