"""The short way of a request that is let in: what its rules want, worked out once for a client.

Plain rules want the same of the same client again and again: one script over the same keys, and two
fields that differ in a few numbers. A `Toll` is all of it but the numbers. Where a rule has
something to wait for, to make up its mind about later or to keep in the shadow, where a hit is
refused, and where the store is away, demands take the long way (`ledger.py`, `limiter.py`). That is
the definition: what is said here is what would have been said there, to the byte.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain

from cachemw.messages import Header
from cachemw.ratelimit.counting import numbers_for
from cachemw.ratelimit.headers import policy_field, state_of, uniquely_named
from cachemw.ratelimit.verdicts import Demand
from cachemw.scripts import Reply


class Toll:
    """What the rules of one place charge one client, as one script."""

    __slots__ = (
        "_counters",
        "_numbers",
        "_policy",
        "_state",
        "args",
        "demands",
        "keys",
        "outcomes",
        "question",
        "step",
        "store",
    )

    def __init__(self, demands: Sequence[Demand]) -> None:
        self.demands = demands
        self.keys = tuple(chain.from_iterable([demand.bucket.keys for demand in demands]))
        self.args = tuple(chain.from_iterable([demand.args for demand in demands]))
        self.question = tuple([demand.question for demand in demands])
        self.outcomes = tuple([(demand.label, "allowed") for demand in demands])
        limits = [limit for demand in demands for limit in demand.bucket.limits]
        names = uniquely_named([policy for demand in demands for policy in demand.policies])
        self._policy = policy_field(zip(names, limits, strict=True))
        self._state = ", ".join([state_of(name, "%d", "%d") for name in names]).encode()
        self._counters = _places_of(demands)
        self.step: Callable[[], Awaitable[Reply]]
        """Has all of this charged in `store`, once that was prepared by a limiter."""
        self.store: object = None
        self._numbers = numbers_for(len(self.keys))

    def numbers(self, reply: Reply) -> Sequence[int] | None:
        """What a reply to our script tells, where it says that all was charged."""
        if isinstance(reply, bytes) and len(reply) == self._numbers.size:
            numbers = self._numbers.unpack(reply)
            return numbers if numbers[0] == 1 else None
        return None

    def fields(self, reply: Sequence[int]) -> list[Header] | None:
        """What the answer says, where every counter says plainly what is left."""
        told: list[int] = []
        for at, quota in self._counters:
            rest = quota - reply[at]
            if reply[at + 1] or rest < 0:
                return None
            told += rest, -(-reply[at + 2] // 1000) or 1  # `up`, without a call for each counter
        return [self._policy, (b"ratelimit", self._state % tuple(told))]


def _places_of(demands: Sequence[Demand]) -> tuple[tuple[int, int], ...]:
    """Where each counter's three numbers are in a reply, and its quota."""
    places: list[tuple[int, int]] = []
    at = 1  # behind the verdict
    for demand in demands:
        at += 3  # its block
        for limit in demand.bucket.limits:
            places.append((at, limit.quota))
            at += 3
    return tuple(places)
