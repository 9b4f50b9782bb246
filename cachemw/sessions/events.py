"""What happens to sessions, in a closed list of words that audit hooks and counters share.

An event never carries an id. `handle` names a session for as long as it lives, across renewals,
and opens nothing.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

EventKind: TypeAlias = Literal[
    "created",  # a session began without anybody logged in
    "login",  # somebody logged in, or proved again who they are: new id, new clocks
    "rotated",  # the app asked for a new id; the old one is dead
    "renewed",  # the id was old enough for a new one; the old one has its grace
    "ended",  # logout: destroyed or cleared
    "evicted",  # made room for a newer session of the same subject
    "revoked",  # a cookie came whose session had been revoked
    "revoke",  # somebody revoked sessions of a subject
    "unknown-id",  # a well-formed id that no session has: expired, ended, or guessed
    "replaced",  # a cookie came whose session a login or a rotation had just replaced
    "malformed-id",  # a cookie that was never ours; the store was not asked
    "duplicate-cookie",  # our cookie came more than once; none of them was used
    "unreadable",  # a record of another format, a corrupt one, or one without our key
    "refused-save",  # changes came after the session had ended, and were dropped
    "conflict",  # a guarded key had been changed by another request
    "late-change",  # the session was changed after the response had begun
    "unavailable",  # the store was away when the session was needed
]


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """One thing that happened. `subject` is as the app wrote it; mind it in your logs."""

    kind: EventKind
    handle: str | None = None
    subject: str | None = None
    detail: str = ""
