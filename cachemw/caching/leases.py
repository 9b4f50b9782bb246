"""Leases: one fill of a variant at a time in the whole fleet, and none that outlives a purge.

Whoever wants to make an entry takes a lease with a token of its own, and renews it while it works.
The entry is stored only while that lease stands. A purge of the URL forgets the leases with the
record, in one command, and so ends every fill that began before it; an evicted lease does the same.
When a holder dies, its lease ends by itself.

    l:{primary}     variant: "token end"
    v:{primary}     variant: end           which variants are stored, and until when

The scripts' Lua says why each is atomic; here are their twins.
"""

from collections.abc import Sequence

from cachemw.scripts import Keyspace, Reply, Script, WrongType, prolong, text_at

_KIND = 9  # where in a sealed record its kind stands; keep.lua draws all of it


def _holder(keyspace: Keyspace, leases: bytes, variant: bytes) -> tuple[bytes, int] | None:
    """The token and the end, in milliseconds, of a lease."""
    try:
        held = keyspace.hget(leases, variant)
    except WrongType:
        return None
    token, space, ends = (held or b"").rpartition(b" ")
    return (token, int(ends)) if space and ends.isdigit() else None


def _forget_stranger(keyspace: Keyspace, key: bytes) -> None:
    """Remove what is no hash: it is not ours."""
    try:
        keyspace.hlen(key)
    except WrongType:
        keyspace.delete(key)


def _lease(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    variant, token, lives = args
    if any(keyspace.exists(record) for record in keys[1:]):
        return 0
    now = keyspace.time() // 1000
    _forget_stranger(keyspace, keys[0])
    held = _holder(keyspace, keys[0], variant)
    if held is not None and held[1] > now:
        return 0
    keyspace.hset(keys[0], {variant: b"%b %d" % (token, now + int(lives))})
    prolong(keyspace, keys[0], int(lives))
    return 1


def _renew(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    variant, token, lives = args
    held = _holder(keyspace, keys[0], variant)
    if held is None or held[0] != token:
        return 0
    ends = keyspace.time() // 1000 + int(lives)
    keyspace.hset(keys[0], {variant: b"%b %d" % (token, ends)})
    prolong(keyspace, keys[0], int(lives))
    return 1


def _give_back(keyspace: Keyspace, leases: bytes, variant: bytes, token: bytes) -> bool:
    held = _holder(keyspace, leases, variant)
    if held is None or held[0] != token:
        return False
    keyspace.hdel(leases, [variant])
    return True


def _keep(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    lease, token, lives, new, *more = args
    if not _give_back(keyspace, keys[1], lease, token):
        return 0
    if len(keys) == 2:
        keyspace.set(keys[0], new, int(lives))
        return 1
    variant, entry, most = more
    generation, softened = new[15:23], b""
    old = text_at(keyspace, keys[0])
    if old[8:15] == new[8:15] and old[23 : len(new)] == new[23:]:
        generation, softened = old[15:23], old[len(new) :]
    else:
        keyspace.delete(keys[3])
    dropped = _count(keyspace, keys[3], variant, int(lives), int(most))
    signpost = new[:15] + generation + new[23:] + softened
    keyspace.set(keys[0], signpost, max(keyspace.ttl(keys[0]), int(lives)))
    keyspace.set(keys[2], entry[:15] + generation + entry[23:], int(lives))
    return 1 if dropped is None else dropped


def _count(
    keyspace: Keyspace, census: bytes, variant: bytes, lives: int, most: int
) -> bytes | None:
    """Enter a variant into the census. The one that made room for it, when there was none."""
    dropped: bytes | None = None
    now = keyspace.time() // 1000
    _forget_stranger(keyspace, census)
    if keyspace.hget(census, variant) is None and keyspace.hlen(census) >= most:
        stored = keyspace.hgetall(census).items()
        ended = [name for name, ends in stored if not ends.isdigit() or int(ends) <= now]
        keyspace.hdel(census, ended)
        if keyspace.hlen(census) >= most:
            left = keyspace.hgetall(census).items()
            dropped = min((int(ends), name) for name, ends in left)[1]
            keyspace.hdel(census, [dropped])
    keyspace.hset(census, {variant: b"%d" % (now + lives)})
    prolong(keyspace, census, lives)
    return dropped


def _release(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    lease, token, refusal, lives = args
    if not _give_back(keyspace, keys[1], lease, token):
        return 0
    if refusal and not keyspace.exists(keys[0]):
        keyspace.set(keys[0], refusal, int(lives))
    return 1


def _soften(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    keyspace.delete(keys[1])
    record = text_at(keyspace, keys[0])
    if len(record) < 15:
        return 0
    if record[_KIND : _KIND + 1] == b"E":
        keyspace.replace(keys[0], record[:10] + bytes((record[10] | 1,)) + record[11:])
    elif record[_KIND : _KIND + 1] == b"V":
        stop = 15 + int.from_bytes(record[11:15], "big")
        keyspace.replace(keys[0], record[:stop] + args[0])
    return 1


LEASE = Script.load("cachemw.caching", "lease", _lease)
RENEW = Script.load("cachemw.caching", "renew", _renew)
KEEP = Script.load("cachemw.caching", "keep", _keep)
RELEASE = Script.load("cachemw.caching", "release", _release)
SOFTEN = Script.load("cachemw.caching", "soften", _soften)
