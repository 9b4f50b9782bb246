"""What a process takes for being there is looked after by whoever reads."""

from collections.abc import Awaitable, Sequence

import pytest

from cachemw.caching.stamped import REMEMBERED, Stamped
from cachemw.caching.stamps import ENSURE, route_tag, stamp_key
from cachemw.scripts import Reply, Script
from cachemw.stores.memory import MemoryStore
from cachemw.testing.clock import FakeClock
from tests.caching.caches import FRESH, Cached, cached

pytestmark = pytest.mark.anyio


class Counting(MemoryStore):
    """Counts how often stamps are seen to."""

    ensured = 0

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        self.ensured += script is ENSURE
        return super().run(script, keys, args)


async def started(clock: FakeClock) -> tuple[Cached, Counting]:
    """A worker that has stored something."""
    store = Counting(clock=clock)
    cache = cached(store=store, clock=clock)
    cache.origin.answers("x", headers=FRESH)
    assert (await cache.get("/warm")).is_stored
    store.ensured = 0
    return cache, store


async def test_what_was_seen_to_lately_is_not_seen_to_again() -> None:
    cache, store = await started(FakeClock())
    assert (await cache.get("/a")).is_stored
    assert store.ensured == 0
    assert (await cache.get("/a")).cache == "hit"


async def test_a_stamp_that_a_reader_misses_is_brought_back() -> None:
    cache, store = await started(FakeClock())
    await store.delete([stamp_key(route_tag("/{path:path}"))])
    assert (await cache.get("/a")).is_stored
    assert store.ensured == 1
    assert (await cache.get("/a")).cache == "hit"


async def test_an_entry_whose_stamp_is_gone_is_made_once_more_and_lasts() -> None:
    cache, store = await started(FakeClock())
    await store.delete([stamp_key(route_tag("/{path:path}"))])
    assert (await cache.get("/warm")).detail == "purged"
    assert (await cache.get("/warm")).cache == "hit"


async def test_stamps_outlive_the_entries_that_need_them() -> None:
    clock = FakeClock()
    cache, store = await started(clock)
    clock.advance(86_400 - 3_600)  # less than an hour and the entry's lifetime are left
    assert (await cache.get("/a")).is_stored
    assert store.ensured == 1


def test_the_oldest_are_forgotten() -> None:
    stamped = Stamped()
    tags = [b"%d" % number for number in range(REMEMBERED + 1)]
    stamped.note(tags, 5)
    assert stamped.lacking(tags, 5) == [b"0"]
    assert stamped.lacking([b"1"], 6) == [b"1"]
    stamped.missed([b"1"])
    assert stamped.lacking([b"1"], 5) == [b"1"]
