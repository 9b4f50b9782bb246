"""The limiter on real servers: trips, faults, outages, and what is told from memory."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from cachemw.errors import StoreUnavailable
from cachemw.ratelimit.identity import Identity
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import Rules
from cachemw.ratelimit.rule import RateLimit
from cachemw.scripts import Reply, Script
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.testing.faultproxy import FaultProxy
from tests.ratelimit.apps import Client, Clock, app_with, trips
from tests.servers import Cluster, Server

pytestmark = pytest.mark.anyio

ME = Identity("ip", "203.0.113.9")


async def test_five_limits_are_one_trip(server: Server, opened: Callable[[str], Store]) -> None:
    rules = [
        RateLimit("50/second", "500/minute", "5000/hour", name="api"),
        RateLimit("90/minute", "900/hour", name="route"),
    ]
    client = Client(app_with(Limiter(opened(server.url)), {"/x": rules}))
    await client.get("/x")
    before = trips(server)

    connections = int(server.info("stats")["total_connections_received"])
    assert await client.statuses("/x", 10) == [200] * 10

    assert trips(server) - before == 10
    # INFO itself comes on a connection of its own, twice; nobody else came.
    assert int(server.info("stats")["total_connections_received"]) - connections == 2


async def test_who_is_over_costs_the_server_nothing(
    server: Server, opened: Callable[[str], Store]
) -> None:
    client = Client(app_with(Limiter(opened(server.url)), {"/x": RateLimit("3/hour")}))
    await client.statuses("/x", 4)
    before = trips(server)

    assert await client.statuses("/x", 50) == [429] * 50

    assert trips(server) == before


async def test_a_lost_reply_counts_once(redis_url: str, opened: Callable[[str], Store]) -> None:
    async with FaultProxy(redis_url) as proxy:
        # Long enough that the greeting of a new connection is no sign of life at its end.
        rule = RateLimit("5/minute", name="api").bind(opened(proxy.url + "?deadline=1s"))
        assert (await rule.hit(ME)).remaining == 4
        direct = RateLimit("5/minute", name="api").bind(opened(redis_url))

        for _ in range(2):
            proxy.drop_next_reply(to="EVALSHA")
            verdict = await rule.hit(ME)
            assert (verdict.allowed, verdict.counted_by) == (True, "nobody")

        assert (await direct.peek(ME)).remaining == 2


async def test_a_server_that_forgot_the_script_is_taught_it_again(
    server: Server, opened: Callable[[str], Store]
) -> None:
    rule = RateLimit("5/minute", name="api").bind(opened(server.url))
    await rule.hit(ME)
    server.ask("SCRIPT", "FLUSH")
    verdict = await rule.hit(ME)
    assert (verdict.remaining, verdict.counted_by) == (3, "store")


async def test_fifty_of_two_thousand_at_once(
    redis_url: str, opened: Callable[[str], Store]
) -> None:
    rule = RateLimit("50/minute", "60/hour", name="api").bind(opened(redis_url + DEADLINE))
    verdicts = await asyncio.gather(*(rule.hit(ME) for _ in range(2000)))
    assert sum(verdict.allowed for verdict in verdicts) == 50
    assert (await rule.peek(ME)).standings[1].remaining == 10


DEADLINE = "?deadline=5s"


async def test_a_block_on_a_shared_bucket_is_not_for_one_client_to_trip(
    redis_url: str, opened: Callable[[str], Store]
) -> None:
    """What a client's own limit refuses is given back to a shared one. A block would not be."""
    rules = [
        RateLimit("50/minute", name="all", by=lambda request: "everybody", block="10m"),
        RateLimit("5/minute", name="mine"),
    ]
    app = app_with(Limiter(opened(redis_url + DEADLINE)), {"/x": rules})

    flood = await asyncio.gather(*(Client(app, "198.51.100.6").get("/x") for _ in range(80)))

    assert sorted(each.status_code for each in flood) == [200] * 5 + [429] * 75
    assert (await Client(app, "198.51.100.9").get("/x")).status_code == 200


async def test_a_block_on_a_shared_bucket_closes_it_when_everybody_together_breaks_it(
    limiter: Limiter,
) -> None:
    rules = [
        RateLimit("3/minute", name="mine"),
        RateLimit("6/minute", name="all", by=lambda request: "everybody", block="10m"),
    ]
    app = app_with(limiter, {"/x": rules})
    for number in range(3):
        client = Client(app, f"198.51.100.{number}")
        assert await client.statuses("/x", 3) == ([200] * 3 if number < 2 else [429] * 3)
    refused = await Client(app, "198.51.100.9").get("/x")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "600")


