"""One run of the app for one key, and everybody who waits for it.

A fill runs in a task of its own, so that no client's coming or going changes what the others get.
It ends in one of these ways, which all waiters learn as its outcome, as soon as it is known:

    Broadcast   the response may be kept: its body is shared with everybody while it flows
    Direct      it may not: it goes to the one who asked first, and the others go their own way
    Instead     an entry is served in its place: another worker's, the confirmed one, or a stale one
    an error    the app raised before its response began

A response is judged when it begins and stored before its last chunk is passed on, so that whoever
has seen the end of it can read it from the cache. Only what is complete is stored. A fill that
nobody waits for, be it that all have left or that it is a refresh, has the policy's `timeout` to
come to its end.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope

from cachemw.asgi import response_head
from cachemw.caching.cache_control import OUR_TARGET
from cachemw.caching.entry import Entry
from cachemw.caching.etags import etag_of, generate_etag
from cachemw.caching.flow import Broken, Flow, Reader
from cachemw.caching.freshness import ERROR_STATUSES
from cachemw.caching.groups import group_tag, groups_of
from cachemw.caching.keeper import RENEW_AFTER, Keeper, Lease
from cachemw.caching.marks import CONTEXT, Notes
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.rules import Keep, Refuse, Verdict, Wishes, confirm, entry_header, judge
from cachemw.caching.shelf import Shelf, all_tags
from cachemw.caching.validation import CONDITIONAL, to_freshen
from cachemw.errors import StoreUnavailable
from cachemw.messages import Headers, RequestHead, ResponseHead, first_of, without
from cachemw.stores.base import Store

logger = logging.getLogger("cachemw.cache")

ETAG_PATIENCE = 0.005  # seconds that the head of a response with a length waits for its body
SESSION_USED = "cachemw.session_used"

_BODIES = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})
_TOLD = frozenset({b"cache-control", b"expires"})
_HIDDEN = _TOLD | {b"pragma", OUR_TARGET}


@dataclass(frozen=True)
class Broadcast:
    """The response is shared by everybody who waits and may have it."""

    status: int
    headers: Headers
    """As the app sent them, for whoever asked first."""
    keep: Keep
    tags: tuple[bytes, ...]
    reason: Reason | None = None
    """Why it is not being stored all the same."""

    @property
    def head(self) -> ResponseHead:
        return ResponseHead(self.status, self.keep.headers)

    def for_first(self) -> Headers:
        """The app's own headers, with what clients are told about keeping the response."""
        told = tuple(pair for pair in self.keep.headers if pair[0] in _TOLD)
        return (*(pair for pair in self.headers if pair[0] not in _HIDDEN), *told)


@dataclass(frozen=True)
class Direct:
    """The response goes to the one who asked first, as it is."""

    reason: Reason


@dataclass(frozen=True)
class Instead:
    """This entry is served."""

    entry: Entry
    detail: Reason | None
    is_stale: bool = False
    as_of: float = 0.0
    """When, on the event loop's clock, it was looked for: it may have been purged since."""


ClientSend: TypeAlias = Callable[["Fill", Message, Reason], Awaitable[None]]
"""The `send` of who asked first, for a response that must not be kept, and the reason for that."""

Outcome: TypeAlias = Broadcast | Direct | Instead
Acquire: TypeAlias = Callable[[], Awaitable[Lease | Instead | Reason]]
"""Gets the lease; or what is to be served instead; or says why there is neither."""


