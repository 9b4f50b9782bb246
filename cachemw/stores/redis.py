"""The store contract on Redis or Valkey: one server, sentinels or a cluster.

This file turns verbs into jobs and knows what a key looks like on the server. Where jobs go is
`nodes.py` or `cluster.py`, how they travel `lane.py`, what they mean `jobs.py`.

Connections belong to an event loop, so each loop that uses the store gets its own, made when the
first verb needs them.
"""

import asyncio
import functools
import itertools
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.scripts import Reply, Script
from cachemw.stores.base import Store, demand_one_slot, escape_pattern, seal, together
from cachemw.stores.breaker import Breaker
from cachemw.stores.clock import (
    CLOCK_KEY,
    REANCHOR_AFTER,
    TIME,
    ServerClock,
    dated,
    dated_reply,
    time_args,
    time_of,
)
from cachemw.stores.cluster import Cluster
from cachemw.stores.jobs import Command, Delete, Raw, Read, Recall, Run, Scan, Step, Wrapped, Write
from cachemw.stores.nodes import CONNECT, Node, OneServer, Topology
from cachemw.stores.selfcheck import self_check
from cachemw.stores.targets import Target, from_client
from cachemw.stores.wire import Dial, dialer, hear_out, sentinel_dialer

logger = logging.getLogger("cachemw.store")

