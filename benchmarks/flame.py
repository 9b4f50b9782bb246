"""Where the time of a hit goes: a flame graph of the app's process under load.

    python3 -m benchmarks.flame [cachemw|cachemw_near|...] [--seconds 10] [--out FILE]

py-spy samples the process from outside; it is installed into an environment of its own. What the
graph shows is printed as well: the functions on top of the stack, by their share.
"""

import argparse
import os
import subprocess
import sys
from collections import Counter
from itertools import cycle
from pathlib import Path

from benchmarks import subjects
from benchmarks.apps.origin import body
from benchmarks.load import drive, request
from benchmarks.peers import ENVIRONMENTS, python_of
from benchmarks.servers import LOAD_CORE, serving
from benchmarks.subjects import Subject

KEYS = 64
CONNECTIONS = 32
SHOWN = 40


def sample(subject: Subject, seconds: float, out: Path) -> Path | None:
    """Writes `out` (SVG) and, next to it, the folded stacks."""
    python = python_of("py-spy")
    if python is None:
        return None
    folded = out.with_suffix(".folded")
    with serving(subject, counting=False) as server:
        if server is None:
            return None
        exchanges = [(request(f"/item/{number}"), body(number)) for number in range(KEYS)]
        workloads = [cycle(exchanges[turn:] + exchanges[:turn]) for turn in range(CONNECTIONS)]
        drive(server.port, workloads, 1.0)
        for path, kind in ((folded, "raw"), (out, "flamegraph")):
            command = [str(python.with_name("py-spy")), "record", "--pid", str(server.process.pid)]
            command += ["--rate", "500", "--duration", str(int(seconds)), "--format", kind]
            spy = subprocess.Popen(
                [*command, "--output", str(path)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            drive(server.port, workloads, seconds + 1)
            spy.wait()
    return folded


def shares(folded: Path) -> list[tuple[str, float, float]]:
    """For each function: its name, the share of the time it is on top, and anywhere."""
    top: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    total = 0
    for line in folded.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_function(frame) for frame in stack.split(";")]
        total += int(count)
        top[frames[-1]] += int(count)
        for name in set(frames):
            anywhere[name] += int(count)
    return [(name, count / total, anywhere[name] / total) for name, count in top.most_common(SHOWN)]


def _function(frame: str) -> str:
    """`name (package/file.py:12)` without the line."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame


def main() -> None:
    there = {one.name: one for one in vars(subjects).values() if isinstance(one, Subject)}
    parser = argparse.ArgumentParser(description="A flame graph of a hit.")
    parser.add_argument("subject", nargs="?", default="cachemw", choices=sorted(there))
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--out", type=Path, default=ENVIRONMENTS / "results" / "flame.svg")
    given = parser.parse_args()
    os.sched_setaffinity(0, [LOAD_CORE])
    given.out.parent.mkdir(parents=True, exist_ok=True)
    folded = sample(there[given.subject], given.seconds, given.out)
    if folded is None:
        sys.exit("no flame graph")
    print("| function | on top | anywhere |\n|---|--:|--:|")
    for name, on_top, anywhere in shares(folded):
        print(f"| `{name}` | {on_top:.1%} | {anywhere:.1%} |")


if __name__ == "__main__":
    main()
