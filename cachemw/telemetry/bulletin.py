"""Bulletins: what each worker tells the others of itself, so that any of them can show the fleet.

    w:{workers}        who is at work, and until when each counts as being there
    w:bulletin:worker  its counts, its last events and how its store looks, gone after `LIVES`

A worker writes its bulletin every `EVERY` seconds while anything happens, and every `REMINDER`
seconds while nothing does. That is one SET, in a task of its own: no request waits for it, and
while the store is away nothing is written and nothing is lost but the view of the others. Whoever
reads needs two trips, however many keys there are.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import msgspec

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Keyspace, Reply, Script, hash_at, prolong
from cachemw.stores.base import Store
from cachemw.stores.near import NearStore
from cachemw.stores.redis import RedisStore
from cachemw.telemetry.counters import Counts, Spans, sum_of
from cachemw.telemetry.events import Exchange, Purge, Refresh, Verification

_log = logging.getLogger("cachemw.telemetry")

WORKERS = b"w:{workers}"
BULLETIN = b"w:bulletin:"
EVERY = 2.0  # seconds
REMINDER = 10.0
LIVES = 30_000  # milliseconds


@dataclass(frozen=True, slots=True)
class NearState:
    """A near cache, as it is now and as it has done."""

    keys: int = 0
    size: int = 0
    hits: int = 0
    misses: int = 0
    reports: int = 0
    lags: Spans = field(default_factory=Spans)
    """By how much it was behind a server at most, twice a second."""


@dataclass(frozen=True, slots=True)
class Bulletin:
    """One worker, as of `at`. Instants are microseconds on the fleet's clock."""

    worker: str
    """Names it as long as it lives."""
    host: str
    pid: int
    group: str
    """Workers that were started together have the same."""
    began: int
    at: int
    counts: Counts
    recent: list[Exchange] = field(default_factory=list[Exchange])
    """The oldest first, as are the next two."""
    refreshes: list[Refresh] = field(default_factory=list[Refresh])
    purges: list[Purge] = field(default_factory=list[Purge])
    breakers: dict[str, bool] = field(default_factory=dict[str, bool])
    """Whether that of a server is open, by its address."""
    near: NearState | None = None
    kind: str = "worker"
    """Or `"relay"`."""
    mismatches: list[Verification] = field(default_factory=list[Verification])


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Bulletin).decode


@dataclass(frozen=True)
class Fleet:
    """All workers that are heard of, and what they come to together."""

    workers: tuple[Bulletin, ...]

    @cached_property
    def total(self) -> Counts:
        return sum_of((worker.counts for worker in self.workers), Counts())

    @cached_property
    def near(self) -> NearState | None:
        states = [worker.near for worker in self.workers if worker.near is not None]
        return sum_of(states, NearState()) if states else None

    @cached_property
    def breakers(self) -> dict[str, int]:
        """By how many workers the breaker of a server is open."""
        open_by: dict[str, int] = {}
        for worker in self.workers:
            for server, is_open in worker.breakers.items():
                open_by[server] = open_by.get(server, 0) + is_open
        return open_by

    @property
    def recent(self) -> list[Exchange]:
        """The last requests of all workers, the newest first."""
        return _newest(event for worker in self.workers for event in worker.recent)

    @property
    def refreshes(self) -> list[Refresh]:
        return _newest(event for worker in self.workers for event in worker.refreshes)

    @property
    def purges(self) -> list[Purge]:
        return _newest(event for worker in self.workers for event in worker.purges)

    @property
    def mismatches(self) -> list[Verification]:
        """What was last found to be stored otherwise than the app answers."""
        return _newest(event for worker in self.workers for event in worker.mismatches)


def _newest(events: Iterable[Any]) -> list[Any]:
    return sorted(events, key=lambda event: event.at, reverse=True)


