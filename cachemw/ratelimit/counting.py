"""The two atomic steps of counting, as scripts: Lua for a server, Python for this process.

Owns how a counter looks in the store. Refuses to know who is limited, or by which rule.

    rl:{identity}:bucket:block     "1"                 lives as long as the block
    rl:{identity}:bucket:f60000    "17"                lives to the end of its window (60 s)
    rl:{identity}:bucket:s60000    "17 42"             count and previous; lives for two spans

The identity is the hash tag, so that all limits of one client are one step even in a cluster,
while clients spread over its nodes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from struct import Struct

from cachemw.ratelimit.limits import Limit
from cachemw.ratelimit.window import Algorithm, Reading, has_room, rolled
from cachemw.scripts import Keyspace, Reply, Script, text_at

_RULE, _LIMIT = Struct(">4q"), Struct(">2q")  # of the arguments of `CHARGE`
ANY = b"any"
_MOST = 10**15 - 1  # more would be no counter
_FIXED = re.compile(rb"(0|[1-9]\d{0,14})")
_SLIDING = re.compile(rb"(0|[1-9]\d{0,14}) (\d{1,15})")


@dataclass(frozen=True)
class Bucket:
    """Where the hits of one identity under one rule are counted, and against which limits.

    Buckets of clients met before are kept, and so are their keys.
    """

    tag: bytes
    name: bytes
    limits: tuple[Limit, ...]
    algorithm: Algorithm = "fixed"

    @cached_property
    def block_key(self) -> bytes:
        return b"rl:{%b}:%b:block" % (self.tag, self.name)

    @cached_property
    def counter_keys(self) -> tuple[bytes, ...]:
        start = b"rl:{%b}:%b:%b" % (self.tag, self.name, self.algorithm[:1].encode())
        return tuple(start + b"%d" % limit.span for limit in self.limits)

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        return (self.block_key, *self.counter_keys)

    def charge_args(self, cost: int, block: int) -> tuple[bytes, ...]:
        """The arguments of `CHARGE` that belong to `keys`. `block` is ms, 0 for no block."""
        slides = int(self.algorithm == "sliding")
        args = [_RULE.pack(len(self.limits), slides, min(cost, _MOST), block)]
        args += [_LIMIT.pack(*limit) for limit in self.limits]
        return tuple(args)

    def adjust_args(self, change: int, due: Sequence[int] | None = None) -> list[bytes]:
        """The arguments of `ADJUST` that belong to `counter_keys`.

        `due` is what the windows that are meant have left by now, in ms; by default the current
        ones are meant.
        """
        kind = self.algorithm.encode()
        told = [ANY] * len(self.limits) if due is None else [b"%d" % left for left in due]
        args: list[bytes] = []
        for limit, left in zip(self.limits, told, strict=True):
            args += (kind, b"%d" % change, b"%d" % limit.span, left)
        return args


@lru_cache
def numbers_for(keys: int) -> Struct:
    """What `CHARGE` returns for so many keys: whether they were charged, then three for each."""
    return Struct(f">{1 + 3 * keys}q")


def numbers_of(reply: Reply) -> tuple[int, ...]:
    """What `CHARGE` returned: whether it was charged, then three numbers for each key."""
    if not isinstance(reply, bytes) or len(reply) % 24 != 8:
        raise TypeError(f"not a reply of the charge script: {reply!r}")
    return numbers_for(len(reply) // 24).unpack(reply)


def readings_of(numbers: Sequence[int]) -> list[Reading]:
    """A reading for each three numbers."""
    return [Reading._make(numbers[at : at + 3]) for at in range(0, len(numbers), 3)]


def _charge(space: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    rules = list(_rules(args))
    found: list[Reading] = []
    admitted = True
    breached: set[int] = set()
    for at, slides, cost, _, limits in rules:
        found.append(_block(space, keys[at]))
        admitted = admitted and not found[at].used
        for index, limit in enumerate(limits, at + 1):
            found.append((_sliding if slides else _fixed)(space, keys[index], limit.span))
            if not has_room(limit, found[index], cost):
                admitted = False
                breached.add(at)

    for at, slides, cost, block, limits in rules:
        if at in breached and not found[at].used and block:
            space.set(keys[at], b"1", block)
            found[at] = Reading(1, 0, block)
        if admitted and cost:
            for index, limit in enumerate(limits, at + 1):
                before = found[index]
                found[index] = before._replace(used=before.used + cost)
                if before.used and not slides:
                    space.replace(keys[index], b"%d" % found[index].used)
                else:
                    _write(space, keys[index], found[index], slides, limit.span)
    return numbers_for(len(keys)).pack(admitted, *chain.from_iterable(found))


def _rules(args: Sequence[bytes]) -> Iterator[tuple[int, bool, int, int, list[Limit]]]:
    """Of each rule: where it begins, whether it slides, its cost, ms to block, its limits."""
    at = 0
    while at < len(args):
        counters, slides, cost, block = _RULE.unpack(args[at])
        rows = args[at + 1 : at + 1 + counters]
        yield at, bool(slides), cost, block, [Limit(*_LIMIT.unpack(row)) for row in rows]
        at += 1 + counters


def _write(space: Keyspace, key: bytes, reading: Reading, slides: bool, span: int) -> None:
    if slides:
        value = b"%d %d" % (reading.used, reading.previous)
        space.set(key, value, max(1, reading.left) + span)
    else:
        space.set(key, b"%d" % reading.used, max(1, reading.left))


def _adjust(space: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    changed = 0
    for index, key in enumerate(keys):
        kind, change, span = args[4 * index], int(args[4 * index + 1]), int(args[4 * index + 2])
        if kind == b"block":
            space.set(key, b"1", span)
            changed += 1
            continue
        reading = (_fixed if kind == b"fixed" else _sliding)(space, key, span)
        count, previous = reading.used, reading.previous
        ago = _windows_ago(args[4 * index + 3], reading.left, span)
        if ago == 0:
            count = min(_MOST, max(0, count + change))
        elif ago == 1 and kind == b"sliding":
            previous = min(_MOST, max(0, previous + change))
        if (count, previous) == (reading.used, reading.previous):
            continue
        _write(space, key, Reading(count, previous, reading.left), kind == b"sliding", span)
        changed += 1
    return changed


def _windows_ago(due: bytes, left: int, span: int) -> int:
    """How many windows ago the charge was made, by what the current one has left."""
    return 0 if due == ANY else max(0, (2 * (left - int(due)) + span) // (2 * span))


def _fixed(space: Keyspace, key: bytes, span: int) -> Reading:
    match, left = _find(space, key, _FIXED, span)
    return Reading(int(match[1]), 0, left) if match else Reading(0, 0, span)


def _sliding(space: Keyspace, key: bytes, span: int) -> Reading:
    match, left = _find(space, key, _SLIDING, 2 * span)
    if match is None:
        return Reading(0, 0, span)
    return rolled(Reading(int(match[1]), int(match[2]), left), span)


def _find(
    space: Keyspace, key: bytes, shape: re.Pattern[bytes], longest: int
) -> tuple[re.Match[bytes] | None, int]:
    """A counter's value, None for what is no counter, and ms to live, put right when wrong."""
    match = shape.fullmatch(text_at(space, key))
    if match is None:
        return None, longest
    left = space.ttl(key)
    if left < 0 or left > longest:
        space.expire(key, longest)
        left = longest
    return match, left


def _block(space: Keyspace, key: bytes) -> Reading:
    left = space.ttl(key)
    if left == -1:
        space.delete(key)
    return Reading(int(left >= 0), 0, max(0, left))


CHARGE = Script.load("cachemw.ratelimit", "charge", _charge)
ADJUST = Script.load("cachemw.ratelimit", "adjust", _adjust)
