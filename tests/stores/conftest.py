"""Stores for the tests beside this file, closed when a test ends."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import from_url

Opener = Callable[..., RedisStore]


@pytest.fixture
async def opened(anyio_backend: str) -> AsyncIterator[Opener]:
    """`opened(url, deadline=...)`: a store with a deadline that a busy machine meets."""
    async with AsyncExitStack() as at_the_end:

        def open_at(url: str, **options: object) -> RedisStore:
            target = from_url(url)
            store = RedisStore(target, **{"deadline": "5s", **target.options, **options})
            at_the_end.push_async_callback(store.aclose)
            return store

        yield open_at


@pytest.fixture
async def store(redis_url: str, opened: Opener) -> RedisStore:
    return opened(redis_url)
