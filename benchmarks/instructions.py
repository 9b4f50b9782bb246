"""How many instructions a request takes: a figure that a busy machine does not change.

    python3 -m benchmarks.instructions [cachemw] [bare_starlette] ... [--seconds 10]

The app runs under valgrind, behind uvicorn and with 32 connections; what the kernel does is not
counted. Misses are of a cache of 32 KiB, and of one of 512 KiB behind it. Everything is some fifty
times slower than usual, so what an app does once a second weighs too much: a near cache, most of
all, can not be looked at in this way.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from itertools import cycle
from pathlib import Path

from benchmarks import subjects
from benchmarks.apps.origin import body
from benchmarks.load import drive, request
from benchmarks.servers import LOAD_CORE, serving
from benchmarks.subjects import Subject

KEYS = 64
CONNECTIONS = 32
CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64")
DEFAULT = ("dict_asgi", "hand_wire", "bare_starlette", "cachemw", "hand_redis")


def counted(subject: Subject, seconds: float) -> tuple[float, float, float] | None:
    """Instructions, misses of the small cache and of the large one, for each request."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        out = Path(directory) / "counts"
        options = ["--tool=callgrind", "--cache-sim=yes", "--instr-atstart=no", *CACHES]
        within = ["valgrind", *options, f"--callgrind-out-file={out}"]
        with serving(subject, counting=False, within=within) as server:
            if server is None:
                return None
            exchanges = [(request(f"/item/{number}"), body(number)) for number in range(KEYS)]
            workloads = [cycle(exchanges[turn:] + exchanges[:turn]) for turn in range(CONNECTIONS)]
            drive(server.port, workloads, seconds / 3)
            _tell(server.process.pid, "--instr=on")
            load = drive(server.port, workloads, seconds)
            _tell(server.process.pid, "--instr=off")
            _tell(server.process.pid, "--dump")
        found = [_totals(file) for file in out.parent.glob("counts*")]
        ir, _, _, i1, d1r, d1w, il, dlr, dlw = max(found, key=lambda totals: totals[0])
        requests = load.requests
        return ir / requests, (i1 + d1r + d1w) / requests, (il + dlr + dlw) / requests


def _totals(file: Path) -> list[int]:
    line = re.search(r"^totals: (.+)$", file.read_text(), re.MULTILINE)
    numbers = [int(number) for number in line[1].split()] if line else []
    return (numbers + [0] * 9)[:9]


def _tell(pid: int, what: str) -> None:
    command = ["callgrind_control", what, str(pid)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def main() -> None:
    there = {one.name: one for one in vars(subjects).values() if isinstance(one, Subject)}
    parser = argparse.ArgumentParser(description="Instructions for each hit.")
    parser.add_argument("subject", nargs="*", default=DEFAULT, metavar="SUBJECT")
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    unknown = [name for name in given.subject if name not in there]
    if unknown:
        parser.error(f"no such subject: {unknown[0]}; there are {', '.join(sorted(there))}")
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed: it is a package of that name in most distributions")
    os.sched_setaffinity(0, [LOAD_CORE])
    print("| subject | instructions | misses, 32 KiB | misses, 512 KiB |\n|---|--:|--:|--:|")
    for name in given.subject:
        found = counted(there[name], given.seconds)
        if found is not None:
            print(f"| {name} | {found[0]:,.0f} | {found[1]:,.0f} | {found[2]:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
