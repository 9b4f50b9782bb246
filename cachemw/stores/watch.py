"""A watch on one server: a connection on which it tells us which keys have changed.

The server is asked to report every change under some prefixes (CLIENT TRACKING ... BCAST). A
connection that has gone silent reports nothing, and looks just like a quiet server; so the watch
asks for a sign of life twice a second, and counts as awake only while it gets one. What happened
while it was not awake is unknown, which it reports as "everything may have changed".

Reports carry no time. But they come in line with the signs of life: when one of those is here, so
is every report of what had changed when the server gave it. So what a sign of life took, from the
question on, bounds how far we are behind the server.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection

from cachemw.errors import StoreUnavailable
from cachemw.stores.cargo import packed
from cachemw.stores.wire import Dial, adopt, release

logger = logging.getLogger("cachemw.store")

PULSE = 0.5  # seconds between two signs of life that are asked for
SILENCE = 1.2  # seconds after which a watch without one is not awake
RETRY = 0.5  # seconds until the next try to connect

_MORE: Any = object()
_PING = packed(("PING",))

Changed = Callable[[Sequence[bytes] | None], None]
"""Told which keys have changed, or None: nobody knows which."""

Lagging = Callable[[float], object]
"""Told by how many seconds we were behind at most."""


class Watch(asyncio.Protocol):
    """Watches one server until it is closed, and mends itself."""

    def __init__(
        self, dial: Dial, prefixes: Sequence[bytes], changed: Changed, lagging: Lagging
    ) -> None:
        self._dial = dial
        self._changed = changed
        self._lagging = lagging
        self._loop = asyncio.get_running_loop()
        spelled = [part for prefix in prefixes for part in (b"PREFIX", prefix)]
        self._greeting = packed(("HELLO", 3)) + packed(
            ("CLIENT", "TRACKING", "ON", "BCAST", *spelled)
        )
        self._awaited = 0  # replies until the server has agreed to report
        self._asked_at = deque[float]()  # for signs of life that are not here yet
        self._heard_at = -SILENCE
        self._connection: AbstractConnection | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._reader: Any = None
        self._lost = asyncio.Event()
        self._ended = False
        self._task = self._loop.create_task(self._keep_watch())

    def is_awake(self, now: float) -> bool:
        """Whether every change until just now has been reported. `now` is the loop's time."""
        return now < self.awake_until

    @property
    def awake_until(self) -> float:
        """When that ends, unless the server is heard from before, or lost."""
        return self._heard_at + SILENCE

    def end(self) -> None:
        self._ended = True  # a cancellation alone may be lost in `wait_for`, on Python 3.11
        self._task.cancel()

    async def aclose(self) -> None:
        self.end()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_watch(self) -> None:
        try:
            while not self._ended:
                try:
                    await self._connect()
                    await self._pulse()
                except StoreUnavailable as error:
                    logger.debug("not watching: %s", error)
                finally:
                    self._drop()
                await asyncio.sleep(RETRY)
        finally:
            self._drop()

    async def _connect(self) -> None:
        connection = await self._dial()
        self._lost.clear()
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._transport = adopt(connection, self)
        self._connection = connection
        self._awaited = 2
        self._asked_at.clear()
        self._transport.write(self._greeting)

    async def _pulse(self) -> None:
        """Ask for signs of life until there is none."""
        began = self._loop.time()
        while not self._lost.is_set():
            try:
                await asyncio.wait_for(self._lost.wait(), PULSE)
            except TimeoutError:
                now = self._loop.time()
                if not self.is_awake(now) and now - began > SILENCE:
                    return
                if self._transport is not None:
                    self._transport.write(_PING)
                    self._asked_at.append(perf_counter())

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            reply = self._reader.gets()
            while reply is not _MORE:
                self._take(reply)
                reply = self._reader.gets()
        except hiredis.ProtocolError as error:
            logger.warning("dropping a watch that is out of step: %s", error)
            self._lost.set()

    def _take(self, reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification):
            if reply[0] == b"invalidate":
                _, changed = cast(tuple[bytes, Sequence[bytes] | None], reply)
                self._changed(changed)
        elif isinstance(reply, hiredis.ReplyError):
            logger.warning("this server reports no changes, so nothing is kept near: %s", reply)
            self._lost.set()
        elif self._awaited:
            self._awaited -= 1
            if not self._awaited:  # it reports from now on; what was before, nobody knows
                self._changed(None)
                self._heard_at = self._loop.time()
        else:
            self._heard_at = self._loop.time()
            if self._asked_at:
                self._lagging(perf_counter() - self._asked_at.popleft())

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()

    def _drop(self) -> None:
        """Let go of the connection; from now on anything may have changed."""
        self._heard_at = -SILENCE
        transport, connection = self._transport, self._connection
        self._transport = self._connection = None
        if transport is not None and connection is not None:
            release(connection, transport)
            self._changed(None)
