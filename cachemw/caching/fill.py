"""One run of the app for one key, and everybody who waits for it.

A fill runs in a task of its own, so that no client's coming or going changes what the others get.
It ends in one of these ways, which all waiters learn as its outcome, as soon as it is known:

    Broadcast   the response may be kept: its body is shared with everybody while it flows
    Direct      it may not: it goes to the one who asked first, and the others go their own way
    Instead     an entry is served in its place: another worker's, the confirmed one, or a stale one
    an error    the app raised before its response began

A response is judged when it begins and stored before its last chunk is passed on, so that whoever
has seen the end of it can read it from the cache. Only what is complete is stored.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope

from cachemw.asgi import response_head
from cachemw.caching.cache_control import OUR_TARGET, effective
from cachemw.caching.entry import Entry
from cachemw.caching.etags import etag_of, generate_etag
from cachemw.caching.freshness import ERROR_STATUSES, initial_age
from cachemw.caching.groups import groups_of
from cachemw.caching.keeper import Keeper, Lease
from cachemw.caching.marks import Notes
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.rules import Keep, Refuse, Verdict, Wishes, entry_header, judge
from cachemw.caching.shelf import Plan, Shelf, all_tags
from cachemw.caching.storing import freshened
from cachemw.caching.tags import tag_bytes
from cachemw.caching.validation import to_freshen
from cachemw.errors import StoreUnavailable
from cachemw.messages import Headers, ResponseHead, first_of
from cachemw.stores.base import Store

logger = logging.getLogger("cachemw.cache")

WINDOW = 256 * 1024  # bytes that may wait for the slowest reader of a body that is not kept
SESSION_USED = "cachemw.session_used"


@dataclass(frozen=True)
class Broadcast:
    """The response is shared by everybody who waits and may have it."""

    status: int
    headers: Headers
    """As the app sent them, for whoever asked first."""
    keep: Keep
    reason: Reason | None = None
    """Why it is not being stored all the same."""

    @property
    def head(self) -> ResponseHead:
        return ResponseHead(self.status, self.keep.headers)

    def for_first(self) -> Headers:
        """The app's own headers, with what clients are told about keeping the response."""
        told = tuple(pair for pair in self.keep.headers if pair[0] in _TOLD)
        return (*(pair for pair in self.headers if pair[0] not in _HIDDEN), *told)


_TOLD = frozenset({b"cache-control", b"expires"})
_HIDDEN = _TOLD | {b"pragma", OUR_TARGET}


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


ClientSend: TypeAlias = Callable[[Message, Reason], Awaitable[None]]
"""The `send` of who asked first, for a response that must not be kept, and the reason for that."""

Outcome: TypeAlias = Broadcast | Direct | Instead


class Broken(Exception):
    """The response broke off after it had begun."""


