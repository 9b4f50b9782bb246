"""The clients that rules have met lately, and what each is charged (`toll.py`).

Bounded, and only ever a shortcut: who was forgotten is met again.
"""

from collections.abc import Sequence
from typing import cast

from starlette.types import Scope

from cachemw.ratelimit.asking import LONGEST, toll_of
from cachemw.ratelimit.guard import COUNTED_AS, OTHER
from cachemw.ratelimit.identity import ClientIP
from cachemw.ratelimit.rule import RateLimit
from cachemw.ratelimit.toll import Toll
from cachemw.scopekeys import ASKED_BY

NOTHING = Toll(())
"""Where there is no rule."""


class Known:
    """The tolls of rules that stand together under one pattern.

    With `by_peer` no proxy is believed, so that who asks is told by the peer alone.
    """

    def __init__(self, rules: Sequence[RateLimit], pattern: str, *, by_peer: bool) -> None:
        self._rules = rules
        self._pattern = pattern
        # One identity is one step. Where rules ask for several, there are several.
        is_one = all(rule.asking.is_simple and rule.by == rules[0].by for rule in rules)
        self._client_of = rules[0].asking.client_of if rules and is_one else None
        by = rules[0].by if rules else None
        self._is_by_peer = by_peer and isinstance(by, ClientIP) and by.trusted_proxies is None

    def of(self, scope: Scope) -> Toll | None:
        """What a request is charged; None: that takes the long way."""
        method = scope["method"]
        if not self._rules:
            return NOTHING
        if self._client_of is None or method == "OPTIONS" or ASKED_BY in scope:
            return None  # maybe a preflight, or an errand of the cache
        if self._is_by_peer:
            client = scope.get("client")
            value = client[0] if client else None
        else:
            value = self._client_of(scope)
        if not value or len(value) > LONGEST:
            return None
        return toll_of(self, value, COUNTED_AS.get(method, OTHER))

    def toll_met(self, value: str, method: str) -> Toll | None:
        """What a client is charged who is met for the first time, or again."""
        place = f"{method} {self._pattern}"
        if self._is_by_peer:
            value = cast(ClientIP, self._rules[0].by).canonical(value)
        demands = [rule.asking.demand_of(value, place) for rule in self._rules]
        buckets = {demand.bucket.block_key for demand in demands}
        # Rules of one name have one bucket, which is charged once.
        return Toll(demands) if len(buckets) == len(demands) else None
