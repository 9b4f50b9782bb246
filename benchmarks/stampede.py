"""200 requests at once for a cold page, on four workers: how often does the handler run?"""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import subjects
from benchmarks.apps.origin import body
from benchmarks.load import drive, request
from benchmarks.servers import Server, serving
from benchmarks.subjects import Subject, named

AT_ONCE = 200
WORKERS = 4
SUBJECTS: tuple[Subject, ...] = (
    subjects.STARLETTE,
    subjects.HAND_REDIS,
    subjects.CACHE,
    *subjects.CACHE_PEERS,
    subjects.CASHEWS_LOCK,
)


@dataclass(frozen=True)
class Stampede:
    """What happened to one subject, over several pages."""

    name: str
    runs: list[int]
    bad: int
    seconds: float
    """Until everybody was answered, in the median; the handler takes 0.1."""


def stampede(pages: int, only: Sequence[str]) -> list[Stampede]:
    found: list[Stampede] = []
    for subject in named(SUBJECTS, only):
        print(f"stampede: {subject.name}", file=sys.stderr)
        with serving(subject, workers=WORKERS) as server:
            if server is not None:
                found.append(_stampedes(server, pages))
    return found


def _stampedes(server: Server, pages: int) -> Stampede:
    warm = request("/item/1"), body(1)
    for _ in range(3):  # until every worker has been there, and has connected
        time.sleep(0.7)
        drive(server.port, [iter([warm]) for _ in range(64)])
    runs: list[int] = []
    seconds: list[float] = []
    bad = 0
    for number in range(pages):
        before = server.runs()
        page = request(f"/slow/{number}"), body(number)
        load = drive(server.port, [iter([page]) for _ in range(AT_ONCE)])
        runs.append(server.runs() - before)
        seconds.append(load.seconds)
        bad += load.bad
    return Stampede(server.name, runs, bad, statistics.median(seconds))