class Fill:
    """The making of one entry. `run` is awaited in a task; `outcome` and `body` by any number."""

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
        self.validating = validating
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.notes: Notes = scope["cachemw.cache"]
        self.scope = scope
        self._app = app
        self._store, self._shelf, self._keeper = store, shelf, keeper
        self._send_first = send
        self._receive = receive
        self._request_body: bytes | None = request_body
        self._may_stand_in = stand_in
        self._lease: Lease | None = None
        self._asked_at = 0
        self._received = 0
        self._head: ResponseHead | None = None
        self._verdict: Verdict = Refuse(Reason.INCOMPLETE)
        self._is_discarding = False  # the rest of the response is for nobody
        self._no_lease: Reason | None = None
        self._app_has_etag = False
        self._chunks: list[bytes] = []
        self._gone = 0  # how many chunks before these every reader has had
        self._size = 0
        self._is_too_large = False
        self._readers: set[_Reader] = set()
        self._has_room = asyncio.Event()
        self._ended = False
        self._failure: BaseException | None = None
        self._news = asyncio.Event()
        self._turned_direct = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Fill {self.resource.primary!r} {len(self._chunks)} chunks>"

    # --- the run

    async def run(self, acquire: Callable[[], Awaitable[Lease | Instead | Reason]]) -> None:
        """Make the response. `acquire` gets the lease, or something to serve in its place."""
        try:
            acquired = await acquire()
            if isinstance(acquired, Instead):
                self._decide(acquired)
                return
            if isinstance(acquired, Lease):
                self._lease = acquired
            else:
                self._no_lease = acquired
            self._asked_at = self._lease.born if self._lease else self._store.now()
            await self._app(self.scope, self._receive_for_app, self._send_from_app)
            if self._head is None or not (self._ended or self._is_discarding):
                raise Broken("the app returned before its response was complete")
        except BaseException as error:
            await self._fail(error)
            raise
        finally:
            await self._give_back(None)

    async def _fail(self, error: BaseException) -> None:
        self._failure = error
        is_answered = self.outcome.done()
        if not is_answered:
            stale = self.validating
            if isinstance(error, Exception) and stale is not None and self._may_stand_in():
                logger.warning("serving stale in place of an error", exc_info=error)
                self._decide(Instead(stale, Reason.STALE_IF_ERROR, is_stale=True))
            elif isinstance(error, asyncio.CancelledError):
                self.outcome.cancel()
            else:
                self.outcome.set_exception(error)
                self.outcome.exception()  # a refresh has nobody who would ask for it
        self._tell()

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
        elif isinstance(self._verdict, Refuse):
            if self._send_first is not None:
                await self._send_first(message, self._verdict.reason)
            self._ended = kind == "http.response.body" and not message.get("more_body", False)
        elif kind == "http.response.body":
            await self._take(message.get("body", b""), message.get("more_body", False))

    # --- the response begins

    async def _begin(self, message: Message) -> None:
        self._received = self._store.now()
        self._head = head = response_head(message)
        self._app_has_etag = etag_of(head.headers) is not None
        stale = self.validating
        if stale is not None and head.status == 304:
            await self._confirm(stale, head)
            return
        if stale is not None and head.status in ERROR_STATUSES and self._may_stand_in():
            self._is_discarding = True
            self._decide(Instead(stale, Reason.STALE_IF_ERROR, is_stale=True))
            return
        self._verdict = self._judge(head, message)
        if isinstance(self._verdict, Refuse):
            await self._give_back(self._verdict.reason)
            self._decide(Direct(self._verdict.reason))
            self._turned_direct.set()
            if self._send_first is not None:
                await self._send_first(message, self._verdict.reason)
        elif first_of(head.headers, b"content-length") is None:
            self._broadcast(self._verdict)
        # With a Content-Length the body follows at once; an ETag of it may still go into the head.

    def _judge(self, head: ResponseHead, message: Message) -> Verdict:
        if message.get("trailers", False):
            return Refuse(Reason.STREAM)
        resource, session = self.resource, self.scope.get("session")
        return judge(
            replace(resource.request, headers=tuple(self.scope["headers"])),
            head,
            resource.policy,
            Wishes(
                ttl=self.notes.ttl,
                skipped=self.notes.skip is not None,
                used_session=bool(
                    self.scope.get(SESSION_USED) or getattr(session, "accessed", False)
                ),
            ),
            asked_at=self._asked_at / 1e6,
            received=self._received / 1e6,
            lot=resource.lot,
        )

    def _broadcast(self, keep: Keep) -> None:
        assert self._head is not None
        self._decide(Broadcast(self._head.status, self._head.headers, keep, self._no_lease))

    def _decide(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    # --- the body

    async def _take(self, chunk: bytes, more: bool) -> None:
        assert isinstance(self._verdict, Keep)
        assert self._head is not None
        self._size += len(chunk)
        if not more and not self.outcome.done():
            self._add_etag(chunk if not self._chunks else None)
        self._is_too_large = self._size > self.resource.policy.max_body
        if not more and not self._is_too_large:
            await self._store_entry(b"".join((*self._chunks, chunk)))
        if not self.outcome.done():
            self._broadcast(self._verdict)
        self._chunks.append(chunk)
        self._ended = not more
        self._tell()
        if self._is_too_large:
            await self._let_readers_catch_up()

    @property
    def is_direct(self) -> bool:
        return self._turned_direct.is_set()

    def forget_client(self) -> None:
        """The one who asked first has been served otherwise."""
        self._send_first = None

    @property
    def can_be_joined(self) -> bool:
        """Whether somebody who comes now still gets all of it."""
        return not self._is_too_large and not self._turned_direct.is_set()

    async def _let_readers_catch_up(self) -> None:
        """What is not kept is not gathered either: wait for the slowest reader."""
        await self._give_back(Reason.TOO_LARGE)
        self._trim()
        while sum(map(len, self._chunks)) > WINDOW and self._readers:
            self._has_room.clear()
            await self._has_room.wait()

    def _trim(self) -> None:
        if self._is_too_large:
            end = self._gone + len(self._chunks)
            slowest = min((reader.at for reader in self._readers), default=end)
            del self._chunks[: slowest - self._gone]
            self._gone = slowest
            self._has_room.set()

    def _add_etag(self, body: bytes | None) -> None:
        """Give a response that came in one piece an ETag, if the app gave none."""
        assert isinstance(self._verdict, Keep)
        assert self._head is not None
        if body is None or not self._wants_etag(self._verdict.headers, self._head.status):
            return
        tag = self._etag(body, self._verdict.headers)
        self._verdict = replace(self._verdict, headers=(*self._verdict.headers, tag))
        self._head = replace(self._head, headers=(*self._head.headers, tag))

    def _wants_etag(self, headers: Headers, status: int) -> bool:
        wanted = self.resource.policy.etag and status == 200
        return wanted and first_of(headers, b"etag") is None

    def _etag(self, body: bytes, headers: Headers) -> tuple[bytes, bytes]:
        coding = first_of(headers, b"content-encoding") or b""
        return b"etag", generate_etag(sha256(body).digest(), coding)

    async def _store_entry(self, body: bytes) -> None:
        keep, lease = self._verdict, self._lease
        if not isinstance(keep, Keep) or self._head is None or lease is None:
            return
        stated = first_of(keep.headers, b"content-length")
        if stated is not None and stated != b"%d" % len(body):
            return  # §3.3: incomplete, whatever the app thinks
        headers = keep.headers
        if self._wants_etag(headers, self._head.status):
            headers = (*headers, self._etag(body, headers))
        groups = [tag_bytes(group) for group in sorted(groups_of(headers))]
        header = entry_header(
            replace(keep, headers=headers),
            self._head.status,
            born=lease.born,
            received=self._received,
            tags=all_tags([self.resource.tags, self.notes.tags, groups]),
            took=(self._received - self._asked_at) / 1e6,
            has_own_etag=self._app_has_etag,
        )
        await self._keep(Entry(header, body), keep, lease)

    async def _keep(self, entry: Entry, keep: Keep, lease: Lease) -> None:
        self._lease = None
        fields = self.resource.fields(keep.fields)
        known = self._shelf.plan(self.resource).fields
        fields = tuple(sorted({*fields, *known}))
        try:
            reason = await self._keeper.keep(self.resource, lease, entry, fields, keep.usable)
        except StoreUnavailable as error:
            logger.debug("not stored: %s", error)
            return
        if reason is None:
            self._shelf.remember(self.resource, Plan(fields, entry.header.tags))

    async def _give_back(self, reason: Reason | None) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        plan = self._shelf.plan(self.resource)
        variant = self.resource.variant(plan.fields)
        try:
            await self._keeper.give_back(self.resource, lease, variant, reason)
        except StoreUnavailable as error:
            logger.debug("lease not given back: %s", error)

    # --- confirmed by the app

    async def _confirm(self, stale: Entry, head: ResponseHead) -> None:
        """§4.3.4: a 304 freshens the entry that it speaks of."""
        self._is_discarding = True
        if not to_freshen([stale.header.headers], head.headers):
            raise Broken("the app answered 304 for a response that is not the stored one")
        cc = effective(head.headers)
        headers = freshened(stale.header.headers, head.headers, cc)
        verdict = self._judge(ResponseHead(stale.header.status, headers), {})
        if isinstance(verdict, Refuse):
            self._decide(Instead(stale, Reason.NOT_MODIFIED))
            return
        header = entry_header(
            replace(verdict, initial_age=_age_of(head, self._asked_at, self._received)),
            stale.header.status,
            born=self._asked_at,
            received=self._received,
            tags=all_tags([stale.header.tags, self.resource.tags, self.notes.tags]),
            took=(self._received - self._asked_at) / 1e6,
            has_own_etag=stale.header.has_own_etag,
        )
        entry = Entry(header, stale.body)
        if self._lease is not None:
            await self._keep(entry, verdict, self._lease)
        self._decide(Instead(entry, Reason.NOT_MODIFIED))

    # --- those who wait

    async def body(self) -> AsyncGenerator[tuple[bytes, bool]]:
        """The chunks of a broadcast, each with whether more follow; `Broken` if it breaks off."""
        reader = _Reader()
        self._readers.add(reader)
        try:
            while True:
                while reader.at < self._gone + len(self._chunks):
                    chunk = self._chunks[reader.at - self._gone]
                    reader.at += 1
                    is_last = self._ended and reader.at == self._gone + len(self._chunks)
                    yield chunk, not is_last
                    self._trim()
                if self._ended:
                    return
                if self._failure is not None:
                    raise Broken("the response broke off") from self._failure
                await self._news.wait()
        finally:
            self._readers.discard(reader)
            self._trim()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


@dataclass(eq=False, slots=True)
class _Reader:
    """How far somebody has read."""

    at: int = 0


def _age_of(head: ResponseHead, asked_at: int, received: int) -> float:
    return initial_age(head.headers, asked=asked_at / 1e6, received=received / 1e6)
