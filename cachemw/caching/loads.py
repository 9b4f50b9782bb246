"""Making values that are missing: one load of a key at a time, in this process and in the fleet.

    a reader ── kept? ─┬─ fresh ───────── the value
                       ├─ stale ───────── the value, and a refresh behind
                       └─ nothing ─────── join the load that is under way here, or begin one:
                                          lease ─┬─ mine ──── load, keep
                                                 ├─ taken ─── wait for what that worker keeps
                                                 └─ waited too long: load, keep nothing

Without the store, values are loaded, together, and nothing is kept. A load that nobody waits for
any more is cancelled; a refresh is on nobody's behalf, and its failure is counted and logged.
"""

import asyncio
import contextvars
import functools
import inspect
import logging
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from msgspec import Struct, structs

from cachemw.caching.data import DataEntry, DataHeader, Use, use_of
from cachemw.caching.datapolicy import DataPolicy
from cachemw.caching.keeper import RENEW_AFTER
from cachemw.caching.larder import Found, Larder, Lease
from cachemw.caching.values import Codec
from cachemw.errors import StoreUnavailable, UnreadableEntry

logger = logging.getLogger("cachemw.data")

POLL = 0.02  # seconds until we look whether another worker is done; grows
POLL_MOST = 0.25
REST = 2.0  # seconds until a loader that failed is asked again, while there is something stale
RESTING = 4096


class Order(Struct, frozen=True):
    """A value that is wanted, and how it is made."""

    key: str
    load: Callable[[], Any]
    policy: DataPolicy
    codec: Codec[Any]


@dataclass(slots=True, eq=False)
class _Flight:
    loop: asyncio.AbstractEventLoop
    task: "asyncio.Task[_Made] | None" = None
    waiting: int = 0


class _Made(Struct, frozen=True):
    value: Any
    payload: bytes
    still_valid: bytes | None = None
    """What was kept and valid at a moment when nobody could join any more."""


