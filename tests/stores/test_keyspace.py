"""The keyspace in memory: expiry, bounds, and patterns that mean what they mean on a server."""

from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.scripts import Keyspace, Reply, Script, WrongType
from cachemw.stores.glob import glob_to_regex
from cachemw.stores.keyspace import OVERHEAD, MemoryKeyspace
from cachemw.stores.memory import MemoryStore
from cachemw.testing import FakeClock
from tests.stores.scripts import COUNT


def keyspace(
    clock: FakeClock, *, max_bytes: int = 10_000, max_entries: int = 100
) -> MemoryKeyspace:
    return MemoryKeyspace(clock, max_bytes=max_bytes, max_entries=max_entries)


def test_a_value_lives_exactly_as_long_as_it_was_given() -> None:
    clock = FakeClock()
    space = keyspace(clock)
    space.set(b"k", b"v", 60_000)
    clock.advance("59s")
    assert (space.get(b"k"), space.ttl(b"k")) == (b"v", 1000)
    clock.advance("1s")
    assert (space.get(b"k"), space.ttl(b"k"), len(space), space.bytes) == (None, -2, 0, 0)


def test_the_expired_go_without_being_asked_for() -> None:
    clock = FakeClock()
    space = keyspace(clock)
    for number in range(50):
        space.set(b"%d" % number, b"v", 1000)
    clock.advance("2s")
    for number in range(7):
        space.set(b"new", b"%d" % number, 1000)
        space.settle()
    assert len(space) == 1


def test_rewriting_a_key_for_ever_does_not_fill_the_memory() -> None:
    clock = FakeClock()
    space = keyspace(clock)
    for number in range(10_000):
        space.set(b"k", b"%d" % number, 60_000)
        space.settle()
    assert len(space._deadlines) < 200
    assert space.bytes == OVERHEAD + len(b"k9999")


@pytest.mark.parametrize("bounds", [{"max_entries": 3}, {"max_bytes": 3 * (OVERHEAD + 2)}])
def test_the_least_recently_used_goes_first(bounds: dict[str, int]) -> None:
    space = keyspace(FakeClock(), **bounds)
    for key in (b"a", b"b", b"c"):
        space.set(key, b"v", 1000)
    space.get(b"a")
    space.set(b"d", b"v", 1000)
    space.settle()
    assert [space.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"v", None, b"v", b"v"]
    assert space.evicted == 1


def test_what_is_too_large_for_all_of_it_drives_nobody_else_out() -> None:
    space = keyspace(FakeClock(), max_bytes=1000)
    space.set(b"small", b"v", 1000)
    space.set(b"large", bytes(2000), 1000)
    space.settle()
    assert (space.get(b"small"), space.get(b"large")) == (b"v", None)


def test_nothing_is_evicted_in_the_middle_of_a_step() -> None:
    space = keyspace(FakeClock(), max_entries=1)
    space.set(b"a", b"1", 1000)
    space.set(b"b", b"2", 1000)
    assert space.get(b"a") == b"1"
    space.settle()
    assert (space.get(b"a") is None) != (space.get(b"b") is None)


def test_a_key_of_the_other_kind_is_the_wrong_type() -> None:
    space = keyspace(FakeClock())
    space.set(b"string", b"v", 1000)
    space.hset(b"hash", {b"f": b"v"})
    for wrong in (
        lambda: space.get(b"hash"),
        lambda: space.hget(b"string", b"f"),
        lambda: space.hset(b"string", {b"f": b"v"}),
        lambda: space.hdel(b"string", [b"f"]),
    ):
        with pytest.raises(WrongType):
            wrong()


def test_what_a_server_refuses_is_refused() -> None:
    space = keyspace(FakeClock())
    with pytest.raises(ValueError):
        space.set(b"k", b"v", 0)
    with pytest.raises(ValueError):
        space.hset(b"k", {})


@pytest.mark.anyio
async def test_a_script_that_leaves_a_key_for_ever_is_refused_when_it_is_written() -> None:
    def careless(db: Keyspace, keys: list[bytes], args: list[bytes]) -> Reply:
        db.hset(keys[0], {b"f": b"v"})
        return 1

    store = MemoryStore()
    with pytest.raises(ConfigurationError, match="without an expiry"):
        store.run(Script("careless", "", careless), (b"k",), ())  # type: ignore[arg-type]
    assert len(store.keyspace) == 0


@pytest.mark.anyio
async def test_a_closed_store_says_so_until_it_is_opened() -> None:
    store = MemoryStore()
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.run(COUNT, (b"k",), ())
    await store.open()
    assert await store.run(COUNT, (b"k",), ()) == 1


def test_it_is_safe_among_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    store = MemoryStore(max_entries=50)

    def work(thread: int) -> None:
        for number in range(500):
            key = b"%d" % (number * 7 % 60)
            store.set(key, b"v" * number, ttl=1000)
            store.run(COUNT, (b"count",), ())
            store.get_many((key, b"other"))
            store.delete((key,))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert store.keyspace.get(b"count") == b"4000"
    assert store.keyspace.bytes == sum(item.size for item in store.keyspace._items.values())


# --- patterns

ALPHABET = b"abc-]^[*?\\!{}\n\0"
words = st.lists(st.sampled_from(ALPHABET), max_size=9).map(bytes)


@pytest.fixture(scope="module")
def client(shared_server: object) -> Iterator[redis.Redis]:
    server = shared_server("valkey")  # type: ignore[operator]
    with redis.Redis.from_url(server.url) as client:
        yield client


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(pattern=words, key=words.filter(len))
@example(pattern=b"[a-", key=b"-")
@example(pattern=b"[a", key=b"a")
@example(pattern=b"[^", key=b"a")
@example(pattern=b"[]", key=b"]")
@example(pattern=b"[a-]]", key=b"]")
@example(pattern=b"[b-a]", key=b"a")
@example(pattern=b"[!a]", key=b"!")
@example(pattern=b"\\", key=b"\\")
@example(pattern=b"[\\]]", key=b"]")
@example(pattern=b"**a*", key=b"ba\n")
def test_patterns_match_as_on_a_server(client: redis.Redis, pattern: bytes, key: bytes) -> None:
    with client.pipeline() as pipe:
        pipe.flushdb()
        pipe.set(key, b"")
        pipe.keys(pattern)
        found = pipe.execute()[-1]
    assert bool(glob_to_regex(pattern).fullmatch(key)) == bool(found)


def test_many_stars_take_no_time() -> None:
    assert not glob_to_regex(b"*a" * 30 + b"*b").fullmatch(b"a" * 3000)
