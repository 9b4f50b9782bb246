"""The data cache by the clock: what is given, kept, moved, taken and made when it is missing."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import wait_all_tasks_blocked
from pydantic import BaseModel

from cachemw.caching.cache import LONGEST_LIFE, Cache
from cachemw.caching.data import DataEntry, DataHeader, pack
from cachemw.caching.datakeys import data_key
from cachemw.caching.datapolicy import DataPolicy, Loading
from cachemw.caching.keeper import LEASE_LIVES, Keeper
from cachemw.caching.larder import REFUSAL_LIVES, Larder
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.stores.memory import MemoryStore
from cachemw.testing import FakeClock

pytestmark = pytest.mark.anyio


class User(BaseModel):
    id: int
    name: str


@dataclass
class Point:
    x: int


class Source:
    """Something slow that values are made from, and that can be told to stop or to fail."""

    def __init__(self, value: Any = "v1") -> None:
        self.value = value
        self.calls = 0
        self.error: Exception | None = None
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self) -> Any:
        self.calls += 1
        value = self.value
        self.asked.set()
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return value


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
async def cache(store: MemoryStore) -> AsyncIterator[Cache]:
    cache = Cache(store)
    yield cache
    await cache.aclose()


@pytest.fixture
def source() -> Source:
    return Source()


# --- given


async def test_a_value_is_kept_until_its_end(cache: Cache, clock: FakeClock) -> None:
    await cache.set("k", {"a": [1, None]}, "5m")
    clock.advance("4m59s")
    assert await cache.get("k") == {"a": [1, None]}
    clock.advance("1s")
    assert await cache.get("k") is None
    assert await cache.get("k", "nothing") == "nothing"


async def test_a_kept_none_is_not_the_default(cache: Cache) -> None:
    await cache.set("k", None, "5m")
    assert await cache.get("k", "nothing") is None


async def test_typed_values(cache: Cache) -> None:
    await cache.set("u", User(id=1, name="Ada"), "5m", type=User)
    assert await cache.get("u", type=User) == User(id=1, name="Ada")
    assert await cache.get("u", type=Point) is None  # of another type: nothing


async def test_several_at_once(cache: Cache) -> None:
    await cache.set_many({"a": 1, "b": 2}, "5m", tags=["t"])
    await cache.set_many({}, "5m")
    assert await cache.get_many(["a", "b", "c", "a"]) == {"a": 1, "b": 2}
    assert await cache.get_many([]) == {}
    await cache.delete("a", "b")
    assert await cache.get_many(["a", "b"]) == {}


async def test_touch_moves_the_end(cache: Cache, clock: FakeClock) -> None:
    await cache.set("k", 1, "1m", tags=["t"], stale_if_error="10s")
    assert await cache.touch("k", "3d")
    assert await cache.ttl("k") == pytest.approx(3 * 86400)
    clock.advance("2d23h")
    assert await cache.get("k") == 1  # the stamp of its tag has been prolonged, too
    await cache.purge(tags=["t"])
    assert not await cache.touch("k", "1h")
    assert await cache.ttl("k") is None
    assert not await cache.touch("nothing", "1h")


async def test_touch_can_shorten(cache: Cache, clock: FakeClock) -> None:
    await cache.set("k", 1, "1h")
    await cache.touch("k", "1m")
    clock.advance("1m")
    assert await cache.get("k") is None


async def test_expire_at_and_persist(cache: Cache, clock: FakeClock) -> None:
    await cache.set("k", 1, "1m")
    assert await cache.expire_at("k", datetime.fromtimestamp(clock.now + 3600, UTC))
    assert await cache.ttl("k") == pytest.approx(3600)
    assert await cache.expire_at("k", clock.now + 60)
    assert await cache.ttl("k") == pytest.approx(60)
    assert await cache.persist("k")
    assert await cache.ttl("k") == pytest.approx(LONGEST_LIFE)
    with pytest.raises(ConfigurationError, match="time zone"):
        await cache.expire_at("k", datetime(2030, 1, 1))
    assert await cache.expire_at("k", clock.now - 1)
    assert await cache.get("k") is None


async def test_take_is_for_one(cache: Cache, clock: FakeClock) -> None:
    await cache.set("k", Point(1), "1m", type=Point, tags=["t"])
    assert await cache.take("k", type=Point) == Point(1)
    assert await cache.take("k", type=Point) is None
    await cache.set("k", 1, "1m", tags=["t"])
    await cache.purge(tags=["t"])
    assert await cache.take("k") is None
    await cache.set("k", 1, "1m", stale_while_revalidate="1h")
    clock.advance("2m")
    assert await cache.take("k") is None  # no longer fresh


# --- made when missing


async def test_a_loader_is_called_once_for_a_ttl(
    cache: Cache, clock: FakeClock, source: Source
) -> None:
    for _ in range(3):
        assert await cache.get_or_set("k", source, "5m", jitter=0) == "v1"
    assert source.calls == 1
    source.value = "v2"
    clock.advance("5m")
    assert await cache.get_or_set("k", source, "5m", jitter=0) == "v2"


async def test_sync_loaders_and_threads(cache: Cache) -> None:
    threads: list[int] = []

    def load() -> int:
        threads.append(threading.get_ident())
        return 1

    assert await cache.get_or_set("here", load, "5m") == 1
    assert await cache.get_or_set("there", load, "5m", to_thread=True) == 1
    assert threads[0] == threading.get_ident() != threads[1]


async def test_the_ttl_is_jittered_by_the_key(cache: Cache, source: Source) -> None:
    ends = set()
    for number in range(20):
        await cache.get_or_set(f"k{number}", source, "100s", jitter=0.1)
        ends.add(await cache.ttl(f"k{number}"))
    assert len(ends) == 20
    assert all(end is not None and 90 < end <= 100 for end in ends)


async def test_readers_at_once_share_a_load_and_not_its_result(
    cache: Cache, source: Source
) -> None:
    source.value = {"items": [1]}
    source.may_answer.clear()
    readers = [asyncio.create_task(cache.get_or_set("k", source, "5m")) for _ in range(10)]
    await source.asked.wait()
    source.may_answer.set()
    values = await asyncio.gather(*readers)
    assert source.calls == 1
    assert values == [{"items": [1]}] * 10
    values[3]["items"].append(2)
    assert values[4] == {"items": [1]}


async def test_nobody_joins_a_load_that_began_before_a_purge(cache: Cache, source: Source) -> None:
    for kind in ({"tags": ["t"]}, {"namespace": "n"}, {"key": "k"}, {"pattern": "k"}):

        async def read() -> Any:
            return await cache.get_or_set("k", source, "5m", tags=["t"], namespace="n")

        source.value = "before"
        source.asked.clear()
        source.may_answer.clear()
        early = asyncio.create_task(read())
        await source.asked.wait()
        source.value = f"after {kind}"
        await cache.purge(**kind)
        late = [asyncio.create_task(read()) for _ in range(5)]
        await wait_all_tasks_blocked()
        source.may_answer.set()
        assert await early == "before"
        assert await asyncio.gather(*late) == [source.value] * 5
        await cache.delete("k")
    assert source.calls == 8  # two each


async def test_workers_share_a_load(cache: Cache, store: MemoryStore, source: Source) -> None:
    other = Cache(store)
    source.may_answer.clear()
    first = asyncio.create_task(cache.get_or_set("k", source, "5m"))
    await source.asked.wait()
    second = asyncio.create_task(other.get_or_set("k", source, "5m"))
    await wait_all_tasks_blocked()
    source.may_answer.set()
    assert await asyncio.gather(first, second) == ["v1", "v1"]
    assert source.calls == 1


async def test_who_has_waited_long_enough_loads_and_keeps_nothing(
    cache: Cache, store: MemoryStore, source: Source
) -> None:
    slow, other = Source("slow"), Cache(store)
    slow.may_answer.clear()
    first = asyncio.create_task(cache.get_or_set("k", slow, "5m"))
    await slow.asked.wait()
    assert await other.get_or_set("k", source, "5m", lease_wait=0) == "v1"
    assert await other.get("k") is None
    slow.may_answer.set()
    await first
    assert await other.get("k") == "slow"


async def test_a_loader_that_fails_leaves_the_lease_to_the_next(
    cache: Cache, store: MemoryStore, source: Source
) -> None:
    source.error = ValueError("broken")
    with pytest.raises(ValueError, match="broken"):
        await cache.get_or_set("k", source, "5m")
    source.error = None
    assert await Cache(store).get_or_set("k", source, "5m", lease_wait=0) == "v1"
    assert await cache.get("k") == "v1"


async def test_a_load_that_nobody_waits_for_is_cancelled(
    cache: Cache, store: MemoryStore, source: Source
) -> None:
    source.may_answer.clear()
    readers = [asyncio.create_task(cache.get_or_set("k", source, "5m")) for _ in range(2)]
    await source.asked.wait()
    readers[0].cancel()
    await asyncio.wait([readers[0]])
    source.may_answer.set()
    assert await readers[1] == "v1"  # the leader left, the other did not

    await cache.delete("k")
    source.may_answer.clear()
    source.asked.clear()
    alone = asyncio.create_task(cache.get_or_set("k", source, "5m"))
    await source.asked.wait()
    alone.cancel()
    await asyncio.wait([alone])
    source.may_answer.set()
    assert await cache.get_or_set("k", source, "5m") == "v1"
    assert source.calls == 3


class Slow(MemoryStore):
    """Answers reads when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Queue[None]()
        self.may_answer = asyncio.Event()

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        return self._late(super().get_many(keys))

    async def _late(self, found: Awaitable[list[bytes | None]]) -> list[bytes | None]:
        self.reads.put_nowait(None)
        await self.may_answer.wait()
        return await found


