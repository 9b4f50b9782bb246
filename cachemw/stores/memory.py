"""The store contract kept within one process: for tests, for development, for a single worker.

Everything happens at the call, so every verb is atomic; a lock makes that true for threads too.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from threading import RLock
from typing import Generic, Never, TypeVar

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Reply, Script, WrongType
from cachemw.stores.base import Store, demand_one_slot, seal, unseal
from cachemw.stores.clock import CLOCK_KEY, CLOCK_LIVES, TIME
from cachemw.stores.keyspace import MemoryKeyspace

T = TypeVar("T")

_WALL_MINUS_STEADY = time.time() - time.monotonic()


def steady_clock() -> float:
    """Seconds since the epoch as of import, moved on by a clock that nobody sets."""
    return time.monotonic() + _WALL_MINUS_STEADY


class MemoryStore(Store):
    """At most `max_bytes` in `max_entries` keys; the least recently used go first."""

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_entries: int = 100_000,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        self.keyspace = MemoryKeyspace(clock, max_bytes=max_bytes, max_entries=max_entries)
        self._lock = RLock()
        self._closed = False

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self.keyspace)} keys, {self.keyspace.bytes} bytes>"

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        return self._at_once(lambda: [self._read(key) for key in keys])

    def set(self, key: bytes, value: bytes, *, ttl: int) -> Awaitable[None]:
        return self._at_once(lambda: self.keyspace.set(key, seal(key, value), ttl))

    def delete(self, keys: Sequence[bytes]) -> Awaitable[int]:
        return self._at_once(lambda: sum(self.keyspace.delete(key) for key in keys))

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        demand_one_slot(script, keys)
        return self._at_once(lambda: script.twin(self.keyspace, keys, args))

    def time(self) -> Awaitable[int]:
        return self._at_once(self._next_time)

    def now(self) -> int:
        return self.keyspace.time()

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        batch = await self._at_once(lambda: list(self.keyspace.matching(pattern)))
        for start in range(0, len(batch), 500):
            yield batch[start : start + 500]

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
        return int(TIME.twin(self.keyspace, (CLOCK_KEY,), (CLOCK_LIVES,)))  # type: ignore[arg-type]

    def _at_once(self, step: Callable[[], T]) -> "Awaitable[T]":
        if self._closed:
            return _Refused()
        with self._lock:
            return _Done(step())


class _Done(Generic[T]):
    """An awaitable that has its result already: what a lane's future is to the other stores."""

    __slots__ = ("_result",)

    def __init__(self, result: T) -> None:
        self._result = result

    def __await__(self) -> Generator[None, None, T]:
        return self._result
        yield  # makes this a generator, one that never pauses


class _Refused:
    """What every verb of a closed store comes to."""

    def __await__(self) -> Generator[None, None, Never]:
        raise StoreUnavailable("closed", "this store was closed")
        yield
