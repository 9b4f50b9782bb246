"""The fleet's clock: never twice the same, never backwards, whatever its server's clock does."""

import asyncio
import multiprocessing
from multiprocessing.connection import Connection
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Reply
from cachemw.stores.clock import (
    CLOCK_KEY,
    CREDIBLE,
    JUMP,
    REANCHOR_AFTER,
    TIME,
    ServerClock,
    time_args,
    time_of,
)
from cachemw.stores.memory import MemoryStore
from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import from_url
from cachemw.testing import FakeClock, FaultProxy
from tests.servers import Server
from tests.stores.conftest import Opener
from tests.stores.scripts import DATED_ECHO, ECHO, WRITE

pytestmark = pytest.mark.anyio

SECOND = 1_000_000
HOUR = 3600 * SECOND


# --- following a clock


@given(
    drift=st.floats(-0.0001, 0.0001),
    trips=st.lists(
        st.tuples(st.floats(0.01, 60), st.floats(0, 0.1), st.floats(0, 1)), min_size=1, max_size=30
    ),
)
def test_it_is_never_further_off_than_drift_and_network_explain(
    drift: float, trips: list[tuple[float, float, float]]
) -> None:
    """The local clock runs a little fast or slow; each reading takes some time, here or there."""
    clock, local = ServerClock(), 1000.0

    def server(at: float) -> int:
        return round((1e9 + at * (1 + drift)) * SECOND)

    for pause, took, share in trips:
        local += pause
        clock.read(server(local + took * share), local, local + took)
        local += took
        off_by = abs(clock.now(local) - server(local)) / SECOND
        assert off_by <= clock.error + REANCHOR_AFTER * 0.0002 + 0.001
    assert clock.jumps == 0


@pytest.mark.parametrize("jump", [-HOUR, -SECOND, SECOND, HOUR])
def test_a_jump_is_followed_at_once(jump: int) -> None:
    clock = ServerClock()
    clock.read(HOUR, 10.0, 10.001)
    clock.read(HOUR + SECOND + jump, 11.0, 11.05)
    assert abs(clock.now(11.025) - (HOUR + SECOND + jump)) < 1000
    assert clock.jumps == 1


