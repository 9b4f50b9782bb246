"""The fills and refreshes under way in this process: one for each key at a time.

Tasks are held here so that none is lost or forgotten, and drained when the app shuts down.
"""

import asyncio
import contextvars
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from cachemw.caching.fill import Acquire, Fill
from cachemw.caching.keeper import Lease
from cachemw.caching.outcomes import Direct, Instead
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.telemetry.events import Refresh, Refreshed, shortened
from cachemw.telemetry.tally import Tally

logger = logging.getLogger("cachemw.cache")

REST_AFTER_FAILURE = 2_000_000  # microseconds until an app that failed is asked again
REST_AFTER_LEAVING = 500_000  # microseconds until we look again whether another worker is done
RESTING = 4096
ASIDE = 4  # comparisons under way


class RefreshAbandoned(Exception):
    """A refresh that has nothing to do: another worker is at it, or the store is away."""


class Flights:
    """What is being made just now."""

    def __init__(self, now: Callable[[], int], tally: Tally) -> None:
        self._now = now
        self._tally = tally
        # By what they make: the URL, the fields expected to select when they began, the variant.
        self._fills: dict[bytes, dict[tuple[bytes, ...], dict[bytes, list[Fill]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._aside: set[asyncio.Task[None]] = set()
        self._resting: OrderedDict[tuple[bytes, bytes], int] = OrderedDict()

    def of(self, resource: Resource, others_than: Iterable[Fill] = ()) -> Fill | None:
        """The fill under way that makes what a request asks for."""
        for fields, variants in self._fills.get(resource.primary, {}).items():
            for fill in variants.get(resource.variant(fields), ()):
                if fill.can_be_joined and fill.is_for(resource) and fill not in others_than:
                    return fill
        return None

    def start(self, fill: Fill, acquire: Acquire, *, is_shared: bool) -> asyncio.Task[None]:
        """Begin a fill on behalf of a request, which others may join while it runs."""
        context = context_under(fill.resource.policy)
        task = asyncio.get_running_loop().create_task(fill.run(acquire), context=context)
        self._hold(task, fill, is_shared)
        return task

    def may_refresh(self, resource: Resource, variant: bytes) -> bool:
        """Whether nobody here is making this key, nor has just failed or been too late to."""
        rests_until = self._resting.get((resource.primary, variant), 0)
        return rests_until <= self._now() and self.of(resource) is None

    def start_refresh(self, fill: Fill, variant: bytes, acquire: Acquire, route: str) -> None:
        """Begin a fill on nobody's behalf. Its failure is counted and logged, and that is all."""
        self._tally.refresh_began()
        span = self._tally.spans("refresh")  # made here, where its cause is
        context = context_under(fill.resource.policy)
        refreshing = self._refresh_within(span, fill, variant, acquire, route)
        task = asyncio.get_running_loop().create_task(refreshing, context=context)
        self._hold(task, fill, True)

    async def _refresh_within(
        self,
        span: AbstractContextManager[object],
        fill: Fill,
        variant: bytes,
        acquire: Acquire,
        route: str,
    ) -> None:
        """Refresh, and tell what became of it."""
        loop = asyncio.get_running_loop()
        path = shortened(fill.resource.target.partition(b"?")[0].decode("latin-1"))
        began, ended = loop.time(), Refreshed.FAILED
        with span:
            try:
                ended = await self._refresh(fill, (fill.resource.primary, variant), acquire)
            finally:
                seconds = loop.time() - began
                event = Refresh(self._now(), route, path, ended.value, seconds)
                self._tally.refresh_ended(event)

    async def _refresh(self, fill: Fill, key: tuple[bytes, bytes], acquire: Acquire) -> Refreshed:
        async def acquire_or_leave() -> Lease | Instead | Reason:
            acquired = await acquire()
            if isinstance(acquired, Reason):
                raise RefreshAbandoned(acquired)
            return acquired

        try:
            await fill.run(acquire_or_leave)
        except RefreshAbandoned as left:
            self._rest(key, REST_AFTER_LEAVING)
            is_away = left.args[0] is Reason.STORE_UNAVAILABLE
            return Refreshed.ABANDONED if is_away else Refreshed.COLLAPSED
        except Exception:
            self._rest(key, REST_AFTER_FAILURE)
            logger.warning("a refresh failed; what is stored stays", exc_info=True)
            return Refreshed.FAILED
        if fill.tenure.was_kept:
            return Refreshed.KEPT
        if not fill.tenure.has_begun:  # somebody else had just made it
            return Refreshed.COLLAPSED
        self._rest(key, REST_AFTER_FAILURE)
        logger.info("a refresh of %s brought nothing to keep", fill)
        outcome = fill.outcome.result()
        is_error = isinstance(outcome, Direct) and outcome.is_error
        stood_in = isinstance(outcome, Instead) and outcome.is_stale
        return Refreshed.FAILED if is_error or stood_in else Refreshed.REFUSED

    def aside(
        self, run: Callable[[], Coroutine[Any, Any, None]], context: contextvars.Context
    ) -> None:
        """Run something that nobody waits for, unless enough of that is under way."""
        if len(self._aside) < ASIDE:
            task = asyncio.get_running_loop().create_task(run(), context=context)
            for held in (self._aside, self._tasks):
                held.add(task)
                task.add_done_callback(held.discard)

    async def drain(self, patience: float) -> None:
        """Give what is under way in this event loop time to end, then end it."""
        loop = asyncio.get_running_loop()
        tasks = {task for task in self._tasks if task.get_loop() is loop}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    def _rest(self, key: tuple[bytes, bytes], span: int) -> None:
        self._resting[key] = self._now() + span
        self._resting.move_to_end(key)
        if len(self._resting) > RESTING:
            self._resting.popitem(last=False)

    def _hold(self, task: asyncio.Task[None], fill: Fill, is_shared: bool) -> None:
        fill.task = task
        self._tasks.add(task)
        fields = fill.tenure.fields
        variant = fill.resource.variant(fields) if is_shared else None
        if variant is not None:
            by_fields = self._fills.setdefault(fill.resource.primary, {})
            by_fields.setdefault(fields, {}).setdefault(variant, []).append(fill)
        task.add_done_callback(partial(self._land, fill, fields, variant))

    def _land(
        self,
        fill: Fill,
        fields: tuple[bytes, ...],
        variant: bytes | None,
        task: asyncio.Task[None],
    ) -> None:
        self._tasks.discard(task)
        # Requests that wait for a fill hear of its failure; if they have left, the log does.
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a fill failed", exc_info=error)
        if variant is None:
            return
        by_fields = self._fills[fill.resource.primary]
        by_variant = by_fields[fields]
        by_variant[variant].remove(fill)
        if not by_variant[variant]:
            del by_variant[variant]
        if not by_variant:
            del by_fields[fields]
        if not by_fields:
            del self._fills[fill.resource.primary]


def context_under(policy: CachePolicy) -> contextvars.Context:
    """The context variables that a fill may see: those of the request that set it off, as what
    outer layers have found out, such as a language, must be that of the variant. But where the
    request's credentials are stripped, those layers may have found out who is asking.
    """
    if policy.credentials == "strip":
        return contextvars.Context()
    return contextvars.copy_context()
