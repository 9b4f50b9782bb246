"""What workers tell each other of themselves."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from cachemw import MemoryStore, Store, open_store
from cachemw.stores.base import together
from cachemw.telemetry.bulletin import (
    ATTEND,
    BULLETIN,
    LIVES,
    REMINDER,
    WORKERS,
    Fleet,
    Publisher,
    read_fleet,
)
from cachemw.telemetry.events import Exchange, Outcome, Purge
from cachemw.testing import FakeClock
from tests.servers import Cluster, Server

pytestmark = pytest.mark.anyio


def exchange(at: int = 1, outcome: Outcome = Outcome.HIT, route: str = "/a") -> Exchange:
    return Exchange(at, "GET", "/a", route, outcome, "", 200)


def worker(url: str) -> Store:
    """The store of one worker; each has counts of its own."""
    return open_store(url + ("&" if "?" in url else "?") + "deadline=5s")


@pytest.fixture
async def stores(redis_url: str) -> AsyncIterator[list[Store]]:
    made = [worker(redis_url) for _ in range(3)]
    yield made
    for store in made:
        await store.aclose()


async def test_workers_see_each_other(stores: list[Store]) -> None:
    for number, store in enumerate(stores, 1):
        store.tally.exchanged(exchange(at=number))
        store.tally.purged(Purge(number, "tags", ("product:3",)))
        assert await Publisher(store).post()
    fleet = await read_fleet(stores[0])
    assert len(fleet.workers) == 3
    assert fleet.total.routes["/a"].hits == 3
    assert [event.at for event in fleet.recent] == [3, 2, 1]
    assert [event.names for event in fleet.purges] == [("product:3",)] * 3
    assert set(fleet.breakers.values()) == {0}
    assert {each.group for each in fleet.workers} == {fleet.workers[0].group}


async def test_whoever_asks_sees_itself_as_it_is_now(stores: list[Store]) -> None:
    publishers = [Publisher(store) for store in stores]
    for publisher in publishers:
        publisher.store.tally.exchanged(exchange())
        await publisher.post()
    stores[0].tally.exchanged(exchange())
    fleet = await publishers[0].fleet()
    assert (len(fleet.workers), fleet.total.routes["/a"].hits) == (3, 4)


async def test_all_who_publish_for_a_store_speak_of_one_worker(stores: list[Store]) -> None:
    one, other = Publisher(stores[0]), Publisher(stores[0])
    await one.post()
    await other.post()
    assert len((await other.fleet()).workers) == 1


async def test_who_leaves_is_gone_at_once(stores: list[Store]) -> None:
    staying, leaving = (Publisher(store) for store in stores[:2])
    await together([staying.post(), leaving.post()])
    leaving.start()
    await leaving.aclose()
    fleet = await read_fleet(stores[2])
    assert [each.worker for each in fleet.workers] == [staying.current().worker]
    assert await stores[2].get(BULLETIN + leaving.current().worker.encode()) is None
    there = await stores[2].run(ATTEND, (WORKERS,), (b"", b"0"))
    assert there == [staying.current().worker.encode()]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Store:
    return MemoryStore(clock=clock)


async def test_who_is_silent_is_forgotten(store: Store, clock: FakeClock) -> None:
    await Publisher(store).post()
    clock.advance(LIVES / 1000 - 0.1)
    assert len((await read_fleet(store)).workers) == 1
    clock.advance(0.2)
    assert await read_fleet(store) == Fleet(())
    assert await store.get(WORKERS) is None


async def test_nothing_is_written_while_nothing_happens(store: Store, clock: FakeClock) -> None:
    publisher = Publisher(store)
    assert await publisher.post()
    clock.advance(REMINDER - 0.1)
    assert not await publisher.post()
    store.tally.exchanged(exchange())
    assert await publisher.post()
    assert not await publisher.post()


async def test_whoever_is_idle_does_not_look_dead(store: Store, clock: FakeClock) -> None:
    publisher = Publisher(store)
    await publisher.post()
    for _ in range(10):
        clock.advance(REMINDER)
        assert await publisher.post()
        assert len((await read_fleet(store)).workers) == 1


async def test_on_a_server_and_in_memory_the_same_workers_are_there(redis_url: str) -> None:
    for store in (MemoryStore(), worker(redis_url)):
        there: list[list[bytes]] = []
        for name, lives in ((b"a", 9), (b"b", 9), (b"", 0), (b"a", 9), (b"b", 0), (b"", 0)):
            args = (name, b"%d" % (lives * 1000))
            there.append(sorted(cast(list[bytes], await store.run(ATTEND, (WORKERS,), args))))
        assert there == [[b"a"], [b"a", b"b"], [b"a", b"b"], [b"a", b"b"], [b"a"], [b"a"]]
        await store.aclose()


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x93\x01\x02\x03", b"text"])
async def test_what_cannot_be_read_is_nobody(store: Store, value: bytes) -> None:
    publisher = Publisher(store)
    await publisher.post()
    await store.set(BULLETIN + publisher.current().worker.encode(), value, ttl=LIVES)
    assert await read_fleet(store) == Fleet(())


async def test_a_key_of_another_type_is_begun_anew(server: Server) -> None:
    store = worker(server.url)
    await store.set(WORKERS, b"not a hash", ttl=LIVES)
    await Publisher(store).post()
    assert len((await read_fleet(store)).workers) == 1
    await store.aclose()


async def test_every_key_has_an_end(server: Server) -> None:
    store = worker(server.url)
    await Publisher(store).post()
    keys = server.ask("KEYS", "cmw:w:*")
    assert len(keys) == 2
    assert all(0 < server.ask("PTTL", key) <= LIVES for key in keys)
    await store.aclose()


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_in_a_cluster(cluster: Cluster) -> None:
    stores = [worker(cluster.url) for _ in range(3)]
    for store in stores:
        store.tally.exchanged(exchange())
        await Publisher(store).post()
    assert (await read_fleet(stores[0])).total.routes["/a"].hits == 3
    for store in stores:
        await store.aclose()