T = TypeVar("T")
R = TypeVar("R")
_NOTHING: Sequence[Awaitable[Any]] = ()
BATCH = 1000  # keys that a server looks at in one step of a scan


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
        self.prefix = _checked(prefix)
        self.deadline = seconds(deadline)
        if self.deadline <= 0:
            raise ConfigurationError("the deadline of a store must be more than 0: try '100ms'")
        self._breaker = breaker
        self._topologies: dict[asyncio.AbstractEventLoop, Topology] = {}
        self._last: tuple[asyncio.AbstractEventLoop, Topology] | None = None
        self._process = os.urandom(6).hex().encode()
        self._numbers = itertools.count()
        self._clock = ServerClock()
        self._scripts: dict[Script, Wrapped] = {}
        self._recall = Recall()
        self._is_in_parts = self.target.is_cluster
        """Whether not every script may name every key."""

    def __repr__(self) -> str:
        return f"<RedisStore {self.target}>"

    # --- verbs

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        if not keys:
            return _Joined(_NOTHING, list)
        return self._read(self._full(keys))

    def reader(self, keys: Sequence[bytes]) -> Callable[[], Awaitable[list[bytes | None]]]:
        return functools.partial(self._read, self._full(keys))

    def set(self, key: bytes, value: bytes, *, ttl: int) -> Awaitable[None]:
        full = self.prefix + key
        job = Write(full, seal(full, value), ttl)
        if job.is_large:
            self._recall.note_size(full, len(value))
        return self._submit(job)

    def delete(self, keys: Sequence[bytes]) -> Awaitable[int]:
        if not keys:
            return _Joined(_NOTHING, sum)
        groups = self._topology().split([self.prefix + key for key in keys])
        counts = [self._submit(Delete(group)) for group in groups]
        return counts[0] if len(counts) == 1 else _Joined(counts, sum)

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        demand_one_slot(script, keys)
        if script.dated:
            return self._run_dated(script, keys, args)
        return self._take(self._step(script, keys, args))

    def prepare(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]
    ) -> Callable[[], Awaitable[Reply]]:
        demand_one_slot(script, keys)
        if script.dated:
            return super().prepare(script, keys, args)
        return functools.partial(self._take, self._step(script, keys, args))

    def time(self) -> Awaitable[int]:
        return _Joined([self._read_clock()], lambda replies: time_of(replies[0]))

    def now(self) -> int:
        clock, local = self._clock, time.monotonic()
        passed = local - clock.at
        if passed > REANCHOR_AFTER and clock.wants_reading(local):
            self._read_clock()
        # As `clock.now` has it: this is asked with every hit.
        return clock.anchor + int(passed * 1e6) if clock.anchor else time.time_ns() // 1000

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        match = escape_pattern(self.prefix) + pattern
        for node in await self._topology().nodes():
            cursor = b"0"
            while True:
                job = Scan(cursor, self.prefix, match, BATCH)
                node.submit(job)
                cursor, found = await job.future
                if found:
                    yield found
                if cursor == b"0":
                    break

    def sealed(self, key: bytes, value: bytes) -> bytes:
        return seal(self.prefix + key, value)

    # --- life

    async def open(self) -> None:
        if self._topology().is_closed:
            self._forget(asyncio.get_running_loop())
        try:
            await self.time()
        except StoreUnavailable as error:
            if error.reason != "refused":  # else the check finds out why
                logger.warning(
                    "%s does not answer yet (%s); carrying on without it", self.target, error
                )
                return
        for finding in await self_check(self):
            logger.warning("%s: %s", self.target, finding)

    async def aclose(self) -> None:
        await self._topology().aclose()
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    def breakers(self) -> dict[str, bool]:
        """Whether the breaker of each server is open, by the server's address."""
        return {node.name: node.breaker.is_open for node in self._topology().known_nodes()}

    def servers(self) -> dict[str, Dial]:
        """How to connect to each server that is known to this event loop, by its address."""
        return {node.name: node.dial for node in self._topology().known_nodes()}

    async def survey(self, *command: bytes | str | int) -> dict[str, Any]:
        """What each server says to one command, by its address; `StoreUnavailable` for one that
        refuses it or does not answer."""
        asked = await self._asked(*command)
        said = await asyncio.gather(*asked.values(), return_exceptions=True)
        return dict(zip(asked, said, strict=True))

    async def ask(self, *command: bytes | str | int) -> list[Any]:
        """The answers of every server to one command: for looking at them, not for features."""
        return await together((await self._asked(*command)).values())

    async def trips(self) -> dict[str, float]:
        """How many seconds a trip takes, to each server that answers, by its address."""
        clock = asyncio.get_running_loop().time
        asked, began = await self._asked("PING"), clock()

        async def trip(answer: Awaitable[Any]) -> float:
            await answer
            return clock() - began

        took = await asyncio.gather(*map(trip, asked.values()), return_exceptions=True)
        pairs = zip(asked, took, strict=True)
        return {name: span for name, span in pairs if isinstance(span, float)}

    async def _asked(self, *command: bytes | str | int) -> dict[str, "asyncio.Future[Any]"]:
        """What each server will answer to one command, by its address."""
        asked: dict[str, asyncio.Future[Any]] = {}
        for node in await self._topology().nodes():
            job = Raw(b"", *command)
            asked[node.name] = job.future
            node.submit(job)
        return asked

    # --- within

    def _submit(self, job: Command[T]) -> "asyncio.Future[T]":
        self._topology().submit(job)
        return job.future

    def _full(self, keys: Sequence[bytes]) -> list[bytes]:
        return list(map(self.prefix.__add__, keys))

    def _read(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        jobs = self._topology().submit_read(Read(keys, self._recall))
        if len(jobs) == 1:
            return jobs[0].future
        return _Joined([job.future for job in jobs], functools.partial(_in_order, keys, jobs))

    def _step(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Step:
        wrapped = self._scripts.get(script)
        if wrapped is None:
            wrapped = self._scripts[script] = Wrapped(script)
        return Step(wrapped, list(map(self.prefix.__add__, keys)), args)

    def _take(self, step: Step) -> "asyncio.Future[Reply]":
        topology = self._topology()  # a new one means another process, perhaps
        job = Run(step, b"%b-%x" % (self._process, next(self._numbers)))
        topology.submit(job)
        return job.future

    def _run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]
    ) -> "asyncio.Future[Reply]":
        return self._take(self._step(script, keys, args))

    def _run_dated(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]
    ) -> Awaitable[Reply]:
        if not self._is_in_parts:
            told = time_args(self._clock.seen)
            both = self._run(dated(script), (*keys, CLOCK_KEY), (*args, *told))
            return _Dated(both, self._take_reading, lambda: self._run_apart(script, keys, args))
        # The clock is in one place of a cluster, and the keys may be in another.
        running = asyncio.ensure_future(self._run_after(self.time(), script, keys, args))
        running.add_done_callback(hear_out)
        return running

    def _run_apart(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]
    ) -> Awaitable[Reply]:
        self._is_in_parts = True
        return self._run_dated(script, keys, args)

    def _take_reading(self, both: Reply) -> Reply:
        reading, reply = dated_reply(both)
        self._clock.seen = max(self._clock.seen, time_of(reading))
        return reply

    async def _run_after(
        self, reading: Awaitable[int], script: Script, keys: Sequence[bytes], args: Sequence[bytes]
    ) -> Reply:
        return await self._run(script, keys, (b"%d" % await reading, *args))

    def _read_clock(self) -> "asyncio.Future[Reply]":
        sent = self._clock.asked = time.monotonic()
        reading = self._run(TIME, (CLOCK_KEY,), time_args(self._clock.seen))
        reading.add_done_callback(functools.partial(self._anchor, sent))
        return reading

    def _anchor(self, sent: float, reading: "asyncio.Future[Reply]") -> None:
        if not reading.cancelled() and reading.exception() is None:
            with suppress(StoreUnavailable):  # whoever waits for this reading hears of it
                self._clock.read(time_of(reading.result()), sent, time.monotonic())

    def _topology(self) -> Topology:
        loop = asyncio.get_running_loop()
        last = self._last  # once: other threads have loops of their own
        if last is not None and last[0] is loop:
            return last[1]
        topology = self._topologies.get(loop)
        if topology is None:
            for other in list(self._topologies):
                if other.is_closed():
                    self._forget(other)
            self._process = os.urandom(6).hex().encode()  # anew after a fork: that makes a new loop
            topology = self._topologies[loop] = self._connect()
        self._last = (loop, topology)
        return topology

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        self._topologies.pop(loop, None)
        self._last = None

    def _connect(self) -> Topology:
        target = self.target
        if target.is_cluster:
            return Cluster(target.addresses, self.deadline, self._breaker, self.tally.counts.store)
        address = target.addresses[0]
        if target.sentinels:
            dial = sentinel_dialer(target.sentinels, target.service, address, CONNECT)
        else:
            dial = dialer(address, CONNECT)
        counts = self.tally.counts.store
        return OneServer(Node(dial, self.deadline, self._breaker(), str(target), counts))


