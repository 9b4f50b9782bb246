"""The atomic steps of the data cache: who may say what a value is while others read or write it.

A reader keeps what it has made under a lease (`leases.py`). A writer of the value's source takes a
*hold* before it writes: what is kept is forgotten, readers' leases end, and nobody gets another one
until the writer has settled or its time is over. So what was read before the write is never kept
after it, also when the writer dies in between. Tags have no leases; theirs is the *bar*, a stamp
that lies ahead.

The scripts' Lua says why each is atomic; here are their twins.
"""

from collections.abc import Sequence

from cachemw.caching.stamps import Stamp, read_stamp
from cachemw.scripts import SEAL, Keyspace, Reply, Script, hash_at, text_at

_LEASE, _WRITER, _NOBODY = b"-", b"w:", b"!"
_FRESH_UNTIL = slice(SEAL + 3, SEAL + 11)
_SPARE = slice(SEAL + 11, SEAL + 19)


def _others(held: dict[bytes, bytes], token: bytes, now: int) -> int:
    """When the last of the other writers will be done, 0 when there are none."""
    own = _WRITER + token
    writers = (field for field in held if field.startswith(_WRITER) and field != own)
    ends = (int(held[field]) for field in writers if held[field].isdigit())
    return max((end for end in ends if end > now), default=0)


def _hold(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    token, lives = args
    now = keyspace.time() // 1000
    own = now + int(lives)
    others = _others(hash_at(keyspace, keys[1]), token, now)
    ends = max(own, others)
    keyspace.delete(keys[0])
    lease = b"%b %d" % (_NOBODY if others else token, ends)
    keyspace.hset(keys[1], {_LEASE: lease, _WRITER + token: b"%d" % own})
    keyspace.expire(keys[1], ends - now)
    return 0 if others else 1


def _settle(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    token, entry, lives = args
    held = hash_at(keyspace, keys[1])
    others = _others(held, token, keyspace.time() // 1000)
    if others:
        keyspace.hdel(keys[1], [_WRITER + token])
        keyspace.hset(keys[1], {_LEASE: b"%b %d" % (_NOBODY, others)})
        return 2 * keyspace.delete(keys[0])
    keyspace.delete(keys[1])
    lease = held.get(_LEASE, b"").partition(b" ")[0]
    if not entry or (token and lease != token):
        return 2 * keyspace.delete(keys[0])
    keyspace.set(keys[0], entry, int(lives))
    return 1


def _retime(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    fresh_until, lives = args
    entry = text_at(keyspace, keys[0])
    if len(entry) < _SPARE.stop or entry[SEAL : SEAL + 2] != b"\1E":
        return 0
    spare = int.from_bytes(entry[_SPARE], "big")
    keyspace.replace(
        keys[0], entry[: _FRESH_UNTIL.start] + fresh_until + entry[_FRESH_UNTIL.stop :]
    )
    keyspace.expire(keys[0], int(lives) + spare)
    return 1


def _withdraw(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    entry = text_at(keyspace, keys[0])
    keyspace.delete(keys[0])
    keyspace.delete(keys[1])
    return entry or None


def _bar(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    now, bar = int(args[0]), int(args[1])
    mark_lives, stamp_lives = int(args[2]), int(args[3])
    mark = text_at(keyspace, keys[0])
    latest = max(int(mark) if mark.isdigit() else 0, now)
    keyspace.set(keys[0], b"%d" % latest, mark_lives)
    before: list[Reply] = []
    for key, seal, found in zip(keys[1:], args[4::2], args[5::2], strict=True):
        stamp = read_stamp(text_at(keyspace, key)[SEAL:]) or Stamp(0, 0)
        hard, soft = stamp.hard, max(stamp.soft, now)
        before.append(b"%d" % hard)
        if not found:
            hard = max(hard, bar)
        elif hard == bar:
            hard = max(int(found), now)
        else:
            hard = max(hard, now)
        lives = max(keyspace.ttl(key), stamp_lives)
        keyspace.set(key, seal + b"%d %d" % (hard, soft), lives)
    return before


HOLD = Script.load("cachemw.caching", "hold", _hold)
SETTLE = Script.load("cachemw.caching", "settle", _settle)
RETIME = Script.load("cachemw.caching", "retime", _retime)
WITHDRAW = Script.load("cachemw.caching", "withdraw", _withdraw)
BAR = Script.load("cachemw.caching", "bar", _bar)
