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

The file `lua/look.lua` is the common beginning of those that work on one session; so is `look.py`.
What only some of them need stands in files of its own, as a server makes all functions of a script
anew each time it runs it.
"""

from importlib.resources import files

from cachemw.scripts import Keyspace, Reply, Script, Twin, WrongType, hash_at
from cachemw.sessions.look import ENTRY, Keys, Look, milliseconds
from cachemw.sessions.record import GONE, META, NOBODY


def _load(db: Keyspace, keys: Keys, args: Keys) -> Reply:
    look = Look(db, keys)
    state = look.state(under_way=False)
    if state != b"live":
        return [state, look.onward]
    if int(args[0]) > 0:
        look.touch(keys[0], int(args[0]))
    return [*_flat(db.hgetall(keys[0])), look.now]


def _save(db: Keyspace, keys: Keys, args: Keys) -> Reply:
    look = Look(db, keys)
    state = look.state()
    if state != b"live":
        return [state, look.onward]
    refused = look.difference(args[3:], int(args[1]), int(args[2]))
    if refused is not None:
        return refused
    look.touch(keys[0], int(args[0]))
    return [state, look.now]


def _create(db: Keyspace, keys: Keys, args: Keys) -> Reply:
    look = Look(db, keys)
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


def _trimmed(db: Keyspace, look: Look, idle: int) -> list[tuple[int, bytes]]:
    """The subject's entries by last use, after those whose time is up were dropped.

    A server looks at a few of them only where none has to make room.
    """
    good: list[tuple[int, bytes]] = []
    for field, value in hash_at(db, look.index).items():
        if field.startswith(look.subject + b":"):
            match = ENTRY.fullmatch(value)
            seen, till = (int(match[1]), int(match[3])) if match else (0, 0)
            if till <= look.now or seen + idle <= look.now:
                db.hdel(look.index, (field,))
            else:
                good.append((seen, field))
    return sorted(good)


def _renew(db: Keyspace, keys: Keys, args: Keys) -> Reply:
    look = Look(db, keys)
    state = look.state()
    if state != b"live":
        return [state, look.onward]
    refused = look.difference(args[7:], int(args[5]), int(args[6]))
    if refused is not None:
        return refused
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


def _take(db: Keyspace, keys: Keys, args: Keys) -> Reply:
    look = Look(db, keys)
    state = look.state()
    if state != b"live":
        return [state, look.onward]
    lost, _ = look.conflict(args[1:])
    if lost is not None:
        return [b"conflict", lost]
    fields = db.hgetall(keys[0])
    db.delete(keys[0])
    if int(args[0]) > 0:
        db.hset(keys[0], {GONE: b"1"})
        db.expire(keys[0], int(args[0]))
    if look.entry is not None:
        db.hdel(keys[1], (look.entry_field,))
    return [state, look.now, _flat(fields)]


def _revoke(db: Keyspace, keys: Keys, args: Keys) -> Reply:
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


def _list(db: Keyspace, keys: Keys, args: Keys) -> Reply:
    reply: list[Reply] = [milliseconds(db)]
    try:
        entries = db.hgetall(keys[0])
    except WrongType:
        return reply
    for field, value in entries.items():
        if field.startswith(args[0] + b":"):
            reply += [field.removeprefix(args[0] + b":"), value]
    return reply


def _flat(fields: dict[bytes, bytes]) -> list[Reply]:
    return [part for pair in fields.items() for part in pair]


def _script(name: str, twin: Twin, *needs: str) -> Script:
    lua = files("cachemw.sessions").joinpath("lua")
    text = "\n".join(lua.joinpath(f"{part}.lua").read_text("utf-8") for part in (*needs, name))
    return Script(f"session-{name}", text, twin)


LOAD = _script("load", _load, "look")
SAVE = _script("save", _save, "look", "under_way", "difference")
CREATE = _script("create", _create, "look", "listing")
RENEW = _script("renew", _renew, "look", "under_way", "difference", "listing")
TAKE = _script("take", _take, "look", "under_way")
REVOKE = _script("revoke", _revoke)
LIST = _script("list", _list)