class _Joined(Generic[T, R]):
    """What several jobs come to together. Unlike a coroutine it may be left alone."""

    __slots__ = ("_awaitables", "_join")

    def __init__(
        self, awaitables: Sequence[Awaitable[T]], join: Callable[[Sequence[T]], R]
    ) -> None:
        self._awaitables = awaitables
        self._join = join

    def __await__(self) -> Generator[Any, None, R]:
        return self._join((yield from together(self._awaitables).__await__()))


class _Dated:
    """A dated script in one step, or in two: there are clusters behind one address that makes them
    look like one server. They refuse the one step, and have not taken it."""

    __slots__ = ("_apart", "_both", "_take")

    def __init__(
        self,
        both: "asyncio.Future[Reply]",
        take: Callable[[Reply], Reply],
        apart: Callable[[], Awaitable[Reply]],
    ) -> None:
        self._both, self._take, self._apart = both, take, apart

    def __await__(self) -> Generator[Any, None, Reply]:
        try:
            both = yield from self._both.__await__()
        except StoreUnavailable as error:
            if not error.detail.startswith("CROSSSLOT"):
                raise
            return (yield from self._apart().__await__())
        return self._take(both)


def _in_order(
    keys: Sequence[bytes], jobs: Sequence[Read], results: Sequence[list[bytes | None]]
) -> list[bytes | None]:
    found: dict[bytes, bytes | None] = {}
    for job, values in zip(jobs, results, strict=True):
        found.update(zip(job.keys, values, strict=True))
    return [found[key] for key in keys]


def _checked(prefix: str) -> bytes:
    if "{" in prefix or "}" in prefix:
        raise ConfigurationError(
            f"the prefix {prefix!r} has a brace in it, which decides where a cluster keeps a key: "
            "leave it out"
        )
    return prefix.encode()
