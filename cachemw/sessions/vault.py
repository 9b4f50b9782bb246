"""Sessions in the store: every step as one call, with ids and randomness on this side of it.

A step on an id that was renewed a moment ago follows to the id that replaced it. What a step finds
is `Found` or `Lost`; that the store is away stays `StoreUnavailable`. When to take which step is
decided in `outcome.py`.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from functools import lru_cache
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from cachemw.errors import UnreadableEntry
from cachemw.scripts import Reply, Script
from cachemw.sessions import ids
from cachemw.sessions.errors import ConflictError, SessionTooLarge
from cachemw.sessions.options import Settings
from cachemw.sessions.record import (
    NEXT,
    NOBODY,
    WAS,
    Cipher,
    Record,
    field_of,
    pack,
    unpack,
)
from cachemw.sessions.scripts import CREATE, LOAD, RENEW, REVOKE, SAVE, TAKE
from cachemw.sessions.session import Changes
from cachemw.stores.base import Store

Guards: TypeAlias = Mapping[str, bytes | None]
_HOPS = 4  # renewals are far apart: two in a row would be a surprise already
_LONGEST_DEVICE = 160
_REMEMBERED = 4096  # sessions whose steps are kept ready


class Found(Struct, frozen=True):
    """A live session, and the id it has now.

    `outrun` when it got that id by a rotation while the request was under way: the request's own
    client may be the one whom the rotation was to shut out, and must not learn the id from us.
    """

    session_id: bytes
    record: Record
    outrun: bool = False

    def __repr__(self) -> str:
        return f"<Found {self.record}>"  # not the id


class Lost(Struct, frozen=True):
    """There is no such session."""

    reason: Literal["unknown-id", "replaced", "revoked", "unreadable"]


class Vault:
    """What the middleware does to sessions, over one store."""

    def __init__(self, store: Store, settings: Settings, cipher: Cipher | None) -> None:
        self.store = store
        self._settings = settings
        self._cipher = cipher
        self._room = (b"%d" % settings.max_bytes, b"%d" % (cipher.overhead if cipher else 0))
        self._idle = _milliseconds(settings.idle)
        self._absolute = _milliseconds(settings.absolute)
        self.asking = lru_cache(_REMEMBERED)(self._prepared)
        """How to begin a `load` of an id, at once. Who came once comes again."""

    def _prepared(self, session_id: bytes) -> Callable[[], Awaitable[Reply]]:
        return self.store.prepare(LOAD, _keys(session_id), (self._idle,))

    def told(self, session_id: bytes, reply: Reply) -> Found | Lost | None:
        """What came of `asking`. None: that leads on to another id, where `load` follows."""
        if isinstance(reply, list) and isinstance(reply[-1], int):
            try:
                return Found(session_id, unpack(reply[-1], reply[:-1], self._cipher))
            except UnreadableEntry:
                return Lost("unreadable")
        step = self._read(LOAD, session_id, reply)
        return None if isinstance(step, _Moved) else self._found(step)

    async def load(
        self, session_id: bytes, *, touch: bool = True, begun: Awaitable[Reply] | None = None
    ) -> Found | Lost:
        """The session of an id. With `touch` this counts as activity; so does what was `begun`."""
        args = (self._idle,) if touch else (b"0",)
        return self._found(await self._step(LOAD, session_id, args, begun))

    async def save(self, found: Found, changes: Changes, guards: Guards) -> Found | Lost:
        """Write a difference, or nothing at all when a guard fails: `ConflictError`."""
        arguments, stored = self._difference(found.record, changes, guards)
        step = await self._step(SAVE, found.session_id, (self._idle, *self._room, *arguments))
        if isinstance(step, Lost):
            return step
        record = _changed(found.record, changes, stored)
        return Found(step.session_id, record, found.outrun or step.outrun)

    async def renew(
        self, found: Found, changes: Changes, guards: Guards, *, grace: bool, login: bool
    ) -> Found | Lost:
        """Save under a new id. A new login starts the clocks again.

        With `grace` the old id goes on leading here for a moment. Without, it does so only for
        requests that are under way: what they save or end is this session still.
        """
        arguments, _ = self._difference(found.record, changes, guards)
        session_id = found.session_id
        for _ in range(_HOPS):
            nonce = secrets.token_bytes(ids.NONCE)
            heir = ids.successor(session_id, nonce)
            reply = await self.store.run(
                RENEW,
                (*_keys(session_id), ids.record_key(heir)),
                (
                    self._idle,
                    _milliseconds(self._settings.grace),
                    nonce,
                    self._absolute if login else b"0",
                    NEXT if grace else WAS,
                    *self._room,
                    *arguments,
                ),
            )
            step = self._read(RENEW, session_id, reply)
            if isinstance(step, Lost):
                return step
            if isinstance(step, _Live):
                step.session_id = heir
                return self._found(step)
            session_id = ids.successor(session_id, step.nonce)
            if grace or step.outrun:  # somebody else has just done it
                return await self.save(
                    replace(found, session_id=session_id, outrun=step.outrun), changes, guards
                )
        return Lost("unknown-id")

    async def create(
        self, values: Mapping[str, bytes], *, subject: str | None, login: bool, device: bytes
    ) -> tuple[Found, Sequence[str]]:
        """Begin a session. Also the handles of those that had to make room for it."""
        place = None if subject is None else ids.place_of_subject(subject)
        session_id = ids.mint(secrets.token_bytes(ids.ENTROPY), place=place)
        digest = None if subject is None else ids.digest_of_subject(subject)
        handle = secrets.token_hex(16).encode()
        pairs = pack(values, handle=handle, cipher=self._cipher)
        reply = await self.store.run(
            CREATE,
            _keys(session_id),
            (
                self._idle,
                self._absolute,
                digest or NOBODY,
                handle,
                b"1" if login else b"0",
                b"%d" % (self._settings.max_sessions or 0),
                device[:_LONGEST_DEVICE],
                *(part for pair in pairs for part in pair),
            ),
        )
        match reply:
            case [b"live", int(now), [*evicted]]:
                pass
            case _:
                raise AssertionError(f"script session-create answered {reply!r}")
        record = Record(
            now=now,
            created=now,
            deadline=now + int(self._absolute),
            login=now if login else 0,
            renewed=now,
            subject_digest=digest,
            handle=handle,
            raw={key: stored for key, (_, stored) in zip(values, pairs, strict=True)},
            plain=values,
        )
        gone = [part.decode() for part in evicted if isinstance(part, bytes)]
        return Found(session_id, record), gone

    async def take(self, found: Found, guards: Guards, *, followed: bool) -> Found | Lost:
        """End a session, and have what it held. `followed` is whether another takes its place."""
        sign = _milliseconds(self._settings.grace) if followed else b"0"
        args = (sign, *_guard_arguments(guards))
        taken = self._found(await self._step(TAKE, found.session_id, args))
        subject = found.record.subject_digest
        if isinstance(taken, Lost) and subject is not None:
            # It may live under an id to which nothing leads any more. The index knows it as before.
            _, index = _keys(found.session_id)
            await self.store.run(REVOKE, (index,), (subject, found.record.handle, b""))
        return taken

    # --- within

    async def _step(
        self,
        script: Script,
        session_id: bytes,
        args: Sequence[bytes],
        begun: Awaitable[Reply] | None = None,
    ) -> "_Live | Lost":
        outrun = False
        for _ in range(_HOPS):
            reply = await (begun or self.store.run(script, _keys(session_id), args))
            begun = None
            step = self._read(script, session_id, reply)
            if isinstance(step, _Live):
                step.outrun = outrun
            if not isinstance(step, _Moved):
                return step
            outrun = outrun or step.outrun
            session_id = ids.successor(session_id, step.nonce)
        return Lost("unknown-id")

    def _read(self, script: Script, session_id: bytes, reply: Reply) -> "_Live | _Moved | Lost":
        match reply:
            case [*pairs, int(now)] if script is LOAD:
                return _Live(session_id, now, [pairs])
            case [b"live", int(now), *fields]:
                return _Live(session_id, now, fields)
            case [b"moved", bytes(nonce)]:
                return _Moved(nonce, outrun=False)
            case [b"rotated", bytes(nonce)]:
                return _Moved(nonce, outrun=True)
            case [b"unknown", *_]:
                return Lost("unknown-id")
            case [b"replaced", *_]:
                return Lost("replaced")
            case [b"revoked", *_]:
                return Lost("revoked")
            case [b"unreadable", *_]:
                return Lost("unreadable")
            case [b"conflict", bytes(field)]:
                raise ConflictError(field[1:].decode("utf-8", "surrogatepass"))
            case [b"large", int(size)]:
                raise SessionTooLarge(
                    f"the session would take {size} bytes with what other requests saved "
                    f"meanwhile, over max_bytes={self._settings.max_bytes}"
                )
            case other:
                raise AssertionError(f"script {script.name} answered {other!r}")

    def _found(self, step: "_Live | Lost") -> Found | Lost:
        if isinstance(step, Lost):
            return step
        pairs = step.fields[0] if step.fields else None
        if not isinstance(pairs, list):
            return Lost("unreadable")
        try:
            return Found(step.session_id, unpack(step.now, pairs, self._cipher), step.outrun)
        except UnreadableEntry:
            return Lost("unreadable")

    def _difference(
        self, record: Record, changes: Changes, guards: Guards
    ) -> tuple[Sequence[bytes], Mapping[str, bytes]]:
        """The arguments for a difference, and what they make the store keep under each key."""
        pairs = pack(changes.sets, handle=record.handle, cipher=self._cipher)
        stored = {key: value for key, (_, value) in zip(changes.sets, pairs, strict=True)}
        arguments = [*_guard_arguments(guards), b"%d" % len(pairs)]
        for field, value in pairs:
            arguments += (field, value)
        arguments += (field_of(key) for key in sorted(changes.dels))
        return arguments, stored


@dataclass(slots=True)
class _Live:
    session_id: bytes = attribute(repr=False)
    now: int
    fields: Sequence[Reply] = attribute(repr=False)
    outrun: bool = False


@dataclass(slots=True)
class _Moved:
    nonce: bytes = attribute(repr=False)
    outrun: bool


def _keys(session_id: bytes) -> tuple[bytes, bytes]:
    return ids.record_key(session_id), ids.index_key(ids.place_of(session_id))


def _guard_arguments(guards: Guards) -> list[bytes]:
    arguments = [b"%d" % len(guards)]
    for key, stored in guards.items():
        arguments += (field_of(key), b"0" if stored is None else b"1", stored or b"")
    return arguments


def _changed(record: Record, changes: Changes, stored: Mapping[str, bytes]) -> Record:
    kept = {key: value for key, value in record.raw.items() if key not in changes.dels}
    return replace(record, raw={**kept, **stored}, plain=changes.applied_to(record.plain))


def _milliseconds(duration: float) -> bytes:
    return b"%d" % max(1, round(duration * 1000))
