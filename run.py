"""From a fresh clone to a running demo, or to a verdict, in one command.

    python3 run.py demo     the demo app at http://127.0.0.1:8000, with a Valkey of its own (--port)
    python3 run.py test     the test suite; takes pytest's arguments
    python3 run.py check    format, lint, types and the direction of imports
    python3 run.py bench    the benchmarks; takes their arguments
    python3 run.py soak     everything at once for --minutes N, with faults, a verdict and a picture
    python3 run.py faults   what happens on bad days, and the table in docs/reliability.md anew
    python3 run.py docs     the documentation site, into ./site
    python3 run.py shell    a Python prompt with a store open, where `await` works

Needs Python 3.11 or newer, and nothing that is not in its standard library. The virtual
environment (`.venv`, or what CACHEMW_VENV names) is made on first use, and each command installs
the extras it needs.
"""

# Old Pythons must be able to parse this file, or they could not be told that they are too old.

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("CACHEMW_VENV") or ROOT / ".venv").absolute()
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"

FLOOR = (3, 11)
EXTRA_OF = {
    "demo": "demo",
    "test": "dev",
    "check": "dev",
    "bench": "dev",
    "faults": "dev",
    "soak": "dev",
    "docs": "docs",
    "shell": "demo",
}


def main(arguments):
    demand_python(sys.version_info)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return
    command, rest = arguments[0], arguments[1:]
    if command not in EXTRA_OF:
        sys.exit("run.py: no command {!r}; there are: {}".format(command, ", ".join(EXTRA_OF)))
    os.chdir(str(ROOT))
    # Containers often tell Python not to keep what it compiles. The commands start it many times
    # over, and each start would take several times as long.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if command == "bench" and not (ROOT / "benchmarks" / "__main__.py").exists():
        sys.exit("run.py: there are no benchmarks here (no benchmarks/__main__.py)")
    prepare(EXTRA_OF[command])
    if command == "check":
        check()
    elif command == "test":
        become("-m", "pytest", *test_options(rest), *rest)
    elif command == "docs":
        become("-m", "zensical", "build", "--clean", "--strict", *rest)
    elif command == "shell":
        become("-m", "demo_app.shell", *rest)
    elif command == "bench":
        become("-m", "benchmarks", *rest)
    elif command == "faults":
        become("-m", "tests.faults", *rest)
    elif command == "soak":
        become("-m", "tests.faults.soak", *rest)
    else:
        become("-m", "demo_app", *rest)


def demand_python(version):
    """Turn old Pythons away in words."""
    if tuple(version[:2]) < FLOOR:
        sys.exit(
            "run.py: cachemw needs Python {}.{} or newer, and this is {}.{} ({}).\n"
            "Call it with a newer one, such as: python3.13 run.py demo".format(
                FLOOR[0], FLOOR[1], version[0], version[1], sys.executable
            )
        )
    if os.name != "posix":
        sys.exit("run.py: works on Linux and macOS; on Windows, call it within WSL.")


def become(*arguments):
    """Turn into the venv's Python, so that every signal reaches the command itself."""
    sys.stdout.flush()
    os.execv(str(PYTHON), [str(PYTHON), *arguments])


# -- test and check ------------------------------------------------------------------------------


def test_options(given):
    """Two workers, unless what was given says or means otherwise. Coverage is asked for by `--cov`:
    it takes three times as long."""
    options = []
    if "--pdb" not in given and "no:xdist" not in given:
        options += ["-n", "2", "--dist", "loadgroup"]  # a later -n of the caller wins
    if "--cov" in given:
        options += ["--cov-report=term"]
    return options


def check():
    """Run every check, also after one has failed, and say at the end which did."""
    ours = [name for name in ("benchmarks", "demo_app", "tests") if any(Path(name).rglob("*.py"))]
    here = ["--pythonpath", str(PYTHON)]
    steps = {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "."],
        "types of the package (mypy)": ["mypy", "--strict", "cachemw"],
        "types of the rest (mypy)": ["mypy", "run.py", *ours],
        "types of the package (pyright)": ["pyright", "-p", "pyproject.toml", *here],
        "arrows": ["pytest", "-q", "tests/test_arrows.py"],
    }
    failed = []
    for name, module in steps.items():
        print("== {}: {}".format(name, " ".join(module)), flush=True)
        if subprocess.call([str(PYTHON), "-m", *module]) != 0:
            failed.append(name)
    if failed:
        sys.exit("check: failed: " + "; ".join(failed))
    print("check: all is well")


# -- the virtual environment -----------------------------------------------------------------------


def prepare(extra):
    """Have a venv of this Python with the package and `extra` in it; quick when it is there."""
    if extra in installed():
        return
    with locked():
        extras = installed()  # another call may have been faster
        if extra in extras:
            return
        if not fits():
            make_venv()
        install(sorted({*extras, extra}))


def installed():
    """The extras that are in the venv, none when it is not what this tree and Python ask for."""
    try:
        stamp = json.loads(STAMP.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return stamp["extras"] if fits() and stamp["of"] == fingerprint() else []


def fingerprint():
    """Changes with what is to be installed, and with where from: a copied tree brings a venv that
    points at the original."""
    wanted = (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(wanted + str(ROOT).encode() + str(VENV).encode()).hexdigest()


def fits():
    """Whether there is a venv, of this minor version of Python, whose Python still exists."""
    try:
        lines = (VENV / "pyvenv.cfg").read_text("utf-8").splitlines()
    except OSError:
        return False
    settings = dict(line.replace(" ", "").split("=", 1) for line in lines if "=" in line)
    version = settings.get("version") or settings.get("version_info", "")
    return version.split(".")[:2] == [str(n) for n in sys.version_info[:2]] and PYTHON.exists()


def make_venv():
    import venv

    if VENV.exists() and os.listdir(str(VENV)) and not (VENV / "pyvenv.cfg").exists():
        sys.exit("run.py: {} is no virtual environment, and not empty: move it away".format(VENV))
    say("making {} for Python {}.{}".format(VENV, *sys.version_info[:2]))
    # Without pip: Debian's Python can make a venv, but lacks the ensurepip that would fill it.
    venv.create(str(VENV), clear=True, symlinks=True, with_pip=False)


def install(extras):
    say("installing cachemw[{}], which may take a minute".format(",".join(extras)))
    if STAMP.exists():
        STAMP.unlink()  # nothing may look finished while it is not
    target = "{}[{}]".format(ROOT, ",".join(extras))
    command = [*pip(), "install", "-qq", "--disable-pip-version-check", "--editable", target]
    if subprocess.call(command) != 0:
        sys.exit("run.py: this failed, for the reason above: " + " ".join(command))
    stamp = {"of": fingerprint(), "extras": extras}
    STAMP.write_text(json.dumps(stamp) + "\n", encoding="utf-8")


def pip():
    """A pip that installs into the venv: this Python's own, else one put into the venv."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    if importlib.util.find_spec("ensurepip"):
        subprocess.check_call([str(PYTHON), "-m", "ensurepip"], stdout=subprocess.DEVNULL)
        return [str(PYTHON), "-m", "pip"]
    sys.exit(
        "run.py: {} has neither pip nor ensurepip.\n"
        "On Debian and Ubuntu: apt install python3-pip".format(sys.executable)
    )


class locked:
    """One installation at a time; a second call waits, then finds the work done."""

    def __enter__(self):
        import fcntl

        VENV.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(str(VENV) + ".lock", "w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another run.py to finish installing")
            fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *error):
        self.file.close()


def say(message):
    print("run.py: " + message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
