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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope

from cachemw.asgi import response_head
from cachemw.caching.cache_control import OUR_TARGET, effective
from cachemw.caching.entry import Entry
from cachemw.caching.etags import etag_of, generate_etag
from cachemw.caching.flow import Broken, Flow, Reader
from cachemw.caching.freshness import ERROR_STATUSES, initial_age
from cachemw.caching.groups import groups_of
from cachemw.caching.keeper import RENEW_AFTER, Keeper, Lease
from cachemw.caching.marks import CONTEXT, Notes
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.rules import Keep, Refuse, Verdict, Wishes, entry_header, judge
from cachemw.caching.shelf import Shelf, all_tags
from cachemw.caching.storing import freshened
from cachemw.caching.tags import tag_bytes
from cachemw.caching.validation import CONDITIONAL, to_freshen
from cachemw.errors import StoreUnavailable
from cachemw.messages import Headers, ResponseHead, first_of, without
from cachemw.stores.base import Store

logger = logging.getLogger("cachemw.cache")

ETAG_PATIENCE = 0.005  # seconds that the head of a response with a length waits for its body
SESSION_USED = "cachemw.session_used"

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


ClientSend: TypeAlias = Callable[[Message, Reason], Awaitable[None]]
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
        self._began_at = 0
        self._received = 0
        self._head: ResponseHead | None = None
        self._start: Message = {}
        self._verdict: Verdict | None = None
        self._is_discarding = False  # the rest of the response is for nobody
        self._must_ask_again = False
        self._app_has_etag = False
        self._turned_direct = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False

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
        is_over = self._is_discarding or self.flow.ended or self._task is None or self._task.done()
        is_ours = self.outcome.get_loop() is asyncio.get_running_loop()
        return is_ours and is_shared and not is_over and not self._has_failed

    @property
    def _has_failed(self) -> bool:
        outcome = self.outcome
        return outcome.done() and (outcome.cancelled() or outcome.exception() is not None)

    @property
    def has_begun(self) -> bool:
        """Whether the app has been asked: from then on the response may be older than a purge."""
        return self._began_at > 0

    async def still_stands(self, tags: tuple[bytes, ...]) -> bool:
        """Whether nothing has been purged since it began that its response would have."""
        if not self.has_begun:
            return True
        if self.unkept is Reason.STORE_UNAVAILABLE:
            return True  # who cannot be told of purges is not told of them here either
        if self.lease is None:
            return False
        try:
            stands, is_purged = await asyncio.gather(
                self._keeper.renew(self.resource, self.lease),
                self._shelf.is_purged(self.lease.born, tags),
            )
        except StoreUnavailable:
            return False
        return stands and not is_purged

    def forget_client(self) -> None:
        """The one who asked first has been served otherwise."""
        self._send_first = None

    def join(self) -> Reader:
        """A place among those who wait; to be left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self.flow.join()

    def _deserted(self) -> None:
        task = self._task
        if task is None or task.done() or self.flow.ended or self._timer is not None:
            return
        patience = self.resource.policy.timeout
        self._timer = asyncio.get_running_loop().call_later(patience, self._expire)

    def _expire(self) -> None:
        if self._task is not None and not self.flow.ended:
            self._is_late = True
            self._task.cancel()

    # --- the run

    async def run(self, acquire: Acquire) -> None:
        """Make the response, under a lease that `acquire` gets."""
        self._task = asyncio.current_task()
        if not self.flow.readers:
            self._deserted()
        try:
            acquired = await acquire()
            if isinstance(acquired, Instead):
                self._decide(acquired)
            else:
                await self._make(acquired)
        except asyncio.CancelledError as error:
            if not self._is_late:
                self._fail(error)
                raise
            late = TimeoutError(f"the app did not answer in {self.resource.policy.timeout} s")
            self._fail(late)
            raise late from None
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._give_back(None)

    async def _make(self, acquired: Lease | Reason) -> None:
        if isinstance(acquired, Lease):
            self.lease, self._began_at = acquired, acquired.born
        else:
            self.unkept, self._began_at = acquired, self._store.now()
        renewing = self._keep_renewing()
        try:
            await self._app(self.scope, self._receive_for_app, self._send_from_app)
            if self._must_ask_again:
                await self._ask_again()
        finally:
            renewing.cancel()
        if self._head is None or not (self.flow.ended or self._is_discarding):
            raise Broken("the app returned before its response was complete")

    async def _ask_again(self) -> None:
        """§4.3.4: a 304 that confirms something else confirms nothing."""
        self._validating = None
        self._is_discarding = self._must_ask_again = False
        self._request_body = self._request_body or b""
        self.scope["headers"] = list(without(self.scope["headers"], CONDITIONAL))
        await self._app(self.scope, self._receive_for_app, self._send_from_app)

    def _keep_renewing(self) -> asyncio.TimerHandle:
        """Renew the lease as long as the app takes. The handle is that of the next time."""
        loop = asyncio.get_running_loop()
        chain: list[asyncio.TimerHandle] = []

        def renew() -> None:
            if self.lease is not None:
                loop.create_task(self._renew())
                chain[0] = loop.call_later(RENEW_AFTER, renew)

        chain.append(loop.call_later(RENEW_AFTER, renew))
        return _Latest(chain)

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
