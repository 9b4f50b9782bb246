"""The response of a fill, as it is taken in: judged when it begins, gathered while it flows, stored
before its last chunk is passed on.

So whoever has seen the end of it can read it from the cache. Only what is complete is stored. What
must not be kept is not gathered: it is passed on to the one who asked first. Nothing here runs the
app (`fill.py`) or knows of leases (`tenure.py`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from itertools import chain
from typing import TypeAlias

from msgspec import structs
from starlette.types import Message, Scope

from cachemw.asgi import response_head
from cachemw.caching.endings import ENDING, Ending
from cachemw.caching.entry import Entry
from cachemw.caching.etags import etag_of, generate_etag
from cachemw.caching.flow import Flow
from cachemw.caching.freshness import ERROR_STATUSES
from cachemw.caching.groups import group_tag, groups_of
from cachemw.caching.judging import (
    Keep,
    Refuse,
    Verdict,
    Wishes,
    confirm,
    confirmed_for_one,
    entry_header,
    judge,
)
from cachemw.caching.marks import CONTEXT, Notes
from cachemw.caching.outcomes import Broadcast, Direct, Instead, Outcome
from cachemw.caching.reasons import Reason
from cachemw.caching.tenure import Tenure, settled
from cachemw.caching.validation import confirms
from cachemw.messages import RequestHead, ResponseHead, first_of
from cachemw.scopekeys import SESSION_USED, SESSIONS_MET

logger = logging.getLogger("cachemw.cache")

ETAG_PATIENCE = 0.005  # seconds that the head of a response with a length waits for its body

_CHUNK = "http.response.body"
_BODIES = frozenset({_CHUNK, "http.response.pathsend", "http.response.zerocopysend"})

ClientSend: TypeAlias = Callable[[Scope, Message, Reason], Awaitable[None]]
"""The `send` of who asked first, for a response that must not be kept: the scope that the app was
given, a message of the response, and why."""

Complain: TypeAlias = Callable[[object, Exception], None]
"""Hears of a policy's function that failed, and how."""


