"""Numbers that only grow: what a process has counted since it began, and how many become one.

They are written once a request, so they are plain attributes without locks, labelled by what there
is only so much of (patterns of routes, names of rules, words), never by what clients send.
"""

from bisect import bisect_left
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast

T = TypeVar("T")

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""The upper ends, in seconds, of all buckets but the last, which has none."""


def _buckets() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


@dataclass(slots=True)
class Spans:
    """How long something took, each time."""

    total: float = 0.0
    buckets: list[int] = field(default_factory=_buckets)

    def add(self, seconds: float) -> None:
        self.total += seconds
        self.buckets[bisect_left(BOUNDS, seconds)] += 1

    @property
    def count(self) -> int:
        return sum(self.buckets)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class RouteCounts:
    """The requests of one route."""

    hits: int = 0
    stale: int = 0
    misses: int = 0
    bypasses: int = 0
    collapsed: int = 0
    """Those, among all of them, that waited for the answer to another one."""
    stored: int = 0
    size: int = 0
    """Bytes of bodies that came from the cache."""
    age: float = 0.0
    """The ages of what came from the cache, together."""
    saved: float = 0.0
    """What the app had once taken to make what came from the cache."""
    spent: float = 0.0
    """What the app took where it was asked, until its answers began."""
    reasons: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """By outcome and reason; what has no reason is not in it."""
    verified: int = 0
    """Hits that were compared with what the app answers."""
    mismatched: int = 0
    differences: dict[str, int] = field(default_factory=dict[str, int])
    """By the words of `Difference`."""

    @property
    def requests(self) -> int:
        return self.hits + self.stale + self.misses + self.bypasses

    @property
    def served(self) -> int:
        """Answered from the cache."""
        return self.hits + self.stale

    @property
    def mismatch_ratio(self) -> float:
        """The share of what was verified that the app answers otherwise."""
        return self.mismatched / self.verified if self.verified else 0.0

    @property
    def hit_ratio(self) -> float:
        """The share that came from the cache, of those that could have."""
        could = self.served + self.misses
        return self.served / could if could else 0.0


@dataclass(slots=True)
class StoreCounts:
    """How the store does, as this process sees it."""

    trips: Spans = field(default_factory=Spans)
    """From a write to the first reply to it: what was sent together counts once."""
    failures: dict[str, int] = field(default_factory=dict[str, int])
    """Calls that failed, by the reason of `StoreUnavailable`."""

    def failed(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1


@dataclass(slots=True)
class PurgeCounts:
    """Purges of one kind and region."""

    failed: int = 0
    spans: Spans = field(default_factory=Spans)


@dataclass(slots=True)
class RelayCounts:
    """What was carried over from another region."""

    notes: int = 0
    gaps: int = 0
    lags: Spans = field(default_factory=Spans)
    """From a purge there until it was confirmed here."""


@dataclass(slots=True)
class DataCounts:
    """What has happened to the values of the data cache."""

    hits: int = 0
    stale: int = 0
    misses: int = 0
    loads: int = 0
    joined: int = 0
    refreshes: int = 0
    failures: int = 0
    outages: int = 0


@dataclass(slots=True)
class Counts:
    """Everything that a process has counted."""

    unruled: int = 0
    """Requests without a policy."""
    routes: dict[str, RouteCounts] = field(default_factory=dict[str, RouteCounts])
    refreshes: dict[str, int] = field(default_factory=dict[str, int])
    """By the words of `Refreshed`."""
    running: int = 0
    """Refreshes under way. The one number here that may fall."""
    purges: dict[tuple[str, str], PurgeCounts] = field(
        default_factory=dict[tuple[str, str], PurgeCounts]
    )
    """By subject and region."""
    store: StoreCounts = field(default_factory=StoreCounts)
    limits: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """By rule and verdict."""
    sessions: dict[str, int] = field(default_factory=dict[str, int])
    """By the words of session events."""
    relays: dict[str, RelayCounts] = field(default_factory=dict[str, RelayCounts])
    """By region."""
    data: DataCounts = field(default_factory=DataCounts)

    @property
    def of_all_routes(self) -> RouteCounts:
        return sum_of(self.routes.values(), RouteCounts())

    def happenings(self) -> tuple[object, ...]:
        """Differs when anything has happened but trips, which telling of it causes itself."""
        routes = tuple((each.requests, each.verified) for each in self.routes.values())
        words = (self.refreshes, self.limits, self.sessions)
        others = tuple(sum(each.values()) for each in words)
        purges = tuple(each.spans.count for each in self.purges.values())
        relays = tuple((each.notes, each.gaps) for each in self.relays.values())
        data = tuple(getattr(self.data, each.name) for each in fields(self.data))
        failures = tuple(self.store.failures.values())
        return (self.unruled, routes, others, purges, relays, data, failures)


def sum_of(several: Any, nothing: T) -> T:
    """Counts added up."""
    for each in several:
        nothing = merged(nothing, each)
    return nothing


def merged(one: T, other: T) -> T:
    """Two counts of a kind as one; neither is changed."""
    match one:
        case int() | float():
            return cast(T, cast(Any, one) + other)
        case list():
            pairs = zip(cast(list[Any], one), cast(list[Any], other), strict=True)
            return cast(T, [a + b for a, b in pairs])
        case dict():
            ours, theirs = cast(dict[Any, Any], one), cast(dict[Any, Any], other)
            both = {key: merged(ours[key], theirs[key]) for key in ours if key in theirs}
            return cast(T, {**ours, **theirs, **both})
        case _:
            names = [each.name for each in fields(cast(Any, one))]
            parts = {name: merged(getattr(one, name), getattr(other, name)) for name in names}
            return type(one)(**parts)
