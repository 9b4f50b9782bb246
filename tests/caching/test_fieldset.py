"""Fields of one key: each ends by itself, on servers that can do that and on those that cannot."""

import pytest

from cachemw import Cache
from cachemw.caching.fieldset import MOST
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.stores import open_store
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.stores.redis import RedisStore
from cachemw.testing.clock import FakeClock
from tests.servers import VALKEY, Server
from tests.stores.conftest import Opener
from tests.stores.conftest import opened as opened

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "server"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    open_at: Opener = request.getfixturevalue("opened")
    return open_at(request.getfixturevalue("valkey_url"))


async def test_fields_are_kept_read_and_forgotten_one_by_one(store: Store) -> None:
    user = Cache(store).fields("user:{1}")
    assert await user.get("name") is None
    assert await user.get("name", "nobody") == "nobody"
    await user.set("name", "Ada", "1h")
    await user.set_many({"cart": [1, 2], "näme\r\n": {"a": None}}, "5m")
    everything = {"name": "Ada", "cart": [1, 2], "näme\r\n": {"a": None}}
    assert await user.get_all() == everything
    assert await user.get_many(["cart", "none", "cart"]) == {"cart": [1, 2]}
    left = await user.ttl("cart")
    assert left is not None
    assert 290 < left <= 300
    assert await user.ttl("none") is None
    assert await user.delete("cart", "none") == 1
    assert await Cache(store).fields("user:2").get_all() == {}
    assert await user.clear()
    assert not await user.clear()
    assert await user.get_all() == {}


async def test_each_field_has_its_own_end() -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    fields = Cache(store).fields("k")
    await fields.set("short", 1, "10s")
    await fields.set("long", 2, "1m")
    await fields.set("short", 3, "20s")  # from now on
    clock.advance(19)
    assert await fields.get_all() == {"short": 3, "long": 2}
    clock.advance(1)
    assert await fields.get_all() == {"long": 2}
    await fields.set("other", 4, "10s")  # its write sweeps
    assert len(store.keyspace.hgetall(b"df:{k}")) == 2
    clock.advance(40)
    assert await fields.get_all() == {}
    assert not store.keyspace.exists(b"df:{k}")


async def test_on_a_server_what_has_ended_is_not_there(server: Server, opened: Opener) -> None:
    store = opened(server.url)
    fields = Cache(store).fields("k")
    await fields.set("short", 1, "10s")
    await fields.set("long", 2, "1h")
    # As if it had ended, and nothing had swept it away yet.
    (kept,) = await store.ask("HGET", "cmw:df:{k}", "long")
    await store.ask("HSET", "cmw:df:{k}", "long", b"1000 " + kept.partition(b" ")[2])
    assert await fields.get_all() == {"short": 1}
    assert await fields.ttl("long") is None
    ends = server.ask("PTTL", "cmw:df:{k}")
    assert 3_590_000 < ends <= 3_600_000
    if server.engine == VALKEY:
        (left,) = server.ask("HPTTL", "cmw:df:{k}", "FIELDS", 1, "short")
        assert 0 < left <= 10_000
    else:
        await fields.set("third", 3, "10s")
        assert server.ask("HEXISTS", "cmw:df:{k}", "long") == 0


async def test_thousands_that_have_ended_do_not_stand_in_the_way(
    redis_url: str, opened: Opener
) -> None:
    store = opened(redis_url)
    ended = [part for n in range(9000) for part in (b"f%d" % n, b"1000 x")]
    await store.ask("HSET", "cmw:df:{k}", *ended)
    fields = Cache(store).fields("k")
    await fields.set("a", 1, "1m")
    assert await fields.get_all() == {"a": 1}


async def test_whatever_else_is_there_is_nobodys_field(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url)
    cache = Cache(store)
    await store.ask("SET", "cmw:df:{k}", "a string")
    fields = cache.fields("k")
    assert await fields.get_all() == {}
    assert await fields.get("a") is None
    assert await fields.delete("a") == 0
    await fields.set("a", 1, "1m")
    assert await fields.get_all() == {"a": 1}
    (value,) = await store.ask("HGET", "cmw:df:{k}", "a")
    await store.ask("HSET", "cmw:df:{k}", "b", value, "c", "junk", "d", b"99999999999999 junk")
    assert await fields.get_all() == {"a": 1}


async def test_patterns_purge_them_too(store: Store) -> None:
    cache = Cache(store)
    await cache.set("user:1:name", 1, "1m")
    await cache.fields("user:1:parts").set("a", 1, "1m")
    await cache.fields("user:2:parts").set("a", 1, "1m")
    assert await cache.purge(pattern="user:1:*", dry_run=True) == 2
    assert await cache.purge(pattern="user:1:*", soft=True) == 1
    assert await cache.fields("user:1:parts").get("a") == 1
    assert await cache.purge(pattern="user:1:*") == 2
    assert await cache.fields("user:1:parts").get("a") is None
    assert await cache.fields("user:2:parts").get("a") == 1


async def test_while_the_store_is_away_nothing_is_found_and_nothing_is_said_to_be_done() -> None:
    store = open_store("redis://127.0.0.1:1?deadline=1s")
    assert isinstance(store, RedisStore)
    fields = Cache(store).fields("k")
    assert await fields.get("a", 5) == 5
    for deed in (fields.set("a", 1, "1m"), fields.delete("a"), fields.clear()):
        with pytest.raises(StoreUnavailable):
            await deed
    await store.aclose()


async def test_what_cannot_be_meant_is_refused() -> None:
    fields = Cache(MemoryStore()).fields("k")
    with pytest.raises(ConfigurationError, match="empty"):
        await fields.set("", 1, "1m")
    with pytest.raises(ConfigurationError, match="most"):
        await fields.set_many({f"f{n}": n for n in range(MOST + 1)}, "1m")
    await fields.set_many({f"f{n}": n for n in range(MOST)}, "1m")
    assert len(await fields.get_all()) == MOST
