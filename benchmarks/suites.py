"""What is compared: one function for each suite, giving the rows of its tables."""

from collections.abc import Iterator, Sequence
from itertools import count, cycle

from benchmarks import subjects
from benchmarks.apps.origin import SIZES, body
from benchmarks.load import Exchange, ask, request
from benchmarks.measure import Effort, Row, compare
from benchmarks.servers import Server
from benchmarks.subjects import Subject, named

KEYS = 64
BARE = (subjects.STARLETTE, subjects.FASTAPI)


def hit(effort: Effort, only: Sequence[str]) -> list[Row]:
    """Answers that are in the cache, through Redis."""
    those = [
        subjects.RAW,
        subjects.DICT,
        *BARE,
        subjects.HAND_REDIS,
        subjects.HAND_WIRE,
        subjects.CACHE,
        subjects.NEAR,
        *subjects.CACHE_PEERS,
    ]
    rows = _hits("hit, 1 KiB", "item", named(those, only), (1, 32, 128), effort)
    return rows + _hits("hit, 64 KiB", "big", named(those, only), (32,), effort)


def near(effort: Effort, only: Sequence[str]) -> list[Row]:
    """Answers that are at hand in the process."""
    those = [
        subjects.RAW,
        subjects.DICT,
        subjects.STARLETTE,
        subjects.NEAR,
        subjects.CASHEWS_NEAR,
    ]
    return _hits("hit in the process, 1 KiB", "item", named(those, only), (1, 32, 128), effort)


def _hits(
    table: str,
    kind: str,
    those: list[Subject],
    connections: Sequence[int],
    effort: Effort,
    *,
    uncounted: Sequence[Subject] = BARE,
) -> list[Row]:
    exchanges = [_exchange(kind, number) for number in range(KEYS)]

    def workloads(server: Server, connections: int) -> list[Iterator[Exchange]]:
        return [
            cycle(exchanges[turn % KEYS :] + exchanges[: turn % KEYS])
            for turn in range(connections)
        ]

    return compare(
        table,
        those,
        workloads,
        connections=connections,
        effort=effort,
        uncounted=uncounted,
        first=exchanges,
    )


def miss(effort: Effort, only: Sequence[str]) -> list[Row]:
    """Every request is the first for its URL, and is stored."""
    those = [
        subjects.STARLETTE,
        subjects.FASTAPI,
        subjects.NO_POLICY,
        subjects.HAND_REDIS,
        subjects.HAND_WIRE,
        subjects.CACHE,
        *subjects.CACHE_PEERS,
    ]
    numbers = count(1000)

    def workloads(server: Server, connections: int) -> list[Iterator[Exchange]]:
        fresh = (_exchange("item", number) for number in numbers)
        return [fresh] * connections

    return compare(
        "cacheable miss", named(those, only), workloads, connections=(1, 32), effort=effort
    )


def limits(effort: Effort, only: Sequence[str]) -> list[Row]:
    """One client within its limits."""
    those = [
        subjects.STARLETTE,
        subjects.LIMIT_HAND,
        subjects.LIMIT_ONE,
        subjects.LIMIT_THREE,
        *subjects.LIMIT_PEERS,
    ]
    return _hits("rate limit", "item", named(those, only), (1, 32), effort, uncounted=those)


def sessions(effort: Effort, only: Sequence[str]) -> list[Row]:
    """Each connection is logged in, and reads its session, or changes it."""
    those = [
        subjects.SESSION_HAND,
        subjects.SESSION_COOKIE,
        subjects.SESSIONS,
        *subjects.SESSION_PEERS,
    ]
    rows: list[Row] = []
    for table, path in (("session, read", "/read"), ("session, write", "/write")):
        asking = _Visitors(path)
        rows += compare(
            table,
            named(those, only),
            asking.workloads,
            connections=(1, 32),
            effort=effort,
            uncounted=those,
        )
    return rows


class _Visitors:
    """Logs in once for each server and connection."""

    def __init__(self, path: str, number: int = 0) -> None:
        self.path = path
        self.number = number
        self.cookies: dict[tuple[str, int], str] = {}

    def workloads(self, server: Server, connections: int) -> list[Iterator[Exchange]]:
        asked = [request(self.path, self._cookie(server, turn)) for turn in range(connections)]
        return [cycle([(message, body(self.number))]) for message in asked]

    def _cookie(self, server: Server, turn: int) -> str:
        known = self.cookies.get((server.name, turn))
        if known is None:
            known = log_in(server.port)
            self.cookies[server.name, turn] = known
        return known


def log_in(port: int) -> str:
    """The cookie that a login sets."""
    answer = ask(port, request("/login", method="POST")).decode("latin-1")
    for line in answer.split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie":
            return value.partition(";")[0]
    raise RuntimeError(f"no cookie in {answer[:300]!r}")


def together(effort: Effort, only: Sequence[str]) -> list[Row]:
    """A limit with a cache hit, and a limit with a session: how many trips do they take?"""
    rows: list[Row] = []
    for table, asking in (
        ("limit + cache hit", _Visitors("/item/1", 1)),
        ("limit + session", _Visitors("/read")),
    ):
        those = named([subjects.EVERYTHING], only)
        rows += compare(
            table, those, asking.workloads, connections=(1, 32), effort=effort, uncounted=those
        )
    return rows


def _exchange(kind: str, number: int) -> Exchange:
    return request(f"/{kind}/{number}"), body(number, SIZES[kind])