async def test_what_a_worker_takes_the_time_to_be_counts_for_nothing(
    redis_url: str, opened: Callable[[str], Store]
) -> None:
    """A window is its key's time to live. Workers an hour, or a year, apart share it."""
    rules = []
    for hours in (0, 1, -9000):
        clock = Clock()
        clock.sleep(3600 * hours)
        limiter = Limiter(opened(redis_url + DEADLINE), clock=clock)
        rules.append(RateLimit("5/minute", "7/hour", name="api").bind(limiter))

    verdicts = [await rule.hit(ME) for rule in rules * 2]

    assert [verdict.remaining for verdict in verdicts] == [4, 3, 2, 1, 0, 0]
    assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]
    assert {59_000 < each.standings[0].reset <= 60_000 for each in verdicts} == {True}


@pytest.mark.xdist_group("cluster")
async def test_in_a_cluster_all_limits_of_a_client_are_one_step(
    cluster: Cluster, opened: Callable[[str], Store]
) -> None:
    limiter = Limiter(opened(cluster.url + DEADLINE))
    rule = RateLimit("5/minute", "7/hour", name="api").bind(limiter)
    for number in range(30):
        identity = Identity("ip", f"203.0.113.{number}")
        verdicts = [await rule.hit(identity) for _ in range(7)]
        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False] * 2
        assert {verdict.counted_by for verdict in verdicts} <= {"store", "recall"}
        assert (await rule.peek(identity)).standings[1].remaining == 2
    await rule.reset(Identity("ip", "203.0.113.1"))
    assert (await rule.hit(Identity("ip", "203.0.113.1"))).remaining == 4


# --- without a store


class Away(MemoryStore):
    """A store that can be taken away and given back."""

    async def leave(self) -> None:
        await self.aclose()


@pytest.fixture
def store(clock: Clock) -> Away:
    return Away(clock=clock)


