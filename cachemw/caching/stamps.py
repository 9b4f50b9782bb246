"""Valid-since stamps: how one small write makes any number of entries invalid.

Every tag, namespace and route has a stamp on the server: two instants on the fleet's clock, before
which entries are gone (hard) or stale (soft). An entry remembers when its making began. It may be
served only if all its stamps exist and are older than it; so a purge is one write whatever it
covers, and a fill that began before a purge is dead on arrival, with no lock.

A stamp that is missing, because the server evicted it, makes its entries invalid. Whoever stores an
entry creates the stamps it misses; the danger is to create one that is older than a purge whose
stamp was evicted a moment ago. Therefore stamps live in buckets, and each bucket has a *mark*: the
instant of its last purge.

    there is a mark         the stamp begins there: no purge was later. An entry that is younger is
                            valid, whichever of several with this tag is stored first; one that is
                            older may have been purged, and is not
    the mark is missing     nobody knows: the caller puts a claim there, and comes back with a time
                            read *after* that; if its claim still stands, there was no purge
                            meanwhile, and the mark is that time

A claim is good for that one return: were it shared by two who ask, the one with the older time
could put up a mark from before a purge that nobody remembers.

    p:{bucket}            the mark               an instant, or "?" and a claim
    t:{bucket}:tag        a stamp                "hard soft"
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache
from zlib import crc32

from msgspec import Struct

from cachemw.caching.tags import tag_bytes
from cachemw.scripts import SEAL, Keyspace, Reply, Script, text_at

BUCKETS = 16
MARK_LIVES = 30 * 86_400_000  # milliseconds
CLAIM_LIVES = 1000
STAMP_LIVES = 86_400_000  # of a stamp that a purge makes; entries prolong what they depend on

_STAMP = re.compile(rb"(\d{1,20}) (\d{1,20})")


class Standing(Enum):
    """What an entry's stamps say of it."""

    VALID = auto()
    STALE = auto()
    GONE = auto()


class Stamp(Struct, frozen=True):
    hard: int
    soft: int


UNLISTED_TAG = b"@unlisted"
"""What is kept for origins that are on no list has it, and every purge of a path purges it."""


def route_tag(pattern: str) -> bytes:
    """The tag that all entries of a route pattern have."""
    return tag_bytes(f"@route:{pattern}")


def bodies_tag(primary: bytes) -> bytes:
    """The tag of what is kept of one URL by the bodies of requests; each has a key of its own."""
    return b"@bodies:" + primary


def namespace_tag(name: str) -> bytes:
    """The tag that all entries of a namespace have."""
    return tag_bytes(f"@ns:{name}")


@lru_cache(maxsize=4096)
def bucket_of(tag: bytes) -> bytes:
    return b"s%d" % (crc32(tag) % BUCKETS)


@lru_cache(maxsize=4096)
def stamp_key(tag: bytes) -> bytes:
    return b"t:{%b}:%b" % (bucket_of(tag), tag)


def mark_key(bucket: bytes) -> bytes:
    return b"p:{%b}" % bucket


def by_bucket(tags: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """The tags, in the groups that one script can write."""
    groups: dict[bytes, list[bytes]] = {}
    for tag in dict.fromkeys(tags):
        groups.setdefault(bucket_of(tag), []).append(tag)
    return groups


def read_stamp(value: bytes | None) -> Stamp | None:
    """The stamp that a stored value stands for, None when it is missing or unreadable."""
    found = _STAMP.fullmatch(value) if value is not None else None
    return Stamp(int(found[1]), int(found[2])) if found else None


def standing(born: int, tags: Sequence[bytes], stamps: Mapping[bytes, bytes | None]) -> Standing:
    """What becomes of an entry born at `born`, given the stored stamps of its tags."""
    result = Standing.VALID
    for tag in tags:
        stamp = read_stamp(stamps.get(tag))
        # Equal instants count as purged.
        if stamp is None or born <= stamp.hard:
            return Standing.GONE
        if born <= stamp.soft:
            result = Standing.STALE
    return result


# --- the scripts; see the Lua for why each must be atomic


def _number(keyspace: Keyspace, key: bytes) -> int | None:
    value = text_at(keyspace, key)
    return int(value) if re.fullmatch(rb"\d{1,20}", value) else None


def _sealed_stamp(keyspace: Keyspace, key: bytes) -> Stamp | None:
    return read_stamp(text_at(keyspace, key)[SEAL:])


def _purge(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """The twin of purge.lua."""
    now, is_soft, mark_lives, stamp_lives, *seals = args
    mark = max(_number(keyspace, keys[0]) or 0, int(now))
    keyspace.set(keys[0], b"%d" % mark, int(mark_lives))
    for key, seal in zip(keys[1:], seals, strict=True):
        old = _sealed_stamp(keyspace, key) or Stamp(0, 0)
        hard = old.hard if is_soft == b"1" else max(old.hard, int(now))
        soft = max(old.soft, int(now))
        lives = max(keyspace.ttl(key), int(stamp_lives))
        keyspace.set(key, seal + b"%d %d" % (hard, soft), lives)
    return 1


def _ensure(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """The twin of ensure.lua."""
    now, mark_lives, stamp_lives, claim, *seals = args
    mark = _number(keyspace, keys[0])
    if mark is None:
        standing_claim = text_at(keyspace, keys[0])
        if standing_claim != b"?" + claim:
            if not standing_claim.startswith(b"?"):
                keyspace.set(keys[0], b"?" + claim, CLAIM_LIVES)
            return 0
        mark = int(now)
    keyspace.set(keys[0], b"%d" % mark, int(mark_lives))
    for key, seal in zip(keys[1:], seals, strict=True):
        if _sealed_stamp(keyspace, key) is None:
            keyspace.set(key, seal + b"%d %d" % (mark, mark), int(stamp_lives))
        elif keyspace.ttl(key) < int(stamp_lives):
            keyspace.expire(key, int(stamp_lives))
    return 1


PURGE = Script.load("cachemw.caching", "purge", _purge, dated=True)
ENSURE = Script.load("cachemw.caching", "ensure", _ensure)
