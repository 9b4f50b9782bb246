"""The relay: what is purged in one region is purged in the other, whatever happens on the way."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from cachemw.caching.cache import Cache
from cachemw.caching.hosts import Hosts
from cachemw.caching.journal import Journal
from cachemw.caching.notes import JOURNAL, What, position_key
from cachemw.caching.policy import CachePolicy
from cachemw.caching.relay import Relay, Trip
from cachemw.errors import StoreUnavailable
from cachemw.messages import RequestHead
from cachemw.scripts import Keyspace, Reply, Script
from cachemw.stores import open_store
from cachemw.stores.base import Store, together
from cachemw.stores.memory import MemoryStore
from cachemw.testing.clock import FakeClock
from cachemw.testing.gate import Gate
from cachemw.tokens import Tokens
from tests import servers
from tests.caching.caches import FRESH, Cached
from tests.servers import ENGINES, VALKEY, Server

pytestmark = pytest.mark.anyio
STALE: dict[str, Any] = {"stale_while_revalidate": "1h"}


def _count(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    return len(msgspec.msgpack.decode(keyspace.get(keys[0]) or b"\x90")) - 1


COUNT = Script("count-notes", "return redis.call('XLEN', KEYS[1]) - 1", _count)


class Region:
    """A store with a cache before it, whose purges are noted."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.store = store
        self.journal = Journal(store, name)
        self.cache = Cache(store, region=name)

    def site(self, **policy: Any) -> Cached:
        """A worker of this region, whose pages are cached, too."""
        site = Cached(CachePolicy(**policy), store=self.store, region=self.name)
        site.origin.answers("page", headers=FRESH)
        return site

    async def admits(self, *hosts: str) -> None:
        """Pages of these hosts may be stored."""
        for host in hosts:
            assert await Hosts(self.store).admit(
                RequestHead("GET", "http", host.encode(), b"/", b""), 3600
            )

    async def fill(self, *keys: str, **keeping: Any) -> None:
        await self.cache.set_many(dict.fromkeys(keys, self.name), "1h", **keeping)

    async def has(self, key: str) -> bool:
        return await self.cache.get(key) is not None

    async def notes(self) -> int:
        """How many notes its journal has, the first one aside."""
        found = await self.store.run(COUNT, (JOURNAL,), ())
        assert isinstance(found, int)
        return found


@dataclass
class Pair:
    eu: Region
    us: Region

    def relay(self) -> Relay:
        return Relay(self.eu.store, self.us.store, "eu")

    async def begin(self) -> Relay:
        """A relay that has found its beginning."""
        relay = self.relay()
        assert (await relay.carry()).gap == "no position is remembered"
        assert (await relay.carry()).is_empty
        return relay

    async def fill(self, *keys: str, **keeping: Any) -> None:
        for region in (self.eu, self.us):
            await region.fill(*keys, **keeping)


Opener = Callable[[str], Store]


@pytest.fixture
async def opened(anyio_backend: str) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as at_the_end:

        def opener(url: str) -> Store:
            store = open_store(url + "?deadline=2s")
            at_the_end.push_async_callback(store.aclose)
            return store

        yield opener


def start_two(engine: str, at_the_end: ExitStack) -> list[Server]:
    """One in Europe, one in America; they keep on disk what they have."""
    kept = ("--appendonly", "yes", "--appendfsync", "always")
    return [at_the_end.enter_context(servers.single(engine, *kept)) for _ in range(2)]


@pytest.fixture(params=["memory", *ENGINES])
def pair(request: pytest.FixtureRequest, opened: Opener) -> Iterator[Pair]:
    """Two regions, where nothing goes wrong."""
    with ExitStack() as at_the_end:
        if request.param == "memory":
            yield Pair(Region("eu", MemoryStore()), Region("us", MemoryStore()))
        else:
            yield _pair(start_two(request.param, at_the_end), opened)