class Fill:
    """The making of one entry. `run` is awaited in a task; `outcome` by any number of readers."""

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        resource: Resource,
        *,
        store: Store,
        shelf: Shelf,
        keeper: Keeper,
        send: ClientSend | None,
        receive: Receive,
        request_body: bytes = b"",
        validating: Entry | None = None,
        stand_in: Callable[[], bool] = lambda: False,
    ) -> None:
        self.resource = resource
        self.fields = shelf.fields(resource)
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.flow = Flow(self._deserted)
        self.scope = scope
        self.lease: Lease | None = None
        self.unkept: Reason | None = None
        """Why the response, which may be kept, is not."""
        self._notes: Notes = scope[CONTEXT]
        self._app = app
        self._store, self._shelf, self._keeper = store, shelf, keeper
        self._send_first = send
        self._receive = receive
        self._request_body: bytes | None = request_body
        self._validating = validating
        self._may_stand_in = stand_in
        self.began_at = 0
        self._received = 0
        self._head: ResponseHead | None = None
        self._start: Message = {}
        self._verdict: Verdict | None = None
        self._is_discarding = False  # the rest of the response is for nobody
        self._must_ask_again = False
        self._app_has_etag = False
        self._turned_direct = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self._renewal: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None  # held, or it might be collected
        self.was_kept = False
        self._may_be_cut = False  # what was kept ended without a word of its length

    def __repr__(self) -> str:
        return f"<Fill {self.resource.primary!r} {self.outcome!r} {self.flow.size} bytes>"

    # --- those who wait

    def is_for(self, resource: Resource) -> bool:
        """Whether another request would get this very response, as far as is known."""
        same = resource.primary == self.resource.primary
        return same and resource.variant(self.fields) == self.resource.variant(self.fields)

    @property
    def can_be_joined(self) -> bool:
        """Whether somebody who comes now still gets all of it."""
        is_shared = not self._turned_direct.is_set() and self.flow.is_gathering
        is_over = self._is_discarding or self.flow.ended or self.task is None or self.task.done()
        is_ours = self.outcome.get_loop() is asyncio.get_running_loop()
        return is_ours and is_shared and not is_over and not self._has_failed

    @property
    def _has_failed(self) -> bool:
        outcome = self.outcome
        return outcome.done() and (outcome.cancelled() or outcome.exception() is not None)

    @property
    def has_begun(self) -> bool:
        """Whether the app has been asked: from then on the response may be older than a purge."""
        return self.began_at > 0

    async def still_stands(self, tags: tuple[bytes, ...]) -> bool:
        """Whether nothing has been purged since it began that its response would have."""
        if not self.has_begun:
            return True
        if self.unkept is Reason.STORE_UNAVAILABLE:
            return await self._is_nobody_told()
        if self.lease is None:
            return False
        try:
            stands, is_current = await asyncio.gather(
                self._keeper.renew(self.resource, self.lease), self.is_current(tags)
            )
        except StoreUnavailable:
            return False
        return stands and is_current

    async def _is_nobody_told(self) -> bool:
        """Whether the store is still away: then nobody can be told of purges. Of those since it
        came back, this fill, which has no lease, would not hear."""
        try:
            await self._shelf.is_purged(self.began_at, self.resource.tags)
        except StoreUnavailable:
            return True
        return False

    async def is_current(self, tags: Sequence[bytes]) -> bool:
        """Whether none of these tags was purged since it began. If one was, nobody need wait for
        this fill's lease."""
        if not await self._shelf.is_purged(self.began_at, tags):
            return True
        self.unkept = Reason.PURGED
        await self._settled(self._give_back(None))
        return False

    def forget_client(self) -> None:
        """The one who asked first has been served otherwise."""
        self._send_first = None

    def join(self) -> Reader:
        """A place among those who wait; to be left."""
        return self.flow.join()

    @property
    def _is_with_client(self) -> bool:
        """Whether it is in the hands of the one who asked first, who ends it by leaving."""
        return self._turned_direct.is_set() and self._send_first is not None

    def _deserted(self) -> None:
        task = self.task
        if task is None or task.done() or self.flow.ended or self._timer is not None:
            return
        if self._is_with_client:
            return
        patience = self.resource.policy.timeout
        self._timer = asyncio.get_running_loop().call_later(patience, self._expire)

    def _expire(self) -> None:
        """Time is up. Who has come since does not keep alive what has not even begun."""
        self._timer = None
        is_read = bool(self.flow.readers) and self.outcome.done()
        if self.task is not None and not (is_read or self._is_with_client or self.flow.ended):
            self._is_late = True
            self.task.cancel()

    # --- the run

    async def run(self, acquire: Acquire) -> None:
        """Make the response, under a lease that `acquire` gets."""
        if not self.flow.readers:
            self._deserted()
        try:
            acquired = await acquire()
            if isinstance(acquired, Instead):
                self.fields = self._shelf.fields(self.resource)
                self._decide(acquired)
            else:
                await self._make(acquired)
        except asyncio.CancelledError as error:
            await self._unkeep()
            if not self._is_late:
                self._fail(error)
                raise
            late = TimeoutError(f"the app did not answer in {self.resource.policy.timeout} s")
            self._fail(late)
            raise late from None
        except BaseException as error:
            await self._unkeep()
            self._fail(error)
            raise
        finally:
            for handle in (self._timer, self._renewal):
                if handle is not None:
                    handle.cancel()
            await self._settled(self._give_back(None))

    async def _unkeep(self) -> None:
        """Take back what was stored: layers in between end a broken response as if it were whole,
        and raise what broke it afterwards."""
        if self.was_kept and self._may_be_cut:
            self.was_kept = False
            await self._settled(self._keeper.purge_resource(self.resource.primary))

    async def _make(self, acquired: Lease | Reason) -> None:
        if isinstance(acquired, Lease):
            self.lease, self.began_at = acquired, acquired.born
        else:
            self.unkept, self.began_at = acquired, self._store.now()
        self._renew_later()
        await self._app(self.scope, self._receive_for_app, self._send_from_app)
        if self._must_ask_again:
            await self._ask_again()
        # How much of it a client gets whose own response it is, is between the two.
        is_theirs = self._is_discarding or isinstance(self._verdict, Refuse)
        if self._head is None or not (self.flow.ended or is_theirs):
            raise Broken("the app returned before its response was complete")

    async def _ask_again(self) -> None:
        """§4.3.4: a 304 that confirms something else confirms nothing."""
        self._validating = None
        self._is_discarding = self._must_ask_again = False
        self._request_body = self._request_body or b""
        self.scope["headers"] = list(without(self.scope["headers"], CONDITIONAL))
        await self._app(self.scope, self._receive_for_app, self._send_from_app)

    def _renew_later(self) -> None:
        """Renew the lease as long as the app takes."""
        loop = asyncio.get_running_loop()
        if self.lease is not None:
            self._renewal = loop.call_later(RENEW_AFTER, self._renew)

    def _renew(self) -> None:
        async def renew() -> None:
            if self.lease is not None:
                with contextlib.suppress(StoreUnavailable):
                    await self._keeper.renew(self.resource, self.lease)
                self._renew_later()

        self._renewing = asyncio.get_running_loop().create_task(renew())

    def _fail(self, error: BaseException) -> None:
        self.flow.break_off(error)
        if self.outcome.done():
            return
        stale = self._validating
        if isinstance(error, Exception) and stale is not None and self._may_stand_in():
            logger.warning("serving stale in place of an error", exc_info=error)
            self._decide(Instead(stale, Reason.STALE_IF_ERROR, is_stale=True))
        elif isinstance(error, asyncio.CancelledError):
            self.outcome.cancel()
        else:
            self.outcome.set_exception(error)
            self.outcome.exception()  # perhaps nobody is there to ask for it

    async def _receive_for_app(self) -> Message:
        """The request's body, and then nothing: whether a client leaves concerns only a response
        that is its own."""
        body, self._request_body = self._request_body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._turned_direct.wait()
        return await self._receive()

    async def _send_from_app(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif self._is_discarding:
            return
        elif not isinstance(self._verdict, Keep):
            await self._pass_on(message)
        elif kind == "http.response.body":
            # A copy, unless it is bytes: the app may use its buffer again.
            await self._take(bytes(message.get("body", b"")), message.get("more_body", False))
        elif not self.outcome.done():
            # A body that does not come in chunks.
            await self._turn_direct(Reason.STREAM)
            await self._pass_on(message)

    # --- the response begins

    async def _begin(self, message: Message) -> None:
        self._received = self._store.now()
        message = {**message, "headers": list(message.get("headers", ()))}
        self._start = message
        self._head = head = response_head(message)
        self._app_has_etag = etag_of(head.headers) is not None
        stale = self._validating
        if stale is not None and head.status == 304:
            self._is_discarding = True
            self._must_ask_again = not to_freshen([stale.header.headers], head.headers)
            if not self._must_ask_again:
                await self._confirm(stale, head)
        elif stale is not None and head.status in ERROR_STATUSES and self._may_stand_in():
            self._is_discarding = True
            self._decide(Instead(stale, Reason.STALE_IF_ERROR, is_stale=True))
        else:
            self._verdict = verdict = self._judge(head)
            if isinstance(verdict, Keep):
                self._expect_body(verdict)
            else:
                await self._turn_direct(verdict.reason)

    def _judge(self, head: ResponseHead) -> Verdict:
        if self._start.get("trailers", False):
            return Refuse(Reason.STREAM)
        return judge(
            self._request(),
            head,
            self.resource.policy,
            self._wishes(),
            asked_at=self.began_at / 1e6,
            received=self._received / 1e6,
            lot=self.resource.lot,
        )

    def _request(self) -> RequestHead:
        """The request as the app has seen it."""
        return replace(self.resource.request, headers=tuple(self.scope["headers"]))

    def _wishes(self) -> Wishes:
        session = self.scope.get("session")
        used_session = self.scope.get(SESSION_USED) or getattr(session, "accessed", False)
        return Wishes(self._notes.ttl, self._notes.skip is not None, bool(used_session))

    def _expect_body(self, keep: Keep) -> None:
        """Tell those who wait, unless the whole body follows at once and gives the head an ETag.

        An app that has it ready sends it before anything else can run, or, where layers hand it on
        through queues, soon. One that streams is not waited for.
        """
        self._note_fields(keep)
        loop = asyncio.get_running_loop()
        if first_of(keep.headers, b"content-length") is None:
            loop.call_soon(self._broadcast)
        else:
            loop.call_later(ETAG_PATIENCE, self._broadcast)

    def _note_fields(self, keep: Keep) -> None:
        """What selects this response, together with what is known to select others of its URL."""
        fields = self.resource.fields(keep.fields)
        self.fields = tuple(sorted({*fields, *self._shelf.fields(self.resource)}))
        self._shelf.learn(self.resource, self.fields)

    async def _turn_direct(self, reason: Reason) -> None:
        """Leave the response to the one who asked first."""
        assert self._head is not None
        self._verdict = Refuse(reason)
        # Begun before anything is sent, so that whoever comes now does not wait for this one. An
        # error says nothing about the next response.
        told = None if self._head.status >= 500 else reason
        released = self._give_back(told)
        self._decide(Direct(reason))
        self._turned_direct.set()
        await self._pass_on(self._start)
        await self._settled(released)

    async def _pass_on(self, message: Message) -> None:
        reason = self._verdict.reason if isinstance(self._verdict, Refuse) else Reason.STREAM
        if message["type"] in _BODIES:
            self.flow.ended = not message.get("more_body", False)
        if self._send_first is not None:
            await self._send_first(self, message, reason)

    def _broadcast(self) -> None:
        if not self.outcome.done() and isinstance(self._verdict, Keep) and self._head is not None:
            tags, head = self._tags(self._verdict), self._head
            self._decide(Broadcast(head.status, head.headers, self._verdict, tags, self.unkept))

    def _tags(self, keep: Keep) -> tuple[bytes, ...]:
        request = self.resource.request
        groups = [group_tag(request, group) for group in sorted(groups_of(keep.headers))]
        return all_tags([self.resource.tags, self._notes.tags, groups])

    def _decide(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    # --- the body

    async def _take(self, chunk: bytes, more: bool) -> None:
        flow, most = self.flow, self.resource.policy.max_body
        if flow.is_gathering and flow.size + len(chunk) > most:
            self.unkept = Reason.TOO_LARGE
            released = self._give_back(Reason.TOO_LARGE)
            self._broadcast()
            flow.let_pass()
            await self._settled(released)
        elif not more and flow.is_gathering:
            body = flow.gathered + chunk if flow.size else chunk
            self._add_etag(body)
            await self._store_entry(body)
        self._broadcast()
        await flow.write(chunk, more=more)

    def _add_etag(self, body: bytes) -> None:
        """Give the response an ETag, if the app gave none."""
        assert isinstance(self._verdict, Keep)
        assert self._head is not None
        headers = self._verdict.headers
        wanted = self.resource.policy.etag and self._head.status == 200
        if not wanted or first_of(headers, b"etag") is not None:
            return
        coding = first_of(headers, b"content-encoding") or b""
        tag = b"etag", generate_etag(sha256(body).digest(), coding)
        self._verdict = replace(self._verdict, headers=(*headers, tag))
        self._head = replace(self._head, headers=(*self._head.headers, tag))

    async def _store_entry(self, body: bytes) -> None:
        keep = self._verdict
        if not isinstance(keep, Keep) or self._head is None:
            return
        stated = first_of(keep.headers, b"content-length")
        if stated is not None and stated != b"%d" % len(body):
            self.unkept = Reason.INCOMPLETE  # §3.3, whatever the app thinks
        else:
            is_all_at_once = bool(body) and not self.flow.size
            self._may_be_cut = stated is None and not is_all_at_once
            await self._keep(keep, self._head.status, body, self._tags(keep), self._app_has_etag)

    async def _keep(
        self, keep: Keep, status: int, body: bytes, tags: tuple[bytes, ...], has_own_etag: bool
    ) -> Entry:
        """The entry, stored if there is a lease for it."""
        header = entry_header(
            keep,
            status,
            born=self.began_at,
            received=self._received,
            tags=tags,
            took=(self._received - self.began_at) / 1e6,
            has_own_etag=has_own_etag,
            target=self.resource.target,
        )
        entry = Entry(header, body)
        lease, self.lease = self.lease, None
        if lease is None:
            return entry
        try:
            reason = await self._keeper.keep(self.resource, lease, entry, self.fields, keep.usable)
        except StoreUnavailable as error:
            logger.debug("not stored: %s", error)
            reason = Reason.STORE_UNAVAILABLE
        self.unkept, self.was_kept = reason, reason is None
        if reason is None:
            self._shelf.learn(self.resource, self.fields, tags)
        return entry

    def _give_back(self, reason: Reason | None) -> Awaitable[object] | None:
        """End the lease without an entry. Begun at the call."""
        lease, self.lease = self.lease, None
        if lease is None:
            return None
        variant = self.resource.variant(self.fields)
        return self._keeper.give_back(self.resource, lease, variant, reason)

    async def _settled(self, released: Awaitable[object] | None) -> None:
        try:
            if released is not None:
                await released
        except StoreUnavailable as error:
            logger.debug("lease not given back: %s", error)

    # --- confirmed by the app

    async def _confirm(self, stale: Entry, head: ResponseHead) -> None:
        """§4.3.4: a 304 freshens the entry that it speaks of."""
        verdict = confirm(
            self._request(),
            stale,
            head,
            self.resource.policy,
            self._wishes(),
            asked_at=self.began_at / 1e6,
            received=self._received / 1e6,
            lot=self.resource.lot,
        )
        if isinstance(verdict, Refuse):
            self._decide(Instead(stale, Reason.NOT_MODIFIED))
            return
        self._note_fields(verdict)
        tags = all_tags([stale.header.tags, self._tags(verdict)])
        status = stale.header.status
        entry = await self._keep(verdict, status, stale.body, tags, stale.header.has_own_etag)
        self._decide(Instead(entry, Reason.NOT_MODIFIED))
