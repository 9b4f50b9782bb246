"""One request, or one WebSocket, and its session: from the cookie that came to the one to send.

`load` reads, `settle` has carried out what `outcome.decide` says. Both protocols use this; neither
is known here.
"""

import asyncio
from collections.abc import Awaitable

from msgspec.structs import replace
from starlette.types import Scope

from cachemw.errors import StoreUnavailable
from cachemw.messages import Header
from cachemw.scripts import Reply
from cachemw.sessions.cookie import Absent, Presented, Reading, Refused
from cachemw.sessions.errors import ConflictError, SessionUnavailable
from cachemw.sessions.holding import Holding
from cachemw.sessions.ids import digest_of_subject
from cachemw.sessions.outcome import Create, End, Nothing, Outcome, Save, decide
from cachemw.sessions.session import AbsentSession, Session, contents_of
from cachemw.sessions.sessions import Sessions
from cachemw.sessions.vault import Found, Lost
from cachemw.stores.base import Done


class Visit:
    """The state between reading the cookie and sending one.

    `session` is there once it was loaded or postponed.
    """

    __slots__ = (
        *("_abandoned", "_answered", "_begun", "_client_has", "_failure", "_headers", "_holding"),
        *("_is_http", "_is_late", "_loaded", "_reading", "_sessions", "_turn", "session"),
    )

    session: Session

    def __init__(self, sessions: Sessions, scope: Scope) -> None:
        # It does not keep the scope, in which it is kept: such a ring is work for the collector.
        self._headers = scope["headers"]
        self._is_http = scope["type"] == "http"
        self._sessions = sessions
        self._holding = Holding(sessions, self._headers)
        self._turn: asyncio.Lock | None = None
        self._loaded = False
        self._reading: Reading | None = None
        self._begun: Awaitable[Reply] | None = None
        self._client_has: bytes | None = None  # the id in the client's cookie, as far as we know
        self._answered = False
        self._is_late = False  # its session had just been replaced when this request came
        self._abandoned = False  # a conflict: what the app did is dropped, until it loads again
        self._failure: SessionUnavailable | ConflictError | None = None

    @property
    def found(self) -> Found | None:
        """The session as it is in the store, None when there is none."""
        return self._holding.found

    async def load(self) -> Session:
        """Read the session: once, and again after a conflict.

        The store is asked only for what could be an id of ours.
        """
        if not self._loaded:
            async with self._in_turn():
                if not self._loaded:
                    await self.load_now()
        return self.session

    def begin(self) -> Awaitable[Reply] | None:
        """Ask the store at once, so that the question travels with others; `load` waits for it."""
        reading = self._reading = self._sessions.cookie.read(self._headers)
        if isinstance(reading, Presented):
            self._begun = self._sessions.vault.asking(reading.session_id)()
        return self._begun

    async def load_now(self) -> Session:
        """`load`, where nobody else can be at it."""
        was_accessed = hasattr(self, "session") and self.session.accessed
        found, sessions = self._holding.found, self._sessions
        vault = sessions.vault
        session_id = self._presented() if found is None else found.session_id
        begun, self._begun = self._begun, None
        if session_id is None:
            session = Session()
        else:
            try:
                reply = await (begun or vault.asking(session_id)())
                told = vault.told(session_id, reply)
                if told is None:
                    told = await vault.load(session_id, begun=Done(reply))
            except StoreUnavailable as error:
                session = self._missing(error)
            else:
                session = self._session_of(told)
        self.session = session
        self._loaded = True
        self._abandoned = False
        self._failure = None
        session.accessed = was_accessed
        if sessions.settings.guarded:
            session.guard(*sessions.settings.guarded)
        return session

    def postpone(self) -> Session:
        """Load only when somebody asks for it with `load_session`."""
        self.session = AbsentSession(
            RuntimeError(
                "this app loads its sessions lazily: `await load_session(request)`, or "
                "`Depends(load_session)`, before request.session is used"
            )
        )
        return self.session

    @property
    def is_logged_in(self) -> bool:
        """Whether somebody was logged in when this request came. Without subjects: any session."""
        if self._sessions.settings.subject is None:
            return self.found is not None
        return self._holding.subject is not None

    @property
    def failure(self) -> SessionUnavailable | ConflictError | None:
        """What the app was told, if it could not have its session."""
        session = self.session
        if isinstance(session, AbsentSession) and session.accessed:
            return session.error if isinstance(session.error, SessionUnavailable) else None
        return self._failure

    async def settle(self, status: int) -> Header | None:
        """Carry out what the app did to its session. The `Set-Cookie` line, if one is due.

        Raises `SessionUnavailable`, `ConflictError`, and what a session refuses to hold.
        """
        if self.may_need_settling():
            await self._settle_in_turn(status)
        return self.cookie_due()

    async def settle_early(self) -> None:
        """The same, before the response. A cookie that falls due is kept for it."""
        if self.may_need_settling():
            await self._settle_in_turn(200)

    def may_need_settling(self) -> bool:
        """Whether there is anything to decide: most requests only look at their session."""
        session, holding = self.session, self._holding
        if isinstance(session, AbsentSession) or holding.is_lost or self._abandoned:
            return False
        is_touched = session.assigned or session.lent or session.views
        if is_touched or session.was_cleared or session.wants_rotation:
            return True
        renew, found = self._sessions.settings.renew, holding.found
        if self._answered or renew is None or found is None:
            return False
        return found.record.is_due(renew)

    def is_at_rest(self) -> bool:
        """Whether nothing was done to the session, and nothing is due: so it is with most."""
        session, found = self.session, self._holding.found
        is_touched = session.assigned or session.lent or session.views
        if is_touched or session.was_cleared or session.wants_rotation or self._failure is not None:
            return False
        if found is None:
            is_missed = session.accessed and isinstance(session, AbsentSession)
            return not self._holding.has_ended and not is_missed
        record, renew = found.record, self._sessions.settings.renew
        is_due = renew is not None and record.now - record.renewed >= renew * 1000
        return found.session_id == self._client_has and (self._answered or not is_due)

    def cookie_due(self) -> Header | None:
        """The `Set-Cookie` line that what was carried out asks for, once."""
        holding, found = self._holding, self._holding.found
        if found is None:
            if not holding.has_ended:
                return None
            holding.has_ended = False
            self._client_has = None
            return self._sessions.cookie.to_remove()
        if holding.is_outrun or found.session_id == self._client_has:
            return None
        self._client_has = found.session_id
        record = found.record
        return self._sessions.cookie.to_set(
            found.session_id, seconds_left=(record.deadline - record.now) // 1000
        )

    def answered(self) -> None:
        """The response has begun: from here on no cookie can be sent.

        What needs none is still done. Over HTTP that is late all the same, as the client may be
        back before it happens; in a WebSocket it is how things are.
        """
        self._answered = True
        if self._is_http or self._holding.found is None:
            self.session.response_began = True

    def follow(self, session_id: bytes) -> None:
        """The session has this id by now."""
        if self._holding.found is not None:
            self._holding.found = replace(self._holding.found, session_id=session_id)

    # --- reading

    def _presented(self) -> bytes | None:
        """The id in the client's cookie."""
        reading, self._reading = self._reading, None
        match reading or self._sessions.cookie.read(self._headers):
            case Presented(session_id, outdated):
                self._client_has = None if outdated else session_id
                return session_id
            case Refused(reason):
                self._sessions.note(reason)
            case Absent():
                pass
        return None

    def _missing(self, error: StoreUnavailable) -> Session:
        self._sessions.note("unavailable", detail=error.reason)
        return AbsentSession(SessionUnavailable(f"this request's session cannot be read: {error}"))

    def _session_of(self, found: Found | Lost) -> Session:
        if isinstance(found, Lost):
            self._sessions.note(found.reason)
            self._is_late = found.reason == "replaced"
            return Session()
        try:
            contents = contents_of(found.record)
            session = Session(found.record, contents)
            subject = self._sessions.settings.subject_of(contents)
        except (ValueError, TypeError) as error:
            self._sessions.note("unreadable", detail=type(error).__name__)
            return Session()
        if found.record.subject_digest != (subject and digest_of_subject(subject)):
            self._sessions.note("unreadable", detail="subject")
            return Session()
        self._holding.found, self._holding.subject = found, subject
        return session

    # --- settling

    def _in_turn(self) -> asyncio.Lock:
        """Tasks of one request may load or save at once."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        return self._turn

    async def _settle_in_turn(self, status: int) -> None:
        async with self._in_turn():
            if self.may_need_settling():  # or another task has just seen to it
                await self._settle(status)

    async def _settle(self, status: int) -> None:
        session, holding = self.session, self._holding
        subject = self._sessions.settings.subject_of(session.contents())
        outcome = decide(
            session,
            holding.found.record if holding.found else None,
            subject=subject,
            was_subject=holding.subject,
            status=status,
            renew=None if self._answered else self._sessions.settings.renew,
        )
        if self._is_late and isinstance(outcome, Create) and not outcome.login:
            # The client has a newer cookie by now, or is about to get it: leave that alone.
            if not self._answered:
                holding.note("refused-save", detail="replaced")
            return
        possible = self._possible_now(outcome)
        if isinstance(possible, Nothing):
            return
        try:
            await holding.carry_out(possible, session)
        except StoreUnavailable as error:
            holding.note("unavailable", detail=error.reason)
            self._failure = SessionUnavailable(f"this session cannot be saved: {error}")
            raise self._failure from error
        except ConflictError as error:
            holding.note("conflict", detail=error.key)
            self._failure = error
            self._abandoned, self._loaded = True, False
            raise
        holding.subject = subject if holding.found else None
        session.settled(holding.found.record if holding.found else None)

    def _possible_now(self, outcome: Outcome) -> Outcome:
        if not self._answered or isinstance(outcome, Nothing):
            return outcome
        possible: Outcome = Nothing()
        if isinstance(outcome, Save):
            possible = outcome
        elif isinstance(outcome, End):
            possible = End(None)
        if possible != outcome or self._is_http:
            self._holding.note("late-change", detail=type(outcome).__name__.lower())
        return possible
