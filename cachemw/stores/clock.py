"""The fleet's clock: one step that reads it, and a way to follow it without asking each time.

`TIME` is the reading, taken on the server, exact and ever-increasing (`lua/time.lua`).

`ServerClock` follows it. A reading that took from `sent` to `received`, both on a steady local
clock, says what the fleet's clock showed somewhere in between; the steady clock carries it on from
there. The worker's wall clock plays no part: it may be an hour off. Pure arithmetic: whoever reads
clocks passes the values.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cachemw.scripts import Keyspace, Reply, Script

CLOCK_KEY = b"{clock}"
CLOCK_LIVES = b"604800000"  # a week, in milliseconds
REANCHOR_AFTER = 10.0  # seconds; a steady clock that drifts 200 ppm is 2 ms off by then
DRIFT = 0.0002
JUMP = 0.25  # seconds of disagreement that drift and the network cannot explain


def _next_time(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """The twin of time.lua."""
    t = keyspace.time()
    last, offset = 0, 0
    kept = re.fullmatch(rb"(\d+) (\d+)", keyspace.get(keys[0]) or b"")
    if kept:
        last, offset = int(kept[1]), int(kept[2])
    if t > last:
        offset = 0
    elif t + offset <= last:
        offset = last + 1 - t
    t += offset
    keyspace.set(keys[0], b"%d %d" % (t, offset), int(args[0]))
    return b"%d" % t


TIME = Script.load("cachemw.stores", "time", _next_time)


@dataclass(slots=True)
class ServerClock:
    """An estimate of the fleet's clock, in microseconds."""

    anchor: int = 0  # a reading
    at: float = 0.0  # the local instant it stands for
    error: float = 0.0  # half of what the reading took, in seconds
    jumps: int = 0

    @property
    def is_known(self) -> bool:
        return self.anchor != 0

    def now(self, local: float) -> int:
        return self.anchor + int((local - self.at) * 1_000_000)

    def wants_reading(self, local: float) -> bool:
        return not self.is_known or local - self.at > REANCHOR_AFTER

    def read(self, reading: int, sent: float, received: float) -> None:
        """Take a reading into account: a better one or a later one wins, and a jump always."""
        middle, error = (sent + received) / 2, (received - sent) / 2
        off_by = abs(self.now(middle) - reading) / 1_000_000
        has_jumped = self.is_known and off_by > JUMP + error + self.error
        is_better = error <= self.error + (received - self.at) * DRIFT
        if has_jumped or is_better or self.wants_reading(received):
            self.anchor, self.at, self.error = reading, middle, error
            self.jumps += has_jumped
