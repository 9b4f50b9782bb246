"""The arithmetic of a window: is there room, how much is left, how long to wait.

Everything is whole numbers and none of it reads a clock: the store says how many milliseconds
a window has left, and that is all the time there is. `lua/charge.lua` repeats `has_room` and
`rolled` line by line; a test runs both on the same histories.

*Fixed*: a window opens with a client's first hit and ends `span` later. At most `quota` in each,
so at most twice `quota` around the moment where one ends and the next begins.

*Sliding*: the same window, and the one before it counts as far as it still overlaps the last
`span`: `previous * left / span + count`. The burst around the boundary is gone.
"""

from typing import Literal, NamedTuple, TypeAlias

from cachemw.ratelimit.limits import Limit

Algorithm: TypeAlias = Literal["fixed", "sliding"]


class Reading(NamedTuple):
    """One counter as the store found it: this window's count, the last one's, and ms to its end."""

    used: int
    previous: int
    left: int


class Standing(NamedTuple):
    """Where a client stands with one limit, as headers and people are told."""

    policy: str
    limit: Limit
    remaining: int
    reset: int  # ms until the quota is whole again, or, when violated, until there is room
    violated: bool = False


def has_room(limit: Limit, reading: Reading, cost: int) -> bool:
    """Whether `cost` more still fits. A fixed window is one whose `previous` is always 0."""
    if cost == 0:
        return True
    weighted = reading.previous * reading.left + (reading.used + cost) * limit.span
    return weighted <= limit.quota * limit.span


def remaining(limit: Limit, reading: Reading) -> int:
    """How much more fits right now, in whole units."""
    used = reading.used
    if reading.previous:
        used += -(-reading.previous * reading.left // limit.span)
    return max(0, limit.quota - used)


def wait(limit: Limit, reading: Reading, cost: int, algorithm: Algorithm) -> int:
    """Milliseconds until `cost` fits, if nobody else takes the room meanwhile."""
    if has_room(limit, reading, cost):
        return 0
    room = limit.quota - reading.used - cost
    if room >= 0:  # it is the last window that weighs too much; it fades as this one passes
        return reading.left - room * limit.span // reading.previous
    if algorithm == "fixed":
        return reading.left
    room = max(0, limit.quota - cost)
    fading = limit.span - room * limit.span // reading.used if reading.used else 0
    return reading.left + max(0, fading)


def standing(
    policy: str, limit: Limit, reading: Reading, cost: int, algorithm: Algorithm
) -> Standing:
    """What to say about a counter, read instead of charging `cost` to it."""
    violated = not has_room(limit, reading, cost)
    reset = wait(limit, reading, cost, algorithm) if violated else reading.left
    return Standing(policy, limit, remaining(limit, reading), max(1, reset), violated)


def aged(standing: Standing, elapsed: int) -> Standing:
    """The same standing `elapsed` milliseconds later, nothing else having happened."""
    return standing._replace(reset=max(1, standing.reset - elapsed))


def rolled(reading: Reading, span: int) -> Reading:
    """A sliding counter whose time to live says that it is in its second span, made current.

    A sliding counter lives for two spans. While more than one is left, `count` is this window's;
    afterwards it is the previous one's, and this window has none yet.
    """
    if reading.left > span:
        return Reading(reading.used, reading.previous, reading.left - span)
    return Reading(0, reading.used, reading.left)
