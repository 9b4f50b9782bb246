"""Getting an answer from the app, together with everybody who wants the same.

    nobody makes it yet              lead: start a fill, wait like all others
    somebody here makes it           follow, if nothing was purged since it began
    somebody elsewhere makes it      the fill waits for the lease, or for the entry

Whoever waits leaves with its client. The fill does not mind.
"""

import asyncio
import contextlib

from msgspec import structs
from starlette.types import Message, Scope

from cachemw.asgi import body_message, respond, start_message
from cachemw.caching import status
from cachemw.caching.call import Call, with_status
from cachemw.caching.entry import Entry
from cachemw.caching.errand import errand, leave_traces, nobody
from cachemw.caching.fill import Acquire, Fill
from cachemw.caching.flow import Broken, Reader
from cachemw.caching.intake import ClientSend
from cachemw.caching.judging import questions_about
from cachemw.caching.keeper import Lease
from cachemw.caching.outcomes import Broadcast, Direct, Instead, Outcome
from cachemw.caching.reasons import Reason
from cachemw.caching.replay import answer
from cachemw.caching.rules import Found, Hit, Miss, Validate, decide, may_stand_in
from cachemw.caching.status import Forward
from cachemw.caching.validation import client_has, not_modified_headers
from cachemw.caching.waiting import Waiting
from cachemw.errors import StoreUnavailable
from cachemw.messages import Headers
from cachemw.telemetry.events import Outcome as Became

_FAILED = Direct(Reason.INCOMPLETE)
"""What followers make of a fill that failed, or hangs: they ask for themselves."""