class Loads:
    """The loads and refreshes under way in this process."""

    def __init__(self, larder: Larder) -> None:
        self.larder = larder
        self.counts = larder.store.tally.counts.data
        self._flights: dict[str, _Flight] = {}
        self._refreshing: set[str] = set()
        self._resting: OrderedDict[str, float] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def get(self, order: Order) -> Any:
        """The value: kept, or made now. Raises what the loader raises."""
        try:
            found = (await self.larder.find([order.key], order.policy.tags))[0]
        except StoreUnavailable:
            self.counts.outages += 1
            found = Found()
        use, value = self._judged(order, found)
        match use:
            case Use.FRESH | Use.DUE:
                self.counts.hits += 1
            case Use.STALE:
                self.counts.stale += 1
            case Use.SPARE | Use.NONE:
                self.counts.misses += 1
                return await self._made(order, use, value)
        if use is not Use.FRESH and found.entry is not None:
            self._refresh(order, found.entry)
        return value

    async def drain(self, patience: float) -> None:
        """Give what is under way in this event loop time to end, then end it."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is loop]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _judged(self, order: Order, found: Found) -> tuple[Use, Any]:
        """What the kept value is good for, and the value."""
        if found.entry is None:
            return Use.NONE, None
        now, age, luck = self.larder.store.now(), order.policy.refresh_age, 1.0 - random.random()
        use = use_of(found.entry, found.standing, now, refresh_age=age, luck=luck)
        if use is Use.NONE:
            return use, None
        try:
            return use, order.codec.decode(found.entry.payload)
        except UnreadableEntry:
            return Use.NONE, None

    # --- loads on behalf of readers

    async def _made(self, order: Order, use: Use, spare: Any) -> Any:
        if use is Use.NONE:
            return await self._join(order)
        if self._is_resting(order.key):
            return spare
        try:
            return await self._join(order)
        except Exception:
            self._rest(order.key)
            logger.warning("loading %r failed; a stale value stands in", order.key, exc_info=True)
            return spare

    async def _join(self, order: Order) -> Any:
        flight = self._flights.get(order.key)
        if flight is not None and flight.loop is asyncio.get_running_loop():
            self.counts.joined += 1
            payload = (await self._landed(order, flight)).still_valid
            if payload is not None:
                # A value of one's own: somebody may change his.
                return order.codec.decode(payload)
            # What that load began with was purged, perhaps before we came. The next one begins
            # after that, whoever begins it.
            flight = self._flights.get(order.key)
        if flight is None or flight.loop is not asyncio.get_running_loop():
            return (await self._landed(order, self._take_off(order))).value
        return order.codec.decode((await self._landed(order, flight)).payload)

    def _take_off(self, order: Order) -> _Flight:
        loop = asyncio.get_running_loop()
        flight = self._flights[order.key] = _Flight(loop)
        flight.task = loop.create_task(self._load(order, flight))
        self._hold(flight.task, functools.partial(self._close, order.key, flight))
        return flight

    async def _landed(self, order: Order, flight: _Flight) -> _Made:
        flight.waiting += 1
        try:
            assert flight.task is not None
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.waiting == 1:
                self._close(order.key, flight)
                assert flight.task is not None
                flight.task.cancel()
            raise
        finally:
            flight.waiting -= 1

    async def _load(self, order: Order, flight: _Flight) -> _Made:
        try:
            return await self._load_for_all(order, flight)
        finally:
            # At once, and not when the loop comes to it: whoever comes in between was not seen.
            self._close(order.key, flight)

    async def _load_for_all(self, order: Order, flight: _Flight) -> _Made:
        acquired = await self._acquire(order, order.policy.lease_wait)
        made = acquired if isinstance(acquired, _Made) else await self._make(order, acquired)
        if flight.waiting <= 1:
            return made
        # Some came after it began, and must not be given what was purged before they came. So look
        # once for all of them; whoever comes now is on his own.
        self._close(order.key, flight)
        try:
            found = (await self.larder.find([order.key], order.policy.tags))[0]
        except StoreUnavailable:
            return made
        if self._judged(order, found)[0] in (Use.FRESH, Use.DUE) and found.entry is not None:
            return structs.replace(made, still_valid=found.entry.payload)
        return made

    async def _make(self, order: Order, lease: Lease | None) -> _Made:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.counts.loads += 1
        renewing = None if lease is None else loop.create_task(self._renewed(order, lease))
        try:
            async with asyncio.timeout(order.policy.timeout):
                value = await called(order.load, to_thread=order.policy.to_thread)
            payload = order.codec.encode(value)
            tags = order.policy.tags_for(value)
        except BaseException as error:
            if lease is not None:
                giving = loop.create_task(self._give_back(order, lease))
                self._hold(giving)
                if isinstance(error, Exception):
                    await asyncio.shield(giving)
            if isinstance(error, Exception):
                self.counts.failures += 1
            raise
        finally:
            if renewing is not None:
                renewing.cancel()
        if lease is not None:
            await self._keep(order, lease, value, payload, tags, loop.time() - started)
        return _Made(value, payload)

    async def _acquire(
        self, order: Order, wait: float, seen: DataEntry | None = None
    ) -> Lease | _Made | None:
        """The lease; or what another worker has kept since we have `seen` the entry; or None: load,
        and keep nothing."""
        key, larder, policy = order.key, self.larder, order.policy
        pause, waited = POLL, 0.0
        try:
            await larder.keeper.get_ready(wait)
            while True:
                # One trip: the lease, then, behind it, a second look, since somebody may have kept
                # a value since our first one.
                leasing = larder.lease(key)
                try:
                    found = (await larder.find([key], policy.tags))[0]
                except BaseException:
                    if (lease := await leasing) is not None:
                        await larder.give_back(key, lease.token)
                    raise
                lease = await leasing
                use, value = self._judged(order, found)
                is_fresh = use in (Use.FRESH, Use.DUE)
                if is_fresh and found.entry is not None and found.entry != seen:
                    if lease is not None:
                        await larder.give_back(key, lease.token)
                    return _Made(value, found.entry.payload)
                if lease is not None:
                    return lease
                if waited >= wait or found.is_refused:
                    return None
                await asyncio.sleep(pause)
                waited, pause = waited + pause, min(pause * 1.5, POLL_MOST)
        except StoreUnavailable:
            return None

    async def _keep(
        self,
        order: Order,
        lease: Lease,
        value: Any,
        payload: bytes,
        tags: tuple[bytes, ...],
        took: float,
    ) -> None:
        policy = order.policy
        fresh = policy.lifetime(value, crc32(order.key.encode("utf-8", "surrogatepass")) / 2**32)
        if fresh is None:
            await self._give_back(order, lease, refused=True)
            return
        windows = policy.stale_while_revalidate, policy.stale_if_error
        header = DataHeader(lease.born, fresh, *windows, tags, took)
        until = self.larder.store.now() + int(fresh * 1e6)
        try:
            await self.larder.keep(order.key, lease.token, DataEntry(header, payload, until))
        except StoreUnavailable:
            self.counts.outages += 1

    async def _renewed(self, order: Order, lease: Lease) -> None:
        """Keep a lease standing while the loader runs, and no longer than this process."""
        stands = True
        while stands:
            await asyncio.sleep(RENEW_AFTER)
            try:
                stands = await self.larder.renew(order.key, lease.token)
            except StoreUnavailable:
                self.counts.outages += 1

    async def _give_back(self, order: Order, lease: Lease, *, refused: bool = False) -> None:
        try:
            await self.larder.give_back(order.key, lease.token, refused=refused)
        except StoreUnavailable:
            self.counts.outages += 1  # the lease will end by itself

    # --- loads on nobody's behalf

    def _refresh(self, order: Order, seen: DataEntry) -> None:
        key = order.key
        if key in self._refreshing or key in self._flights or self._is_resting(key):
            return
        self._refreshing.add(key)
        # A context of its own: it is no part of the request that set it off.
        context = contextvars.Context()
        task = asyncio.get_running_loop().create_task(self._refreshed(order, seen), context=context)
        self._hold(task, functools.partial(self._refreshing.discard, key))

    async def _refreshed(self, order: Order, seen: DataEntry) -> None:
        try:
            lease = await self._acquire(order, 0.0, seen)
            if not isinstance(lease, Lease):
                return  # another worker is at it, or done, or the store is away
            await self._make(order, lease)
            self.counts.refreshes += 1
        except Exception:
            self._rest(order.key)
            logger.warning("refreshing %r failed; what is kept stays", order.key, exc_info=True)

    # --- bookkeeping

    def _is_resting(self, key: str) -> bool:
        return self._resting.get(key, 0.0) > asyncio.get_running_loop().time()

    def _rest(self, key: str) -> None:
        self._resting[key] = asyncio.get_running_loop().time() + REST
        if len(self._resting) > RESTING:
            self._resting.popitem(last=False)

    def _hold(self, task: asyncio.Task[Any], then: Callable[[], object] | None = None) -> None:
        self._tasks.add(task)

        def landed(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if then is not None:
                then()
            if not task.cancelled():
                task.exception()  # those who wait hear of it; if they have left, nobody needs to

        task.add_done_callback(landed)

    def _close(self, key: str, flight: _Flight) -> None:
        """Let nobody join a load any more."""
        if self._flights.get(key) is flight:
            del self._flights[key]


async def called(function: Callable[[], Any], *, to_thread: bool = False) -> Any:
    """What a function returns, be it a coroutine function or not."""
    result = await asyncio.to_thread(function) if to_thread else function()
    return await result if inspect.isawaitable(result) else result