class Publisher:
    """Writes the bulletins of this process. `start` and `aclose` belong to one event loop.

    There may be several for one store: all of them speak of the same worker."""

    def __init__(self, store: Store, *, kind: str = "worker") -> None:
        self.store = store
        self._kind = kind
        self._told: object = None
        self._told_at = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write, in the background."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep_posting())

    async def aclose(self) -> None:
        """Write no more, and take back what stands there."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            with contextlib.suppress(StoreUnavailable):
                await self._withdraw()

    def current(self) -> Bulletin:
        """This worker as it is now."""
        store, now, pid = self.store, self.store.now(), os.getpid()
        tally = store.tally
        if not tally.name.startswith(f"{pid}-"):  # a worker may have been forked
            tally.name, tally.began = f"{pid}-{secrets.token_hex(4)}", now
        return Bulletin(
            worker=tally.name,
            host=socket.gethostname(),
            pid=pid,
            group=group_of_this_process(),
            began=tally.began,
            at=now,
            counts=tally.counts,
            recent=list(tally.recent),
            refreshes=list(tally.refreshes),
            purges=list(tally.purges),
            breakers=_breakers(store),
            near=_near(store),
            kind=self._kind,
            mismatches=list(tally.mismatches),
        )

    async def fleet(self) -> Fleet:
        """All workers: this one as it is now, and, unless the store is away, the others."""
        current, others = self.current(), Fleet(())
        with contextlib.suppress(StoreUnavailable):
            others = await read_fleet(self.store)
        there = (each for each in others.workers if each.worker != current.worker)
        return Fleet((current, *there))

    async def post(self) -> bool:
        """Write the bulletin, if there is anything new or it would soon be missed. Whether it was
        written."""
        told = self.store.tally.counts.happenings()
        is_quiet = told == self._told
        if is_quiet and self.store.now() - self._told_at < REMINDER * 1e6:
            return False
        bulletin = self.current()
        name = bulletin.worker.encode()
        # Both begin at the call, and leave together.
        entered = self.store.run(ATTEND, (WORKERS,), (name, b"%d" % LIVES))
        written = self.store.set(BULLETIN + name, _encode(bulletin), ttl=LIVES)
        try:
            await entered
        finally:
            await written
        self._told, self._told_at = told, bulletin.at
        return True

    async def _keep_posting(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.post()
            except StoreUnavailable:
                continue  # the next one says more
            except Exception:
                _log.exception("this worker could not tell the others what it has counted")

    async def _withdraw(self) -> None:
        name = self.store.tally.name.encode()
        if name:
            await self.store.run(ATTEND, (WORKERS,), (name, b"0"))
            await self.store.delete((BULLETIN + name,))


async def read_fleet(store: Store) -> Fleet:
    """All workers that use this store, as of some seconds ago. `StoreUnavailable` says that nobody
    knows of them."""
    names = cast(list[bytes], await store.run(ATTEND, (WORKERS,), (b"", b"0")))
    values = await store.get_many([BULLETIN + name for name in sorted(names)])
    return Fleet(tuple(read for value in values if value and (read := _read(value)) is not None))


def group_of_this_process() -> str:
    """What the workers that one command has started have in common."""
    together = os.getpgrp() if hasattr(os, "getpgrp") else os.getppid()
    return f"{socket.gethostname()}:{together}"


def _read(value: bytes) -> Bulletin | None:
    try:
        return _decode(value)
    except msgspec.MsgspecError:  # of a version that we do not know
        return None


def _near(store: Store) -> NearState | None:
    if not isinstance(store, NearStore):
        return None
    counted = store.hits, store.misses, store.reports
    return NearState(len(store.keys), store.bytes, *counted, store.lags)


def _breakers(store: Store) -> dict[str, bool]:
    server = store.store if isinstance(store, NearStore) else store
    return server.breakers() if isinstance(server, RedisStore) else {}


# --- the twin of the script


def _attend(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    (key,), (worker, span) = keys, args
    now, lives = keyspace.time() // 1000, int(span)
    found = hash_at(keyspace, key)
    there = [name for name, ends in found.items() if ends.isdigit() and int(ends) > now]
    there = [name for name in there if name != worker]
    gone = [name for name in found if name not in there]
    if gone:
        keyspace.hdel(key, gone)
    if worker and lives > 0:
        keyspace.hset(key, {worker: b"%d" % (now + lives)})
        there.append(worker)
        prolong(keyspace, key, lives)
    return cast(Reply, there)


ATTEND = Script.load("cachemw.telemetry", "attend", _attend)
