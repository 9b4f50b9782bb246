"""A bounded keyspace in this process: what a script's twin works on instead of a server.

It owns expiry and eviction, and refuses to know about event loops, seals or prefixes. There are no
timers: expired keys go when they are touched, and a few of the oldest go with every write. Over
its bounds the least recently used key goes first, as `allkeys-lru` does on a server.
"""

import heapq
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cachemw.scripts import WrongType

OVERHEAD = 120  # bytes a key costs besides itself and its value, as measured on a 64-bit CPython


@dataclass(slots=True)
class _Item:
    value: bytes | dict[bytes, bytes]
    expires: int  # microseconds on the keyspace's clock
    size: int


class MemoryKeyspace:
    """Strings and hashes with expiry, at most `max_bytes` and `max_entries` of them."""

    def __init__(self, clock: Callable[[], float], *, max_bytes: int, max_entries: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._items: OrderedDict[bytes, _Item] = OrderedDict()
        self._deadlines: list[tuple[int, bytes]] = []
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._items)

    def time(self) -> int:
        return int(self._clock() * 1_000_000)

    # --- strings

    def get(self, key: bytes) -> bytes | None:
        item = self._find(key)
        if item is None:
            return None
        if isinstance(item.value, dict):
            raise WrongType(key)
        return item.value

    def set(self, key: bytes, value: bytes, ttl: int) -> None:
        self._put(key, value, self.time() + ttl * 1000)

    def replace(self, key: bytes, value: bytes) -> None:
        item = self._find(key)
        if item is not None:
            self._put(key, value, item.expires)

    # --- hashes

    def hget(self, key: bytes, field: bytes) -> bytes | None:
        return self._hash(key).get(field)

    def hgetall(self, key: bytes) -> dict[bytes, bytes]:
        return dict(self._hash(key))

    def hlen(self, key: bytes) -> int:
        return len(self._hash(key))

    def hset(self, key: bytes, fields: dict[bytes, bytes]) -> None:
        """Write fields. A new hash lives for a minute unless `expire` says otherwise at once."""
        item = self._find(key)
        expires = item.expires if item else self.time() + 60_000_000
        self._put(key, {**self._hash(key), **fields}, expires)

    def hdel(self, key: bytes, fields: Sequence[bytes]) -> int:
        item, before = self._find(key), self._hash(key)
        after = {field: value for field, value in before.items() if field not in fields}
        if item is not None and after:
            self._put(key, after, item.expires)
        else:
            self._drop(key)
        return len(before) - len(after)

    # --- any kind

    def delete(self, key: bytes) -> int:
        found = self._find(key) is not None
        self._drop(key)
        return int(found)

    def exists(self, key: bytes) -> bool:
        return self._find(key) is not None

    def expire(self, key: bytes, ttl: int) -> bool:
        item = self._find(key)
        if item is None:
            return False
        if ttl <= 0:
            self._drop(key)
        else:
            item.expires = self.time() + ttl * 1000
            self._note_deadline(key, item.expires)
        return True

    def ttl(self, key: bytes) -> int:
        """Milliseconds left, -2 without the key. Rounded up: a key that lives has one at least."""
        item = self._find(key)
        return -2 if item is None else -((self.time() - item.expires) // 1000)

    def matching(self, pattern: bytes) -> Iterator[bytes]:
        """Living keys that match a glob, in which a backslash makes the next character plain."""
        regex = re.compile(_glob_to_regex(pattern), re.DOTALL)
        for key in list(self._items):
            if regex.fullmatch(key) and self._find(key, touch=False) is not None:
                yield key

    def clear(self) -> None:
        self._items.clear()
        self._deadlines.clear()
        self.bytes = 0

    # --- bookkeeping

    def _find(self, key: bytes, *, touch: bool = True) -> _Item | None:
        item = self._items.get(key)
        if item is None:
            return None
        if item.expires <= self.time():
            self._drop(key)
            return None
        if touch:
            self._items.move_to_end(key)
        return item

    def _hash(self, key: bytes) -> dict[bytes, bytes]:
        item = self._find(key)
        if item is None:
            return {}
        if not isinstance(item.value, dict):
            raise WrongType(key)
        return item.value

    def _put(self, key: bytes, value: bytes | dict[bytes, bytes], expires: int) -> None:
        self._drop(key)
        size = OVERHEAD + len(key) + _size_of(value)
        self._items[key] = _Item(value, expires, size)
        self.bytes += size
        self._note_deadline(key, expires)
        self._sweep()
        while self._items and (
            self.bytes > self._max_bytes or len(self._items) > self._max_entries
        ):
            self._drop(next(iter(self._items)))
            self.evicted += 1

    def _drop(self, key: bytes) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self.bytes -= item.size

    def _note_deadline(self, key: bytes, expires: int) -> None:
        heapq.heappush(self._deadlines, (expires, key))
        if len(self._deadlines) > 2 * len(self._items) + 64:  # mostly of rewritten keys by now
            self._deadlines = [(item.expires, key) for key, item in self._items.items()]
            heapq.heapify(self._deadlines)

    def _sweep(self, most: int = 8) -> None:
        now = self.time()
        while most and self._deadlines and self._deadlines[0][0] <= now:
            _, key = heapq.heappop(self._deadlines)
            self._find(key, touch=False)
            most -= 1


def _size_of(value: bytes | dict[bytes, bytes]) -> int:
    if isinstance(value, dict):
        return sum(len(field) + len(content) + 64 for field, content in value.items())
    return len(value)


def _glob_to_regex(pattern: bytes) -> bytes:
    """Redis's glob as a regular expression. Classes in brackets follow fnmatch's spelling."""
    out = bytearray()
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        if char == b"\\" and at + 1 < len(pattern):
            out += re.escape(pattern[at + 1 : at + 2])
            at += 2
            continue
        end = pattern.find(b"]", at + 1) if char == b"[" else at
        piece = pattern[at : max(end, at) + 1].replace(b"[^", b"[!", 1)
        out += _translated(piece)
        at += len(piece)
    return bytes(out)


def _translated(piece: bytes) -> bytes:
    if piece == b"*":
        return b".*"
    if piece == b"?":
        return b"."
    if piece[:1] == b"[" and piece[-1:] == b"]" and len(piece) > 2:
        body = piece[1:-1]
        negated = body[:1] == b"!"
        return (
            b"["
            + (b"^" if negated else b"")
            + re.escape(body.lstrip(b"!")).replace(b"\\-", b"-")
            + b"]"
        )
    return re.escape(piece)
