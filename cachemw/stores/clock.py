"""The fleet's clock: one step that reads it, and a way to follow it without asking each time.

`TIME` is the reading, taken on the server, exact and ever-increasing (`lua/time.lua`). Where one
server has all keys, a script that wants a reading takes it in the same step (`dated`).

`ServerClock` follows it. A reading that took from `sent` to `received`, both on a steady local
clock, says what the fleet's clock showed somewhere in between; the steady clock carries it on from
there. The worker's wall clock plays no part: it may be an hour off. Pure arithmetic: whoever reads
clocks passes the values.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Keyspace, Reply, Script, WrongType

CLOCK_KEY = b"{clock}"
CLOCK_LIVES = 7 * 86_400_000  # milliseconds
CREDIBLE = 9 * 10**15  # a reading beyond this (the year 2255) is somebody's garbage
REANCHOR_AFTER = 10.0  # seconds; a steady clock that drifts 200 ppm is 2 ms off by then
ASK_AGAIN_AFTER = 1.0  # seconds without an answer
DRIFT = 0.0002
JUMP = 0.25  # seconds of disagreement that drift and the network cannot explain


def _next_time(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """The twin of time.lua."""
    t = keyspace.time()
    last, offset = 0, 0
    try:
        kept = re.fullmatch(rb"([0-9]+) ([0-9]+)", (keyspace.get(keys[0]) or b"")[:34])
    except WrongType:
        kept = None
    if kept and len(kept[0]) <= 33 and int(kept[1]) < CREDIBLE and int(kept[2]) < CREDIBLE:
        last, offset = int(kept[1]), int(kept[2])
    last = max(last, int(args[1]))
    if t > last:
        offset = 0
    elif t + offset <= last:
        offset = last + 1 - t
    t += offset
    keyspace.set(keys[0], b"%d %d" % (t, offset), int(args[0]))
    return b"%d" % t


TIME = Script.load("cachemw.stores", "time", _next_time)


@lru_cache(maxsize=64)
def dated(script: Script) -> Script:
    """A reading, and behind it a script that is told of it, as one step on a server that has all
    keys: the clock is the last of them, and `time_args` are the last arguments. It answers both
    (`dated_reply`).
    """
    lua = (
        "local seen, lives = table.remove(ARGV), table.remove(ARGV)\n"
        f"local function time(KEYS, ARGV)\n{TIME.lua}\nend\n"
        f"local function body()\n{script.lua}\nend\n"
        "local reading = time({table.remove(KEYS)}, {lives, seen})\n"
        "table.insert(ARGV, 1, reading)\n"
        "local reply = body()\n"
        "if type(reply) == 'table' and reply.err then return reply end\n"
        "return {reading, reply}"
    )

    def twin(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
        reading = time_of(TIME.twin(keyspace, keys[-1:], args[-2:]))
        reply = script.twin(keyspace, keys[:-1], (b"%d" % reading, *args[:-2]))
        return [b"%d" % reading, reply]

    return Script(f"dated-{script.name}", lua, twin)


def dated_reply(reply: Reply) -> tuple[Reply, Reply]:
    """The reading in a reply of a `dated` script, and what that does."""
    match reply:
        case [reading]:  # Lua drops a trailing nil
            return reading, None
        case [reading, result]:
            return reading, result
        case _:
            raise StoreUnavailable("desync", f"no reading and a reply: {reply!r}")


def time_args(seen: int) -> tuple[bytes, bytes]:
    """The arguments of `TIME` for somebody who has seen the reading `seen`, or none (0)."""
    return b"%d" % CLOCK_LIVES, b"%d" % seen


def time_of(reply: Reply) -> int:
    """The reading in a reply of `TIME`; `StoreUnavailable` when it cannot be one."""
    if not isinstance(reply, bytes) or not re.fullmatch(rb"[0-9]{1,16}", reply):
        raise StoreUnavailable("desync", f"no reading of a clock: {reply!r}")
    if int(reply) >= CREDIBLE:
        raise StoreUnavailable("desync", f"no clock shows {int(reply)}")
    return int(reply)


@dataclass(slots=True)
class ServerClock:
    """An estimate of the fleet's clock, in microseconds."""

    anchor: int = 0  # a reading
    at: float = -inf  # the local instant it stands for
    error: float = 0.0  # half of what the reading took, in seconds
    seen: int = 0  # the latest of all readings
    asked: float = -ASK_AGAIN_AFTER
    jumps: int = 0

    @property
    def is_known(self) -> bool:
        return self.anchor != 0

    def now(self, local: float) -> int:
        return self.anchor + int((local - self.at) * 1_000_000)

    def _off_by(self, local: float, reading: int) -> float:
        """By how many seconds a reading differs from what was expected."""
        return abs(self.now(local) - reading) / 1_000_000

    def wants_reading(self, local: float) -> bool:
        """Whether somebody should take a reading now, and nobody is about to."""
        is_due = not self.is_known or local - self.at > REANCHOR_AFTER
        return is_due and local - self.asked >= ASK_AGAIN_AFTER

    def read(self, reading: int, sent: float, received: float) -> None:
        """Take a reading into account: a better one or a later one wins, and a jump always."""
        self.seen = max(self.seen, reading)
        middle, error = (sent + received) / 2, (received - sent) / 2
        has_jumped = self.is_known and self._off_by(middle, reading) > JUMP + error + self.error
        is_better = error <= self.error + (received - self.at) * DRIFT
        is_stale = received - self.at > REANCHOR_AFTER
        if not self.is_known or has_jumped or is_better or is_stale:
            self.anchor, self.at, self.error = reading, middle, error
            self.jumps += has_jumped
