"""A bounded keyspace in this process: what a script's twin works on instead of a server.

It owns expiry and eviction, and refuses to know about event loops, seals or prefixes. There are no
timers: expired keys go when they are touched, and a few of the oldest go whenever a step has ended.
Over its bounds the least recently used key goes first, as `allkeys-lru` does on a server; and as
there, never in the middle of a step.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cachemw.scripts import WrongType
from cachemw.stores.glob import glob_to_regex

OVERHEAD = 120  # bytes a key costs besides itself and its value, as measured on a 64-bit CPython
FIELD_OVERHEAD = 64  # likewise for a field of a hash
NEVER = 1 << 63
SWEPT = 8  # deadlines that are looked at when a step ends


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
        self._endless: set[bytes] = set()  # written in this step, and not yet given an expiry
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._items)

    def time(self) -> int:
        return round(self._clock() * 1_000_000)

    # --- strings

    def get(self, key: bytes) -> bytes | None:
        item = self._find(key)
        if item is None:
            return None
        if isinstance(item.value, dict):
            raise WrongType(key)
        return item.value

    def set(self, key: bytes, value: bytes, ttl: int) -> None:
        if ttl <= 0:
            raise ValueError("SET with an expiry of 0 or less, which a server refuses")
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
        if not fields:
            raise ValueError("HSET without fields, which a server refuses")
        before, item = self._hash(key), self._items.get(key)
        self._put(key, {**before, **fields}, item.expires if item else NEVER)

    def hdel(self, key: bytes, fields: Sequence[bytes]) -> int:
        before, item = self._hash(key), self._items.get(key)
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
            self._due(key, item, self.time() + ttl * 1000)
        return True

    def ttl(self, key: bytes) -> int:
        """Milliseconds left, -1 without an end, -2 without the key. Rounded up: one at least."""
        item = self._find(key)
        if item is None:
            return -2
        return -1 if item.expires == NEVER else -((self.time() - item.expires) // 1000)

    def matching(self, pattern: bytes) -> Iterator[bytes]:
        """Living keys that match a glob pattern."""
        regex = glob_to_regex(pattern)
        for key in list(self._items):
            if regex.fullmatch(key) and self._find(key, touch=False) is not None:
                yield key

    # --- between steps

    def settle(self) -> list[bytes]:
        """End a step: expire and evict. Answers the keys that it left without an expiry."""
        self._sweep()
        while self.bytes > self._max_bytes or len(self._items) > self._max_entries:
            self._drop(self._victim())
            self.evicted += 1
        endless = list(self._endless)
        for key in endless:
            self._drop(key)
        return endless

    def _victim(self) -> bytes:
        """The key to evict: what was written last if it is too large for us, else the oldest."""
        newest = next(reversed(self._items))
        if self._items[newest].size > self._max_bytes:
            return newest
        return next(iter(self._items))

    def _sweep(self) -> None:
        now, most = self.time(), SWEPT
        while most and self._deadlines and self._deadlines[0][0] <= now:
            _, key = heapq.heappop(self._deadlines)
            self._find(key, touch=False)
            most -= 1

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
        item = _Item(value, expires, OVERHEAD + len(key) + _size_of(value))
        self._items[key] = item
        self.bytes += item.size
        self._due(key, item, expires)

    def _drop(self, key: bytes) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self.bytes -= item.size
            self._endless.discard(key)

    def _due(self, key: bytes, item: _Item, expires: int) -> None:
        item.expires = expires
        if expires == NEVER:
            self._endless.add(key)
            return
        self._endless.discard(key)
        heapq.heappush(self._deadlines, (expires, key))
        if len(self._deadlines) > 2 * len(self._items) + 64:  # mostly of rewritten keys by now
            self._deadlines = [(item.expires, key) for key, item in self._items.items()]
            heapq.heapify(self._deadlines)


def _size_of(value: bytes | dict[bytes, bytes]) -> int:
    if isinstance(value, dict):
        fields = value.items()
        return sum(len(field) + len(content) + FIELD_OVERHEAD for field, content in fields)
    return len(value)
