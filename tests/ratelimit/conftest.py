"""A limiter in memory, whose time a test moves."""

import pytest

from cachemw.ratelimit.limiter import Limiter
from cachemw.stores.memory import MemoryStore
from tests.ratelimit.apps import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(MemoryStore(clock=clock), clock=clock)
