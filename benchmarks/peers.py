"""The packages that cachemw is measured against, each in an environment of its own.

Versions are pinned; an environment is made when it is first needed, in `.cache/bench/`, and made
anew when its pins have changed. What cannot be installed is left out, with a line that says so.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".cache" / "bench"

SERVER = ["uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", "hiredis==3.5.0"]
FRAMEWORK = ["fastapi==0.165.0", "starlette==1.10.0", "redis==8.1.0"]
PINS = {
    "fastapi-redis-sdk": ["fastapi-redis-sdk==0.9.1", *FRAMEWORK],
    "hishel": ["hishel[async]==2.0.0", *FRAMEWORK],
    "cashews": ["cashews[redis]==7.6.0", *FRAMEWORK],
    # Brings redis-py 4.6, and does not import without jinja2.
    "fastapi-cache2": ["fastapi-cache2[redis]==0.2.2", "fastapi==0.165.0", "jinja2==3.1.6"],
    # Wants Starlette 0.
    "starlette-caches": ["starlette-caches==0.4.1", "aiocache[redis]==0.12.3", "redis==8.1.0"],
    "slowapi": ["slowapi==0.1.10", "limits==5.8.0", *FRAMEWORK],
    "fastapi-limiter": ["fastapi-limiter==0.2.0", "pyrate-limiter==4.5.1", *FRAMEWORK],
    "limits": ["limits[async-redis]==5.8.0", *FRAMEWORK],
    "py-spy": ["py-spy==0.4.1"],  # no peer, but needed for `flame.py`
    "starsessions": ["starsessions[redis]==2.2.1", *FRAMEWORK],
}


def python_of(peer: str) -> Path | None:
    """The interpreter that has this peer, or None when it cannot be had here."""
    home = ENVIRONMENTS / peer
    python, stamp = home / "bin" / "python", home / "pins.json"
    wanted = json.dumps([sys.version, *SERVER, *PINS[peer]])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making {home.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    make = [sys.executable, "-m", "venv", "--clear", str(home)]
    fill = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (make, [*fill, *SERVER, *PINS[peer]]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            print(f"left out: {peer} cannot be installed here: {last}", file=sys.stderr)
            return None
    stamp.write_text(wanted)
    return python
