"""A load ends: who comes in that moment is not given what was purged before he came."""

import asyncio

import pytest

from cachemw.caching.cache import Cache
from cachemw.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("turns", range(40))
async def test_who_comes_as_a_load_ends_is_not_given_what_was_purged_before(turns: int) -> None:
    cache, version = Cache(MemoryStore()), 1
    began, go = asyncio.Event(), asyncio.Event()

    async def load() -> int:
        made = version
        began.set()
        await go.wait()
        return made

    first = asyncio.create_task(cache.get_or_set("k", load, "1m"))
    await began.wait()
    version = 2
    await cache.delete("k")
    go.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    assert await cache.get_or_set("k", load, "1m") == 2
    await first