@pytest.fixture
def two_servers(engine: str) -> Iterator[list[Server]]:
    with ExitStack() as at_the_end:
        yield start_two(engine, at_the_end)


@pytest.fixture
def real(two_servers: list[Server], opened: Opener) -> Pair:
    """Two regions, where things go wrong: `two_servers` are theirs."""
    return _pair(two_servers, opened)


def _pair(two: list[Server], opened: Opener) -> Pair:
    eu, us = (opened(server.url) for server in two)
    return Pair(Region("eu", eu), Region("us", us))


async def until_answered(step: Callable[[], Awaitable[object]]) -> None:
    """Until a store that is back answers again."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(StoreUnavailable):
                await step()
                return
            await asyncio.sleep(0.02)


# --- every way to purge

Purge = Callable[[Cache], Awaitable[object]]


async def _write_through(cache: Cache) -> None:
    await cache.write_through("user:1", "new", lambda value: None, "1h")


async def _write(cache: Cache) -> None:
    async with cache.writing(keys="user:1"):
        pass


async def _write_tags(cache: Cache) -> None:
    async with cache.writing(tags=["users"]):
        pass


WAYS: dict[str, Purge] = {
    "tags": lambda cache: cache.purge(tags=["users"]),
    "namespace": lambda cache: cache.bump("people"),
    "key": lambda cache: cache.purge(key="user:1"),
    "delete": lambda cache: cache.delete("user:1"),
    "pattern": lambda cache: cache.purge(pattern="user:*"),
    "write through": _write_through,
    "write to a key": _write,
    "write to a tag": _write_tags,
}


@pytest.mark.parametrize("way", WAYS)
async def test_values_are_purged_in_the_other_region(pair: Pair, way: str) -> None:
    relay = await pair.begin()
    await pair.fill("user:1", tags=["users"], namespace="people")
    await pair.fill("bystander", tags=["others"], namespace="elsewhere")
    await WAYS[way](pair.eu.cache)
    assert await pair.us.has("user:1")
    assert (await relay.carry()).notes
    assert not await pair.us.has("user:1")
    assert await pair.us.has("bystander")
    assert (await relay.carry()).is_empty


@pytest.mark.parametrize("way", [{"tags": ["users"]}, {"key": "user:1"}, {"pattern": "user:*"}])
async def test_a_soft_purge_stays_soft(pair: Pair, way: Any) -> None:
    relay = await pair.begin()
    await pair.us.fill("user:1", tags=["users"], **STALE)
    await pair.eu.cache.purge(**way, soft=True)
    await relay.carry()
    assert not await pair.us.has("user:1")
    gate = asyncio.Event()
    found: str = await pair.us.cache.get_or_set("user:1", _late(gate), "1h", **STALE)
    assert found == "us"
    gate.set()
    await pair.us.cache.aclose()
    assert await pair.us.cache.get("user:1") == "made anew"


def _late(gate: asyncio.Event) -> Callable[[], Awaitable[str]]:
    async def load() -> str:
        await gate.wait()
        return "made anew"

    return load


@pytest.mark.parametrize(
    "way",
    [
        {"url": "/products/3?b=2&a=1"},
        {"url": "http://testserver/products/3?a=1&b=2"},
        {"tags": ["product"]},
        {"route": "/{path:path}"},
    ],
    ids=str,
)
@pytest.mark.parametrize("soft", [False, True])
async def test_pages_are_purged_in_the_other_region(pair: Pair, way: Any, soft: bool) -> None:
    relay = await pair.begin()
    there = pair.us.site(tags=["product"], **STALE)
    await pair.us.admits("testserver")
    # The first region has nothing of it: it knows of no origin, and purges it all the same.
    for url in ("/products/3?a=1&b=2", "/products/4"):
        assert (await there.get(url)).cache == "miss"
        assert (await there.get(url)).cache == "hit"
    await pair.eu.cache.purge(**way, soft=soft)
    assert (await there.get("/products/3?a=1&b=2")).cache == "hit"
    await relay.carry()
    assert (await there.get("/products/3?a=1&b=2")).cache == ("stale" if soft else "miss")
    expected = "hit" if "url" in way else "stale" if soft else "miss"
    assert (await there.get("/products/4")).cache == expected
    await there.settle()


async def test_a_url_is_purged_by_whatever_name_the_other_region_has(pair: Pair) -> None:
    relay = await pair.begin()
    there = pair.us.site()
    asked = {"host": "us.example"}
    await pair.us.admits("us.example")
    assert (await there.get("/products/3", headers=asked)).cache == "miss"
    assert (await there.get("/products/3", headers=asked)).cache == "hit"
    await pair.eu.cache.purge(url="/products/3")
    await relay.carry()
    assert (await there.get("/products/3", headers=asked)).cache == "miss"


async def test_a_url_counts_the_parameters_that_count(pair: Pair) -> None:
    relay = await pair.begin()
    policy = CachePolicy(query=["page"])
    there = pair.us.site(query=["page"])
    await pair.us.admits("testserver")
    cache = Cache(pair.eu.store, policies=lambda path: policy, region="eu")
    await there.get("/list?page=2&utm=x")
    assert (await there.get("/list?page=2")).cache == "hit"
    await cache.purge(url="/list?utm=y&page=2")
    await relay.carry()
    assert (await there.get("/list?page=2")).cache == "miss"


async def test_a_request_that_changes_something_is_heard_elsewhere(pair: Pair) -> None:
    relay = await pair.begin()
    here, there = pair.eu.site(), pair.us.site()
    await there.get("/products/3")
    assert (await there.get("/products/3")).cache == "hit"
    await here.client.request("PUT", "/products/3")
    await relay.carry()
    assert (await there.get("/products/3")).cache == "miss"


async def test_nothing_is_noted_of_a_dry_run(pair: Pair) -> None:
    await pair.begin()
    await pair.eu.cache.purge(pattern="*", dry_run=True)
    assert await pair.eu.notes() == 0


# --- what is under way


@pytest.mark.parametrize("way", ["tags", "key", "pattern"])
async def test_a_load_that_began_before_keeps_nothing(pair: Pair, way: str) -> None:
    relay, gate = await pair.begin(), asyncio.Event()
    began = asyncio.Event()

    async def load() -> str:
        began.set()
        await gate.wait()
        return "from before"

    loading: asyncio.Task[str] = asyncio.create_task(
        pair.us.cache.get_or_set("user:1", load, "1h", tags=["users"])
    )
    await began.wait()
    await WAYS[way](pair.eu.cache)
    await relay.carry()
    gate.set()
    assert await loading == "from before"
    assert not await pair.us.has("user:1")


@pytest.mark.parametrize("way", [{"url": "/p"}, {"tags": ["product"]}])
@pytest.mark.parametrize("gap", [False, True])
async def test_a_fill_that_began_before_keeps_nothing(pair: Pair, way: Any, gap: bool) -> None:
    relay, gate = await pair.begin(), Gate()
    there = pair.us.site(tags=["product"])
    await pair.us.admits("testserver")
    there.origin.answers(gate, "from before", headers=FRESH)
    asking = there.start("GET", "/p")
    await gate.reached()
    await pair.eu.cache.purge(**way)
    if gap:
        await pair.eu.store.delete([JOURNAL])
    assert bool((await relay.carry()).gap) is gap
    gate.open()
    assert (await asking.response()).body == b"from before"
    assert (await there.get("/p")).cache == "miss"
    assert (await there.get("/p")).cache == "hit"


# --- gaps


async def test_a_lost_journal_purges_everything(pair: Pair) -> None:
    relay = await pair.begin()
    there = pair.us.site()
    await there.get("/p")
    assert (await there.get("/p")).cache == "hit"
    await pair.us.fill("user:1", "user:2")
    await pair.eu.cache.purge(tags=["nobody will hear of this"])
    await pair.eu.store.delete([JOURNAL])
    assert (await relay.carry()).gap == "the journal was lost"
    assert (await there.get("/p")).cache == "miss"
    assert not await pair.us.has("user:1") and not await pair.us.has("user:2")
    assert (await relay.carry()).is_empty
    await pair.us.fill("user:1")
    await pair.eu.cache.purge(key="user:1")
    assert (await relay.carry()).notes == 1
    assert not await pair.us.has("user:1")


async def test_what_is_no_cache_survives_everything(pair: Pair) -> None:
    tokens = Tokens(pair.us.store, purpose="reset")
    token = await tokens.issue("user:1")
    await pair.us.store.set(b"s:{session}", b"kept", ttl=60_000)
    await pair.us.store.set(b"rl:{limit}:x", b"kept", ttl=60_000)
    await pair.begin()
    assert await tokens.consume(token) == "user:1"
    assert await pair.us.store.get_many([b"s:{session}", b"rl:{limit}:x"]) == [b"kept"] * 2


@pytest.mark.parametrize(
    ("what", "name"),
    [(What.PATTERN, b""), (What.PATTERN, b"[\xc3\xa9]"), (What.KEY, b""), (What.KEY, b"\xff")],
)
async def test_a_name_of_nothing_purges_everything(pair: Pair, what: What, name: bytes) -> None:
    relay = await pair.begin()
    await pair.us.fill("user:1")
    await together(pair.eu.journal.note(what, [name]))
    assert (await relay.carry()).gap == "a note cannot be read"
    assert not await pair.us.has("user:1")
    assert (await relay.carry()).is_empty


# --- regions


async def test_regions_that_follow_each_other_do_not_echo(pair: Pair) -> None:
    there, back = pair.relay(), Relay(pair.us.store, pair.eu.store, "us")
    for relay in (there, back):
        await relay.carry()
    await pair.fill("user:1", "user:2", tags=["users"])
    await pair.eu.cache.purge(key="user:1")
    await pair.us.cache.purge(url="/p")
    for _ in range(5):
        trips = [await there.carry(), await back.carry()]
    assert [trip.is_empty for trip in trips] == [True, True]
    assert (await pair.eu.notes(), await pair.us.notes()) == (1, 1)
    assert not await pair.us.has("user:1") and await pair.us.has("user:2")
    # What one has lost is purged in the other, and does not come back to it either.
    await pair.eu.store.delete([JOURNAL])
    assert (await there.carry()).gap
    assert (await back.carry()).is_empty
    assert await pair.eu.has("user:2") and not await pair.us.has("user:2")


async def test_two_regions_are_followed_independently() -> None:
    eu, us, asia = (Region(name, MemoryStore()) for name in ("eu", "us", "asia"))
    relays = [Relay(region.store, asia.store, region.name) for region in (eu, us)]
    for relay in relays:
        await relay.carry()
    await asia.fill("a", "b")
    await eu.cache.purge(key="a")
    await us.cache.purge(key="b")
    assert (await relays[0].carry()).notes == 1
    assert not await asia.has("a") and await asia.has("b")
    assert (await relays[1].carry()).notes == 1
    assert not await asia.has("b")


async def test_a_journal_of_somebody_else_is_carried_and_named() -> None:
    pair = Pair(Region("eu", MemoryStore()), Region("us", MemoryStore()))
    mistaken = Relay(pair.eu.store, pair.us.store, "europe")
    await mistaken.carry()
    await pair.us.fill("user:1")
    await pair.eu.cache.purge(key="user:1")
    assert (await mistaken.carry()).strangers == {"eu"}
    assert not await pair.us.has("user:1")


# --- lag


async def test_the_lag_is_that_of_the_oldest_purge() -> None:
    clock = FakeClock()
    pair = Pair(Region("eu", MemoryStore(clock=clock)), Region("us", MemoryStore()))
    relay = await pair.begin()
    await pair.eu.cache.purge(tags=["a"])
    clock.advance("3s")
    await pair.eu.cache.purge(tags=["b"])
    clock.advance("1s")
    assert await relay.carry() == Trip(notes=2, lag=4.0)


async def test_the_lag_on_servers_is_on_the_clock_of_where_it_began(real: Pair) -> None:
    relay = await real.begin()
    before = await real.eu.store.time()
    await real.eu.cache.purge(tags=["a"])
    trip = await relay.carry()
    assert 0 <= trip.lag <= (await real.eu.store.time() - before) / 1e6 + 0.001


# --- stores that go away and come back


async def test_a_purge_that_could_not_be_noted_has_failed(
    real: Pair, two_servers: list[Server]
) -> None:
    await real.begin()
    two_servers[0].ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable):
        await real.eu.cache.purge(key="user:1")


class Fading(MemoryStore):
    """A store that goes away after `left` more steps, once that is said."""

    left: int | None = None

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        if self.left is None or self.left > 0:
            self.left = None if self.left is None else self.left - 1
            return super().run(script, keys, args)
        return Gone()


class Gone(Awaitable[Reply]):
    """A step that was lost, whether or not somebody waits for it."""

    def __await__(self) -> Generator[Any, None, Reply]:
        raise StoreUnavailable("connection", "it went away")
        yield


async def _write_both(cache: Cache, store: Fading, steps: int) -> None:
    async with cache.writing(keys="user:1", tags=["users"]):
        store.left = steps


async def _write_and_keep(cache: Cache, store: Fading, steps: int) -> None:
    def write(value: str) -> None:
        store.left = steps

    await cache.write_through("user:1", "new", write, "1h", purges=["users"])


@pytest.mark.parametrize("steps", range(7))
@pytest.mark.parametrize("write", [_write_both, _write_and_keep])
async def test_the_end_of_a_write_is_heard_elsewhere_or_it_is_said_that_it_was_not(
    write: Any, steps: int
) -> None:
    store = Fading()
    pair = Pair(Region("eu", store), Region("us", MemoryStore()))
    relay = await pair.begin()
    await pair.us.fill("user:1")
    await pair.us.fill("list", tags=["users"])
    try:
        await write(pair.eu.cache, store, steps)
        has_failed = False
    except StoreUnavailable:
        has_failed = True
    assert has_failed or steps > 0
    assert not has_failed or steps < 6
    store.left = None
    if has_failed:
        await pair.eu.cache.purge(key="user:1", tags=["users"])
    while not (await relay.carry()).is_empty:
        pass
    assert not await pair.us.has("user:1")
    assert not await pair.us.has("list")


async def test_a_write_that_failed_by_itself_says_why_although_the_store_is_away() -> None:
    store = Fading()
    cache = Region("eu", store).cache

    async def write() -> None:
        async with cache.writing(keys="user:1"):
            store.left = 0
            raise LookupError("no such user")

    with pytest.raises(LookupError):
        await write()


async def test_without_other_regions_a_write_is_done_when_it_is_done() -> None:
    store = Fading()
    cache = Cache(store)
    await cache.set("user:1", "old", "1h")
    async with cache.writing(keys="user:1", tags=["users"]):
        store.left = 0
    store.left = None
    assert await cache.get("user:1") is None


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_what_was_purged_while_the_target_was_away_is_purged_when_it_is_back(
    real: Pair, two_servers: list[Server], how: str
) -> None:
    us = two_servers[1]
    await real.begin()
    keys = [f"user:{number}" for number in range(50)]
    await real.us.fill(*keys, "bystander", tags=["users"])
    trips: list[Trip] = []
    carried, away, back = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def report(trip: Trip) -> None:
        trips.append(trip)
        if sum(trip.notes for trip in trips) >= 50:
            carried.set()

    relay = real.relay()
    running = asyncio.create_task(
        relay.run(report, lambda error: (away if error is not None else back).set())
    )
    async with asyncio.timeout(30):
        us.kill() if how == "killed" else us.stop()
        await away.wait()
        for key in keys:
            await real.eu.cache.purge(key=key)
        assert not carried.is_set()
        us.start() if how == "killed" else us.cont()
        await back.wait()
        await carried.wait()
    running.cancel()
    found = await real.us.cache.get_many([*keys, "bystander"])
    assert found == {"bystander": "us"}
    assert not any(trip.gap for trip in trips)


async def test_what_was_purged_while_the_source_was_away_is_lost_to_nobody(
    real: Pair, two_servers: list[Server]
) -> None:
    eu = two_servers[0]
    relay = await real.begin()
    await real.us.fill("user:1", "user:2", "bystander")
    await real.eu.cache.purge(key="user:1")
    eu.kill()
    with pytest.raises(StoreUnavailable):
        await relay.carry()
    with pytest.raises(StoreUnavailable):
        await real.eu.cache.purge(key="user:2")  # the caller hears of it, and will try again
    eu.start()
    await until_answered(lambda: real.eu.cache.purge(key="user:2"))
    assert (await relay.carry()).notes == 2
    found = await real.us.cache.get_many(["user:1", "user:2", "bystander"])
    assert found == {"bystander": "us"}


async def test_a_source_that_comes_back_empty_purges_everything(
    real: Pair, two_servers: list[Server]
) -> None:
    eu = two_servers[0]
    relay = await real.begin()
    await real.us.fill("user:1", "user:2")
    await real.eu.cache.purge(key="user:1")
    eu.kill()
    for name in ("appendonlydir", "appendonly.aof"):
        shutil.rmtree(eu.directory / name, ignore_errors=True)
    eu.start()
    assert eu.ask("DBSIZE") == 0
    await until_answered(real.eu.store.time)
    assert (await relay.carry()).gap == "the journal was lost"
    assert not await real.us.has("user:1") and not await real.us.has("user:2")
    await real.us.fill("user:1")
    await real.eu.cache.purge(key="user:1")
    assert await relay.carry()
    assert not await real.us.has("user:1")


async def test_a_target_that_comes_back_as_it_was_hears_it_again(opened: Opener) -> None:
    with servers.single(VALKEY) as eu, servers.single(VALKEY) as us:
        pair = _pair([eu, us], opened)
        relay = await pair.begin()
        await pair.us.fill("user:1", "bystander")
        us.ask("SAVE")
        await pair.eu.cache.purge(key="user:1")
        assert (await relay.carry()).notes == 1
        assert not await pair.us.has("user:1")
        us.kill()
        us.start()  # with what was saved
        await until_answered(pair.us.store.time)
        assert await pair.us.has("user:1")
        assert (await relay.carry()).notes == 1
        assert not await pair.us.has("user:1")
        assert await pair.us.has("bystander")


async def test_a_target_that_comes_back_empty_begins_anew(opened: Opener) -> None:
    with servers.single(VALKEY) as eu, servers.single(VALKEY) as us:
        pair = _pair([eu, us], opened)
        relay = await pair.begin()
        us.kill()
        us.start()
        await until_answered(pair.us.store.time)
        assert (await relay.carry()).gap == "no position is remembered"
        assert (await relay.carry()).is_empty


async def test_what_was_not_purged_is_not_forgotten(opened: Opener) -> None:
    acl = ["relay on >secret ~* &* +@all"]
    with servers.single(VALKEY) as eu, servers.single(VALKEY, port=0, acl=acl) as us:
        pair = _pair([eu, us], opened)
        await pair.us.fill("user:1")
        relay = Relay(pair.eu.store, opened(f"redis://relay:secret@127.0.0.1:{us.port}"), "eu")
        await relay.carry()
        await pair.us.fill("user:1")
        await pair.eu.cache.purge(key="user:1")
        us.ask("ACL", "SETUSER", "relay", "resetkeys", "~cmw:jp:*")  # it may note, and not purge
        with pytest.raises(StoreUnavailable):
            await relay.carry()
        us.ask("ACL", "SETUSER", "relay", "~*")
        assert (await relay.carry()).notes == 1
        assert not await pair.us.has("user:1")


async def test_a_position_that_was_not_written_is_carried_from_again(pair: Pair) -> None:
    relay = await pair.begin()
    stored = await pair.us.store.get(position_key("eu"))
    assert stored is not None
    await pair.us.fill("user:1")
    await pair.eu.cache.purge(key="user:1")
    assert (await relay.carry()).notes == 1
    # The relay dies before it has written how far it is; another one takes over.
    await pair.us.store.set(position_key("eu"), stored, ttl=60_000)
    assert (await pair.relay().carry()).notes == 1
    assert not await pair.us.has("user:1")
    assert (await pair.relay().carry()).is_empty


# --- on a cluster, behind sentinels


async def _hears_everything(pair: Pair) -> None:
    """Each way to purge, soft and hard, pages and values, from one region to the other."""
    relay = await pair.begin()
    for way in WAYS.values():
        await pair.fill("user:1", tags=["users"], namespace="people")
        await way(pair.eu.cache)
        while not (await relay.carry()).is_empty:
            pass
        assert not await pair.us.has("user:1")
        await asyncio.sleep(0)
    site = pair.us.site(tags=["pages"])
    for number in range(8):  # over all the slots
        await site.get(f"/{number}")
    assert (await site.get("/3")).cache == "hit"
    await pair.eu.cache.purge(url="/3")
    await relay.carry()
    assert (await site.get("/3")).cache == "miss"
    await pair.eu.cache.purge(tags=["pages"])
    await relay.carry()
    assert [(await site.get(f"/{number}")).cache for number in range(8)] == ["miss"] * 8
    await pair.eu.store.delete([JOURNAL])
    assert (await relay.carry()).gap
    assert [(await site.get(f"/{number}")).cache for number in range(8)] == ["miss"] * 8


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
@pytest.mark.parametrize("which", ["source", "target"])
async def test_a_cluster_can_be_followed_and_can_follow(
    cluster: servers.Cluster, valkey_url: str, opened: Opener, which: str
) -> None:
    whole, one = opened(cluster.url), opened(valkey_url)
    here, there = (whole, one) if which == "source" else (one, whole)
    await _hears_everything(Pair(Region("eu", here), Region("us", there)))


@pytest.mark.sentinel
@pytest.mark.xdist_group("sentinel")
@pytest.mark.parametrize("which", ["source", "target"])
async def test_what_sentinels_watch_can_be_followed_and_can_follow(
    sentinel: servers.Sentinels, valkey_url: str, opened: Opener, which: str
) -> None:
    watched, one = opened(sentinel.url), opened(valkey_url)
    here, there = (watched, one) if which == "source" else (one, watched)
    await _hears_everything(Pair(Region("eu", here), Region("us", there)))


@pytest.mark.sentinel
@pytest.mark.xdist_group("sentinel")
async def test_a_failover_of_the_target_loses_no_purge(
    sentinel: servers.Sentinels, valkey_url: str, opened: Opener
) -> None:
    pair = Pair(Region("eu", opened(valkey_url)), Region("us", opened(sentinel.url)))
    relay = await pair.begin()
    await pair.us.fill("user:1", "bystander", tags=["users"])
    sentinel.primary().kill()
    await pair.eu.cache.purge(key="user:1")

    async def carried() -> None:
        while not (await relay.carry()).is_empty:
            pass

    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(StoreUnavailable):
                await carried()
                break
            await asyncio.sleep(0.05)
    assert not await pair.us.has("user:1")
