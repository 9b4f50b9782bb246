"""How a step on one session begins: what state the session is in. The twin of `lua/look.lua`.

That a session is good (it exists, its time is not up, its subject did not revoke it) is found out
in the same atomic step that acts on it. What the steps do then is in `scripts.py`.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

from cachemw.scripts import Keyspace, Reply, WrongType
from cachemw.sessions.record import GONE, META, NEXT, NOBODY, WAS

Keys: TypeAlias = Sequence[bytes]
_META = re.compile(rb"1 (\d+) (\d{1,14}) (\d+) (\d+) ([0-9a-fA-F-]+) ([0-9a-fA-F]+)")
ENTRY = re.compile(rb"([0-9]{1,14}) ([0-9]{1,14}) ([0-9]{1,14}) (.*)", re.DOTALL)


class Look:
    """One session as a step finds it, and what was learned on the way."""

    def __init__(self, db: Keyspace, keys: Keys) -> None:
        self.db = db
        self.record, self.index = keys[0], keys[1]
        self.now = milliseconds(db)
        self.onward = b""
        self.created = self.login = self.renewed = b"0"
        self.subject = NOBODY
        self.handle = b""
        self.deadline = 0
        self.entry: bytes | None = None

    def state(self, *, under_way: bool = True) -> bytes:
        db = self.db
        try:
            fields = db.hgetall(self.record)
        except WrongType:
            return b"unreadable"
        if NEXT in fields:
            self.onward = fields[NEXT]
            return b"moved"
        if WAS in fields and under_way:
            self.onward = fields[WAS]
            return b"rotated"
        if WAS in fields or GONE in fields:
            return b"replaced"
        if not fields:
            return b"unknown"
        meta = _META.fullmatch(fields.get(META, b""))
        if meta is None:
            return b"unreadable"
        self.created, deadline, self.login, self.renewed, self.subject, self.handle = meta.groups()
        self.deadline = int(deadline)
        if self.deadline <= self.now:
            db.delete(self.record)
            return b"unknown"
        if self.subject != NOBODY:
            try:
                self.entry = db.hget(self.index, self.entry_field)
            except WrongType:
                self.entry = None
            if self.entry is None:
                db.delete(self.record)
                return b"revoked"
        return b"live"

    @property
    def entry_field(self) -> bytes:
        return self.subject + b":" + self.handle

    def touch(self, key: bytes, idle: int) -> None:
        self.db.expire(key, min(idle, self.deadline - self.now))
        if self.entry is not None and (match := ENTRY.fullmatch(self.entry)):
            self.db.hset(
                self.index,
                {self.entry_field: b" ".join((b"%d" % self.now, *match.groups()[1:]))},
            )

    def enlist(self, created: bytes, device: bytes) -> None:
        value = b"%d %b %d %b" % (self.now, created, self.deadline, device)
        left = self.db.ttl(self.index)
        self.db.hset(self.index, {self.entry_field: value})
        if left < self.deadline - self.now:
            self.db.expire(self.index, self.deadline - self.now)

    def meta(self) -> bytes:
        return b" ".join(
            (
                b"1",
                self.created,
                b"%d" % self.deadline,
                self.login,
                self.renewed,
                self.subject,
                self.handle,
            )
        )

    def difference(self, args: Keys, most: int, seal: int) -> Reply:
        """Write a difference, whose arguments these are. None, or the reply that says why not."""
        lost, rest = self.conflict(args)
        if lost is not None:
            return [b"conflict", lost]
        if large := self._outgrown(rest, most, seal):
            return [b"large", large]
        self._apply(rest)
        return None

    def conflict(self, args: Keys) -> tuple[bytes | None, Keys]:
        """The first guarded field that is otherwise now, and the arguments after the guards."""
        end = 1 + int(args[0]) * 3
        for field, was_there, expected in zip(
            args[1:end:3], args[2:end:3], args[3:end:3], strict=True
        ):
            if self.db.hget(self.record, field) != (expected if was_there == b"1" else None):
                return field, ()
        return None, args[end:]

    def _outgrown(self, args: Keys, most: int, seal: int) -> int | None:
        """How large the session would be with what `_apply` is about to do, if that is too much."""
        end = 1 + int(args[0]) * 2
        if end == 1:
            return None
        kept = self.db.hgetall(self.record)
        after = {**kept, **dict(zip(args[1:end:2], args[2:end:2], strict=True))}
        total = sum(
            len(field) + len(value) - seal
            for field, value in after.items()
            if field != META and field not in args[end:]
        )
        return total if total > most else None

    def _apply(self, args: Keys) -> None:
        end = 1 + int(args[0]) * 2
        sets = dict(zip(args[1:end:2], args[2:end:2], strict=True))
        if sets:
            self.db.hset(self.record, sets)
        if args[end:]:
            self.db.hdel(self.record, args[end:])


def milliseconds(db: Keyspace) -> int:
    """The store's clock, as records have it."""
    return db.time() // 1000
