"""How a hit scales: with workers, with masters of a cluster, with pages, with the size of a body.

Each curve is a table whose points take turns, like the subjects of other suites. On a machine with
few cores the load generator, Redis and the workers share them: what more workers bring is then
bounded by what is left of the machine, and CPU time a request is the figure to look at.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks import subjects
from benchmarks.apps.origin import KIB, body
from benchmarks.load import Exchange, drive, request
from benchmarks.measure import Effort, Row, one_round
from benchmarks.servers import Server, serving
from benchmarks.subjects import Subject
from tests.servers import cluster

CONNECTIONS = 32
FEW = 64  # pages, where their number is not what is asked about
WORKERS = (1, 2, 4)
MASTERS = (1, 3)
PAGES = (10**3, 10**4, 10**5, 10**6)
MOST_NEAR = 10**5  # more than a near cache of the usual size holds
SIZES = (KIB // 10, KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB)


@dataclass(frozen=True)
class Point:
    """One point of a curve: which pages are asked for, of whom."""

    name: str
    page: Callable[[int], Exchange]
    pages: int = FEW
    subject: Subject = subjects.CACHE
    workers: int = 1
    masters: int = 0
    """Of a cluster; 0: one server that is none."""


def scale(effort: Effort, *, quick: bool) -> list[Row]:
    """The four curves. `quick` leaves out the many pages, which take minutes to fill."""
    of_workers = [Point(f"{number} workers", _item, workers=number) for number in WORKERS]
    of_masters = [Point("one server", _item)]
    of_masters += [Point(f"cluster of {number}", _item, masters=number) for number in MASTERS]
    numbers = PAGES[:2] if quick else PAGES
    of_pages = [
        Point(f"{number:,} pages{told}", _item, pages=number, subject=subject)
        for number in numbers
        for subject, told in ((subjects.CACHE, ""), (subjects.NEAR, ", near"))
        if subject is subjects.CACHE or number <= MOST_NEAR
    ]
    of_sizes = [
        Point(f"{size / KIB:.1f} KiB{told}", partial(_sized, size), subject=subject)
        for size in SIZES
        for subject, told in ((subjects.CACHE, ""), (subjects.STARLETTE, ", uncached"))
    ]
    return [
        *_curve("scale, workers", of_workers, effort),
        *_curve("scale, masters", of_masters, effort),
        *_curve("scale, pages", of_pages, effort),
        *_curve("scale, body", of_sizes, effort),
    ]


def _curve(table: str, points: Sequence[Point], effort: Effort) -> list[Row]:
    with ExitStack() as running:
        servers: list[tuple[Point, Server, Row]] = []
        for point in points:
            server = _started(point, running)
            if server is not None:
                servers.append((point, server, Row(table, CONNECTIONS, point.name, is_peer=False)))
                print(f"{table}: filling {point.name}", file=sys.stderr)
                every = (point.page(number) for number in range(point.pages))
                drive(server.port, [every] * CONNECTIONS)
        for turn in range(effort.rounds):
            print(f"\r{table}: round {turn + 1} of {effort.rounds}  ", end="", file=sys.stderr)
            for point, server, row in servers:
                drive(server.port, _workload(point, turn), effort.warm_up)
                row.rounds.append(one_round(server, _workload(point, turn), effort.seconds))
        print(file=sys.stderr)
        return [row for _, _, row in servers]


def _started(point: Point, running: ExitStack) -> Server | None:
    url = ""
    nodes: list[int] = []
    if point.masters:
        there = running.enter_context(cluster("valkey", masters=point.masters, replicas=0))
        url, nodes = there.url, [node.port for node in there.nodes]
    return running.enter_context(
        serving(point.subject, workers=point.workers, counting=False, url=url, nodes=nodes)
    )


def _workload(point: Point, turn: int) -> list[Iterator[Exchange]]:
    """Pages in random order, each as likely as any other: the hardest for whatever remembers."""
    chosen = random.Random(turn)
    if point.pages <= FEW:  # made once, to be quick
        known = [point.page(number) for number in range(point.pages)]
        return [iter(partial(chosen.choice, known), None)] * CONNECTIONS
    some = (point.page(chosen.randrange(point.pages)) for _ in iter(int, 1))
    return [some] * CONNECTIONS


def _item(number: int) -> Exchange:
    return request(f"/item/{number}"), body(number)


def _sized(size: int, number: int) -> Exchange:
    return request(f"/sized/{size}/{number}"), body(number, size)
