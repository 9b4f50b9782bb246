"""The store contract kept within one process: for tests, for development, for a single worker.

Everything happens at the call, so every verb is atomic; a lock makes that true for threads too.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from threading import RLock
from typing import TypeVar

from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.scripts import Reply, Script, WrongType
from cachemw.stores.base import Done, Store, demand_one_slot, lifetime, seal, unseal
from cachemw.stores.clock import CLOCK_KEY, TIME, dated, dated_reply, time_args, time_of
from cachemw.stores.keyspace import MemoryKeyspace

T = TypeVar("T")
BATCH = 500  # keys that a scan hands out at once

_WALL_MINUS_STEADY = time.time() - time.monotonic()


def steady_clock() -> float:
    """Seconds since the epoch as of import, moved on by a clock that nobody sets."""
    return time.monotonic() + _WALL_MINUS_STEADY


class MemoryStore(Store):
    """At most `max_bytes` in `max_entries` keys; the least recently used go first."""

    is_of_one_process = True

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_entries: int = 100_000,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        self.keyspace = MemoryKeyspace(clock, max_bytes=max_bytes, max_entries=max_entries)
        self._lock = RLock()
        self._last_time = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self.keyspace)} keys, {self.keyspace.bytes} bytes>"

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        return self._at_once(lambda: [self._read(key) for key in keys])

    def set(self, key: bytes, value: bytes, *, ttl: int) -> Awaitable[None]:
        return self._at_once(lambda: self.keyspace.set(key, seal(key, value), lifetime(ttl)))

    def delete(self, keys: Sequence[bytes]) -> Awaitable[int]:
        return self._at_once(lambda: sum(self.keyspace.delete(key) for key in keys))

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        demand_one_slot(script, keys)
        if script.dated:
            return self._at_once(lambda: self._dated(script, keys, args))
        return self._at_once(lambda: script.twin(self.keyspace, keys, args))

    def time(self) -> Awaitable[int]:
        return self._at_once(self._next_time)

    def now(self) -> int:
        return self.keyspace.time()

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        found = await self._at_once(lambda: list(self.keyspace.matching(pattern)))
        for start in range(0, len(found), BATCH):
            yield found[start : start + BATCH]

    def sealed(self, key: bytes, value: bytes) -> bytes:
        return seal(key, value)

    async def open(self) -> None:
        self._closed = False

    async def aclose(self) -> None:
        self._closed = True

    def _read(self, key: bytes) -> bytes | None:
        try:
            stored = self.keyspace.get(key)
        except WrongType:
            return None
        return None if stored is None else unseal(key, stored)

    def _next_time(self) -> int:
        self._last_time = time_of(
            TIME.twin(self.keyspace, (CLOCK_KEY,), time_args(self._last_time))
        )
        return self._last_time

    def _dated(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
        args = (*args, *time_args(self._last_time))
        reading, reply = dated_reply(dated(script).twin(self.keyspace, (*keys, CLOCK_KEY), args))
        self._last_time = time_of(reading)
        return reply

    def _at_once(self, step: Callable[[], T]) -> Done[T]:
        if self._closed:
            return Done(failure=StoreUnavailable("closed", "this store was closed"))
        with self._lock:
            try:
                result = step()
            except WrongType as error:  # a server's script would have ended with this error, too
                return Done(failure=StoreUnavailable("refused", f"WRONGTYPE {error}"))
            finally:
                endless = self.keyspace.settle()
            if endless:
                raise ConfigurationError(f"a script left keys without an expiry: {endless!r}")
        return Done(result)
