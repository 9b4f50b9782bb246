"""Getting an answer from the app, together with everybody who wants the same.

    nobody makes it yet              lead: start a fill, wait like all others
    somebody here makes it           follow, if nothing was purged since it began
    somebody elsewhere makes it      the fill waits for the lease, or for the entry

Whoever waits leaves with its client. The fill does not mind.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from starlette.types import Message, Receive

from cachemw.asgi import body_message, respond, start_message
from cachemw.caching import status
from cachemw.caching.call import RESULT, Call, with_status
from cachemw.caching.entry import Entry
from cachemw.caching.errand import errand, leave_traces, nobody
from cachemw.caching.fill import Acquire, Broadcast, ClientSend, Direct, Fill, Instead, Outcome
from cachemw.caching.flow import Broken, Reader
from cachemw.caching.keeper import Lease
from cachemw.caching.reasons import Reason
from cachemw.caching.replay import answer
from cachemw.caching.rules import Found, Hit, Miss, Validate, can_be_asked_about, decide, may_stand_in
from cachemw.caching.status import Forward
from cachemw.caching.validation import Condition, conditional_headers, evaluate, not_modified_headers
from cachemw.errors import StoreUnavailable
from cachemw.messages import Headers, first_of
from cachemw.stores.base import together

POLL = 0.01  # seconds between two looks for another worker's entry at first,
POLL_MOST = 0.05  # and in the end


class Asking:
    """One request on its way to the app. `stale` is what may stand in for an error."""

    def __init__(self, call: Call, why: Miss | Validate, stale: Entry | None) -> None:
        self.call = call
        self.why = why
        self.stale = stale

    async def run(self) -> None:
        call, stale = self.call, self.stale
        if stale is None and first_of(call.request.headers, b"range") is not None:
            # A part is not worth making the client wait for the whole.
            await call.bypass(Reason.PARTIAL, self.why.forward)
            return
        tried: list[Fill] = []
        if call.policy.coalesce and self.why.detail is not Reason.UNCACHEABLE:
            while (fill := call.engine.flights.of(call.resource, tried)) is not None:
                tried.append(fill)
                if await self._follow(fill):
                    return
            await self._lead(alone=False)
        else:
            await self._lead(alone=True)

    # --- first, or one of many

    async def _lead(self, *, alone: bool) -> None:
        call, engine = self.call, self.call.engine
        fill = new_fill(call, self.stale, self._send_direct)
        self._fill = fill
        async with self._waiting(fill) as (reader, leaving):
            wait = 0.0 if alone else call.policy.lease_wait
            acquire = acquiring(call, wait, self.why.detail)
            task = engine.flights.start(fill, acquire, is_shared=not alone)
            try:
                outcome = await self._outcome(fill, leaving)
                if outcome is None:
                    return
                if isinstance(outcome, Direct):
                    leaving.cancel()  # from now on the app hears of the client itself
                    await task
                    return
                leave_traces(fill.scope, call.scope)
                await self._serve(outcome, reader, is_first=True)
                if isinstance(outcome, Broadcast) and not leaving.done():
                    await asyncio.shield(task)  # work in the background of the app may still fail
            except Broken:
                await asyncio.shield(task)  # raises what broke it
                raise
            finally:
                leave_traces(fill.scope, call.scope)

    async def _follow(self, fill: Fill) -> bool:
        """Wait for another request's answer. False when it is not for this one."""
        call = self.call
        async with self._waiting(fill) as (reader, leaving):
            if not await fill.still_stands(call.resource.tags):
                return False
            try:
                outcome = await self._outcome(fill, leaving)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                return False  # it was the fill that was cancelled
            except Exception:
                outcome = Direct(Reason.INCOMPLETE)
            if outcome is None:
                return True
            if isinstance(outcome, Broadcast):
                if not fill.is_for(call.resource) or not await self._stands(fill, outcome):
                    return False
            if not isinstance(outcome, Direct):
                if await call.is_let_in():
                    await self._serve(outcome, reader, is_first=False)
                else:
                    await call.bypass(Reason.GUARD)
                return True
        self.why = replace(self.why, detail=Reason.UNCACHEABLE)
        await self._lead(alone=True)
        return True

    async def _stands(self, fill: Fill, outcome: Broadcast) -> bool:
        """Whether the tags that only the response has told were not purged meanwhile."""
        told = [tag for tag in outcome.tags if tag not in self.call.resource.tags]
        if not told or fill.lease is None:
            return True
        try:
            return not await self.call.engine.shelf.is_purged(fill.lease.born, told)
        except StoreUnavailable:
            return False

    @contextlib.asynccontextmanager
    async def _waiting(self, fill: Fill) -> AsyncIterator[tuple[Reader, "asyncio.Task[None]"]]:
        """A place at a fill, and a task that ends when the client leaves."""
        reader = fill.join()
        leaving = asyncio.get_running_loop().create_task(departure(self.call.receive))
        leaving.add_done_callback(lambda _: reader.leave())
        try:
            yield reader, leaving
        finally:
            reader.leave()
            leaving.cancel()

    async def _outcome(self, fill: Fill, leaving: "asyncio.Task[None]") -> Outcome | None:
        """What comes of a fill, or the stale entry if that takes too long. None: nobody waits."""
        patience, stale = self.call.policy.soft_timeout, self.stale
        if stale is None or not may_stand_in(stale, self.call.asked, self.call.engine.store.now()):
            patience = None
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait((fill.outcome, leaving), timeout=patience, return_when=first)
        if fill.outcome.done():
            return fill.outcome.result()
        if self._leads(fill):
            fill.forget_client()
        if leaving.done() or stale is None:
            return None
        return Instead(stale, Reason.STALE_IF_ERROR, is_stale=True)
