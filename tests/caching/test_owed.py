"""A lease that nobody holds, because a reply was lost: given back when the store answers again."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

import pytest

from cachemw.caching.cache import Cache
from cachemw.caching.leases import KEEP, LEASE, RELEASE
from cachemw.caching.owed import Owed
from cachemw.errors import StoreUnavailable
from cachemw.scripts import Reply, Script
from cachemw.stores import MemoryStore
from tests.caching.caches import FRESH, cached

pytestmark = pytest.mark.anyio


class LosesReplies(MemoryStore):
    """Carries out a script, and the first time nobody hears of it."""

    def __init__(self, script: Script, *, carries_out: bool = True) -> None:
        super().__init__()
        self._script, self._carries_out = script, carries_out
        self.is_away = False
        self.lost = self.refused = 0

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        is_first = script is self._script and not self.lost
        if is_first and self._carries_out:
            super().run(script, keys, args)
        if not is_first and not self.is_away:
            return super().run(script, keys, args)
        self.lost += is_first
        self.refused += self.is_away
        return _Lost()


class _Lost:
    def __await__(self) -> Generator[Any, None, Reply]:
        raise StoreUnavailable("timeout")
        yield


def leases(store: MemoryStore) -> list[bytes]:
    every = [*store.keyspace.matching(b"l:*"), *store.keyspace.matching(b"dl:*")]
    return [key for key in every if store.keyspace.hgetall(key)]


async def until(true: Callable[[], bool]) -> None:
    """Wait for what happens in the background, for less time than a lease lives."""
    for _ in range(400):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come true")


@pytest.mark.parametrize("script", [LEASE, KEEP, RELEASE], ids=lambda script: script.name)
@pytest.mark.parametrize("carries_out", [True, False], ids=["done", "not done"])
async def test_nobody_waits_for_a_lease_whose_reply_was_lost(
    script: Script, carries_out: bool
) -> None:
    store = LosesReplies(script, carries_out=carries_out)
    cache = cached(store=store)
    kept = FRESH if script is not RELEASE else {"cache-control": "no-store"}
    cache.origin.answers("x", headers=kept)
    assert (await cache.get("/")).body == b"x"
    assert store.lost == 1
    await until(lambda: not leases(store))


@pytest.mark.parametrize("script", [LEASE, KEEP, RELEASE], ids=lambda script: script.name)
async def test_nor_for_one_of_a_value(script: Script) -> None:
    store = LosesReplies(script)
    cache = Cache(store)

    async def load() -> str:
        if script is RELEASE:
            raise ValueError
        return "v"

    with contextlib.suppress(ValueError):
        assert await cache.get_or_set("k", load, "1m") == "v"
    assert store.lost == 1
    await until(lambda: not leases(store))


async def test_as_long_as_the_store_is_away_nothing_is_forgotten() -> None:
    store = LosesReplies(LEASE)
    await MemoryStore.run(store, LEASE, (b"l:x",), (b"-", b"token", b"60000"))
    store.is_away = True
    owed = Owed(store)
    owed.add(StoreUnavailable("timeout"), b"l:x", b"-", b"token")
    await until(lambda: store.refused == 2)
    assert len(owed) == 1 and leases(store)
    store.is_away = False
    await until(lambda: not leases(store))


async def test_a_server_that_is_away_holds_up_no_other() -> None:
    class OfTwo(MemoryStore):
        def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
            return _Lost() if keys[0] == b"l:away" else super().run(script, keys, args)

    store = OfTwo()
    for key in (b"l:away", b"l:here"):
        await MemoryStore.run(store, LEASE, (key,), (b"-", b"token", b"60000"))
    owed = Owed(store)
    for key in (b"l:away", b"l:here"):
        owed.add(StoreUnavailable("timeout"), key, b"-", b"token")
    await until(lambda: leases(store) == [b"l:away"])
    owed.forget()


async def test_somebody_elses_lease_stays() -> None:
    store = MemoryStore()
    await store.run(LEASE, (b"l:x",), (b"-", b"theirs", b"60000"))
    owed = Owed(store)
    owed.add(StoreUnavailable("timeout"), b"l:x", b"-", b"ours")
    await until(lambda: len(owed) == 0)
    assert leases(store)


async def test_what_was_never_sent_is_not_owed() -> None:
    owed = Owed(MemoryStore())
    owed.add(StoreUnavailable("breaker-open"), b"l:x", b"-", b"token")
    assert len(owed) == 0
