"""The fills and refreshes under way in this process: one for each key at a time.

Tasks are held here so that none is lost or forgotten, and drained when the app shuts down.
"""

import asyncio
import contextvars
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from cachemw.caching.fill import Fill, Instead
from cachemw.caching.keeper import Lease
from cachemw.caching.reasons import Reason

logger = logging.getLogger("cachemw.cache")

REST_AFTER_FAILURE = 2.0  # seconds until an app that failed is asked again
REST_AFTER_LEAVING = 0.5  # seconds until we look again whether another worker is done
RESTING = 4096

Acquire: TypeAlias = Callable[[], Awaitable[Lease | Instead | Reason]]


class RefreshAbandoned(Exception):
    """A refresh that has nothing to do: another worker is at it, or the store is away."""


class Flights:
    """What is being made just now."""

    def __init__(self) -> None:
        self._fills: dict[tuple[bytes, bytes], Fill] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._resting: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        self.refreshed = 0
        self.failed = 0

    def of(self, primary: bytes, variant: bytes) -> Fill | None:
        """The fill under way for a key."""
        return self._fills.get((primary, variant))

    def may_refresh(self, primary: bytes, variant: bytes) -> bool:
        """Whether nobody here is making this key, nor has just failed or been too late to."""
        key = (primary, variant)
        if key in self._fills:
            return False
        return self._resting.get(key, 0.0) <= asyncio.get_running_loop().time()

    def start(
        self, fill: Fill, variant: bytes, acquire: Acquire, *, is_shared: bool
    ) -> asyncio.Task[None]:
        """Begin a fill on behalf of a request, which others may join while it runs."""
        task = asyncio.get_running_loop().create_task(fill.run(acquire))
        self._hold(task)
        if is_shared:
            key = (fill.resource.primary, variant)
            self._fills[key] = fill
            task.add_done_callback(lambda _: self._land(key, fill))
        task.add_done_callback(_retrieve)
        return task

    def start_refresh(self, fill: Fill, variant: bytes, acquire: Acquire, patience: float) -> None:
        """Begin a fill on nobody's behalf. Its failure is counted and logged, and that is all."""
        key = (fill.resource.primary, variant)

        async def acquire_or_leave() -> Lease | Instead | Reason:
            acquired = await acquire()
            if isinstance(acquired, Reason):
                raise RefreshAbandoned(acquired)
            return acquired

        async def refresh() -> None:
            try:
                async with asyncio.timeout(patience):
                    await fill.run(acquire_or_leave)
                self.refreshed += 1
            except RefreshAbandoned:
                self._rest(key, REST_AFTER_LEAVING)
            except Exception:
                self.failed += 1
                self._rest(key, REST_AFTER_FAILURE)
                logger.warning("a refresh failed; what is stored stays", exc_info=True)

        # A context of its own: it is no part of the request that set it off.
        loop = asyncio.get_running_loop()
        task = loop.create_task(refresh(), context=contextvars.Context())
        self._hold(task)
        self._fills[key] = fill
        task.add_done_callback(lambda _: self._land(key, fill))

    async def drain(self, patience: float) -> None:
        """Give what is under way time to end, then end it."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    def _rest(self, key: tuple[bytes, bytes], seconds: float) -> None:
        self._resting[key] = asyncio.get_running_loop().time() + seconds
        if len(self._resting) > RESTING:
            self._resting.popitem(last=False)

    def _hold(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _land(self, key: tuple[bytes, bytes], fill: Fill) -> None:
        if self._fills.get(key) is fill:
            del self._fills[key]


def _retrieve(task: asyncio.Task[None]) -> None:
    """The request that leads a fill hears of its failure; if it has left, nobody needs to."""
    if not task.cancelled():
        task.exception()