class Intake:
    """Takes one response from the app, and tells `outcome` what comes of it.

    `validating` is the entry that the app has been asked about, `stand_in` whether it may be served
    in place of an error.
    """

    def __init__(
        self,
        scope: Scope,
        tenure: Tenure,
        flow: Flow,
        now: Callable[[], int],
        *,
        send: ClientSend | None,
        validating: Entry | None,
        stand_in: Callable[[], bool],
        complain: Complain,
    ) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.send_first = send
        """None when nobody asked, or has been served otherwise."""
        self.may_hear = asyncio.Event()
        """Set when there is something for the app to hear: of its client, or of the end."""
        self.has_ended = False
        self.is_direct = False
        """Whether the response is left to the one who asked first."""
        self.is_discarding = False
        """Whether the rest of the response is for nobody."""
        self.must_ask_again = False
        self._scope, self._tenure, self._flow, self._now = scope, tenure, flow, now
        self._resource, self._policy = tenure.resource, tenure.resource.policy
        self._notes: Notes = scope[CONTEXT]
        self._ending: Ending = scope[ENDING]
        self._validating = validating
        self._may_stand_in = stand_in
        self._complain = complain
        self._received = 0
        self._head: ResponseHead | None = None
        self._start: Message = {}
        self._verdict: Verdict | None = None
        self._app_has_etag = False
        self._telling: asyncio.Handle | None = None
        self._may_be_cut = False  # what was kept ended without a word of its length

    @property
    def is_complete(self) -> bool:
        """Whether all of it has come."""
        # How much of it a client gets whose own response it is, is between the app and him.
        is_theirs = self.is_discarding or isinstance(self._verdict, Refuse)
        return self._head is not None and (self._flow.ended or is_theirs)

    def start_over(self) -> None:
        """Take in another response, which is to be one on its own."""
        self._notes = self._scope[CONTEXT] = Notes()
        self._validating = self._head = None
        self.is_discarding = self.must_ask_again = self.has_ended = False
        self.may_hear.clear()

    def decide(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """The app has raised, or was ended."""
        self._flow.break_off(error)
        if self.outcome.done():
            return
        stale = self._validating
        if isinstance(error, Exception) and stale is not None and self._may_stand_in():
            logger.warning("serving stale in place of an error", exc_info=error)
            self.decide(Instead(stale, Reason.STALE_IF_ERROR, is_stale=True))
        elif isinstance(error, asyncio.CancelledError):
            self.outcome.cancel()
        else:
            self.outcome.set_exception(error)
            self.outcome.exception()  # perhaps nobody is there to ask for it

    async def take_back(self) -> None:
        """Take back what was stored, if it may be cut: layers in between end a broken response as
        if it were whole, and raise what broke it afterwards."""
        if self._may_be_cut:
            await self._tenure.take_back()

    async def take(self, message: Message) -> None:
        """A message of the response. `RuntimeError` where it has none to send."""
        kind = message["type"]
        if kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("the app began its response twice")
            await self._begin(message)
        elif self._head is None and kind in _BODIES:
            raise RuntimeError("the app sent a body without a response")
        elif self.is_discarding:
            pass
        elif not isinstance(self._verdict, Keep):
            await self._pass_on(message)
        elif self._flow.ended and kind in _BODIES:
            raise RuntimeError("the app went on after the end of its response")
        elif kind == _CHUNK and not self._has_used_session():
            # A copy, unless it is bytes: the app may use its buffer again.
            await self._gather(bytes(message.get("body", b"")), message.get("more_body", False))
        elif not self.outcome.done():
            # A body that does not come in chunks, or that is one client's own.
            await self._turn_direct(Reason.SESSION if kind == _CHUNK else Reason.STREAM)
            await self._pass_on(message)
        elif kind == _CHUNK:
            chunk = bytes(message.get("body", b""))
            await self._go_on_alone(chunk, message.get("more_body", False))
        if kind in _BODIES and not message.get("more_body", False):
            self.has_ended = True
            self.may_hear.set()

    # --- it begins

    async def _begin(self, message: Message) -> None:
        self._received = self._now()
        message = {**message, "headers": list(message.get("headers", ()))}
        self._start = message
        self._head = head = response_head(message)
        self._app_has_etag = etag_of(head.headers) is not None
        stale = self._validating
        if stale is not None and head.status == 304:
            self.is_discarding = True
            self.must_ask_again = not confirms(head.headers, stale.header.headers)
            if not self.must_ask_again:
                await self._confirm(stale, head)
        elif stale is not None and head.status in ERROR_STATUSES and self._may_stand_in():
            self.is_discarding = True
            error = Instead(stale, Reason.STALE_IF_ERROR, is_stale=True, status=head.status)
            self.decide(error)
        else:
            self._verdict = verdict = self._judge(head)
            if isinstance(verdict, Keep):
                self._expect_body(verdict)
            else:
                await self._turn_direct(verdict.reason)

    def _judge(self, head: ResponseHead) -> Verdict:
        if self._start.get("trailers", False):
            return Refuse(Reason.STREAM)
        verdict = judge(
            self._request(),
            head,
            self._policy,
            self._wishes(),
            asked_at=self._tenure.began_at / 1e6,
            received=self._received / 1e6,
            lot=self._resource.lot,
        )
        if isinstance(verdict, Refuse):
            self._listen(verdict)
        return verdict

    def _listen(self, refusal: Refuse) -> None:
        """The operator is to hear of his rule's failure."""
        if refusal.error is not None:
            self._complain(self._policy.ttl, refusal.error)

    def _request(self) -> RequestHead:
        """The request as the app has seen it."""
        return structs.replace(self._resource.request, headers=tuple(self._scope["headers"]))

    def _wishes(self) -> Wishes:
        is_skipped = self._notes.skip is not None
        return Wishes(self._notes.ttl, is_skipped, self._has_used_session())

    def _has_used_session(self) -> bool:
        scope = self._scope
        sessions = [scope.get("session"), *[one.session for one in scope[SESSIONS_MET]]]
        is_read = any(getattr(session, "accessed", False) for session in sessions)
        return is_read or bool(scope.get(SESSION_USED))

    def _expect_body(self, keep: Keep) -> None:
        """Tell those who wait, unless the whole body follows at once and gives the head an ETag.

        An app that has it ready sends it before anything else can run, or, where layers hand it on
        through queues, soon. One that streams is not waited for.
        """
        self._tenure.select_by(keep.fields)
        has_length = first_of(keep.headers, b"content-length") is not None
        tell = self._tell_later if has_length else self._broadcast
        self._telling = asyncio.get_running_loop().call_soon(tell)

    def _tell_later(self) -> None:
        self._telling = asyncio.get_running_loop().call_later(ETAG_PATIENCE, self._broadcast)

    async def _turn_direct(self, reason: Reason) -> None:
        """Leave the response to the one who asked first."""
        assert self._head is not None
        self._verdict = Refuse(reason)
        # Begun before anything is sent, so that whoever comes now does not wait for this one. An
        # error says nothing about the next response.
        released = self._tenure.give_back(None if self._head.status >= 500 else reason)
        self.decide(Direct(reason, self._head.status))
        self.is_direct = True
        self.may_hear.set()
        await self._pass_on(self._start)
        await settled(released)

    async def _pass_on(self, message: Message) -> None:
        reason = self._verdict.reason if isinstance(self._verdict, Refuse) else Reason.STREAM
        if message["type"] in _BODIES:
            self._flow.ended = not message.get("more_body", False)
        if self.send_first is not None:
            await self.send_first(self._scope, message, reason)

    def _broadcast(self) -> None:
        if not self.outcome.done() and isinstance(self._verdict, Keep) and self._head is not None:
            keep, head, unkept = self._verdict, self._head, self._tenure.unkept
            known = keep, self._received, self._tags(keep), unkept
            self.decide(Broadcast(head.status, head.headers, *known))
            if self._telling is not None:
                self._telling.cancel()

    def _tags(self, keep: Keep) -> tuple[bytes, ...]:
        resource, told = self._resource, self._notes.tags
        if not told and b"cache-groups" not in dict(keep.headers):
            return resource.tags
        groups = sorted(groups_of(keep.headers))
        in_groups = [group_tag(resource.request, group) for group in groups]
        return _each_once(resource.tags, told, in_groups)

    # --- its body

    async def _gather(self, chunk: bytes, more: bool) -> None:
        flow = self._flow
        if flow.is_gathering and flow.size + len(chunk) > self._policy.max_body:
            await self._let_pass(Reason.TOO_LARGE)
        elif not more and flow.is_gathering:
            body = flow.gathered + chunk if flow.size else chunk
            if self._telling is not None:
                self._telling.cancel()  # the head can say now whether it is stored
            self._add_etag(body)
            await self._store(body)
        self._broadcast()
        await flow.write(chunk, more=more)

    async def _go_on_alone(self, chunk: bytes, more: bool) -> None:
        """Those who share it have had what came before the session was read; what comes now is for
        the one who asked first."""
        if self._tenure.unkept is not Reason.SESSION:
            why = "its app has read a session"
            self._flow.shut_out(why, but_first=self.send_first is not None)
            await self._let_pass(Reason.SESSION)
        await self._flow.write(chunk, more=more)

    async def _let_pass(self, reason: Reason) -> None:
        """Keep nothing of a response that is under way."""
        self._tenure.unkept = reason
        released = self._tenure.give_back(reason)
        self._broadcast()
        self._flow.let_pass()
        await settled(released)

    def _add_etag(self, body: bytes) -> None:
        """Give the response an ETag, if the app gave none."""
        assert isinstance(self._verdict, Keep)
        assert self._head is not None
        keep, head = self._verdict, self._head
        headers = keep.headers
        wanted = self._policy.etag and head.status == 200
        if not wanted or first_of(headers, b"etag") is not None:
            return
        coding = first_of(headers, b"content-encoding") or b""
        # A layer outside may still encode what is plain, and keep its tag: with a strong one, a
        # client would put pieces of both together.
        tag = b"etag", generate_etag(sha256(body).digest(), coding, weak=not coding)
        self._verdict = structs.replace(keep, headers=(*headers, tag))
        self._head = structs.replace(head, headers=(*head.headers, tag))

    async def _store(self, body: bytes) -> None:
        keep = self._verdict
        if not isinstance(keep, Keep) or self._head is None:
            return
        stated = first_of(keep.headers, b"content-length")
        if stated is not None and stated != b"%d" % len(body):
            self._tenure.unkept = Reason.INCOMPLETE  # §3.3, whatever the app thinks
            return
        if stated is None and self._ending.open:
            self._tenure.unkept = Reason.INCOMPLETE  # a layer has ended it in the app's place
            return
        is_all_at_once = bool(body) and not self._flow.size
        self._may_be_cut = stated is None and not is_all_at_once
        tags = self._tags(keep)
        entry = self._entry(keep, self._head.status, body, tags, self._app_has_etag)
        await self._tenure.keep(entry, keep.usable)

    def _entry(
        self, keep: Keep, status: int, body: bytes, tags: tuple[bytes, ...], has_own_etag: bool
    ) -> Entry:
        header = entry_header(
            keep,
            status,
            born=self._tenure.began_at,
            received=self._received,
            tags=tags,
            has_own_etag=has_own_etag,
            target=self._resource.target,
        )
        return Entry(header, body)

    # --- it confirms an entry

    async def _confirm(self, stale: Entry, head: ResponseHead) -> None:
        """§4.3.4: a 304 freshens the entry that it speaks of."""
        asked_at = self._tenure.began_at / 1e6
        verdict = confirm(
            self._request(),
            stale,
            head,
            self._policy,
            self._wishes(),
            asked_at=asked_at,
            received=self._received / 1e6,
            lot=self._resource.lot,
        )
        if isinstance(verdict, Refuse):
            self._listen(verdict)
            own = confirmed_for_one(stale, head, asked_at=asked_at, received=self._received)
            self.decide(Instead(own, Reason.NOT_MODIFIED, status=304, is_for_first=True))
            return
        self._tenure.select_by(verdict.fields)
        tags = _each_once(stale.header.tags, self._tags(verdict))
        old = stale.header
        entry = self._entry(verdict, old.status, stale.body, tags, old.has_own_etag)
        await self._tenure.keep(entry, verdict.usable)
        self.decide(Instead(entry, Reason.NOT_MODIFIED, status=304))


def _each_once(*tags: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(chain(*tags)))
