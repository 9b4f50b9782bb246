"""What the tests of the cache are told in: an origin, a cache before it, a client, a clock."""

from dataclasses import dataclass, field
from typing import Any

from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.testing.client import Client
from cachemw.testing.clock import FakeClock
from cachemw.testing.origin import ScriptedOrigin

FRESH = {"cache-control": "max-age=60"}


@dataclass
class Cached:
    """One worker: an origin behind a cache of its own. Several may share a store."""

    policy: CachePolicy
    clock: FakeClock = field(default_factory=FakeClock)
    origin: ScriptedOrigin = field(default_factory=ScriptedOrigin)
    store: Store | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        if self.store is None:
            self.store = MemoryStore(clock=self.clock)
        routes = {"/{path:path}": self.policy}
        self.middleware = CacheMiddleware(
            self.origin, store=self.store, routes=routes, region=self.region
        )
        self.client = Client(self.middleware)
        self.get = self.client.get
        self.start = self.client.start

    @property
    def keeper(self) -> Any:
        return self.middleware.engine.keeper

    async def settle(self) -> None:
        """Wait for what runs in the background."""
        await self.middleware.engine.flights.drain(5)


def cached(**policy: Any) -> Cached:
    store: Store | None = policy.pop("store", None)
    clock: FakeClock = policy.pop("clock", None) or FakeClock()
    origin: ScriptedOrigin = policy.pop("origin", None) or ScriptedOrigin()
    return Cached(CachePolicy(**policy), clock, origin, store)