def test_a_worse_reading_changes_nothing() -> None:
    clock = ServerClock()
    clock.read(HOUR, 10.0, 10.001)
    clock.read(HOUR + SECOND + SECOND // 10, 11.0, 11.2)
    assert clock.now(10.0005) == HOUR


def test_it_wants_a_reading_when_it_has_none_or_an_old_one_and_nobody_is_asking() -> None:
    clock = ServerClock()
    assert clock.wants_reading(0.0)
    clock.asked = 0.0
    assert not clock.wants_reading(0.5)
    assert clock.wants_reading(1.0)  # that one was lost
    clock.read(HOUR, 1.0, 1.001)
    assert not clock.wants_reading(5.0)
    assert clock.wants_reading(1.1 + REANCHOR_AFTER)
    assert JUMP > 0.0002 * REANCHOR_AFTER


# --- one clock for all


@pytest.mark.parametrize(
    "reply", [b"", b"x", b"-1", b"1.5", b"1" * 17, b"%d" % CREDIBLE, 5, None, [b"1"]]
)
def test_what_is_no_reading_is_an_outage(reply: Reply) -> None:
    with pytest.raises(StoreUnavailable, match="desync"):
        time_of(reply)


async def test_when_the_clock_is_set_back_time_goes_on() -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    readings = []
    for jump in (0, 1, -3600, 0, 1, 7200, -1, 0):
        clock.jump(jump)
        readings.append(await store.time())
    assert readings == sorted(set(readings))
    assert readings[3] - readings[2] < SECOND  # it waits for nobody: it goes on from where it was
    clock.jump(10)
    assert await store.time() - readings[-1] > 8 * SECOND  # it has caught up with the second lost


async def test_an_evicted_clock_does_not_repeat_itself() -> None:
    store = MemoryStore(clock=FakeClock())
    before = await store.time()
    await store.delete((CLOCK_KEY,))
    assert await store.time() > before


@pytest.mark.parametrize("ahead", [SECOND, HOUR])
async def test_a_server_whose_clock_fell_back_goes_on_from_where_it_was(
    store: RedisStore, ahead: int
) -> None:
    """As when another server takes over, the clock of which is slow."""
    last = await store.time() + ahead
    await store.run(WRITE, (CLOCK_KEY,), (b"%d 0" % last,))
    readings = [await store.time() for _ in range(20)]
    assert readings == sorted(set(readings)) and readings[0] == last + 1
    assert readings[-1] < last + 10 * SECOND


async def test_readings_that_a_new_primary_never_heard_of_are_not_given_again(
    store: RedisStore,
) -> None:
    ahead = await store.time() + HOUR
    await store.run(WRITE, (CLOCK_KEY,), (b"%d 0" % ahead,))
    seen = await store.time()
    await store.delete((CLOCK_KEY,))
    assert await store.time() > seen > ahead


async def test_a_cluster_that_looks_like_one_server_reads_the_clock_first(
    redis_url: str, opened: Opener
) -> None:
    async with FaultProxy(redis_url) as proxy:
        store = opened(proxy.url)
        await store.time()
        for script in (ECHO, DATED_ECHO):  # so that the server knows them all
            await store.run(script, (b"k",), ())
        proxy.change_next_reply(
            lambda _: [b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"], to="EVALSHA"
        )
        for word in (b"first", b"second"):
            before = proxy.commands
            reply = await store.run(DATED_ECHO, (b"k",), (word,))
            assert cast(list[bytes], reply)[-1] == word
            assert proxy.commands - before == (3 if word == b"first" else 2)


async def test_what_a_dated_script_was_told_is_not_given_again(store: RedisStore) -> None:
    for each in (store, MemoryStore()):
        ahead = await each.time() + HOUR
        await each.run(WRITE, (CLOCK_KEY,), (b"%d 0" % ahead,))
        told = cast(list[bytes], await each.run(DATED_ECHO, (b"k",), (b"x",)))
        assert told == [b"%d" % (ahead + 1), b"x"]
        await each.delete((CLOCK_KEY,))
        assert await each.time() > ahead + 1


@pytest.mark.parametrize(
    "garbage",
    [b"", b"garbage", b"9" * 20 + b" 0", b"1 " + b"9" * 20, b"%d 0" % CREDIBLE, b"-1 0", b"1 2 3"],
)
async def test_garbage_in_its_place_is_written_over(
    redis_url: str, opened: Opener, garbage: bytes
) -> None:
    clock = FakeClock()
    for store in (opened(redis_url), MemoryStore(clock=clock)):
        now = store.now() if isinstance(store, MemoryStore) else await store.time()
        await store.run(WRITE, (CLOCK_KEY,), (garbage,))
        assert abs(await store.time() - now) < 60 * SECOND


async def test_a_key_of_another_type_in_its_place_is_written_over(
    server: Server, opened: Opener
) -> None:
    store = opened(server.url)
    server.ask("LPUSH", "cmw:{clock}", "x")
    assert await store.time() > HOUR
    memory = MemoryStore()
    memory.keyspace.hset(CLOCK_KEY, {b"f": b"v"})
    assert await memory.time() > HOUR


kept = st.tuples(st.integers(0, 2 * 10**16), st.integers(0, 2 * 10**16), st.integers(0, 10**16))


@pytest.mark.parametrize("server_now", [1_700_000_000 * SECOND])
@given(kept=kept)
def test_the_twin_never_falls_behind(server_now: int, kept: tuple[int, int, int]) -> None:
    last, offset, seen = kept
    store = MemoryStore(clock=FakeClock(server_now / SECOND))
    space = store.keyspace
    space.set(CLOCK_KEY, b"%d %d" % (last, offset), 1000)
    first, second = (
        int(cast(bytes, TIME.twin(space, (CLOCK_KEY,), time_args(floor)))) for floor in (seen, 0)
    )
    if last < CREDIBLE and offset < CREDIBLE:
        assert first > last
    assert second > first > seen or first >= CREDIBLE


async def test_now_follows_time_and_never_the_wall_clock(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    store = opened(redis_url)
    time = await store.time()
    assert 0 <= store.now() - time + SECOND < 10 * SECOND


async def test_now_is_learned_without_being_asked_for(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url)
    await store.run(WRITE, (CLOCK_KEY,), (b"%d 0" % (store.now() + HOUR),))
    store._clock = ServerClock()
    wall = store.now()  # nothing is known yet: this asks
    await store.get(b"k")
    await asyncio.sleep(0)
    assert store.now() - wall > HOUR // 2


def read_times(url: str, results: Connection) -> None:
    async def read() -> list[int]:
        store = RedisStore(from_url(url), deadline="30s")
        readings = [await store.time() for _ in range(500)]
        await store.aclose()
        return readings

    results.send(asyncio.run(read()))


def test_four_processes_never_read_the_same(valkey_url: str) -> None:
    spawning = multiprocessing.get_context("spawn")
    pipes = [spawning.Pipe(duplex=False) for _ in range(4)]
    workers = [spawning.Process(target=read_times, args=(valkey_url, end)) for _, end in pipes]
    for worker in workers:
        worker.start()
    each = [receiver.recv() for receiver, _ in pipes]
    for worker in workers:
        worker.join()
    for readings in each:
        assert readings == sorted(readings)
    assert len({reading for readings in each for reading in readings}) == 2000
