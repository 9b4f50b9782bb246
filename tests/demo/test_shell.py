"""The prompt of `run.py shell`: it awaits, it says what went wrong, and it can be left."""

import os
import subprocess
import sys

import pytest


def prompt(*lines: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "demo_app.shell"],
        input="".join(line + "\n" for line in lines),
        env={**os.environ, "CACHEMW_REDIS_URL": "memory://"},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_it_awaits_and_goes_on_after_an_error() -> None:
    said = prompt("await store.time() > 0", "await store.nothing()", "6 * 7")
    assert said.stdout.count("True") == 1 and "42" in said.stdout
    assert "has no attribute 'nothing'" in said.stderr
    assert said.returncode == 0


@pytest.mark.parametrize("way_out", ["exit()", "quit()", "raise SystemExit"])
def test_it_can_be_left(way_out: str) -> None:
    said = prompt(way_out, "print('still here')")
    assert said.returncode == 0, said.stderr
    assert "still here" not in said.stdout
