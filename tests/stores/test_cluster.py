"""A cluster that changes under load: no errors while slots move, short ones when a node dies."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio
from anyio import to_thread

from cachemw.errors import StoreUnavailable
from cachemw.stores.redis import RedisStore
from tests.servers import Cluster
from tests.stores.conftest import Opener
from tests.stores.scripts import COUNT

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("cluster"), pytest.mark.cluster]


class Load:
    """Readers and counters that never stop; every wrong answer is noted, and every refusal."""

    def __init__(self, store: RedisStore, names: list[bytes]) -> None:
        self.store = store
        self.names = names
        self.answers = 0
        self.failures: Counter[str] = Counter()
        self.counts: Counter[bytes] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    async def __aenter__(self) -> "Load":
        for name in self.names:
            await self.store.set(b"v{%b}" % name, b"value of " + name, ttl=600_000)
        self._tasks = [asyncio.ensure_future(self._work(n)) for n in range(10)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True  # not cancelled: each call under way is still counted
        await asyncio.gather(*self._tasks)

    async def more(self, answers: int) -> None:
        """Wait until so many more calls have been answered."""
        enough = self.answers + answers
        while self.answers < enough:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def _work(self, turn: int) -> None:
        while not self._is_over:
            turn += 1
            name = self.names[turn % len(self.names)]
            try:
                # The key that is not there makes a node that gives the slot away say TRYAGAIN.
                wanted = (b"v{%b}" % name, b"absent{%b}" % name, b"v{%b}" % self.names[0])
                values = await self.store.get_many(wanted)
                assert values[0] in (b"value of " + name, None)
                count = await self.store.run(COUNT, (b"c{%b}" % name,), ())
                assert isinstance(count, int)
                self.counts[name] += 1
                self.answers += 2
            except StoreUnavailable as error:
                self.failures[error.reason] += 1
                await asyncio.sleep(0.01)


def names(number: int) -> list[bytes]:
    return [b"%d" % n for n in range(number)]


async def test_slots_move_under_load_without_an_error(cluster: Cluster, opened: Opener) -> None:
    store = opened(cluster.url)
    slots = sorted({cluster.slot(f"{n}") for n in range(40)})
    home = {slot: cluster.owner(slot) for slot in slots}
    async with Load(store, names(40)) as load:
        await load.more(200)
        target = cluster.masters()[0]
        await to_thread.run_sync(cluster.move_slots, slots, target)
        await load.more(400)
    assert load.failures == {}
    for name, count in load.counts.items():
        assert await store.run(COUNT, (b"c{%b}" % name,), ()) == count + 1  # none twice, none lost
    for slot, owner in home.items():
        await to_thread.run_sync(cluster.move_slots, [slot], owner)


async def test_a_killed_master_is_an_outage_of_its_slots_until_its_replica_takes_over(
    cluster: Cluster, opened: Opener
) -> None:
    store = opened(cluster.url, deadline="500ms")
    last_time = await store.time()
    async with Load(store, names(30)) as load:
        await load.more(200)
        killed = cluster.owner(cluster.slot("cmw:{clock}"))
        killed.kill()
        time = 0
        while not time:
            with suppress(StoreUnavailable):
                time = await store.time()
            await asyncio.sleep(0.01)
        await load.more(600)
        load.failures.clear()
        await load.more(600)
    assert time > last_time
    assert load.failures == {}
    readings = [await store.time() for _ in range(10)]
    assert readings == sorted(set(readings)) and readings[0] > time


async def test_a_frozen_node_delays_nobody_elses_keys(cluster: Cluster, opened: Opener) -> None:
    store = opened(cluster.url, deadline="500ms")
    frozen = cluster.owner(cluster.slot("cmw:{a}"))
    other = next(n for n in range(100) if cluster.owner(cluster.slot(f"cmw:{n}")) is not frozen)
    await store.set(b"%d" % other, b"v", ttl=60_000)
    frozen.stop()
    stuck = store.set(b"{a}", b"v", ttl=60_000)
    assert await store.get(b"%d" % other) == b"v"
    with pytest.raises(StoreUnavailable):
        await stuck
    frozen.cont()


async def test_any_one_node_is_enough_to_find_the_others(cluster: Cluster, opened: Opener) -> None:
    for node in (cluster.nodes[0], cluster.nodes[-1]):
        store = opened(f"redis+cluster://127.0.0.1:{node.port}")
        for n in range(20):
            await store.set(b"%d" % n, b"v", ttl=60_000)
        assert await store.get_many([b"%d" % n for n in range(20)]) == [b"v"] * 20
        assert len(store.breakers()) == 3


async def test_a_cluster_client_is_taken_for_its_addresses(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    client: Any = redis.asyncio.RedisCluster(host="127.0.0.1", port=node.port)
    store = RedisStore(client, deadline="5s")
    await store.set(b"k", b"v", ttl=60_000)
    assert await store.get(b"k") == b"v"
    await store.aclose()
    await client.aclose()


async def test_a_cluster_that_is_away_is_refused_at_once_after_a_while(opened: Opener) -> None:
    from tests.servers import free_ports

    store = opened(f"redis+cluster://127.0.0.1:{free_ports(1)[0]}", deadline="200ms")
    reasons = []
    for _ in range(12):
        with pytest.raises(StoreUnavailable) as caught:
            await store.get(b"k")
        reasons.append(caught.value.reason)
    assert reasons[-1] == "breaker-open"
    assert set(reasons) <= {"connection", "breaker-open"}
