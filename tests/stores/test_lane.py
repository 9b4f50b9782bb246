"""Whatever happens to replies on their way, each reaches its own caller or nobody.

Each test of a fault is named after the hazard of an ordinary pooled client that it closes.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator

import pytest

from cachemw.errors import StoreUnavailable
from cachemw.stores.base import together
from cachemw.stores.jobs import LARGE, LONG, Read
from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import from_url
from cachemw.telemetry.counters import Spans
from cachemw.testing import FaultProxy
from tests.stores.conftest import Opener
from tests.stores.scripts import COUNT, ECHO, WRITE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: FaultProxy, opened: Opener) -> RedisStore:
    """Behind the proxy, connected, with a value for each of `alice` and `bob`."""
    return await with_names(opened(proxy.url, deadline="300ms"))


@pytest.fixture
async def patient(proxy: FaultProxy, opened: Opener) -> RedisStore:
    """The same with a deadline that no call of a healthy server misses on a busy machine."""
    return await with_names(opened(proxy.url, deadline="20s"))


async def with_names(store: RedisStore) -> RedisStore:
    for name in (b"alice", b"bob"):
        await store.set(name, b"secret of " + name, ttl=60_000)
    return store


async def outcome(awaitable: object) -> object:
    """A result, or the reason why there is none."""
    try:
        return await awaitable  # type: ignore[misc]
    except StoreUnavailable as error:
        return error.reason


# --- what travels


async def test_what_is_called_in_one_turn_travels_in_one_command(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    before = proxy.commands
    alice = patient.get_many((b"alice", b"nobody"))
    bob = patient.get_many((b"bob", b"alice"))
    assert await alice == [b"secret of alice", None]
    assert await bob == [b"secret of bob", b"secret of alice"]
    assert proxy.commands == before + 1


async def test_a_long_value_travels_apart_from_the_others_of_its_turn(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    async def commands() -> int:
        before = proxy.commands
        reads = [patient.get(name) for name in (b"alice", b"long", b"bob")]
        assert (await asyncio.gather(*reads))[::2] == [b"secret of alice", b"secret of bob"]
        return proxy.commands - before

    await patient.set(b"long", b"x" * LONG, ttl=60_000)
    assert [await commands(), await commands()] == [1, 2]  # not before that is known
    await patient.set(b"long", b"short", ttl=60_000)
    assert [await commands(), await commands()] == [2, 1]


async def test_a_whole_crowd_shares_one_connection(proxy: FaultProxy, patient: RedisStore) -> None:
    await together([patient.run(ECHO, (b"k",), (b"%d" % n,)) for n in range(500)])
    assert proxy.accepted == 1


async def test_a_large_value_goes_beside(proxy: FaultProxy, patient: RedisStore) -> None:
    large = bytes(1 << 20)
    await patient.set(b"large", large, ttl=60_000)
    assert proxy.accepted == 2  # one lane, and one beside it
    proxy.hold()
    waiting = asyncio.ensure_future(outcome(patient.get(b"large")))
    await asyncio.sleep(0)
    proxy.release()
    assert await patient.get(b"alice") == b"secret of alice"
    assert await waiting == large


async def test_a_value_found_to_be_large_is_fetched_beside_from_then_on(
    proxy: FaultProxy, patient: RedisStore, opened: Opener
) -> None:
    large = bytes(1 << 20)
    await opened(proxy.url).set(b"large", large, ttl=60_000)
    connections = proxy.accepted
    assert await patient.get(b"large") == large  # nobody told this store
    assert proxy.accepted == connections
    assert await patient.get(b"large") == large
    assert proxy.accepted == connections + 1


# --- replies that go astray


async def test_h1_a_left_over_reply_goes_to_nobody(proxy: FaultProxy, store: RedisStore) -> None:
    proxy.duplicate_next_reply(to="MGET")
    assert await store.get(b"alice") == b"secret of alice"
    await proxy.until(lambda: proxy.connections == 0)  # the lane hung up on it
    assert await store.get(b"bob") == b"secret of bob"
    assert proxy.accepted == 2


async def test_h1_a_reply_that_arrives_with_the_next_one_goes_to_nobody(
    proxy: FaultProxy, store: RedisStore
) -> None:
    held: list[bytes] = []

    def keep(reply: bytes) -> list[bytes]:
        held.append(reply)
        return [reply]

    proxy.change_next_reply(keep, to="MGET")
    proxy.change_next_reply(lambda reply: [*held, reply], to="MGET")
    assert await store.get(b"alice") == b"secret of alice"
    assert await outcome(store.get(b"bob")) is None  # Alice's value proves not to be Bob's
    assert await store.get(b"bob") == b"secret of bob"


@pytest.mark.parametrize("fault", ["swap", "drop", "duplicate"])
async def test_no_fault_of_a_reply_gives_anybody_a_strangers(
    proxy: FaultProxy, store: RedisStore, fault: str
) -> None:
    async def read(name: bytes) -> None:
        await asyncio.sleep(0)
        assert await outcome(store.get(name)) in (b"secret of " + name, None, "desync", "timeout")

    async def echo(number: int) -> None:
        word = b"%d" % number
        assert await outcome(store.run(ECHO, (b"k",), (word,))) in ([word], "desync", "timeout")

    await store.run(ECHO, (b"k",), ())
    for _ in range(3):
        {
            "swap": proxy.swap_next_replies,
            "drop": proxy.drop_next_reply,
            "duplicate": proxy.duplicate_next_reply,
        }[fault]()
        await asyncio.gather(read(b"alice"), echo(1), echo(2), read(b"bob"))
    for name in (b"alice", b"bob"):
        while (value := await outcome(store.get(name))) in ("desync", "timeout"):
            pass
        assert value in (b"secret of " + name, None)


async def test_swapped_scripts_answer_nobody(proxy: FaultProxy, patient: RedisStore) -> None:
    await patient.run(ECHO, (b"k",), ())
    proxy.swap_next_replies(to="EVALSHA")
    first, second = patient.run(ECHO, (b"k",), (b"1",)), patient.run(ECHO, (b"k",), (b"2",))
    assert [await outcome(first), await outcome(second)] == ["desync", "desync"]
    assert await patient.run(ECHO, (b"k",), (b"3",)) == [b"3"]


async def test_swapped_runs_of_a_prepared_script_answer_nobody(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    """They are the same to the byte, but for the nonce."""
    echo = patient.prepare(ECHO, (b"k",), (b"1",))
    assert await echo() == [b"1"]
    proxy.swap_next_replies(to="EVALSHA")
    first, second = echo(), echo()
    assert [await outcome(first), await outcome(second)] == ["desync", "desync"]
    assert await echo() == [b"1"]


async def test_a_prepared_script_that_the_server_has_forgotten_is_sent_with_its_text(
    patient: RedisStore,
) -> None:
    echo = patient.prepare(ECHO, (b"k",), (b"1", b"", b"\r\n"))
    for _ in range(2):
        await patient.ask("SCRIPT", "FLUSH")
        assert await together([echo(), echo()]) == [[b"1", b"", b"\r\n"]] * 2


async def test_h2_a_job_that_raises_harms_the_connection_and_nobody_else(
    patient: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(self: Read, reply: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Read, "accept", explode)
    assert await outcome(patient.get(b"alice")) == "desync"
    monkeypatch.undo()
    assert await patient.get(b"bob") == b"secret of bob"


async def test_h5_no_call_is_sent_twice_when_its_reply_is_lost(
    proxy: FaultProxy, store: RedisStore
) -> None:
    assert await store.run(COUNT, (b"c",), ()) == 1
    for _ in range(3):
        proxy.drop_next_reply(to="EVALSHA")
        assert await outcome(store.run(COUNT, (b"c",), ())) == "timeout"
    assert await store.run(COUNT, (b"c",), ()) == 5
    proxy.reset_after(1)
    assert await outcome(store.run(COUNT, (b"c",), ())) == "connection"
    assert await store.run(COUNT, (b"c",), ()) == 7


async def test_a_reply_cut_off_in_the_middle_is_no_reply(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    proxy.reset_after(15)
    assert await outcome(patient.get(b"alice")) == "connection"
    assert await patient.get(b"alice") == b"secret of alice"


async def test_nonsense_from_the_server_is_no_reply(proxy: FaultProxy, patient: RedisStore) -> None:
    for nonsense in (b"?\r\n", b"*1\r\n:1\r\n", b"+OK\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n"):
        proxy.change_next_reply(lambda _, nonsense=nonsense: [nonsense], to="MGET")  # type: ignore[misc]
        assert await outcome(patient.get(b"alice")) == "desync", nonsense
        proxy.change_next_reply(lambda _, nonsense=nonsense: [nonsense], to="EVALSHA")  # type: ignore[misc]
        assert await outcome(patient.run(ECHO, (b"k",), (b"1",))) in ("desync", [b"1"]), nonsense


async def test_a_server_that_became_a_replica_is_looked_up_again(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    """The address may lead to the new primary by now."""
    (node,) = patient._topology().known_nodes()
    node.lane.connected_at = 0  # long ago
    proxy.change_next_reply(lambda _: [b"-READONLY You can't write.\r\n"], to="SET")
    assert await outcome(patient.set(b"alice", b"v", ttl=1000)) == "refused"
    await proxy.until(lambda: proxy.connections == 0)
    await patient.set(b"alice", b"v", ttl=60_000)
    assert proxy.accepted == 2


# --- corrupt at rest


async def test_garbage_at_rest_is_a_miss_that_costs_one_connection_only(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    other = patient.sealed(b"other", b"of another key")
    await patient.run(WRITE, (b"alice",), (other,))
    connections = proxy.accepted
    for _ in range(5):
        assert await outcome(patient.get(b"alice")) is None
    assert proxy.accepted == connections + 1
    assert await patient.get(b"bob") == b"secret of bob"
    await patient.set(b"alice", b"anew", ttl=60_000)
    assert await patient.get(b"alice") == b"anew"


# --- cancellation


async def test_garbage_in_a_common_read_costs_the_connection_and_no_other_reader(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    other = patient.sealed(b"other", b"of another key")
    await patient.run(WRITE, (b"alice",), (other,))
    connections = proxy.accepted
    reads = [patient.get_many((b"bob",)), patient.get_many((b"alice", b"bob"))]
    assert await asyncio.gather(*reads) == [[b"secret of bob"], [None, b"secret of bob"]]
    assert await patient.get(b"bob") == b"secret of bob"
    assert proxy.accepted == connections + 1


async def test_h10_a_storm_of_cancellations_disturbs_nobody(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    names = [b"%d" % number for number in range(100)]
    await together([patient.set(name, b"value of " + name, ttl=60_000) for name in names])
    chance = random.Random(1)
    mismatches = finished = cancelled = 0

    async def one() -> None:
        nonlocal mismatches, finished
        name = chance.choice(names)
        if chance.random() < 0.5:
            good = await patient.get(name) == b"value of " + name
        else:
            good = await patient.run(ECHO, (name,), (name,)) == [name]
        mismatches += not good
        finished += 1

    for _ in range(100):
        tasks = [asyncio.ensure_future(one()) for _ in range(100)]
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        for task in tasks:
            if chance.random() < 0.5:
                cancelled += task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [each for each in results if isinstance(each, Exception)]
    assert mismatches == 0
    assert finished + cancelled == 10_000 and min(finished, cancelled) > 1_000
    (node,) = patient._topology().known_nodes()
    await patient.get(b"0")  # everything before it has been answered, too
    assert node.is_idle
    assert proxy.accepted == 1


# --- deadlines


async def test_one_timer_ends_everybody_in_flight(proxy: FaultProxy, store: RedisStore) -> None:
    proxy.hold()
    calls = [store.get(b"alice"), store.run(ECHO, (b"k",), ()), store.time()]
    assert [await outcome(call) for call in calls] == ["timeout"] * 3
    proxy.release()
    assert await store.get(b"alice") == b"secret of alice"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_blocked_event_loop_is_no_fault_of_the_server(
    redis_url: str, loop: str, is_connected: bool
) -> None:
    async def block() -> None:
        store = RedisStore(from_url(redis_url), deadline="300ms")
        if is_connected:
            await store.get(b"alice")
        readings = [store.get_many((b"alice",)) for _ in range(20)]
        await asyncio.sleep(0)  # they are on their way, or wait for the handshake
        time.sleep(0.6)  # noqa: ASYNC251  somebody's handler, longer than the deadline
        assert [await reading for reading in readings] == [[None]] * 20
        assert not any(store.breakers().values())
        await store.aclose()

    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(block())


def test_trips_are_timed_more_finely_than_uvloop_tells_the_time(redis_url: str) -> None:
    async def ask() -> Spans:
        store = RedisStore(from_url(redis_url))
        for _ in range(5):
            await store.get(b"alice")
        await store.aclose()
        return store.tally.counts.store.trips

    with asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop) as runner:
        trips = runner.run(ask())
    assert trips.count >= 5
    assert abs(trips.total * 1000 - round(trips.total * 1000)) > 1e-6  # no whole milliseconds


async def test_a_call_made_before_the_loop_was_blocked_is_not_late(
    redis_url: str, opened: Opener
) -> None:
    store = opened(redis_url, deadline="300ms")
    await store.set(b"alice", b"secret", ttl=60_000)
    reading = store.get_many((b"alice",))
    time.sleep(0.5)  # noqa: ASYNC251  before it was written
    assert await reading == [b"secret"]


async def test_too_many_calls_at_once_are_refused(
    patient: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachemw.stores.lane.MOST_WAITING", 10)
    calls = [patient.get_many((b"alice",)) for _ in range(12)]
    outcomes = [await outcome(call) for call in calls]
    assert outcomes == [[b"secret of alice"]] * 10 + ["overloaded"] * 2


async def test_a_closed_store_says_so(store: RedisStore) -> None:
    waiting = store.get_many((b"alice",))
    await store.aclose()
    assert await outcome(waiting) == "closed"
    assert await outcome(store.get(b"alice")) == "closed"
    assert await outcome(store.delete((b"alice",))) == "closed"
    await store.open()
    assert await store.get(b"alice") == b"secret of alice"


# --- load is no outage


async def test_replies_that_are_late_while_others_arrive_are_no_outage(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    await patient.run(ECHO, (b"k",), ())
    (node,) = patient._topology().known_nodes()
    lane, loop = node.lane, asyncio.get_running_loop()
    proxy.hold()
    late = [patient.run(ECHO, (b"k",), (b"%d" % number,)) for number in range(10)]
    await asyncio.sleep(0)  # they are on their way
    lane._waiting = deque((job, loop.time()) for job, _ in lane._waiting)
    lane._heard_at = loop.time()
    lane._check_deadline(False)
    assert [await outcome(call) for call in late] == ["overloaded"] * 10
    assert not node.breaker.is_open
    proxy.release()
    assert await patient.run(ECHO, (b"k",), (b"next",)) == [b"next"]
    assert node.is_idle
    assert proxy.accepted == 1


async def test_a_call_that_was_told_it_is_late_is_not_sent_again(
    proxy: FaultProxy, patient: RedisStore
) -> None:
    await patient.get(b"alice")
    (node,) = patient._topology().known_nodes()
    loop = asyncio.get_running_loop()
    await patient.ask("SCRIPT", "FLUSH")  # it will hear NOSCRIPT
    proxy.hold()
    late = patient.run(COUNT, (b"late",), ())
    await asyncio.sleep(0)
    node.lane._waiting = deque((job, loop.time()) for job, _ in node.lane._waiting)
    node.lane._heard_at = loop.time()
    node.lane._check_deadline(False)
    assert await outcome(late) == "overloaded"
    proxy.release()
    await patient.get(b"alice")
    assert await patient.run(COUNT, (b"late",), ()) == 1


async def test_a_value_too_long_for_the_deadline_is_read_beside_from_then_on(
    proxy: FaultProxy, store: RedisStore, opened: Opener
) -> None:
    large = bytes(1 << 20)
    await opened(proxy.url).set(b"large", large, ttl=60_000)
    proxy.change_next_reply(lambda reply: [reply[:1000]], to="MGET")
    assert await outcome(store.get(b"large")) in ("timeout", "overloaded")
    (node,) = store._topology().known_nodes()
    assert node.beside.connects == 0
    assert store._recall.longest([store.prefix + b"large"]) >= LARGE
    await outcome(store.get(b"large"))
    assert node.beside.connects == 1


async def test_a_very_wide_read_goes_beside(patient: RedisStore) -> None:
    keys = [b"%d" % number for number in range(2000)]
    assert await patient.get_many(keys) == [None] * 2000
    (node,) = patient._topology().known_nodes()
    assert node.beside.connects == 1


async def test_a_breaker_that_flaps_is_probed_for_once(patient: RedisStore) -> None:
    (node,) = patient._topology().known_nodes()
    lane = node.lane
    lane._note_failures(5)
    first = lane._probing
    assert first is not None
    node.breaker.succeeded()
    lane._note_failures(5)
    assert first.cancelled()
    node.breaker.succeeded()


async def test_what_is_not_written_yet_is_bounded(
    patient: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachemw.stores.lane.MOST_UNSENT", 1000)
    calls = [patient.set(b"k", bytes(600), ttl=60_000) for _ in range(3)]
    assert [await outcome(call) for call in calls] == [None, None, "overloaded"]
    await patient.set(b"k", bytes(600), ttl=60_000)


async def test_who_waits_for_the_first_map_of_a_cluster_is_bounded(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachemw.stores.cluster.MOST_WAITING", 2)
    store = opened("redis+cluster://127.0.0.1:1")
    calls = [store.get_many((b"k",)) for _ in range(3)]
    assert [await outcome(call) for call in calls] == ["connection", "connection", "overloaded"]


async def test_a_call_that_is_sent_on_keeps_the_deadline_of_its_caller(
    proxy: FaultProxy, opened: Opener
) -> None:
    store = opened(proxy.url, deadline="200ms")
    await store.ask("SCRIPT", "FLUSH")  # the script is refused first, and sent again with its text
    proxy.delay(0.11)  # each answer is in time for its lane, both together are not for the caller
    call = store.run(ECHO, (b"k",), (b"x",))
    with pytest.raises(StoreUnavailable, match="sent on") as refusal:
        await call
    assert refusal.value.reason == "timeout"
    (node,) = store._topology().known_nodes()
    proxy.delay(0)
    assert await opened(proxy.url).run(ECHO, (b"k",), (b"next",)) == [b"next"]
    assert not node.breaker.is_open
