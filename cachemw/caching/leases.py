"""Leases: one fill of a variant at a time in the whole fleet, and none that outlives a purge.

Whoever wants to make an entry takes a lease with a token of its own. The entry is stored only
while that lease stands. A purge of the URL forgets the leases with the record, in one command, and
so ends every fill that began before it; an evicted lease does the same. When a holder dies, its
lease ends by itself.

The scripts' Lua says why each is atomic; here are their twins.
"""

from collections.abc import Sequence

from cachemw.scripts import Keyspace, Reply, Script, WrongType


def _holder(keyspace: Keyspace, leases: bytes, variant: bytes) -> tuple[bytes, int] | None:
    """The token and the end, in milliseconds, of a lease."""
    try:
        held = keyspace.hget(leases, variant)
    except WrongType:
        return None
    token, space, ends = (held or b"").rpartition(b" ")
    return (token, int(ends)) if space and ends.isdigit() else None


def _lease(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    variant, token, lives = args
    now = keyspace.time() // 1000
    try:
        keyspace.hlen(keys[0])
    except WrongType:
        keyspace.delete(keys[0])
    held = _holder(keyspace, keys[0], variant)
    if held is not None and held[1] > now:
        return 0
    keyspace.hset(keys[0], {variant: b"%b %d" % (token, now + int(lives))})
    if keyspace.ttl(keys[0]) < int(lives):
        keyspace.expire(keys[0], int(lives))
    return 1


def _give_back(keyspace: Keyspace, leases: bytes, variant: bytes, token: bytes) -> bool:
    held = _holder(keyspace, leases, variant)
    if held is None or held[0] != token:
        return False
    keyspace.hdel(leases, [variant])
    return True


def _text(keyspace: Keyspace, key: bytes) -> bytes:
    try:
        return keyspace.get(key) or b""
    except WrongType:
        return b""


def _keep(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    variant, token, lives, new, *more = args
    if not _give_back(keyspace, keys[1], variant, token):
        return 0
    if len(keys) == 2:
        keyspace.set(keys[0], new, int(lives))
        return 1
    entry, most = more
    generation, variants, softened = new[11:19], 0, b""
    old = _text(keyspace, keys[0])
    if old[9:10] == b"V" and old[21 : len(new)] == new[21:]:
        generation, variants = old[11:19], int.from_bytes(old[19:21], "big")
        softened = old[len(new) :]
    if _text(keyspace, keys[2])[11:19] != generation:
        variants += 1
        if variants > int(most):
            return 2
    signpost = new[:11] + generation + variants.to_bytes(2, "big") + new[21:] + softened
    keyspace.set(keys[0], signpost, max(keyspace.ttl(keys[0]), int(lives)))
    keyspace.set(keys[2], entry[:11] + generation + entry[19:], int(lives))
    return 1


def _release(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    variant, token, refusal, lives = args
    if not _give_back(keyspace, keys[1], variant, token):
        return 0
    if refusal and not keyspace.exists(keys[0]):
        keyspace.set(keys[0], refusal, int(lives))
    return 1


def _soften(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    keyspace.delete(keys[1])
    record = _text(keyspace, keys[0])
    if not record:
        return 0
    if record[9:10] == b"E":
        keyspace.replace(keys[0], record[:10] + bytes((record[10] | 1,)) + record[11:])
    elif record[9:10] == b"V":
        stop = 25 + int.from_bytes(record[21:25], "big")
        softened = record[:11] + args[0] + b"\0\0" + record[21:stop] + record[11:19]
        keyspace.replace(keys[0], softened)
    return 1


LEASE = Script.load("cachemw.caching", "lease", _lease)
KEEP = Script.load("cachemw.caching", "keep", _keep)
RELEASE = Script.load("cachemw.caching", "release", _release)
SOFTEN = Script.load("cachemw.caching", "soften", _soften)