async def test_a_load_that_is_cancelled_before_it_begins_leaves_the_lease_to_the_next(
    source: Source,
) -> None:
    store = Slow()
    cache = Cache(store)
    reader = asyncio.create_task(cache.get_or_set("k", source, "5m"))
    await store.reads.get()
    store.may_answer.set()
    store.may_answer.clear()
    await store.reads.get()  # the second look, behind the lease
    reader.cancel()
    await asyncio.wait([reader])
    store.may_answer.set()
    await cache.aclose()
    assert await Cache(store).get_or_set("k", source, "5m", lease_wait=0) == "v1"
    assert await cache.get("k") == "v1"


def test_what_runs_in_another_event_loop_is_not_waited_for(store: MemoryStore) -> None:
    cache, source = Cache(store), Source()

    async def begin() -> asyncio.Task[Any]:
        source.may_answer.clear()
        return asyncio.create_task(cache.get_or_set("k", source, "5m"))

    async def go_on(reading: asyncio.Task[Any]) -> None:
        source.may_answer.set()
        assert await reading == "v1"

    with asyncio.Runner() as first, asyncio.Runner() as second:
        reading = first.run(begin())
        second.run(cache.aclose(patience=0))
        first.run(go_on(reading))


async def test_a_lease_stands_while_its_load_runs_and_not_much_longer(
    store: MemoryStore, clock: FakeClock, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachemw.caching.loads.RENEW_AFTER", 0.001)
    cache, other = Cache(store), Larder(store, Keeper(store))
    renewed = asyncio.Event()

    class Watched(Larder):
        async def renew(self, key: str, token: bytes) -> bool:
            stands = await super().renew(key, token)
            renewed.set()
            return stands

    cache._loads.larder = Watched(store, Keeper(store))
    source.may_answer.clear()
    reader = asyncio.create_task(cache.get_or_set("k", source, "5m"))
    for _ in range(3):
        await source.asked.wait()
        clock.advance(LEASE_LIVES / 1000 - 1)
        renewed.clear()
        await renewed.wait()
        assert await other.lease("k") is None
    reader.cancel()  # its process dies, as far as others can tell
    await asyncio.wait([reader])
    clock.advance(LEASE_LIVES / 1000)
    assert await other.lease("k") is not None


async def test_a_loader_has_its_time(cache: Cache, source: Source) -> None:
    source.may_answer.clear()
    with pytest.raises(TimeoutError):
        await cache.get_or_set("k", source, "5m", timeout="10ms")


async def test_none_is_kept_by_choice_only(cache: Cache, clock: FakeClock, source: Source) -> None:
    source.value = None
    for _ in range(2):
        assert await cache.get_or_set("k", source, "5m") is None
    assert source.calls == 2
    clock.advance(REFUSAL_LIVES / 1000)
    for _ in range(2):
        assert await cache.get_or_set("k", source, "5m", none_ttl="10s", jitter=0) is None
    assert source.calls == 3
    clock.advance("10s")
    await cache.get_or_set("k", source, "5m", none_ttl="10s")
    assert source.calls == 4


async def test_nobody_waits_for_what_is_not_kept(
    cache: Cache, store: MemoryStore, source: Source
) -> None:
    source.value = None
    await cache.get_or_set("k", source, "5m")
    slow = Source(None)
    slow.may_answer.clear()
    first = asyncio.create_task(cache.get_or_set("k", slow, "5m"))
    await slow.asked.wait()
    async with asyncio.timeout(2):  # less than `lease_wait`
        await Cache(store).get_or_set("k", source, "5m", lease_wait="1m")
    slow.may_answer.set()
    await first


# --- stale


async def refreshed(cache: Cache) -> None:
    """Wait for the refreshes under way."""
    await cache.aclose()


async def test_stale_while_revalidate(cache: Cache, clock: FakeClock, source: Source) -> None:
    async def read() -> Any:
        return await cache.get_or_set("k", source, "1m", stale_while_revalidate="1h", jitter=0)

    assert await read() == "v1"
    source.value = "v2"
    clock.advance("2m")
    assert await read() == "v1"
    await refreshed(cache)
    assert await read() == "v2"
    assert source.calls == 2
    clock.advance("2h")
    source.value = "v3"
    assert await read() == "v3"  # beyond the window


async def test_one_refresh_for_many_readers_and_in_a_context_of_its_own(
    cache: Cache, store: MemoryStore, clock: FakeClock
) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    async def load() -> int:
        seen.append(who.get())
        await asyncio.sleep(0)
        return len(seen)

    who.set("a request")
    caches = [cache, Cache(store)]
    for one in caches:
        await one.get_or_set("k", load, "1m", stale_while_revalidate="1h")
    clock.advance("2m")
    for one in caches * 5:
        assert await one.get_or_set("k", load, "1m", stale_while_revalidate="1h") == 1
    for one in caches:
        await refreshed(one)
    assert seen == ["a request", "nobody"]


async def test_stale_if_error(
    cache: Cache, clock: FakeClock, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    async def read() -> Any:
        return await cache.get_or_set("k", source, "1m", stale_if_error="1h", jitter=0)

    await read()
    clock.advance("2m")
    source.error = RuntimeError("database is away")
    assert await read() == "v1"
    assert "stands in" in caplog.text
    assert await read() == "v1"
    assert source.calls == 2  # it is left alone for a moment
    clock.advance("1h")
    with pytest.raises(RuntimeError):
        await read()


async def test_a_refresh_that_fails_leaves_what_is_kept(
    cache: Cache, clock: FakeClock, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"stale_while_revalidate": "1h", "jitter": 0}
    await cache.get_or_set("k", source, "1m", **options)
    clock.advance("2m")
    source.error = RuntimeError("away")
    for _ in range(3):
        assert await cache.get_or_set("k", source, "1m", **options) == "v1"
        await refreshed(cache)
    assert source.calls == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(("ahead", "after"), [(True, 91), (0.5, 51), ("10s", 91)])
async def test_refresh_ahead(
    cache: Cache, clock: FakeClock, source: Source, ahead: Any, after: float
) -> None:
    async def read() -> Any:
        return await cache.get_or_set("k", source, "100s", refresh_ahead=ahead, jitter=0)

    await read()
    clock.advance(after - 2)
    assert await read() == "v1"
    await refreshed(cache)
    assert source.calls == 1
    source.value = "v2"
    clock.advance(2)
    assert await read() == "v1"
    await refreshed(cache)
    assert await read() == "v2"
    assert source.calls == 2


async def test_soft_purges_make_stale(cache: Cache, source: Source) -> None:
    async def read() -> Any:
        return await cache.get_or_set(
            "k", source, "1h", stale_while_revalidate="1m", tags=["t"], namespace="n"
        )

    for kind in ({"tags": ["t"]}, {"namespace": "n"}, {"key": "k"}, {"pattern": "k*"}):
        await read()
        source.value = f"after {kind}"
        await cache.purge(**kind, soft=True)
        assert await cache.get("k") is None
        before = await read()
        assert before != source.value
        await refreshed(cache)
        assert await read() == source.value


# --- memoize


async def test_memoize(cache: Cache) -> None:
    calls: list[int] = []

    @cache.memoize("5m", key="user:{user_id}", tags=["user:{user_id}"])
    async def user(user_id: int) -> User:
        """Load one."""
        calls.append(user_id)
        return User(id=user_id, name="Ada")

    assert [await user(1), await user(1), await user(user_id=2)] == [
        User(id=1, name="Ada"),
        User(id=1, name="Ada"),
        User(id=2, name="Ada"),
    ]
    assert calls == [1, 2]
    assert user.key_of(1) == "user:1"
    assert await cache.get("user:1", type=User) == User(id=1, name="Ada")
    assert user.__doc__ == "Load one."
    await cache.purge(tags=["user:1"])
    await user(1)
    await user(2)
    assert calls == [1, 2, 1]


async def test_memoize_sync_functions_and_methods(cache: Cache) -> None:
    class Shop:
        calls = 0

        @cache.memoize("5m", key="price:{product}:{currency}")
        def price(self, product: str, currency: str = "EUR") -> Point:
            self.calls += 1
            return Point(self.calls)

    shop = Shop()
    assert await shop.price("a:b") == await shop.price("a:b", "EUR") == Point(1)
    assert await shop.price("a", "b:EUR") == Point(2)


async def test_an_argument_that_no_template_names_is_not_turned_into_text(cache: Cache) -> None:
    class Large(User):
        def __str__(self) -> str:
            raise AssertionError("nobody has asked for it")

    @cache.memoize("5m", tags=["x:{other}"])
    async def name_of(user: Large, other: int = 1) -> str:
        return f"{user.name} {other}"

    assert await name_of(Large(id=1, name="Ada")) == "Ada 1"
    await cache.purge(tags=["x:1"])
    assert await name_of(Large(id=1, name="Eve")) == "Eve 1"


async def test_tags_of_a_result(cache: Cache) -> None:
    @cache.memoize("5m", tags=lambda answer: [f"doc:{one}" for one in answer["sources"]])
    async def answer(question: str) -> dict[str, Any]:
        return {"text": question.upper(), "sources": [3, 7]}

    await answer("why")
    await cache.purge(tags=["doc:5"])
    await answer("why")
    assert (await cache.stats()).loads == 1
    await cache.purge(tags=["doc:7"])
    await answer("why")
    assert (await cache.stats()).loads == 2


async def test_a_template_that_names_no_argument_is_refused(cache: Cache) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'user_id'"):

        @cache.memoize("5m", tags=["user:{userid}"])
        async def user(user_id: int) -> int:
            return user_id


# --- without the store


async def test_reads_go_on_without_the_store_and_writes_say_so(
    cache: Cache, store: MemoryStore, source: Source
) -> None:
    await store.aclose()
    assert await cache.get("k") is None
    assert await cache.get_many(["k"]) == {}
    source.may_answer.clear()
    readers = [asyncio.create_task(cache.get_or_set("k", source, "5m")) for _ in range(5)]
    await source.asked.wait()
    source.may_answer.set()
    assert await asyncio.gather(*readers) == ["v1"] * 5
    assert source.calls == 2  # together, even so: the first, and all who came after it
    for deed in (
        cache.set("k", 1, "5m"),
        cache.delete("k"),
        cache.purge(tags=["t"]),
        cache.take("k"),
        cache.bump("n"),
    ):
        with pytest.raises(StoreUnavailable):
            await deed


async def test_a_writer_does_not_begin_without_the_store(cache: Cache, store: MemoryStore) -> None:
    written: list[int] = []
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await cache.write_through("k", 1, written.append, "5m")
    assert written == []


@pytest.mark.parametrize(
    "options", [{"ttl": 0}, {"ttl": "5m", "jitter": 1}, {"ttl": "soon"}, {"ttl": -1}]
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        DataPolicy.of(**options)


async def test_garbage_is_a_miss(cache: Cache, store: MemoryStore, source: Source) -> None:
    whole = pack(DataEntry(DataHeader(0, 60.0, 0, 0, (), 0.0), b"\x01", store.now() + 10**9))
    await store.set(data_key("k"), whole, ttl=1000)
    assert await cache.get("k") == 1
    for length in range(len(whole)):
        await store.set(data_key("k"), whole[:length], ttl=1000)
        assert await cache.get("k", "nothing") == "nothing"
    for at in range(len(whole)):
        changed = bytes((*whole[:at], whole[at] ^ 0x55, *whole[at + 1 :]))
        await store.set(data_key("k"), changed, ttl=1000)
        await cache.get("k")  # whatever it is, it does not raise
    assert await cache.get_or_set("other", source, "5m") == "v1"


@pytest.mark.parametrize("span", [inf, -inf, nan])
@pytest.mark.parametrize("name", ["fresh", "stale_while_revalidate", "stale_if_error", "took"])
async def test_a_span_that_no_value_has_is_a_miss(
    cache: Cache, store: MemoryStore, name: str, span: float
) -> None:
    header = DataHeader(0, 60.0, 0.0, 0.0, (), 0.0)
    whole = pack(DataEntry(header, b"\x01", store.now() + 10**9))
    wrong = msgspec.msgpack.encode(msgspec.structs.replace(header, **{name: span}))
    stored = whole[:19] + len(wrong).to_bytes(4, "big") + wrong + b"\x01"
    await store.set(data_key("k"), stored, ttl=1000)
    assert await cache.get("k", "nothing") == "nothing"
    assert not await cache.touch("k", "5m")


@pytest.mark.parametrize("option", ["ttl", "type", "key", *Loading.__annotations__])
def test_options_are_documented(option: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "data-cache.md"
    assert f"| `{option}` |" in page.read_text("utf-8")


@pytest.mark.parametrize("name", [name for name in vars(Cache) if not name.startswith("_")])
def test_verbs_are_documented(name: str) -> None:
    docs = Path(__file__).parents[2] / "docs"
    pages = [(docs / page).read_text("utf-8") for page in ("data-cache.md", "invalidation.md")]
    assert any(f"cache.{name}(" in page for page in pages)
