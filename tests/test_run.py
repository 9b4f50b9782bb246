"""run.py: turns old Pythons away, installs once, and again only when there is a reason to.

The tree is a small one made for the test. A package `pip` that writes down what it was asked stands
before the real one, so that nothing is fetched; the virtual environments are real.
"""

import ast
import fcntl
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run.py"
PYTHONS = Path.home() / ".pyenv" / "versions"
OLD = [*PYTHONS.glob("3.[6-9].*/bin/python3"), *PYTHONS.glob("3.10.*/bin/python3")]

PIP = """
import os, sys
with open(os.environ["PIP_CALLS"], "a") as calls:
    print(*sys.argv[1:], file=calls)
sys.exit(int(os.environ.get("PIP_EXIT", 0)))
"""


class Tree:
    """A project with a run.py, whose benchmarks only say that they ran, and in which Python."""

    def __init__(self, root: Path) -> None:
        self.root = root / "tree"
        self.venv = root / "venv"
        self.calls = root / "calls"
        (self.root / "benchmarks").mkdir(parents=True)
        (self.root / "benchmarks" / "__main__.py").write_text("import sys; print(sys.prefix)")
        (self.root / "demo_app").mkdir()
        (self.root / "demo_app" / "__main__.py").write_text("import sys; print(sys.argv[1:])")
        (self.root / "pyproject.toml").write_text("[project]\n")
        shutil.copy(RUN, self.root)
        (root / "first" / "pip").mkdir(parents=True)
        (root / "first" / "pip" / "__init__.py").write_text("")
        (root / "first" / "pip" / "__main__.py").write_text(PIP)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("COV_", "COVERAGE_"))},
            "CACHEMW_VENV": str(self.venv),
            "PYTHONPATH": str(root / "first"),
            "PIP_CALLS": str(self.calls),
        }

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(self.root / "run.py"), *arguments],
            env=self.environment | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments, **environment)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def installed(self) -> list[str]:
        """The extras that pip was asked for, call by call."""
        if not self.calls.exists():
            return []
        lines = self.calls.read_text().splitlines()
        return [line.rpartition("[")[2].rstrip("]") for line in lines]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_old_pythons_can_parse_it() -> None:
    ast.parse(RUN.read_text("utf-8"), feature_version=(3, 6))


def test_what_is_older_than_the_floor_is_turned_away() -> None:
    demand_python = runpy.run_path(str(RUN))["demand_python"]
    demand_python((3, 11, 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer, and this is 3\.10"):
        demand_python((3, 10, 99))


@pytest.mark.parametrize("python", OLD, ids=str)
def test_old_pythons_say_so_themselves(python: Path, tree: Tree) -> None:
    ended = subprocess.run([python, tree.root / "run.py", "demo"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "needs Python 3.11 or newer, and this is 3." in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not tree.venv.exists()


def test_the_command_runs_in_the_environment_with_its_arguments(tree: Tree) -> None:
    assert tree.run("bench").stdout.strip() == str(tree.venv)
    assert tree.run("demo", "--port", "1").stdout.strip() == "['--port', '1']"


def test_what_is_compiled_is_kept_even_where_python_is_told_otherwise(tree: Tree) -> None:
    says = "import sys; print(sys.dont_write_bytecode)"
    (tree.root / "demo_app" / "__main__.py").write_text(says)
    assert tree.run("demo", PYTHONDONTWRITEBYTECODE="1").stdout.strip() == "False"


def test_what_is_installed_is_not_installed_again(tree: Tree) -> None:
    tree.run("bench")
    tree.run("bench")
    assert tree.installed() == ["dev"]


def test_another_command_adds_what_it_needs(tree: Tree) -> None:
    tree.run("demo")
    tree.run("bench")
    tree.run("demo")
    assert tree.installed() == ["demo", "demo,dev"]


def test_a_changed_pyproject_is_installed_anew(tree: Tree) -> None:
    tree.run("bench")
    (tree.root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    tree.run("bench")
    assert tree.installed() == ["dev", "dev"]


def test_a_copied_environment_is_pointed_at_the_copy(tree: Tree, tmp_path: Path) -> None:
    tree.run("bench")
    shutil.copytree(tree.venv, tmp_path / "copy", symlinks=True)
    tree.run("bench", CACHEMW_VENV=str(tmp_path / "copy"))
    assert tree.installed() == ["dev", "dev"]


def test_an_environment_of_another_python_is_made_anew(tree: Tree) -> None:
    tree.run("bench")
    settings = tree.venv / "pyvenv.cfg"
    ours = "{}.{}.".format(*sys.version_info)
    settings.write_text(settings.read_text().replace(f"version = {ours}", "version = 3.1."))
    (tree.venv / "left over").touch()
    tree.run("bench")
    assert f"version = {ours}" in settings.read_text()
    assert not (tree.venv / "left over").exists()
    assert tree.installed() == ["dev", "dev"]


def test_a_directory_that_is_no_environment_is_left_alone(tree: Tree) -> None:
    tree.venv.mkdir()
    (tree.venv / "precious").touch()
    ended = tree.run("bench")
    assert ended.returncode == 1
    assert "is no virtual environment" in ended.stderr
    assert (tree.venv / "precious").exists()


def test_a_failed_installation_is_said_and_tried_again(tree: Tree) -> None:
    ended = tree.run("bench", PIP_EXIT="1")
    assert ended.returncode == 1
    assert "this failed" in ended.stderr
    assert "-m pip" in ended.stderr
    assert tree.run("bench").returncode == 0
    assert tree.installed() == ["dev", "dev"]


def test_a_half_done_installation_is_never_taken_for_a_whole_one(tree: Tree) -> None:
    tree.run("bench")
    tree.run("demo", PIP_EXIT="1")
    tree.run("bench")
    assert tree.installed() == ["dev", "demo,dev", "dev"]


def test_two_calls_at_once_install_once(tree: Tree) -> None:
    with open(f"{tree.venv}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        both = [tree.start("bench"), tree.start("bench")]
        for process in both:
            assert process.stderr is not None
            assert "waiting for another run.py" in process.stderr.readline()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert tree.installed() == ["dev"]


def test_an_unknown_command_names_the_known_ones(tree: Tree) -> None:
    ended = tree.run("serve")
    assert ended.returncode == 1
    assert "no command 'serve'; there are: demo, test, check" in ended.stderr


def test_bench_without_benchmarks_says_so_and_installs_nothing(tree: Tree) -> None:
    shutil.rmtree(tree.root / "benchmarks")
    assert "there are no benchmarks here" in tree.run("bench").stderr
    assert tree.installed() == []
