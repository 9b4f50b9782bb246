"""What a request holds of the store: the record behind its session, and the steps that change it.

`carry_out` does what `outcome.decide` says. Cookies and protocols are not known here.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from cachemw.errors import ConfigurationError
from cachemw.messages import Header, first_of
from cachemw.sessions.events import EventKind
from cachemw.sessions.outcome import Create, End, Renew, Replace, Save
from cachemw.sessions.record import demand_size
from cachemw.sessions.session import Changes, Session
from cachemw.sessions.sessions import Sessions
from cachemw.sessions.vault import Found, Lost


class Holding(Struct, eq=False):
    """The record of one request's session, from its load to its last save."""

    _sessions: Sessions
    _headers: Sequence[Header]
    found: Found | None = None
    subject: str | None = None
    has_ended: bool = False  # by this request: a cookie is to be removed
    is_lost: bool = False  # the session ended behind our back
    is_outrun: bool = False  # it was rotated behind our back: its id is not for this client

    def __repr__(self) -> str:
        return f"<Holding {self.found}>"  # not the fields, which have the cookie

    async def carry_out(
        self, outcome: Create | Save | Renew | Replace | End, session: Session
    ) -> None:
        """Do it. Raises `StoreUnavailable`, `ConflictError`, and what a session cannot hold."""
        if isinstance(outcome, Create):
            await self._create(outcome.values, outcome.subject, login=outcome.login)
        elif self.found is not None:
            match outcome:
                case Save(changes):
                    await self._save(self.found, changes, session)
                case Renew(changes) if self.is_outrun:  # nobody here could be told the new id
                    await self._save(self.found, changes, session)
                case Renew():
                    await self._renew(self.found, outcome, session)
                case Replace():
                    await self._replace(self.found, outcome, session)
                case End(then):
                    await self._end(self.found, then, session)

    def note(self, kind: EventKind, *, subject: str | None = None, detail: str = "") -> None:
        """Say what happened, and to which session."""
        handle = self.found.record.handle.decode() if self.found else None
        self._sessions.note(kind, handle=handle, subject=subject or self.subject, detail=detail)

    # --- the steps

    async def _save(self, found: Found, changes: Changes, session: Session) -> None:
        seen = changes.applied_to(found.record.plain)
        self._demand_room(seen)
        result = await self._sessions.vault.save(found, changes, _guards(session, changes))
        self._go_on_with(result, seen)

    async def _renew(self, found: Found, new: Renew, session: Session) -> None:
        seen = new.changes.applied_to(found.record.plain)
        self._demand_room(seen)
        guards = _guards(session, new.changes)
        result = await self._sessions.vault.renew(
            found, new.changes, guards, grace=new.grace, login=new.login
        )
        self._go_on_with(result, seen)
        if self.found and not self.is_outrun:
            self.note("login" if new.login else "renewed" if new.grace else "rotated")

    async def _replace(self, found: Found, new: Replace, session: Session) -> None:
        """Two steps, as the new session may live in another slot. Between them there is none."""
        if not new.keeps:
            session.retain(session.assigned)
            if self._sessions.settings.subject_of(session.contents()) != new.subject:
                raise ConfigurationError(
                    "somebody else is logged in by now, but what this request assigned does not "
                    "say who: assign every key that subject= looks at, not a part of them"
                )
        guards = _guards(session, new.changes)
        taken = await self._sessions.vault.take(found, guards, followed=True)
        if isinstance(taken, Lost) and new.subject is None:
            self._go_on_with(taken, {})
            return
        if new.subject is None:
            self.note("ended", detail="nobody is logged in any more")
        self.found = None
        self.has_ended = True
        if new.keeps and isinstance(taken, Found):
            seen = new.changes.applied_to(found.record.plain)
            # After a rotation this client may be somebody else: no more than it has seen.
            outrun = self.is_outrun or taken.outrun
            values = seen if outrun else new.changes.applied_to(taken.record.plain)
        else:
            # Another user's session, or one that a logout ended a moment ago: this request's own
            # words are all that the new one may hold.
            session.retain(session.assigned)
            seen = values = dict(new.changes.own)
        if values:
            await self._create(values, new.subject, login=new.subject is not None, seen=seen)

    async def _end(self, found: Found, then: Create | None, session: Session) -> None:
        if session.misfit is not None:
            self.note("unreadable", detail=session.misfit)
        await self._sessions.vault.take(found, {}, followed=then is not None)
        self.note("ended")
        self.found = None
        self.has_ended = True
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
        device = first_of(self._headers, b"user-agent") or b""
        found, evicted = await self._sessions.vault.create(
            values, subject=subject, login=login, device=device
        )
        self.has_ended = self.is_outrun = False
        self._go_on_with(found, values if seen is None else seen)
        self.note("login" if login else "created", subject=subject)
        for handle in evicted:
            self._sessions.note("evicted", handle=handle, subject=subject)

    def _go_on_with(self, result: Found | Lost, seen: Mapping[str, bytes]) -> None:
        """Go on with what this request has *seen* of the session: what others wrote meanwhile is
        not in its dict, and must not look like something that it deleted."""
        if isinstance(result, Lost):
            # A logout or a revocation won. Nothing that is done from here on brings it back.
            self.note("refused-save", detail=result.reason)
            self.is_lost = True
            self.found = None
            return
        record = result.record
        self.is_outrun = self.is_outrun or result.outrun
        raw = {key: kept for key, kept in record.raw.items() if record.plain[key] == seen.get(key)}
        self.found = replace(result, record=replace(record, plain=seen, raw=raw))

    def _demand_room(self, values: Mapping[str, bytes]) -> None:
        demand_size(values, self._sessions.settings.max_bytes)


def _guards(session: Session, changes: Changes) -> dict[str, bytes | None]:
    return {key: was for key, was in session.guards().items() if key in changes.keys}