NOTHING_THERE = Miss(Forward.URI_MISS)
"""A look that found nothing whatever."""

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
        if call.policy.guard is not None and not await call.is_let_in():
            # What this client would be given is not what others may share, either.
            await call.bypass(Reason.GUARD)
            return
        if stale is None and b"range" in dict(call.request.headers):
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
        with Waiting(fill, call.receive) as waiting:
            wait = 0.0 if alone else call.policy.lease_wait
            acquire = acquiring(call, wait, self.why, alone=alone)
            task = engine.flights.start(fill, acquire, is_shared=not alone)
            try:
                outcome = await self._outcome(fill, waiting)
                if not fill.outcome.done():
                    fill.forget_client()
                if outcome is None:
                    await self._take_leave()
                    return
                if isinstance(outcome, Direct):
                    waiting.listen_no_more()  # from now on the app hears of the client itself
                    await task
                    return
                leave_traces(fill.scope, call.scope)
                await self._serve(outcome, waiting.reader, is_first=True)
                if isinstance(outcome, Broadcast) and not waiting.has_left:
                    # Work in the background of the app may still fail.
                    task.result() if task.done() else await asyncio.shield(task)
            except Broken:
                await asyncio.shield(task)  # raises what broke it
                raise
            except asyncio.CancelledError:
                fill.forget_client()
                raise
            finally:
                leave_traces(fill.scope, call.scope)

    async def _follow(self, fill: Fill) -> bool:
        """Wait for another request's answer. False when it is not for this one."""
        call = self.call
        with Waiting(fill, call.receive) as waiting:
            if not await fill.tenure.still_stands(call.resource.tags):
                return False
            try:
                outcome = await self._outcome(fill, waiting, most=call.policy.lease_wait)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                return False  # it was the fill that was cancelled
            except Exception:
                outcome = _FAILED
            if isinstance(outcome, Instead) and outcome.is_stale:
                # Its stale entry may have been purged before this request began: use our own.
                own = self.stale
                outcome = _FAILED if own is None else structs.replace(outcome, entry=own)
            elif isinstance(outcome, Instead) and outcome.is_for_first:
                outcome = Direct(Reason.NOT_MODIFIED)
            elif isinstance(outcome, Instead | Broadcast) and not await self._is_for_us(
                fill, outcome, waiting.reader
            ):
                return False
            if outcome is None:
                await self._take_leave()
                return True
            if isinstance(outcome, Instead | Broadcast):
                await self._serve(outcome, waiting.reader, is_first=False)
                return True
        if outcome is not _FAILED:
            self.why = structs.replace(self.why, detail=Reason.UNCACHEABLE)
        await self._lead(alone=True)
        return True

    async def _is_for_us(self, fill: Fill, outcome: Broadcast | Instead, reader: Reader) -> bool:
        """Whether it is this variant, and no purge came between it and this request."""
        resource = self.call.resource
        if not fill.is_for(resource):
            return False
        if isinstance(outcome, Broadcast):
            tags, is_untold = outcome.tags, outcome.reason is Reason.STORE_UNAVAILABLE
        elif outcome.detail is None:
            return reader.joined <= outcome.as_of
        else:
            tags = outcome.entry.header.tags
            is_untold = fill.tenure.unkept is Reason.STORE_UNAVAILABLE
        told = [tag for tag in tags if tag not in resource.tags]
        try:
            return not told or await fill.tenure.is_current(told)
        except StoreUnavailable:
            return is_untold

    async def _outcome(
        self, fill: Fill, waiting: Waiting, most: float | None = None
    ) -> Outcome | None:
        """What comes of a fill, or the stale entry if that takes too long. None: nobody waits.
        After `most` seconds it counts as failed."""
        patience, stale = self.call.policy.soft_timeout, self.stale
        if stale is None or not may_stand_in(stale, self.call.asked, self.call.engine.store.now()):
            patience = None
        is_bound = most is not None and (patience is None or most < patience)
        await waiting.news(most if is_bound else patience)
        if fill.outcome.done():
            return fill.outcome.result()
        if waiting.has_left:
            return None
        if is_bound or stale is None:
            return _FAILED
        return Instead(stale, Reason.STALE_IF_ERROR, is_stale=True)

    # --- passing it on

    async def _serve(self, outcome: Broadcast | Instead, reader: Reader, *, is_first: bool) -> None:
        call, request = self.call, self.call.request
        if isinstance(outcome, Instead):
            await self._serve_entry(outcome, collapsed=not is_first)
            return
        keep = outcome.keep
        reason, is_stored = outcome.reason or self.why.detail, outcome.reason is None
        told = status.forwarded(
            self.why.forward,
            status=outcome.status,
            stored=is_stored,
            collapsed=not is_first,
            ttl=None if outcome.reason else keep.lifetime.fresh - keep.initial_age,
            detail=reason,
        )
        now, code, joined = call.engine.store.now(), outcome.status, not is_first
        call.tell(Became.MISS, reason, code, now, stored=is_stored, collapsed=joined)
        extra = [told]
        if not is_first:  # §4: it was not made for this request
            passed = max(0, now - outcome.received) / 1e6
            extra.insert(0, (b"age", b"%d" % (keep.initial_age + passed)))
        if client_has(request, outcome.head, received=now / 1e6):
            reader.leave()  # the body is not waited for
            await respond(call.send, 304, [*not_modified_headers(keep.headers), *extra], b"")
            return
        sent = outcome.for_first() if is_first else keep.headers
        await call.send(start_message(outcome.status, [*sent, *extra]))
        if request.method == "HEAD":
            reader.leave()
            await call.send(body_message(b""))
            return
        async for chunk, more in reader:
            await call.send(body_message(chunk, more=more))
            if not more:
                return

    async def _take_leave(self) -> None:
        """The client has left. Layers further out want to see a response all the same."""
        with contextlib.suppress(OSError):
            await respond(self.call.send, 499, [(b"content-length", b"0")], b"")

    async def _serve_entry(self, outcome: Instead, *, collapsed: bool) -> None:
        call, entry = self.call, outcome.entry
        now = call.engine.store.now()
        age, detail, joined = entry.age(now), outcome.detail, collapsed
        ttl = entry.lifetime.fresh - age
        if outcome.is_stale:
            became, answered = Became.STALE, outcome.status or None
        else:
            became, joined = Became.MISS, collapsed or detail is None
            answered = outcome.status or entry.header.status
        told = status.forwarded(
            self.why.forward, status=answered, ttl=ttl, collapsed=joined, detail=detail
        )
        code, headers, body = answer(call.request, entry, told, now)
        call.tell(became, detail, code, now, age=age, size=len(body), collapsed=joined)
        await respond(call.send, code, headers, body)

    async def _send_direct(self, made: Scope, message: Message, reason: Reason) -> None:
        """The client's `send` for a response that turns out to be its own."""
        call = self.call
        if message["type"] == "http.response.start":
            leave_traces(made, call.scope)
            told = status.forwarded(self.why.forward, status=message["status"], detail=reason)
            message = {**message, "headers": with_status(message.get("headers", ()), told)}
            now = call.engine.store.now()
            call.tell(Became.MISS, reason, message["status"], now)
        elif call.request.method == "HEAD" and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await call.send(message)


