"""What a region tells the others of its purges: notes in a journal, and how they are read.

The journal is a bounded stream. Each note names the one before it, so that whoever reads on from a
note can tell whether any is missing, for whatever reason:

    journal      ... <- 17-0 <- 17-1 <- 23-0            what a reader at 17-1 finds
    all there            23-0 names 17-1                23-0
    trimmed                     40-0 <- 41-0            40-0 does not name 17-1: a gap
    lost, with the server       (nothing), or a new one a gap
    behind, after a failover    15-0 <- 44-0            a gap

A gap is no error: whoever finds one has to take everything for purged (`relay.py`). So is a note
that nobody here can read. This file neither writes nor purges anything.

    j:{journal}         the notes: id, note before, region, what, names
    jp:{region}         on the other side: up to which note that region's journal has been carried
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, cast

import msgspec

from cachemw.scripts import Keyspace, Reply, Script, WrongType

JOURNAL = b"j:{journal}"
LIVES = 30 * 86_400_000  # milliseconds without a reader and without a purge
NAMES = 50  # in one note: more are written as several
LOST = "the journal was lost"
_NONE = b"-"  # what the first note of a journal names
_ID = re.compile(rb"(\d{1,18})-(\d{1,18})")


class What(Enum):
    """What a note is about, and what its names are."""

    BEGINNING = b"beginning"  # of a journal; no names
    TAGS = b"tags"
    RESOURCE = b"resource"  # primary keys
    URL = b"url"  # a path and the parameters that count, of whatever origin
    KEY = b"key"  # keys of the data cache
    PATTERN = b"pattern"  # one of its patterns


@dataclass(frozen=True, slots=True)
class Note:
    """One purge."""

    id: bytes
    region: str
    what: What
    names: tuple[bytes, ...]
    soft: bool = False

    @property
    def written(self) -> int:
        """When, in microseconds on the clock of its own region."""
        return int(self.id.partition(b"-")[0]) * 1000


@dataclass(frozen=True, slots=True)
class News:
    """Every note since a position, as far as one reading goes."""

    notes: tuple[Note, ...]
    position: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Nobody can say what was purged before `position`."""

    reason: str
    position: bytes


def position_key(region: str) -> bytes:
    return b"jp:{%b}" % region.encode().hex().encode()


def read_position(stored: bytes | None) -> bytes:
    """A remembered position; nothing when there is none that can be read."""
    return stored if stored is not None and _ID.fullmatch(stored) else b""


def read_on(position: bytes, reply: Reply) -> News | Gap:
    """What `FOLLOW` found after a position."""
    last, *found = cast("list[bytes | list[bytes]]", reply)
    assert isinstance(last, bytes)
    if not position:
        return Gap("no position is remembered", last)
    if not found:
        return News((), last) if last == position else Gap(LOST, last)
    notes: list[Note] = []
    for parts in cast("list[list[bytes]]", found):
        before = parts[1] if len(parts) > 1 else b""
        if before != position:
            return Gap(LOST if before == _NONE else "notes are missing", last)
        note = _read(parts)
        if note is None:
            return Gap("a note cannot be read", last)
        notes.append(note)
        position = note.id
    return News(tuple(notes), position)


def spelled(what: What, *, soft: bool) -> bytes:
    """The word that stands in a note."""
    return b"soft " + what.value if soft else what.value


def _read(parts: Sequence[bytes]) -> Note | None:
    try:
        id_, _, region, word, *names = parts
        what = What(word.removeprefix(b"soft "))
        if what is What.URL:
            _path, _query = names
        return Note(id_, region.decode(), what, tuple(names), word.startswith(b"soft "))
    except ValueError:  # too short, a word of a later version, or garbage
        return None


# --- the scripts; see the Lua for why each must be atomic. A server keeps a stream, memory a list.

_Kept: TypeAlias = list[list[bytes]]
_packed = msgspec.msgpack.Encoder()
_unpacked = msgspec.msgpack.Decoder(_Kept)


def _notes(keyspace: Keyspace, key: bytes) -> _Kept:
    try:
        stored = keyspace.get(key)
        return _unpacked.decode(stored) if stored else []
    except (WrongType, msgspec.MsgspecError):
        keyspace.delete(key)
        return []


def _append(keyspace: Keyspace, kept: _Kept, first: bytes, note: list[bytes]) -> bytes:
    now, number, before = keyspace.time() // 1000, int(first), _NONE
    if kept:
        before = kept[-1][0]
        last, count = _order(before)
        now, number = (last, count + 1) if last >= now else (now, 0)
    kept.append([b"%d-%d" % (now, number), before, *note])
    return kept[-1][0]


def _note(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """The twin of note.lua."""
    most, lives, first, *note = args
    kept = _notes(keyspace, keys[0])
    id_ = _append(keyspace, kept, first, note)
    keyspace.set(keys[0], _packed.encode(kept[-int(most) :]), int(lives))
    return id_


def _follow(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """The twin of follow.lua."""
    position, most, lives, first, *note = args
    kept = _notes(keyspace, keys[0])
    if not kept:
        _append(keyspace, kept, first, note)
    keyspace.set(keys[0], _packed.encode(kept), int(lives))
    last = kept[-1][0]
    if not position:
        return [last]
    after = [note for note in kept if _order(note[0]) > _order(position)]
    return [last, *cast("list[Reply]", after[: int(most)])]


def _order(id_: bytes) -> tuple[int, int]:
    found = _ID.fullmatch(id_)
    assert found is not None
    return int(found[1]), int(found[2])


NOTE = Script.load("cachemw.caching", "note", _note)
FOLLOW = Script.load("cachemw.caching", "follow", _follow)
