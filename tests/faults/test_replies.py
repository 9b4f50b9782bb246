"""The failure matrix, between the app and its server: late, lost, doubled, swapped, cut, away.

The app reaches its server through a proxy that does this to whole replies and to connections.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from cachemw.testing import FaultProxy
from tests import servers
from tests.faults.fleet import Fleet, fleet
from tests.faults.row import SPAN, Seen, row
from tests.faults.test_servers import assert_only_the_store_was_missed
from tests.faults.wire import ask
from tests.servers import VALKEY, Server, free_ports

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Between:
    """An app, the server it is on, and who stands between them."""

    app: Fleet
    server: Server
    proxy: FaultProxy

    def row(self, number: str, fault: str, **more: Any) -> AbstractAsyncContextManager[Seen]:
        servers = [self.server]
        return row(self.app, fault, number=number, servers=servers, engine=VALKEY, **more)


@pytest.fixture(scope="session")
async def _between() -> AsyncIterator[Between]:
    """The app is started while nothing is there: row 1, so to say, for every test."""
    (port,) = free_ports(1)
    async with fleet(f"redis://127.0.0.1:{port}") as app:
        with servers.single(VALKEY, port=0) as server:
            proxy = FaultProxy(server.url)
            proxy.port = port
            yield Between(app, server, proxy)


@pytest.fixture
async def between(_between: Between) -> AsyncIterator[Between]:
    async with _between.proxy:
        yield _between


async def test_1_not_there_when_the_app_starts() -> None:
    (port,) = free_ports(1)
    async with fleet(f"redis://127.0.0.1:{port}") as app:
        app.tasks["not known yet"] = 1
        with servers.single(VALKEY, port=port) as server:
            server.kill()
            async with row(
                app,
                "not there when the app starts",
                number="1",
                engine=VALKEY,
                servers=[server],
                loses_data=True,
            ) as seen:
                await seen.during()
                assert_only_the_store_was_missed(seen)
                await seen.normal(server.start)
                await app.note_what_is_usual()


@pytest.mark.parametrize("ms", [20, 60, 200])
async def test_5_slow(between: Between, ms: int) -> None:
    async with between.row(f"5/{ms}", f"every reply {ms} ms late") as seen:

        async def slow() -> None:
            between.proxy.delay(ms / 1000)

        async def swift() -> None:
            between.proxy.delay(0)

        await seen.during(slow)
        assert set(seen.tally.of("cache")) == {"200"}
        assert set(seen.tally.of("session")) <= {"200", "503"}
        assert (ms > 100) == (seen.tally.of("session")["200"] == 0)
        await seen.normal(swift)


async def test_4_packets_are_dropped_without_a_word(between: Between) -> None:
    """What the app sees of a network that swallows packets: it sends, and nothing ever comes."""
    async with between.row("4a", "replies held back for ever") as seen:

        async def hold() -> None:
            between.proxy.hold()

        async def release() -> None:
            between.proxy.cut()
            between.proxy.release()

        await seen.during(hold)
        assert_only_the_store_was_missed(seen)
        await seen.normal(release)


async def test_34_replies_lost_doubled_swapped_and_spoiled(between: Between) -> None:
    proxy = between.proxy
    async with between.row("34", "replies lost, doubled, swapped, spoiled, cut short") as seen:

        async def spoil() -> None:
            faults = (
                proxy.drop_next_reply,
                proxy.duplicate_next_reply,
                proxy.swap_next_replies,
                lambda: proxy.reset_after(40),
            )
            for number in range(int(SPAN * 40)):
                faults[number % len(faults)]()
                await asyncio.sleep(0.02)

        await seen.during(spoil, span=0.1)
        assert set(seen.tally.of("cache")) == {"200"}
        await seen.normal()
    assert proxy.accepted > 4, "the fault was not felt"


async def test_35_a_crowd_that_no_pool_would_hold(between: Between) -> None:
    async with between.row("35", "200 requests at once") as seen:

        async def crowd() -> None:
            port = between.app.port
            asked = [ask(port, "GET", f"/item/crowd-{n % 20}") for n in range(100)]
            asked += [ask(port, "GET", "/closed", {"x-key": f"crowd-{n}"}) for n in range(100)]
            for answer in await asyncio.gather(*asked):
                seen.tally.note("crowd", str(answer.status), answer.ended - answer.began)

        await seen.during(crowd, span=0)
        assert set(seen.tally.of("cache")) == {"200"}
        assert set(seen.tally.of("crowd")) <= {"200", "503"}  # a limit that hears nothing in time
        await seen.normal()
