"""`/metrics` for Prometheus: the counts of the workers that were started together.

    app.add_route("/metrics", metrics(handle))

Whichever worker is asked answers for all of them, each as series of its own, told apart by the
label `worker`: a sum over them would fall when one of them ends, which Prometheus takes for a
restart. So nothing is shared through files, no directory has to be set up or swept, and a request
pays for plain integers only.

Labels are patterns of routes, names of rules and words of closed lists; no client can add to them.
Needs the extra `[metrics]`.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from cachemw.telemetry.bulletin import Bulletin, Fleet, NearState
from cachemw.telemetry.counters import BOUNDS, RouteCounts, Spans

Labels: TypeAlias = tuple[str, ...]
_BOUNDS = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")


class Seen(Protocol):
    """What can be asked for the fleet: `install`'s handle, or a `Publisher`."""

    async def fleet(self) -> Fleet: ...


@dataclass(frozen=True, slots=True)
class Average:
    """How many there were, and what they come to together."""

    count: int
    total: float


Value: TypeAlias = float | Spans | Average
Read: TypeAlias = Callable[[Bulletin], Iterable[tuple[Labels, Value]]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name without the prefix, and where its numbers come from."""

    name: str
    kind: str
    help: str
    labels: Labels
    read: Read

    @property
    def full_name(self) -> str:
        return f"cachemw_{self.name}" + "_total" * (self.kind == "counter")

    def family(self, workers: Iterable[tuple[str, Bulletin]]) -> Family:
        """Its samples, of these workers by their labels."""
        family = _FAMILIES[self.kind](
            f"cachemw_{self.name}", self.help, labels=("worker", *self.labels)
        )
        for worker, bulletin in workers:
            for labels, value in self.read(bulletin):
                _add(family, [worker, *labels], value)
        return family


_FAMILIES: dict[str, Callable[..., Family]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
    "summary": SummaryMetricFamily,
}


def _add(family: Family, labels: list[str], value: Value) -> None:
    match family, value:
        case HistogramMetricFamily(), Spans():
            heights = accumulate(value.buckets)
            family.add_metric(labels, list(zip(_BOUNDS, heights, strict=True)), value.total)
        case SummaryMetricFamily(), Average():
            family.add_metric(labels, value.count, value.total)
        case ((CounterMetricFamily() | GaugeMetricFamily()), (int() | float())):
            family.add_metric(labels, value)
        case _:
            raise TypeError(f"{family.name} cannot hold {value!r}")


# --- where the numbers come from


def _per_route(read: Callable[[RouteCounts], Value]) -> Read:
    return lambda worker: (((route,), read(c)) for route, c in worker.counts.routes.items())


def _requests(worker: Bulletin) -> Iterator[tuple[Labels, Value]]:
    for route, counts in worker.counts.routes.items():
        yield (route, "hit"), counts.hits
        yield (route, "stale"), counts.stale
        yield (route, "miss"), counts.misses
        yield (route, "bypass"), counts.bypasses


def _reasons(worker: Bulletin) -> Iterator[tuple[Labels, Value]]:
    for route, counts in worker.counts.routes.items():
        for (outcome, reason), number in counts.reasons.items():
            yield (route, outcome, reason), number


def _differences(worker: Bulletin) -> Iterator[tuple[Labels, Value]]:
    for route, counts in worker.counts.routes.items():
        for word, number in counts.differences.items():
            yield (route, word), number


def _near(read: Callable[[NearState], Value]) -> Read:
    return lambda worker: [] if worker.near is None else [((), read(worker.near))]


def _data(worker: Bulletin) -> Iterator[tuple[Labels, Value]]:
    data = worker.counts.data
    yield ("hit",), data.hits
    yield ("stale",), data.stale
    yield ("miss",), data.misses
    yield ("load",), data.loads
    yield ("joined",), data.joined
    yield ("refresh",), data.refreshes
    yield ("failure",), data.failures
    yield ("outage",), data.outages


METRICS = (
    Metric(
        "requests",
        "counter",
        "Requests under a policy, by what became of them.",
        ("route", "result"),
        _requests,
    ),
    Metric(
        "unruled_requests",
        "counter",
        "Requests without a policy.",
        (),
        lambda worker: [((), worker.counts.unruled)],
    ),
    Metric(
        "reasons",
        "counter",
        "Requests of which there is more to say than what became of them.",
        ("route", "result", "reason"),
        _reasons,
    ),
    Metric(
        "collapsed_requests",
        "counter",
        "Requests that waited for the answer to another one.",
        ("route",),
        _per_route(lambda counts: counts.collapsed),
    ),
    Metric(
        "stored_responses",
        "counter",
        "Requests whose answers were kept.",
        ("route",),
        _per_route(lambda counts: counts.stored),
    ),
    Metric(
        "served_bytes",
        "counter",
        "Bytes of bodies that came from the cache.",
        ("route",),
        _per_route(lambda counts: counts.size),
    ),
    Metric(
        "served_age_seconds",
        "summary",
        "How old the answers were that came from the cache.",
        ("route",),
        _per_route(lambda counts: Average(counts.served, counts.age)),
    ),
    Metric(
        "handler_saved_seconds",
        "counter",
        "What the app had once taken to make the answers that came from the cache.",
        ("route",),
        _per_route(lambda counts: counts.saved),
    ),
    Metric(
        "handler_spent_seconds",
        "counter",
        "What the app took where it was asked, until its answers began.",
        ("route",),
        _per_route(lambda counts: counts.spent),
    ),
    Metric(
        "verified_requests",
        "counter",
        "Hits that were compared with what the app answers.",
        ("route",),
        _per_route(lambda counts: counts.verified),
    ),
    Metric(
        "mismatched_requests",
        "counter",
        "Hits of these that the app answers otherwise.",
        ("route",),
        _per_route(lambda counts: counts.mismatched),
    ),
    Metric(
        "differences",
        "counter",
        "In what it answers otherwise.",
        ("route", "difference"),
        _differences,
    ),
    Metric(
        "refreshes",
        "counter",
        "Refreshes in the background, by what became of them.",
        ("result",),
        lambda worker: (((word,), number) for word, number in worker.counts.refreshes.items()),
    ),
    Metric(
        "refreshes_running",
        "gauge",
        "Refreshes under way.",
        (),
        lambda worker: [((), worker.counts.running)],
    ),
    Metric(
        "purge_duration_seconds",
        "histogram",
        "How long purges took until they were confirmed, by what they were told and by region.",
        ("subject", "region"),
        lambda worker: ((key, counts.spans) for key, counts in worker.counts.purges.items()),
    ),
    Metric(
        "purges_failed",
        "counter",
        "Purges of which nobody knows whether they were done.",
        ("subject", "region"),
        lambda worker: ((key, counts.failed) for key, counts in worker.counts.purges.items()),
    ),
    Metric(
        "relay_lag_seconds",
        "histogram",
        "From a purge in another region until it was confirmed here.",
        ("region",),
        lambda worker: (((name,), each.lags) for name, each in worker.counts.relays.items()),
    ),
    Metric(
        "relay_gaps",
        "counter",
        "How often purges of another region were lost, so that everything was purged.",
        ("region",),
        lambda worker: (((name,), each.gaps) for name, each in worker.counts.relays.items()),
    ),
    Metric(
        "store_trip_seconds",
        "histogram",
        "Round trips to the store; what was sent together is one.",
        (),
        lambda worker: [((), worker.counts.store.trips)],
    ),
    Metric(
        "store_failures",
        "counter",
        "Calls to the store that failed, by reason.",
        ("reason",),
        lambda worker: (((why,), number) for why, number in worker.counts.store.failures.items()),
    ),
    Metric(
        "store_breaker_open",
        "gauge",
        "1 while a server is not asked, since it did not answer.",
        ("server",),
        lambda worker: (((server,), is_open) for server, is_open in worker.breakers.items()),
    ),
    Metric(
        "near_cache_keys",
        "gauge",
        "Keys in the near cache.",
        (),
        _near(lambda near: near.keys),
    ),
    Metric(
        "near_cache_bytes",
        "gauge",
        "Bytes in the near cache.",
        (),
        _near(lambda near: near.size),
    ),
    Metric(
        "near_cache_hits",
        "counter",
        "Reads that needed no trip.",
        (),
        _near(lambda near: near.hits),
    ),
    Metric(
        "near_cache_misses",
        "counter",
        "Reads that the near cache could not answer.",
        (),
        _near(lambda near: near.misses),
    ),
    Metric(
        "near_cache_reports",
        "counter",
        "Reports of servers that something has changed.",
        (),
        _near(lambda near: near.reports),
    ),
    Metric(
        "near_cache_lag_seconds",
        "histogram",
        "By how much a near cache was behind its server at most, twice a second.",
        (),
        _near(lambda near: near.lags),
    ),
    Metric(
        "limit_verdicts",
        "counter",
        "What rate limits said, by rule.",
        ("rule", "verdict"),
        lambda worker: worker.counts.limits.items(),
    ),
    Metric(
        "session_events",
        "counter",
        "What happened to sessions.",
        ("event",),
        lambda worker: (((kind,), number) for kind, number in worker.counts.sessions.items()),
    ),
    Metric(
        "data_events",
        "counter",
        "What happened to values of the data cache.",
        ("event",),
        _data,
    ),
)


def families(fleet: Fleet, *, everywhere: bool = False) -> list[Family]:
    """The metrics of the workers that were started together with the first one, and of relays."""
    own = fleet.workers[0].group
    told: dict[str, Bulletin] = {}
    for worker in fleet.workers:
        if everywhere or worker.group == own or worker.kind == "relay":
            name = f"{worker.host}:{worker.pid}" if everywhere else str(worker.pid)
            # One process may have two apps, and so two stores.
            told[worker.worker if name in told else name] = worker
    return [metric.family(told.items()) for metric in METRICS]


def metrics(
    seen: Seen, *, everywhere: bool = False, also: Collector | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a route that tells the metrics.

    `everywhere` tells of all workers of the store, on whatever host, for a Prometheus that asks a
    single address for all of them. `also` is a registry of your own whose metrics go along.
    """

    async def endpoint(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        told = families(await seen.fleet(), everywhere=everywhere)
        if also is not None:
            told += also.collect()
        return Response(
            encode(_Told(told)), headers={"content-type": kind, "cache-control": "no-store"}
        )

    return endpoint


class _Told(Collector):
    def __init__(self, told: list[Family]) -> None:
        self._told = told

    def collect(self) -> Iterable[Family]:
        return self._told
