"""What becomes of a session when the response begins, decided as a value.

    nothing stored yet      Nothing, or Create once there is something to keep
    destroyed or emptied    End, and Create when something was written after that
    the response failed     Nothing: a 5xx keeps neither changes nor a login
    another subject         Replace: a new session under a new id, the old one dead at once
    a new id was asked for  Renew without grace
    the id has grown old    Renew with grace, for requests that are under way with the old one
    something changed       Save the difference

Nothing here awaits or knows how any of it is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cachemw.sessions.record import Record
from cachemw.sessions.session import Changes, Session


@dataclass(frozen=True, slots=True)
class Nothing:
    """Leave the store and the cookie as they are."""


@dataclass(frozen=True, slots=True)
class Create:
    """Begin a session. `login` when somebody just proved who they are."""

    values: Mapping[str, bytes]
    subject: str | None
    login: bool


@dataclass(frozen=True, slots=True)
class Save:
    """Write the difference into the record."""

    changes: Changes


@dataclass(frozen=True, slots=True)
class Renew:
    """Save, under a new id. With `grace` the old one keeps leading here for a moment."""

    changes: Changes
    grace: bool
    login: bool


@dataclass(frozen=True, slots=True)
class Replace:
    """Take the old session away and begin one for another subject, or for nobody.

    `keeps` is whether what the old one held goes into the new one: from nobody to somebody it does
    (the cart survives the login), from one user to another it does not.
    """

    changes: Changes
    subject: str | None
    keeps: bool


@dataclass(frozen=True, slots=True)
class End:
    """Destroy the session and remove the cookie, unless a new session follows."""

    then: Create | None


Outcome: TypeAlias = Nothing | Create | Save | Renew | Replace | End


def decide(
    session: Session,
    record: Record | None,
    *,
    subject: str | None,
    was_subject: str | None,
    status: int,
    renew: float | None,
) -> Outcome:
    """The outcome for a session as the app left it. `subject` is who it says is logged in."""
    failed = status >= 500
    if record is None:
        return Nothing() if failed else _beginning(session, subject) or Nothing()
    emptied = session.was_cleared and not session.contents()
    if session.was_destroyed or emptied:
        return End(None if failed else _beginning(session, subject))
    if failed:
        return Nothing()
    changes = session.changes()
    if subject != was_subject:
        from_one_user_to_another = subject is not None and was_subject is not None
        return Replace(changes, subject, keeps=not from_one_user_to_another)
    if session.wants_rotation:
        return Renew(changes, grace=False, login=session.wants_new_login)
    if renew is not None and record.is_due(renew):
        return Renew(changes, grace=True, login=False)
    return Save(changes) if changes else Nothing()


def _beginning(session: Session, subject: str | None) -> Create | None:
    # Robots that merely look around do not get empty sessions.
    values = session.encoded()
    if not values:
        return None
    return Create(values, subject, login=subject is not None or session.wants_new_login)
