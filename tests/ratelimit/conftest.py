"""A limiter in memory, whose time a test moves; stores on servers, closed at the end."""

from collections.abc import AsyncIterator, Callable

import pytest

from cachemw.ratelimit.limiter import Limiter
from cachemw.stores import open_store
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from tests.ratelimit.apps import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(MemoryStore(clock=clock), clock=clock)


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[str], Store]]:
    stores: list[Store] = []

    def opener(url: str) -> Store:
        stores.append(open_store(url))
        return stores[-1]

    yield opener
    for store in stores:
        await store.aclose()
