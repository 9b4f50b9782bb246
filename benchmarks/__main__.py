"""The benchmarks: cachemw next to its peers, to apps written by hand, and to no cache at all.

    python3 run.py bench [hit|near|miss|limits|sessions|together|
                          stampede|memory|costs|purge|scale] ...

Without a name, all of them. `--quick` gives an impression in a few minutes; ratios within a table
are what to look at, and they settle with `--rounds`. Results go to `--out` as JSON, Markdown and
SVG. Needs Linux, and two cores: one for the app, one for Redis and the load.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import suites
from benchmarks.calibrate import calibrate
from benchmarks.goals import goals
from benchmarks.measure import Effort
from benchmarks.memory import memory
from benchmarks.peers import ENVIRONMENTS, ROOT
from benchmarks.report import bars, markdown
from benchmarks.results import Results
from benchmarks.scale import scale
from benchmarks.servers import LOAD_CORE
from benchmarks.stampede import stampede

LOADS = {
    "hit": suites.hit,
    "near": suites.near,
    "miss": suites.miss,
    "limits": suites.limits,
    "sessions": suites.sessions,
    "together": suites.together,
}
SUITES = (*LOADS, "stampede", "memory", "costs", "purge", "scale")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="run.py bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="suite", help=", ".join(SUITES))
    parser.add_argument("--quick", action="store_true", help="short rounds, and fewer")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of a round")
    parser.add_argument("--only", default="", help="subjects, with commas between them")
    parser.add_argument("--out", type=Path, default=ENVIRONMENTS / "results")
    parser.add_argument("--calibrate", action="store_true", help="how fast the load generator is")
    given = parser.parse_args()
    for name in given.suites:
        if name not in SUITES:
            parser.error(f"no suite {name!r}: there are {', '.join(SUITES)}")
    os.sched_setaffinity(0, [LOAD_CORE])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers end with their `with` blocks
    if given.calibrate:
        calibrate()
        return
    effort = Effort.quick() if given.quick else Effort()
    effort = replace(
        effort,
        rounds=given.rounds or effort.rounds,
        seconds=given.seconds or effort.seconds,
    )
    only = [name for name in given.only.split(",") if name]
    for name in given.suites or SUITES:
        run(name, effort, only, given.out, quick=given.quick)


def run(name: str, effort: Effort, only: list[str], out: Path, *, quick: bool) -> None:
    """One suite, from the first server to the files."""
    results = Results(effort)
    if name in LOADS:
        results.rows = LOADS[name](effort, only)
    elif name == "scale":
        results.rows = scale(effort, quick=quick)
    elif name == "stampede":
        results.stampedes = stampede(2 if quick else 5, only)
    elif name == "memory":
        results.footprints = memory(only, near_entries=3000 if quick else 10_000)
    elif name == "costs":
        results.costs = json.loads(_output_of("benchmarks.costs"))
        results.texts = [_output_of("benchmarks.data")]
    else:
        results.purges = json.loads(_output_of("benchmarks.tags"))
        results.texts = [_output_of("benchmarks.purge")]  # next to sets of keys
    reached = goals(results)
    text = markdown(results, reached)
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text)
    (out / f"{name}.json").write_text(json.dumps(results.as_json(reached), indent=1))
    for table, connections in results.tables():
        title = f"{table}, {connections} connections: requests/s"
        drawn = bars(title, results.table(table, connections))
        (out / f"{name}-{connections}-{_slug(table)}.svg").write_text(drawn)
    print(f"written to {out}", file=sys.stderr)


def _output_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _slug(table: str) -> str:
    return "-".join(table.replace(",", "").replace("+", "and").lower().split())


if __name__ == "__main__":
    main()
