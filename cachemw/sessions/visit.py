"""One request, or one WebSocket, and its session: from the cookie that came to the one to send.

`load` reads, `settle` carries out what `outcome.decide` says. Both protocols use this; neither is
known here.
"""

from collections.abc import Mapping
from dataclasses import replace

from starlette.types import Scope

from cachemw.errors import StoreUnavailable
from cachemw.messages import Header, first_of
from cachemw.sessions.cookie import Absent, Presented, Refused
from cachemw.sessions.errors import ConflictError, SessionUnavailable
from cachemw.sessions.events import EventKind
from cachemw.sessions.ids import digest_of_subject
from cachemw.sessions.outcome import (
    Create,
    End,
    Nothing,
    Outcome,
    Renew,
    Replace,
    Save,
    decide,
)
from cachemw.sessions.record import demand_size
from cachemw.sessions.session import AbsentSession, Changes, Session
from cachemw.sessions.sessions import Sessions
from cachemw.sessions.vault import Found, Lost


class Visit:
    """The state between reading the cookie and sending one."""

    def __init__(self, sessions: Sessions, scope: Scope) -> None:
        self.session = Session()
        self.found: Found | None = None
        self._sessions = sessions
        self._scope = scope
        self._loaded = False
        self._subject: str | None = None
        self._client_has: bytes | None = None  # the id in the client's cookie, as far as we know
        self._answered = False
        self._ended = False  # a cookie is to be removed
        self._lost = False  # the session ended behind our back
        self._late = False  # it had just been replaced when this request came
        self._outrun = False  # it was rotated behind our back: its id is not for this client
        self._abandoned = False  # a conflict: what the app did is dropped, until it loads again
        self._failure: SessionUnavailable | ConflictError | None = None

    async def load(self) -> Session:
        """Read the session: once, and again after a conflict.

        The store is asked only for what could be an id of ours.
        """
        if not self._loaded:
            self._loaded = True
            before, self.session = self.session, Session()
            if self.found is not None:
                await self._load(self.found.session_id)
            else:
                await self._read_cookie()
            self._abandoned = False
            self._failure = None
            self.session.accessed = before.accessed
            self.session.guard(*self._sessions.settings.guarded)
            self._scope["session"] = self.session
        return self.session

    def postpone(self) -> None:
        """Load only when somebody asks for it with `load_session`."""
        self.session = AbsentSession(
            RuntimeError(
                "this app loads its sessions lazily: `await load_session(request)`, or "
                "`Depends(load_session)`, before request.session is used"
            )
        )
        self._scope["session"] = self.session

    @property
    def is_logged_in(self) -> bool:
        """Whether somebody was logged in when this request came. Without subjects: any session."""
        if self._sessions.settings.subject is None:
            return self.found is not None
        return self._subject is not None

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
        await self._settle(status)
        return self._cookie_due()

    async def settle_early(self) -> None:
        """The same, before the response. A cookie that falls due is kept for it."""
        await self._settle(200)

    def answered(self) -> None:
        """The response has begun: from here on no cookie can be sent.

        What needs none is still done. Over HTTP that is late all the same, as the client may be
        back before it happens; in a WebSocket it is how things are.
        """
        self._answered = True
        if self._scope["type"] == "http" or self.found is None:
            self.session.response_begins()

    def follow(self, session_id: bytes) -> None:
        """The session has this id by now."""
        if self.found is not None:
            self.found = replace(self.found, session_id=session_id)

    # --- within

    async def _settle(self, status: int) -> None:
        session = self.session
        if isinstance(session, AbsentSession) or self._lost or self._abandoned:
            return
        if self._answered and not session.may_have_changed():
            return
        subject = self._sessions.settings.subject_of(session.contents())
        outcome = decide(
            session,
            self.found.record if self.found else None,
            subject=subject,
            was_subject=self._subject,
            status=status,
            renew=None if self._answered else self._sessions.settings.renew,
        )
        if self._late and isinstance(outcome, Create) and not outcome.login:
            # The client has a newer cookie by now, or is about to get it: leave that alone.
            if not self._answered:
                self._note("refused-save", detail="replaced")
            return
        possible = self._possible_now(outcome)
        if isinstance(possible, Nothing):
            return
        try:
            await self._carry_out(possible)
        except StoreUnavailable as error:
            self._note("unavailable", detail=error.reason)
            self._failure = SessionUnavailable(f"this session cannot be saved: {error}")
            raise self._failure from error
        except ConflictError as error:
            self._note("conflict", detail=error.key)
            self._failure = error
            self._abandoned, self._loaded = True, False
            raise
        self._subject = subject if self.found else None
        session.settled(self.found.record if self.found else None)

    def _possible_now(self, outcome: Outcome) -> Outcome:
        if not self._answered or isinstance(outcome, Nothing):
            return outcome
        possible: Outcome = Nothing()
        if isinstance(outcome, Save):
            possible = outcome
        elif isinstance(outcome, End):
            possible = End(None)
        if possible != outcome or self._scope["type"] == "http":
            self._note("late-change", detail=type(outcome).__name__.lower())
        return possible

    async def _read_cookie(self) -> None:
        match self._sessions.cookie.read(self._scope["headers"]):
            case Absent():
                pass
            case Refused(reason):
                self._sessions.note(reason)
            case Presented(session_id, outdated):
                self._client_has = None if outdated else session_id
                await self._load(session_id)

    async def _load(self, session_id: bytes) -> None:
        try:
            found = await self._sessions.vault.load(session_id)
        except StoreUnavailable as error:
            self._sessions.note("unavailable", detail=error.reason)
            self.session = AbsentSession(
                SessionUnavailable(f"this request's session cannot be read: {error}")
            )
            return
        if isinstance(found, Lost):
            self._sessions.note(found.reason)
            self._late = found.reason == "replaced"
            return
        try:
            session = Session(found.record)
            subject = self._sessions.settings.subject_of(session.contents())
        except (ValueError, TypeError) as error:
            self._sessions.note("unreadable", detail=type(error).__name__)
            return
        if found.record.subject_digest != (subject and digest_of_subject(subject)):
            self._sessions.note("unreadable", detail="subject")
            return
        self.session, self.found, self._subject = session, found, subject

    async def _carry_out(self, outcome: Create | Save | Renew | Replace | End) -> None:
        if isinstance(outcome, Create):
            await self._create(outcome.values, outcome.subject, login=outcome.login)
        elif self.found is not None:
            match outcome:
                case Save(changes):
                    await self._save(self.found, changes)
                case Renew(changes) if self._outrun:  # nobody here could be told the new id
                    await self._save(self.found, changes)
                case Renew():
                    await self._renew(self.found, outcome)
                case Replace():
                    await self._replace(self.found, outcome)
                case End(then):
                    await self._end(self.found, then)

    async def _save(self, found: Found, changes: Changes) -> None:
        seen = changes.applied_to(found.record.plain)
        self._demand_room(seen)
        result = await self._sessions.vault.save(found, changes, self._guards(changes))
        self._go_on_with(result, seen)

    async def _renew(self, found: Found, new: Renew) -> None:
        seen = new.changes.applied_to(found.record.plain)
        self._demand_room(seen)
        guards = self._guards(new.changes)
        result = await self._sessions.vault.renew(
            found, new.changes, guards, grace=new.grace, login=new.login
        )
        self._go_on_with(result, seen)
        if self.found and not self._outrun:
            self._note("login" if new.login else "renewed" if new.grace else "rotated")

    async def _replace(self, found: Found, new: Replace) -> None:
        """Two steps, as the new session may live in another slot. Between them there is none."""
        if not new.keeps:
            self.session.retain(new.changes.own)
        taken = await self._sessions.vault.take(
            found.session_id, self._guards(new.changes), followed=True
        )
        if isinstance(taken, Lost) and new.subject is None:
            self._go_on_with(taken, {})
            return
        if new.subject is None:
            self._note("ended", detail="nobody is logged in any more")
        self.found = None
        self._ended = True
        if new.keeps and isinstance(taken, Found):
            seen = new.changes.applied_to(found.record.plain)
            # After a rotation this client may be somebody else: no more than it has seen.
            outrun = self._outrun or taken.outrun
            values = seen if outrun else new.changes.applied_to(taken.record.plain)
        else:
            # Another user's session, or one that a logout ended a moment ago: this request's own
            # words are all that the new one may hold.
            self.session.retain(new.changes.own)
            seen = values = dict(new.changes.own)
        if values:
            await self._create(values, new.subject, login=new.subject is not None, seen=seen)

    async def _end(self, found: Found, then: Create | None) -> None:
        if self.session.misfit is not None:
            self._note("unreadable", detail=self.session.misfit)
        await self._sessions.vault.take(found.session_id, {}, followed=then is not None)
        self._note("ended")
        self.found = None
        self._ended = True
        if then is not None:
            await self._create(then.values, then.subject, login=then.login)

    async def _create(
        self,
        values: Mapping[str, bytes],
        subject: str | None,
        *,
        login: bool,
        seen: Mapping[str, bytes] | None = None,
    ) -> None:
        self._demand_room(values)
        device = first_of(self._scope["headers"], b"user-agent") or b""
        found, evicted = await self._sessions.vault.create(
            values, subject=subject, login=login, device=device
        )
        self._ended = self._outrun = False
        self._go_on_with(found, values if seen is None else seen)
        self._note("login" if login else "created", subject=subject)
        for handle in evicted:
            self._sessions.note("evicted", handle=handle, subject=subject)

    def _go_on_with(self, result: Found | Lost, seen: Mapping[str, bytes]) -> None:
        """Go on with what this request has *seen* of the session: what others wrote meanwhile is
        not in its dict, and must not look like something that it deleted."""
        if isinstance(result, Lost):
            # A logout or a revocation won. Nothing that is done from here on brings it back.
            self._note("refused-save", detail=result.reason)
            self._lost = True
            self.found = None
            return
        record = result.record
        self._outrun = self._outrun or result.outrun
        raw = {key: kept for key, kept in record.raw.items() if record.plain[key] == seen.get(key)}
        self.found = replace(result, record=replace(record, plain=seen, raw=raw))

    def _guards(self, changes: Changes) -> dict[str, bytes | None]:
        guarded = self.session.guards()
        return {key: was for key, was in guarded.items() if key in changes.keys}

    def _cookie_due(self) -> Header | None:
        if self._ended and self.found is None:
            self._ended = False
            self._client_has = None
            return self._sessions.cookie.to_remove()
        if self.found is None or self._outrun or self.found.session_id == self._client_has:
            return None
        self._client_has = self.found.session_id
        record = self.found.record
        return self._sessions.cookie.to_set(
            self.found.session_id, seconds_left=(record.deadline - record.now) // 1000
        )

    def _demand_room(self, values: Mapping[str, bytes]) -> None:
        demand_size(values, self._sessions.settings.max_bytes)

    def _note(self, kind: EventKind, *, subject: str | None = None, detail: str = "") -> None:
        handle = self.found.record.handle.decode() if self.found else None
        self._sessions.note(kind, handle=handle, subject=subject or self._subject, detail=detail)