async def test_open_admits_and_says_nothing_of_limits(store: Away) -> None:
    client = Client(app_with(Limiter(store), {"/x": RateLimit("1/minute", on_outage="open")}))
    await store.leave()
    answers = [await client.get("/x") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "ratelimit" not in answers[0].headers


async def test_closed_refuses_with_503_until_the_store_is_back(store: Away) -> None:
    client = Client(app_with(Limiter(store), {"/x": RateLimit("1/minute", on_outage="closed")}))
    await store.leave()
    refused = await client.get("/x")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["cache-control"] == "no-store"
    assert refused.json()["type"].endswith("#temporary-reduced-capacity")
    await store.open()
    assert await client.statuses("/x", 2) == [200, 429]


async def test_local_admits_this_workers_share(store: Away, clock: Clock) -> None:
    limiter = Limiter(store, workers=4, clock=clock)
    client = Client(app_with(limiter, {"/x": RateLimit("10/minute", on_outage="local")}))
    await store.leave()
    assert await client.statuses("/x", 3) == [200, 200, 429]
    assert (await client.get("/x")).headers["ratelimit-policy"] == '"minute";q=2;w=60'
    clock.sleep(60)
    assert await client.statuses("/x", 3) == [200, 200, 429]
    await store.open()
    assert await client.statuses("/x", 11) == [200] * 10 + [429]


async def test_a_share_is_never_nothing(store: Away, clock: Clock) -> None:
    limiter = Limiter(store, workers=8, clock=clock)
    rule = RateLimit("5/minute", name="r", on_outage="local", cost=3)
    client = Client(app_with(limiter, {"/x": rule}))
    await store.leave()
    assert await client.statuses("/x", 2) == [200, 429]


async def test_the_number_of_workers_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, store: Away
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert Limiter(store).workers == 3


async def test_each_rule_answers_an_outage_in_its_own_way(store: Away) -> None:
    rules: dict[str, Rules] = {
        "/both": [
            RateLimit("9/minute", name="o"),
            RateLimit("9/minute", name="c", on_outage="closed"),
        ],
        "/open": RateLimit("9/minute"),
    }
    client = Client(app_with(Limiter(store), rules))
    await store.leave()
    assert (await client.get("/both")).status_code == 503
    assert (await client.get("/open")).status_code == 200


async def test_in_the_shadow_an_outage_closes_nothing(store: Away) -> None:
    rule = RateLimit("9/minute", on_outage="closed", shadow=True)
    client = Client(app_with(Limiter(store), {"/x": rule}))
    await store.leave()
    assert (await client.get("/x")).status_code == 200


async def test_an_outage_is_met_once_by_a_request(store: Away) -> None:
    """Rules that block wait for the others; with the store away there is nothing to wait for."""
    asked = []

    class Asked(Away):
        async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
            asked.append(script)
            raise StoreUnavailable("timeout")

    rules = [
        RateLimit("9/minute", name="mine"),
        RateLimit("9/minute", name="all", by=lambda request: "everybody", block="10m"),
    ]
    client = Client(app_with(Limiter(Asked()), {"/x": rules}))
    assert (await client.get("/x")).status_code == 200
    assert len(asked) == 1


async def test_a_frozen_server_costs_a_request_one_deadline(
    server: Server, opened: Callable[[str], Store]
) -> None:
    limiter = Limiter(opened(server.url))
    client = Client(app_with(limiter, {"/x": RateLimit("99/minute", name="x", on_outage="local")}))
    await client.get("/x")
    server.stop()
    try:
        assert await client.statuses("/x", 20) == [200] * 20
    finally:
        server.cont()
    assert limiter.counts["x", "allowed"] == 21


# --- memory of refusals


async def test_a_reset_is_seen_by_every_process_within_ten_seconds(
    store: Away, clock: Clock
) -> None:
    here, there = (Limiter(store, clock=clock) for _ in range(2))
    one, two = (RateLimit("1/hour", name="r").bind(limiter) for limiter in (here, there))
    for rule in (one, two):
        await rule.hit(ME)
        assert not (await rule.hit(ME)).allowed

    await one.reset(ME)

    assert (await one.hit(ME)).allowed
    assert (await two.hit(ME)).counted_by == "recall"
    clock.sleep(10)
    assert (await two.hit(ME)).counted_by == "store"


@pytest.mark.parametrize("act", ["reset", "refund"])
async def test_what_was_refused_just_before_is_not_remembered_after(
    redis_url: str, opened: Callable[[str], Store], act: str
) -> None:
    """The refusal is still on its way when the client is given room again."""
    rule = RateLimit("1/hour", name="r").bind(Limiter(opened(redis_url + DEADLINE)))
    await rule.hit(ME)
    refused, _ = await asyncio.gather(rule.hit(ME), getattr(rule, act)(ME))
    assert not refused.allowed
    assert (await rule.hit(ME)).allowed


async def test_what_is_remembered_counts_down(store: Away, clock: Clock) -> None:
    rule = RateLimit("1/minute", name="r").bind(Limiter(store, clock=clock))
    await rule.hit(ME)
    await rule.hit(ME)
    clock.sleep(5)
    remembered = await rule.hit(ME)
    assert (remembered.counted_by, remembered.retry_after) == ("recall", 55_000)
    assert remembered.standings[0].reset == 55_000


async def test_tentative_charges_of_others_are_no_reason_to_remember(
    store: Away, clock: Clock
) -> None:
    rule = RateLimit("1/minute", name="r", count_when=lambda answer: answer.status_code == 401)
    limiter = Limiter(store, clock=clock)
    rule.bind(limiter)
    await rule.hit(ME)  # as a request does whose answer is not known yet
    client = Client(app_with(limiter, {"/x": rule}))
    assert await client.statuses("/x", 1) == [429]
    elsewhere = RateLimit("1/minute", name="r").bind(Limiter(store, clock=clock))
    await elsewhere.refund(ME)
    assert await client.statuses("/x", 2) == [200, 200]


class Overrun(MemoryStore):
    """A store whose way there is crowded."""

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
        raise StoreUnavailable("overloaded")


async def test_an_overload_is_no_open_door(clock: Clock) -> None:
    """What passes beside the store's own window is one quota for all workers together."""
    rule = RateLimit("6/minute", on_outage="open")
    workers = [Limiter(Overrun(clock=clock), workers=3, clock=clock) for _ in range(3)]
    clients = [Client(app_with(limiter, {"/x": rule})) for limiter in workers]
    for client in clients:
        assert await client.statuses("/x", 4) == [200, 200, 429, 429]
