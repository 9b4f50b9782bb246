"""The atomic steps on sessions: each in Lua for a server, and its twin for the memory store.

    load    read, and count as activity         KEYS record, index
    save    write a difference                  KEYS record, index
    create  begin, within the subject's limit   KEYS record, index
    renew   save under a new id                 KEYS record, index, new record
    take    end, and hand out                   KEYS record, index
    revoke  take off the index                  KEYS index
    list    read the index                      KEYS index

A *record* is drawn in `record.py`. An *index* is one hash for each place, with an entry for each
good session of a subject; a session whose entry is gone is refused, whoever removed it:

    <subject digest>:<handle>      <seen> <created> <deadline> <device>      times in ms

The file `lua/look.lua` is the common beginning of those that work on one session; so is `_Look`.
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import TypeAlias

from cachemw.scripts import Keyspace, Reply, Script, Twin, WrongType
from cachemw.sessions.record import META, NEXT, NOBODY, WAS

_Keys: TypeAlias = Sequence[bytes]
_META = re.compile(rb"1" + rb" ([0-9]{1,14})" * 4 + rb" ([0-9a-fA-F-]+) ([0-9a-fA-F]+)")
ENTRY = re.compile(rb"([0-9]{1,14}) ([0-9]{1,14}) ([0-9]{1,14}) (.*)", re.DOTALL)


class _Look:
    """Twin of `look.lua`: what state the session is in, and what was learned on the way."""

    def __init__(self, db: Keyspace, keys: _Keys) -> None:
        self.db = db
        self.record, self.index = keys[0], keys[1]
        self.now = _milliseconds(db)
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
        if WAS in fields:
            self.onward = fields[WAS] if under_way else b""
            return b"rotated" if under_way else b"unknown"
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

    def conflict(self, args: _Keys) -> tuple[bytes | None, _Keys]:
        """The first guarded field that is otherwise now, and the arguments after the guards."""
        end = 1 + int(args[0]) * 3
        for field, was_there, expected in zip(
            args[1:end:3], args[2:end:3], args[3:end:3], strict=True
        ):
            if self.db.hget(self.record, field) != (expected if was_there == b"1" else None):
                return field, ()
        return None, args[end:]

    def outgrown(self, args: _Keys, most: int, seal: int) -> int | None:
        """How large the session would be with what `apply` is about to do, if that is too much."""
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

    def apply(self, args: _Keys) -> None:
        end = 1 + int(args[0]) * 2
        sets = dict(zip(args[1:end:2], args[2:end:2], strict=True))
        if sets:
            self.db.hset(self.record, sets)
        if args[end:]:
            self.db.hdel(self.record, args[end:])


def _load(db: Keyspace, keys: _Keys, args: _Keys) -> Reply:
    look = _Look(db, keys)
    state = look.state(under_way=False)
    if state != b"live":
        return [state, look.onward]
    if int(args[0]) > 0:
        look.touch(keys[0], int(args[0]))
    return [state, look.now, _flat(db.hgetall(keys[0]))]


def _save(db: Keyspace, keys: _Keys, args: _Keys) -> Reply:
    look = _Look(db, keys)
    state = look.state()
    if state != b"live":
        return [state, look.onward]
    lost, rest = look.conflict(args[3:])
    if lost is not None:
        return [b"conflict", lost]
    if large := look.outgrown(rest, int(args[1]), int(args[2])):
        return [b"large", large]
    look.apply(rest)
    look.touch(keys[0], int(args[0]))
    return [state, look.now]


def _create(db: Keyspace, keys: _Keys, args: _Keys) -> Reply:
    look = _Look(db, keys)
    idle, absolute, most = int(args[0]), int(args[1]), int(args[5])
    look.subject, look.handle = args[2], args[3]
    look.created = look.renewed = b"%d" % look.now
    look.login = look.created if args[4] == b"1" else b"0"
    look.deadline = look.now + absolute
    evicted: list[Reply] = []
    if look.subject != NOBODY:
        good = _trimmed(db, look, idle)
        for _, field in good[: len(good) - most + 1] if 0 < most <= len(good) else []:
            db.hdel(look.index, (field,))
            evicted.append(field.removeprefix(look.subject + b":"))
        look.enlist(look.created, args[6])
    db.delete(keys[0])
    db.hset(keys[0], {META: look.meta(), **dict(zip(args[7::2], args[8::2], strict=True))})
    db.expire(keys[0], min(idle, absolute))
    return [b"live", look.now, evicted]


def _trimmed(db: Keyspace, look: _Look, idle: int) -> list[tuple[int, bytes]]:
    """The subject's entries by last use, after those whose time is up were dropped."""
    good: list[tuple[int, bytes]] = []
    try:
        entries = db.hgetall(look.index)
    except WrongType:
        db.delete(look.index)
        entries = {}
    for field, value in entries.items():
        if field.startswith(look.subject + b":"):
            match = ENTRY.fullmatch(value)
            seen, till = (int(match[1]), int(match[3])) if match else (0, 0)
            if till <= look.now or seen + idle <= look.now:
                db.hdel(look.index, (field,))
            else:
                good.append((seen, field))
    return sorted(good)


