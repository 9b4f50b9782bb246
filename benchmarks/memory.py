"""What an entry takes: in Redis, as it says itself, and in a process with a near cache."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import subjects
from benchmarks.apps.origin import KIB, SIZES, body
from benchmarks.load import Exchange, drive, request
from benchmarks.servers import Server, serving
from benchmarks.subjects import Subject, named
from cachemw.caching.pages import REMEMBERED

SUBJECTS: tuple[Subject, ...] = (subjects.HAND_REDIS, subjects.CACHE, *subjects.CACHE_PEERS)
ENTRIES = 1000
AT_ONCE = 16


@dataclass(frozen=True)
class Footprint:
    """Bytes and keys for one entry."""

    name: str
    body: int
    bytes: float
    keys: float
    place: str = "Redis"

    @property
    def overhead(self) -> float:
        return self.bytes - self.body


def memory(only: Sequence[str], near_entries: int) -> list[Footprint]:
    found: list[Footprint] = []
    for subject in named(SUBJECTS, only):
        print(f"memory: {subject.name}", file=sys.stderr)
        with serving(subject) as server:
            if server is not None:
                found += [_in_redis(server, "item"), _in_redis(server, "big")]
    for subject in named([subjects.NEAR], only):
        with serving(subject) as server:
            if server is not None:
                found.append(_in_process(server, near_entries))
    return found


def _in_redis(server: Server, kind: str) -> Footprint:
    server.redis.flushall()
    entries = ENTRIES if kind == "item" else ENTRIES // 10
    _fill(server, kind, [entries])  # with it comes what is there once for all entries
    keys, total = _all_keys(server)
    _fill(server, kind, range(entries))
    more_keys, more = _all_keys(server)
    each = (more - total) / entries, (more_keys - keys) / entries
    return Footprint(server.name, SIZES[kind], *each)


def _all_keys(server: Server) -> tuple[int, int]:
    """How many there are, and what they take."""
    keys = list(server.redis.scan_iter(count=1000))
    return len(keys), sum(server.redis.memory_usage(key, samples=0) or 0 for key in keys)


def _in_process(server: Server, entries: int) -> Footprint:
    # What grows once, grows now: the pages that are remembered are bounded, near cache or not.
    _fill(server, "item", range(100_000, 100_000 + REMEMBERED))
    _fill(server, "item", range(100_000, 100_000 + REMEMBERED))
    _fill(server, "item", range(entries))
    before = server.memory()
    _fill(server, "item", range(20_000, 20_000 + entries))
    _fill(server, "item", range(20_000, 20_000 + entries))
    grown = server.memory() - before
    return Footprint(server.name, KIB, grown / entries, 1, "the process")


def _fill(server: Server, kind: str, numbers: Iterable[int]) -> None:
    every: Iterator[Exchange] = (
        (request(f"/{kind}/{number}"), body(number, SIZES[kind])) for number in numbers
    )
    drive(server.port, [every] * AT_ONCE)
    time.sleep(0.3)  # some keep what they have answered afterwards
