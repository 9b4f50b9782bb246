"""The store contract on Redis or Valkey: one server, sentinels or a cluster.

This file turns verbs into jobs and knows what a key looks like on the server. Where jobs go is
`nodes.py`, how they travel `lane.py`, what they mean `jobs.py`.

Connections belong to an event loop, so each loop that uses the store gets its own, made when the
first verb needs them.
"""

import asyncio
import functools
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from cachemw.durations import DurationLike, seconds
from cachemw.errors import StoreUnavailable
from cachemw.scripts import Reply, Script
from cachemw.stores.base import (
    Store,
    demand_one_slot,
    escape_pattern,
    seal,
    together,
)
from cachemw.stores.breaker import Breaker
from cachemw.stores.clock import CLOCK_KEY, CLOCK_LIVES, TIME, ServerClock
from cachemw.stores.jobs import Delete, Raw, Read, Run, Wrapped, Write
from cachemw.stores.nodes import CONNECT, Cluster, Node, OneServer, Topology
from cachemw.stores.selfcheck import self_check
from cachemw.stores.targets import Target, from_client
from cachemw.stores.wire import dialer, sentinel_dialer

logger = logging.getLogger("cachemw.store")

LARGE_KEYS = 1024  # how many keys of large values are remembered


class RedisStore(Store):
    """Takes any `redis.asyncio` client, of which it uses the address and the credentials only.

    `deadline` bounds every verb; `prefix` is put in front of every key, so that several apps can
    share a server; `breaker` makes the circuit breaker of a server, one for each.
    """

    def __init__(
        self,
        client: object,
        *,
        prefix: str = "cmw:",
        deadline: DurationLike = "100ms",
        breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        self.target = client if isinstance(client, Target) else from_client(client)
        self.prefix = prefix.encode()
        self.deadline = seconds(deadline)
        self._breaker = breaker
        self._topologies: WeakKeyDictionary[asyncio.AbstractEventLoop, Topology]
        self._topologies = WeakKeyDictionary()
        self._last: tuple[asyncio.AbstractEventLoop, Topology] | None = None
        self._clock = ServerClock()
        self._is_reading_clock = False
        self._scripts: dict[Script, Wrapped] = {}
        self._large: OrderedDict[bytes, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RedisStore {self.target}>"

    # --- verbs

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        prefix = self.prefix
        full = [prefix + key for key in keys]
        jobs = self._topology().read(full, self._reading)
        return jobs[0].future if len(jobs) == 1 else _in_order(full, jobs)

    def set(self, key: bytes, value: bytes, *, ttl: int) -> Awaitable[None]:
        job = Write(self.prefix + key, self.sealed(key, value), ttl)
        if job.is_large:
            self._note_large(job.key)
        self._topology().submit(job)
        return job.future

    def delete(self, keys: Sequence[bytes]) -> Awaitable[int]:
        topology = self._topology()
        jobs = [Delete(group) for group in topology.split([self.prefix + key for key in keys])]
        for job in jobs:
            topology.submit(job)
        return jobs[0].future if len(jobs) == 1 else _sum([job.future for job in jobs])

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        demand_one_slot(script, keys)
        return self._run(script, keys, args).future

    def time(self) -> Awaitable[int]:
        return _as_int(self._read_clock())

    def now(self) -> int:
        local = time.monotonic()
        if self._clock.wants_reading(local) and not self._is_reading_clock:
            self._read_clock()
        return self._clock.now(local) if self._clock.is_known else int(time.time() * 1_000_000)

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        match = escape_pattern(self.prefix) + pattern
        for node in await self._topology().nodes():
            cursor = b"0"
            while True:
                job = Raw(b"", "SCAN", cursor, "MATCH", match, "COUNT", 1000)
                node.submit(job)
                cursor, batch = await job.future
                if batch:
                    yield [key[len(self.prefix) :] for key in batch]
                if cursor == b"0":
                    break

    def sealed(self, key: bytes, value: bytes) -> bytes:
        return seal(self.prefix + key, value)

    # --- life

    async def open(self) -> None:
        self._last = None
        self._topologies.pop(asyncio.get_running_loop(), None)
        try:
            await self.time()
        except StoreUnavailable as error:
            logger.warning(
                "%s does not answer yet (%s); carrying on without it", self.target, error
            )
            return
        for finding in await self_check(self):
            logger.warning("%s: %s", self.target, finding)

    async def aclose(self) -> None:
        topology = self._topology()
        topology.close()
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    def breakers(self) -> dict[str, bool]:
        """Whether the breaker of each server is open, by the server's address."""
        return {node.name: node.breaker.is_open for node in self._topology().known_nodes()}

    async def ask(self, *command: bytes | str | int) -> list[Any]:
        """The answers of every server to one command: for looking at them, not for features."""
        jobs = [(Raw(b"", *command), node) for node in await self._topology().nodes()]
        for job, node in jobs:
            node.submit(job)
        return await together([job.future for job, _ in jobs])

    # --- within

    def _topology(self) -> Topology:
        loop = asyncio.get_running_loop()
        if self._last is not None and self._last[0] is loop:
            return self._last[1]
        topology = self._topologies.get(loop)
        if topology is None:
            topology = self._topologies[loop] = self._connect()
        self._last = (loop, topology)
        return topology

    def _connect(self) -> Topology:
        target = self.target
        if target.is_cluster:
            return Cluster(target.addresses, self.deadline, self._breaker)
        address = target.addresses[0]
        if target.sentinels:
            dial = sentinel_dialer(target.sentinels, target.service, address, CONNECT)
        else:
            dial = dialer(address, CONNECT)
        return OneServer(Node(dial, self.deadline, self._breaker(), str(target)))

    def _reading(self, keys: Sequence[bytes]) -> Read:
        is_large = bool(self._large) and any(key in self._large for key in keys)
        return Read(keys, self._note_large, is_large)

    def _note_large(self, key: bytes) -> None:
        self._large[key] = None
        if len(self._large) > LARGE_KEYS:
            self._large.popitem(last=False)

    def _run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Run:
        wrapped = self._scripts.get(script)
        if wrapped is None:
            wrapped = self._scripts[script] = Wrapped(script)
        job = Run(wrapped, [self.prefix + key for key in keys], args)
        self._topology().submit(job)
        return job

    def _read_clock(self) -> "asyncio.Future[Reply]":
        self._is_reading_clock = True
        future = self._run(TIME, (CLOCK_KEY,), (CLOCK_LIVES,)).future
        future.add_done_callback(functools.partial(self._anchor, time.monotonic()))
        return future

    def _anchor(self, sent: float, future: "asyncio.Future[Reply]") -> None:
        self._is_reading_clock = False
        if not future.cancelled() and future.exception() is None:
            self._clock.read(int(future.result()), sent, time.monotonic())  # type: ignore[arg-type]


async def _in_order(keys: Sequence[bytes], jobs: Sequence[Read]) -> list[bytes | None]:
    found: dict[bytes, bytes | None] = {}
    for job, values in zip(jobs, await together([job.future for job in jobs]), strict=True):
        found.update(zip(job.keys, values, strict=True))
    return [found[key] for key in keys]


async def _sum(counts: Sequence[Awaitable[int]]) -> int:
    return sum(await together(counts))


async def _as_int(reading: Awaitable[Reply]) -> int:
    return int(await reading)  # type: ignore[arg-type]
