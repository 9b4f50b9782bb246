"""The clients that rules have met lately, and what each is charged (`toll.py`).

Bounded, and only ever a shortcut: who was forgotten is met again.
"""

from collections.abc import Sequence
from functools import lru_cache

from starlette.types import Scope

from cachemw.ratelimit.asking import LONGEST, REMEMBERED
from cachemw.ratelimit.guard import counted_as
from cachemw.ratelimit.rule import RateLimit
from cachemw.ratelimit.toll import Toll


class Known:
    """The tolls of rules that stand together."""

    def __init__(self, rules: Sequence[RateLimit]) -> None:
        self._rules = rules
        # One identity is one step. Where rules ask for several, there are several.
        is_one = all(rule.asking.is_simple and rule.by == rules[0].by for rule in rules)
        self._client_of = rules[0].asking.client_of if rules and is_one else None

    def of(self, scope: Scope, pattern: str) -> Toll | None:
        """What a request is charged; None: that takes the long way."""
        if self._client_of is None:
            return None
        value = self._client_of(scope)
        if not value or len(value) > LONGEST:
            return None
        return _toll_of(self, value, counted_as(scope["method"]), pattern)

    def met(self, value: str, method: str, pattern: str) -> Toll | None:
        """What a client is charged who is met for the first time, or again."""
        place = f"{method} {pattern}"
        demands = [rule.asking.demand_of(value, place) for rule in self._rules]
        buckets = {demand.bucket.block_key for demand in demands}
        # Rules of one name have one bucket, which is charged once.
        return Toll(demands) if len(buckets) == len(demands) else None


@lru_cache(REMEMBERED)
def _toll_of(known: Known, value: str, method: str, pattern: str) -> Toll | None:
    return known.met(value, method, pattern)
