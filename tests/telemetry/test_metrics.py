"""`/metrics`: what it says, in forms that parsers and `promtool` take."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from cachemw import CachePolicy, MemoryStore, RateLimit, install, open_store
from cachemw.telemetry.bulletin import Bulletin, Fleet, NearState, Publisher
from cachemw.telemetry.counters import (
    BOUNDS,
    Counts,
    DataCounts,
    PurgeCounts,
    RelayCounts,
    RouteCounts,
    Spans,
    StoreCounts,
)
from cachemw.telemetry.metrics import METRICS, Metric, families, metrics
from cachemw.testing import Client
from tests.servers import Server

pytestmark = pytest.mark.anyio

Endpoint = Callable[[Request], Awaitable[Response]]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

DOCS = (Path(__file__).parents[2] / "docs/observability.md").read_text("utf-8")


def spans(*seconds: float) -> Spans:
    made = Spans()
    for each in seconds:
        made.add(each)
    return made


def full_counts() -> Counts:
    """Counts in which nothing is nothing."""
    return Counts(
        unruled=1,
        routes={
            "/a/{id}": RouteCounts(
                *(5, 2, 3, 1, 1, 3, 1000, 70.0, 3.5, 1.5),
                reasons={("bypass", "cookie"): 1, ("stale", "stale-while-revalidate"): 2},
                verified=4,
                mismatched=2,
                differences={"body": 2, "headers": 1},
            )
        },
        refreshes={"kept": 2, "failed": 1},
        running=1,
        purges={
            ("tags", ""): PurgeCounts(1, spans(0.002, 0.004)),
            ("relayed", "eu"): PurgeCounts(),
        },
        store=StoreCounts(spans(0.0004, 20.0), {"timeout": 2}),
        limits={("login", "limited"): 4},
        sessions={"login": 2},
        relays={"eu": RelayCounts(7, 1, spans(0.03))},
        data=DataCounts(1, 2, 3, 4, 5, 6, 7, 8),
    )


def worker(pid: int = 7, group: str = "here:1", **more: Any) -> Bulletin:
    return Bulletin(
        *(f"{pid}-x", group.partition(":")[0], pid, group, 1, 2, more.pop("counts", full_counts())),
        breakers={"redis://a:6379": True, "redis://b:6379": False},
        near=NearState(1, 2, 3, 4, 5, spans(0.0003, 0.07)),
        **more,
    )


class Given:
    """A fleet that is as the test says."""

    def __init__(self, *workers: Bulletin) -> None:
        self.workers = workers

    async def fleet(self) -> Fleet:
        return Fleet(self.workers)


def app_of(endpoint: Endpoint) -> Starlette:
    return Starlette(routes=[Route("/metrics", endpoint)])


async def told(endpoint: Endpoint, accept: str = "text/plain") -> str:
    response = await Client(app_of(endpoint)).get("/metrics", headers={"accept": accept})
    assert response.status == 200
    return response.body.decode()


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in read_text(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} is told twice"
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found["cachemw_" + name, frozenset(labels.items())]


async def test_every_number_has_its_place() -> None:
    found = samples(await told(metrics(Given(worker()))))
    for result, number in {"hit": 5, "stale": 2, "miss": 3, "bypass": 1}.items():
        labels = {"worker": "7", "route": "/a/{id}", "result": result}
        assert value(found, "requests_total", **labels) == number
    route = {"worker": "7", "route": "/a/{id}"}
    assert value(found, "reasons_total", result="bypass", reason="cookie", **route) == 1
    assert value(found, "served_age_seconds_sum", **route) == 70
    assert value(found, "served_age_seconds_count", **route) == 7
    assert value(found, "handler_saved_seconds_total", **route) == 3.5
    trips = [value(found, "store_trip_seconds_bucket", worker="7", le=f"{b:g}") for b in BOUNDS]
    assert trips == [1] * len(BOUNDS)
    assert value(found, "store_trip_seconds_bucket", worker="7", le="+Inf") == 2
    assert value(found, "store_breaker_open", worker="7", server="redis://a:6379") == 1
    assert value(found, "purge_duration_seconds_count", worker="7", subject="tags", region="") == 2
    assert value(found, "limit_verdicts_total", worker="7", rule="login", verdict="limited") == 4
    assert value(found, "near_cache_lag_seconds_bucket", worker="7", le="0.05") == 1
    assert value(found, "near_cache_lag_seconds_count", worker="7") == 2


async def test_workers_that_were_started_together_are_told_each() -> None:
    fleet = Given(worker(1), worker(2), worker(3, "here:2"), worker(4, "there:1"))
    found = samples(await told(metrics(fleet)))
    running = {dict(labels)["worker"] for name, labels in found if name.endswith("_running")}
    assert running == {"1", "2"}


async def test_a_relay_is_told_by_whoever_is_asked() -> None:
    found = samples(await told(metrics(Given(worker(1), worker(2, "there:1", kind="relay")))))
    assert value(found, "relay_lag_seconds_count", worker="2", region="eu") == 1


async def test_two_stores_of_one_process_are_told_apart() -> None:
    one, other = worker(1), replace(worker(1), worker="1-y")
    found = samples(await told(metrics(Given(one, other))))
    running = {dict(labels)["worker"] for name, labels in found if name.endswith("_running")}
    assert running == {"1", "1-y"}


async def test_everywhere_tells_hosts_apart() -> None:
    fleet = Given(worker(1), worker(1, "there:1"))
    found = samples(await told(metrics(fleet, everywhere=True)))
    running = {dict(labels)["worker"] for name, labels in found if name.endswith("_running")}
    assert running == {"here:1", "there:1"}


async def test_both_formats_can_be_read() -> None:
    text = await told(metrics(Given(worker())), "application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    assert len(list(read_openmetrics(text))) == len(METRICS)


async def test_a_worker_without_anything_to_tell_is_told() -> None:
    bare = Bulletin("x", "here", 1, "here:1", 1, 2, Counts())
    found = samples(await told(metrics(Given(bare))))
    assert value(found, "unruled_requests_total", worker="1") == 0


async def test_metrics_of_ones_own_go_along() -> None:
    registry = CollectorRegistry()
    Counter("orders", "Orders.", registry=registry).inc(3)
    found = samples(await told(metrics(Given(worker()), also=registry)))
    assert found["orders_total", frozenset()] == 3


async def test_other_methods_are_not_allowed() -> None:
    client = Client(app_of(metrics(Given(worker()))))
    assert (await client.request("POST", "/metrics")).status == 405
    assert (await client.request("HEAD", "/metrics")).status == 200


def test_labels_are_few_whatever_clients_send() -> None:
    async def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/a/{id}", page), Route("/b", page)])
    handle = install(
        app,
        store=MemoryStore(),
        cache={"/a/{id}": CachePolicy(ttl="1m")},
        default=CachePolicy(),
        limits={"/a/{id}": RateLimit("3/minute")},
    )
    app.add_route("/metrics", metrics(handle))
    with TestClient(app) as client:
        told: list[set[tuple[str, frozenset[tuple[str, str]]]]] = []
        for number in range(50):
            client.get(f"/a/{number}?q={number}", headers={"x-forwarded-for": f"10.0.0.{number}"})
            client.get(f"/nowhere/{number}")
            client.request(f"M{number}", f"/a/{number}")
            told.append(set(samples(client.get("/metrics").text)))
    assert told[-1] == told[5]
    assert not [labels for _, labels in told[-1] for _, label in labels if "nowhere" in label]


async def test_over_real_stores(redis_url: str) -> None:
    stores = [open_store(redis_url + "?deadline=5s") for _ in range(2)]
    publishers = [Publisher(store) for store in stores]
    for store, publisher in zip(stores, publishers, strict=True):
        store.tally.counts.unruled += 1
        await publisher.post()
    fleet = await publishers[0].fleet()
    (family,) = [each for each in families(fleet) if each.name == "cachemw_unruled_requests"]
    assert [sample.value for sample in family.samples] == [1, 1]
    for store in stores:
        await store.aclose()


async def test_without_a_store_a_worker_still_tells_of_itself(valkey: Server) -> None:
    store = open_store(valkey.url)
    publisher = Publisher(store)
    await publisher.post()
    valkey.kill()
    text = await told(metrics(publisher))
    assert 'cachemw_store_failures_total{reason="connection"' in text
    await store.aclose()


# --- documents


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.full_name)
def test_metrics_are_documented(metric: Metric) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    assert f"| `{metric.full_name}` | {metric.kind} | {labels} | {metric.help} |" in DOCS


def test_the_docs_name_no_metric_that_is_not() -> None:
    named = set(re.findall(r"`(cachemw_\w+)`", DOCS))
    assert named <= {metric.full_name for metric in METRICS}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH; CI has it")
def test_promtool_has_nothing_to_say() -> None:
    text = asyncio.run(told(metrics(Given(worker()))))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