# --- making fills


def start_refresh(call: Call, entry: Entry | None) -> None:
    """Have an entry made, or made anew, in the background, unless that is under way."""
    engine = call.engine
    variant = engine.shelf.variant(call.resource)
    if engine.flights.may_refresh(call.resource, variant):
        acquire = acquiring(call, 0.0, newer_than=entry)
        engine.flights.start_refresh(new_fill(call, entry, None), variant, acquire, call.route)
    else:
        engine.tally.refresh_collapsed()


def new_fill(call: Call, stale: Entry | None, send: ClientSend | None) -> Fill:
    """A fill that answers a call, or, without a `send`, nobody."""
    engine, store, asked = call.engine, call.engine.store, call.asked
    asking: Headers = () if stale is None else questions_about(stale)
    return Fill(
        engine.app,
        errand(
            call.scope,
            call.request,
            call.policy,
            asking=asking,
            app_state=engine.app_state,
            has_body=bool(call.body),
            is_refresh=send is None,
        ),
        call.resource,
        store=store,
        shelf=engine.shelf,
        keeper=engine.keeper,
        send=send,
        receive=nobody if send is None else call.receive,
        request_body=call.body,
        validating=stale,
        complain=engine.complain,
        stand_in=lambda: stale is not None and may_stand_in(stale, asked, store.now()),
    )


def acquiring(
    call: Call,
    patience: float,
    why: Miss | Validate | None = None,
    newer_than: Entry | None = None,
    *,
    alone: bool = False,
) -> Acquire:
    """Waits up to `patience` seconds for the lease, or for what another worker makes under it; or,
    `alone`, takes one of its own."""
    engine, resource, policy, asked = call.engine, call.resource, call.policy, call.asked

    def good(found: Found) -> Entry | None:
        """The entry found, if it may be served as it is and is not the one to be replaced."""
        decision = decide(found, asked, policy, now=engine.store.now(), luck=1.0)
        if not isinstance(decision, Hit):
            return None
        same = newer_than is not None and decision.entry.header.born <= newer_than.header.born
        return None if same else decision.entry

    async def acquire() -> Lease | Instead | Reason:
        if why is not None and why.detail is Reason.STORE_UNAVAILABLE:
            return Reason.STORE_UNAVAILABLE
        pause, waited = POLL, 0.0
        try:
            if not engine.keeper.is_ready:
                await engine.keeper.get_ready(patience)
            if why == NOTHING_THERE:
                # The usual case: the lease is given only if there is still nothing to look at.
                variant = engine.shelf.variant(resource)
                leasing = engine.keeper.lease(resource, variant, alone=alone, is_first=True)
                if (lease := await leasing) is not None:
                    return lease
            while True:
                # One trip: the lease, then, behind it, a second look, since somebody may have
                # stored the entry since our first one.
                variant = engine.shelf.variant(resource)
                as_of = asyncio.get_running_loop().time()
                leasing = engine.keeper.lease(resource, variant, alone=alone)
                try:
                    found = await engine.shelf.find(resource, afresh=True)
                except BaseException:
                    if (lease := await leasing) is not None:
                        await engine.keeper.give_back(resource, lease, variant)
                    raise
                lease = await leasing
                entry = good(found)
                if entry is not None:
                    if lease is not None:
                        await engine.keeper.give_back(resource, lease, variant)
                    return Instead(entry, None, as_of=as_of)
                if lease is not None:
                    return lease
                if found.detail is Reason.UNCACHEABLE:
                    return Reason.UNCACHEABLE
                if waited >= patience:
                    return Reason.LEASE_TIMEOUT
                await asyncio.sleep(pause)
                waited, pause = waited + pause, min(pause * 1.5, POLL_MOST)
        except StoreUnavailable:
            return Reason.STORE_UNAVAILABLE

    return acquire
