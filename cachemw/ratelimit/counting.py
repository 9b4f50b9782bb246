"""The two atomic steps of counting, as scripts: Lua for a server, Python for this process.

Owns how a counter looks in the store. Refuses to know who is limited, or by which rule.

    rl:{identity}:bucket:block     "1"                 lives as long as the block
    rl:{identity}:bucket:f60000    "17"                lives to the end of its window (60 s)
    rl:{identity}:bucket:s60000    "17 42"             count and previous; lives for two spans

The identity is the hash tag, so that all limits of one client are one step even in a cluster,
while clients spread over its nodes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from cachemw.ratelimit.limits import Limit
from cachemw.ratelimit.window import Algorithm, Reading, has_room, rolled
from cachemw.scripts import Keyspace, Reply, Script, WrongType

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
        kind = self.algorithm.encode()
        args = [b"block", b"%d" % len(self.limits), b"%d" % block, b"0"]
        for limit in self.limits:
            args += (kind, b"%d" % limit.quota, b"%d" % limit.span, b"%d" % cost)
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


def numbers_of(reply: Reply) -> list[int]:
    """What `CHARGE` returned: whether it was charged, then three numbers for each key."""
    if not isinstance(reply, list) or len(reply) % 3 != 1:
        raise TypeError(f"not a reply of the charge script: {reply!r}")
    return cast("list[int]", reply)


def readings_of(numbers: Sequence[int]) -> list[Reading]:
    """A reading for each three numbers."""
    return [Reading._make(numbers[at : at + 3]) for at in range(0, len(numbers), 3)]


def _charge(space: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    admitted = True
    readings: list[Reading] = []
    breached: set[int] = set()
    block = 0
    for index, key in enumerate(keys):
        kind, quota, span, cost = _row(args, index)
        if kind == b"block":
            block = index
            reading = _block(space, key)
            admitted = admitted and not reading.used
        else:
            reading = (_fixed if kind == b"fixed" else _sliding)(space, key, span)
            if not has_room(Limit(quota, span), reading, cost):
                admitted = False
                breached.add(block)
        readings.append(reading)

    reply: list[Reply] = [int(admitted)]
    for index, (key, reading) in enumerate(zip(keys, readings, strict=True)):
        kind, _, span, cost = _row(args, index)
        count, left = reading.used, reading.left
        if kind == b"block":
            if index in breached and not count and span:
                space.set(key, b"1", span)
                count, left = 1, span
        elif admitted and cost:
            count += cost
            if kind == b"sliding":
                space.set(key, b"%d %d" % (count, reading.previous), max(1, left) + span)
            elif count == cost:
                space.set(key, b"%d" % count, max(1, left))
            else:
                space.replace(key, b"%d" % count)
        reply += (count, reading.previous, left)
    return reply


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
        if kind == b"fixed":
            space.set(key, b"%d" % count, max(1, reading.left))
        else:
            space.set(key, b"%d %d" % (count, previous), max(1, reading.left + span))
        changed += 1
    return changed


def _windows_ago(due: bytes, left: int, span: int) -> int:
    """How many windows ago the charge was made, by what the current one has left."""
    return 0 if due == ANY else max(0, (2 * (left - int(due)) + span) // (2 * span))


def _row(args: Sequence[bytes], index: int) -> tuple[bytes, int, int, int]:
    kind, a, b, c = args[4 * index : 4 * index + 4]
    return kind, int(a), int(b), int(c)


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
    """A counter's value and ms to live, deleted when it is none, its time put right when wrong."""
    left = space.ttl(key)
    if left == -2:
        return None, left
    try:
        match = shape.fullmatch(space.get(key) or b"")
    except WrongType:
        match = None
    if match is None:
        space.delete(key)
    elif left < 0 or left > longest:
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