def _renew(db: Keyspace, keys: _Keys, args: _Keys) -> Reply:
    look = _Look(db, keys)
    state = look.state()
    if state != b"live":
        return [state, look.onward]
    lost, rest = look.conflict(args[7:])
    if lost is not None:
        return [b"conflict", lost]
    if large := look.outgrown(rest, int(args[5]), int(args[6])):
        return [b"large", large]
    look.apply(rest)
    idle, absolute = int(args[0]), int(args[3])
    look.renewed = b"%d" % look.now
    if absolute > 0:
        look.login = look.renewed
        look.deadline = look.now + absolute
    fields = {**db.hgetall(keys[0]), META: look.meta()}
    db.delete(keys[0])
    db.delete(keys[2])
    db.hset(keys[2], fields)
    if look.entry is not None:
        match = ENTRY.fullmatch(look.entry)
        look.enlist(*((match[2], match[4]) if match else (look.created, b"")))
        look.entry = None
    look.touch(keys[2], idle)
    db.hset(keys[0], {args[4]: args[2]})
    db.expire(keys[0], int(args[1]))
    return [state, look.now, _flat(fields)]


def _take(db: Keyspace, keys: _Keys, args: _Keys) -> Reply:
    look = _Look(db, keys)
    state = look.state()
    if state != b"live":
        return [state, look.onward]
    lost, _ = look.conflict(args)
    if lost is not None:
        return [b"conflict", lost]
    fields = db.hgetall(keys[0])
    db.delete(keys[0])
    if look.entry is not None:
        db.hdel(keys[1], (look.entry_field,))
    return [state, look.now, _flat(fields)]


def _revoke(db: Keyspace, keys: _Keys, args: _Keys) -> Reply:
    subject, wanted, keep = args
    try:
        fields = list(db.hgetall(keys[0]))
    except WrongType:
        return db.delete(keys[0])
    gone = 0
    for field in fields:
        handle = field.removeprefix(subject + b":")
        if handle != field and wanted in (b"*", handle) and handle != keep:
            gone += db.hdel(keys[0], (field,))
    return gone


def _list(db: Keyspace, keys: _Keys, args: _Keys) -> Reply:
    reply: list[Reply] = [_milliseconds(db)]
    try:
        entries = db.hgetall(keys[0])
    except WrongType:
        return reply
    for field, value in entries.items():
        if field.startswith(args[0] + b":"):
            reply += [field.removeprefix(args[0] + b":"), value]
    return reply


def _milliseconds(db: Keyspace) -> int:
    return db.time() // 1000


def _flat(fields: dict[bytes, bytes]) -> list[Reply]:
    return [part for pair in fields.items() for part in pair]


def _script(name: str, twin: Twin, *, looks: bool = True) -> Script:
    lua = files("cachemw.sessions").joinpath("lua")
    parts = ["look.lua", f"{name}.lua"] if looks else [f"{name}.lua"]
    text = "\n".join(lua.joinpath(part).read_text("utf-8") for part in parts)
    return Script(f"session-{name}", text, twin)


LOAD = _script("load", _load)
SAVE = _script("save", _save)
CREATE = _script("create", _create)
RENEW = _script("renew", _renew)
TAKE = _script("take", _take)
REVOKE = _script("revoke", _revoke, looks=False)
LIST = _script("list", _list, looks=False)
STEPS = (LOAD, SAVE, CREATE, RENEW, TAKE, REVOKE, LIST)
