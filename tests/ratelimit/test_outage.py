"""Limits while a real server is frozen, or says nothing: who waits, and what they are told."""

import asyncio
from collections.abc import Callable

import pytest

from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.rule import RateLimit
from cachemw.ratelimit.verdicts import OutagePolicy
from cachemw.stores.base import Store
from cachemw.testing.faultproxy import FaultProxy
from tests.ratelimit.apps import Client, app_with, trips
from tests.servers import Server

pytestmark = pytest.mark.anyio

POLICIES: tuple[OutagePolicy, ...] = ("open", "closed", "local")


async def counted_again(rule: RateLimit) -> None:
    """The store is asked again, and answers."""
    for _ in range(1000):
        if (await rule.hit("somebody else")).counted_by == "store":
            return
        await asyncio.sleep(0.01)
    pytest.fail("the limits did not recover")


async def test_a_store_that_says_nothing_holds_up_only_those_who_ask_it(
    redis_url: str, opened: Callable[[str], Store]
) -> None:
    async with FaultProxy(redis_url) as proxy:
        limiter = Limiter(opened(proxy.url + "?deadline=30s"))
        client = Client(app_with(limiter, {"/limited": RateLimit("9/minute")}))
        await client.get("/limited")
        proxy.hold()
        before = proxy.commands
        waiting = asyncio.create_task(client.get("/limited"))
        await proxy.until(lambda: proxy.commands > before)

        assert await client.statuses("/free", 3) == [200, 200, 200]

        assert not waiting.done()
        proxy.release()
        assert (await waiting).headers["ratelimit"].startswith('"minute";r=7;')


async def test_each_rule_answers_a_frozen_server_in_its_own_way(
    server: Server, opened: Callable[[str], Store]
) -> None:
    limiter = Limiter(opened(server.url), workers=2)
    rules = {
        f"/{policy}": RateLimit("6/minute", name=policy, on_outage=policy) for policy in POLICIES
    }
    client = Client(app_with(limiter, rules))
    for path in rules:
        assert await client.statuses(path, 2) == [200, 200]
    server.stop()
    try:
        told = {path: await client.statuses(path, 8) for path in rules}
        closed = await client.get("/closed")
    finally:
        server.cont()
    assert told == {
        "/open": [200] * 8,
        "/closed": [503] * 8,
        "/local": [200] * 3 + [429] * 5,
    }
    assert closed.headers["retry-after"] == "1"
    assert closed.headers["cache-control"] == "no-store"

    await counted_again(rules["/open"])

    for path, rule in rules.items():  # what was asked of the frozen server may still be counted
        left = (await rule.peek("203.0.113.9")).remaining
        assert left is not None
        assert await client.statuses(path, left + 1) == [200] * left + [429]


async def test_a_frozen_server_is_soon_asked_no_more(
    server: Server, opened: Callable[[str], Store]
) -> None:
    limiter = Limiter(opened(server.url))
    rule = RateLimit("99/minute", name="x")
    client = Client(app_with(limiter, {"/x": rule}))
    await client.get("/x")
    before = trips(server)
    server.stop()
    try:
        assert await client.statuses("/x", 200) == [200] * 200
    finally:
        server.cont()
    await counted_again(rule)
    assert trips(server) - before <= 10
