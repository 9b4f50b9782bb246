"""A near cache: values of a Redis store kept in this process, for reads without a trip.

It is a store in front of a store. Reads of watched keys are answered from memory while the servers
report their changes (`watch.py`). What others change is forgotten when the report comes, in
milliseconds; what we change ourselves at once. Two bounds hold whatever happens to the reports: a
value is kept for `MAX_AGE` at the longest, and while any server is not being heard from, nothing is
answered from memory at all.

Who asks for a value that is `READ_AGAIN` old is answered from memory, and has it read again
meanwhile: for what is busy, nobody waits.

A report may overtake the reply that it is about. So a value that is reported as changed while it is
being read is handed to the reader, who began before the change, and not kept.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from cachemw.scripts import Reply, Script
from cachemw.sizes import size
from cachemw.stores.base import Done, Store
from cachemw.stores.redis import RedisStore
from cachemw.stores.watch import Watch
from cachemw.telemetry.counters import Spans

MAX_AGE = 1.5  # seconds
READ_AGAIN = 1.0
WATCHED = (b"e:", b"t:", b"d:")  # entries, stamps, data
LOOK = 0.1  # seconds between two looks at which servers there are
OVERHEAD = 250  # bytes that a key costs besides itself and its value


class NearStore(Store):
    """`store`, with up to `max_bytes` of its values at hand in the running event loop."""

    def __init__(self, store: RedisStore, max_bytes: int | str = "32MiB") -> None:
        self.store = store
        self.tally = store.tally
        self._max_bytes = size(max_bytes)
        self._prefixes = [store.prefix + prefix for prefix in WATCHED]
        self._cut = len(store.prefix)
        self.keys: OrderedDict[bytes, Kept] = OrderedDict()
        self._being_read: Counter[bytes] = Counter()
        self._spoiled: set[bytes] = set()
        self.watches: dict[str, Watch] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look_at = 0.0
        self._awake_until = 0.0  # unless something is heard, or lost, before
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.reports = 0
        self.lags = Spans()
        """By how much we were behind a server at most, twice a second."""

    def __repr__(self) -> str:
        return f"<NearStore {len(self.keys)} keys, {self.bytes} bytes, of {self.store!r}>"

    # --- reading

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        if not self.is_awake():
            return self.store.get_many(keys)
        found = self.at_hand(keys)
        if found is not None:
            return Done(found)
        self.misses += 1
        return self._read(keys)

    def at_hand(self, keys: Sequence[bytes]) -> list[bytes | None] | None:
        loop = self._loop
        if loop is None or loop is not asyncio.get_running_loop():
            return None
        now = loop.time()
        if now >= self._awake_until:
            return None
        found: list[bytes | None] = []
        for key in keys:
            kept = self.keys.get(key)
            if kept is None or kept.until < now:
                return None
            if kept.read_again < now:
                kept.read_again = kept.until  # one is enough
                self._read((key,))
            found.append(kept.value)
        self.hits += 1
        return found

    def _read(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        """Ask the store, for all of them: what belongs together is then of one moment."""
        self._being_read.update(keys)
        reading = asyncio.ensure_future(self.store.get_many(keys))
        reading.add_done_callback(partial(self._keep, keys, self._now() + MAX_AGE))
        return reading

    def _keep(
        self,
        keys: Sequence[bytes],
        until: float,
        reading: asyncio.Future[list[bytes | None]],
    ) -> None:
        """Keep what was read; before whoever waits for it goes on."""
        if _has_come(reading):
            for key, value in zip(keys, reading.result(), strict=True):
                if key not in self._spoiled and key.startswith(WATCHED):
                    self._put(key, value, until)
        for key in keys:
            self._being_read[key] -= 1
            if self._being_read[key] <= 0:
                del self._being_read[key]
                self._spoiled.discard(key)

    def _put(self, key: bytes, value: bytes | None, until: float) -> None:
        self._drop(key)
        cost = _cost(key, value)
        if cost > self._max_bytes:
            return
        self.keys[key] = Kept(value, until)
        self.bytes += cost
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self.keys)))

    # --- forgetting

    def report(self, keys: Sequence[bytes] | None) -> None:
        """What a server reports."""
        self.reports += 1
        if keys is None:
            self.keys.clear()
            self.bytes = 0
            self._spoiled.update(self._being_read)
        else:
            self._forget([key[self._cut :] for key in keys])

    def _forget(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self._drop(key)
            if key in self._being_read:
                self._spoiled.add(key)

    def _drop(self, key: bytes) -> None:
        kept = self.keys.pop(key, None)
        if kept is not None:
            self.bytes -= _cost(key, kept.value)

    # --- writing: ours is forgotten before and after, so that we see it at once

    def set(self, key: bytes, value: bytes, *, ttl: int) -> Awaitable[None]:
        return self._changing((key,), self.store.set(key, value, ttl=ttl))

    def delete(self, keys: Sequence[bytes]) -> Awaitable[int]:
        return self._changing(keys, self.store.delete(keys))

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        return self._changing(keys, self.store.run(script, keys, args))

    def prepare(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]
    ) -> Callable[[], Awaitable[Reply]]:
        if any(key.startswith(WATCHED) for key in keys):
            return super().prepare(script, keys, args)
        return self.store.prepare(script, keys, args)  # none of them is ever kept here

    def _changing(self, keys: Sequence[bytes], doing: Awaitable[Any]) -> Awaitable[Any]:
        if self._is_elsewhere():
            return doing  # the server's report of it reaches the loop that remembers
        self._forget(keys)
        changing = asyncio.ensure_future(doing)
        changing.add_done_callback(partial(self._changed, keys))
        return changing

    def _changed(self, keys: Sequence[bytes], changing: asyncio.Future[Any]) -> None:
        _has_come(changing)
        self._forget(keys)

    # --- whether the servers are being heard

    def is_awake(self) -> bool:
        """Whether memory may answer: every server has just been heard from."""
        loop = asyncio.get_running_loop()
        if self._is_elsewhere():
            return False
        if loop is not self._loop:
            self._begin(loop)
        now = loop.time()
        if now >= self._look_at:
            self._look(now)
        heard = [watch.awake_until for watch in self.watches.values()]
        self._awake_until = min(self._look_at, *heard) if heard else 0.0
        return now < self._awake_until

    def _is_elsewhere(self) -> bool:
        """Whether another live event loop has the memory; this one then does without."""
        owner = self._loop
        return (
            owner is not None and owner is not asyncio.get_running_loop() and not owner.is_closed()
        )

    def _look(self, now: float) -> None:
        """See whether the servers are still the same."""
        self._look_at = now + LOOK
        servers = self.store.servers()
        if servers.keys() != self.watches.keys():
            self._watch(servers)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start anew in another event loop: connections belong to one."""
        self._loop = loop
        self._look_at = 0.0
        self.watches = {}
        self._being_read.clear()  # what the other loop was at when it was closed never comes
        self._spoiled.clear()
        self.report(None)

    def _watch(self, servers: dict[str, Any]) -> None:
        self.report(None)
        for name, watch in list(self.watches.items()):
            if name not in servers:
                del self.watches[name]
                watch.end()
        for name, dial in servers.items():
            if name not in self.watches:
                self.watches[name] = Watch(dial, self._prefixes, self.report, self.lags.add)

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    # --- everything else is the store's

    def time(self) -> Awaitable[int]:
        return self.store.time()

    def now(self) -> int:
        return self.store.now()

    def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        return self.store.scan(pattern)

    def sealed(self, key: bytes, value: bytes) -> bytes:
        return self.store.sealed(key, value)

    async def open(self) -> None:
        await self.store.open()
        self.is_awake()

    async def aclose(self) -> None:
        if not self._is_elsewhere():
            for watch in self.watches.values():
                await watch.aclose()
            self.watches = {}
            self._loop = None
            self.report(None)
        await self.store.aclose()


def with_near(store: Store, max_bytes: int | str | None) -> Store:
    """`store` with a near cache, where one is wanted and of use: memory is near already."""
    if max_bytes is None:
        return store
    most = size(max_bytes)
    return NearStore(store, most) if isinstance(store, RedisStore) else store


def _cost(key: bytes, value: bytes | None) -> int:
    return OVERHEAD + len(key) + len(value or b"")


def _has_come(result: asyncio.Future[Any]) -> bool:
    """Whether there is one. Asking spares a warning, where nobody waits for it."""
    return not result.cancelled() and result.exception() is None


class Kept:
    """A value that is kept."""

    __slots__ = ("read_again", "until", "value")

    def __init__(self, value: bytes | None, until: float) -> None:
        self.value = value
        self.until = until
        self.read_again = until - MAX_AGE + READ_AGAIN
