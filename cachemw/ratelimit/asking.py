"""What a rule asks for: a connection, or an identity given by hand, turned into a `Demand`.

Most rules have nothing to wait for, and want the same for the same client again and again. Their
demands are remembered, so that a request of a known client costs little more than a look-up.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from starlette.requests import HTTPConnection
from starlette.types import Scope

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.counting import Bucket
from cachemw.ratelimit.identity import (
    ClientIP,
    HeaderValue,
    Identity,
    client_ip,
    identity_from,
)
from cachemw.ratelimit.limits import Limit, LimitLike, parse_limits
from cachemw.ratelimit.options import checked_cost, demand_exact
from cachemw.ratelimit.toll import Toll
from cachemw.ratelimit.verdicts import Answered, Demand, Verdict

if TYPE_CHECKING:
    from cachemw.ratelimit.rule import RateLimit

Plan: TypeAlias = "LimitLike | Iterable[LimitLike] | None"
REMEMBERED = 8192  # clients of rules, however many rules there are
LONGEST = 64  # characters of an identity that is remembered


class Asking:
    """The demands of one rule."""

    def __init__(self, rule: "RateLimit") -> None:
        self._rule = rule
        self._own_policies = self._policies(rule.limits)
        self.told_by = _spelled(rule.meaning)
        """What tells a rule without a name from others in its place, alike in every process."""
        self._is_used_by_route = False
        self.client_of: Callable[[Scope], str | None] | None = None
        """Who asks, where the rule has nothing to wait for and nobody else to ask."""
        if isinstance(rule.cost, int) and rule.exempt is None and not rule.plans:
            # A class of one's own may have an answer of its own.
            self.client_of = rule.by.told if type(rule.by) in (ClientIP, HeaderValue) else None
        self._is_tentative = rule.count_when is not None or rule.cost_on_hit is not None

    @property
    def is_simple(self) -> bool:
        """Whether the client and the place decide everything, at once and for good."""
        return self.client_of is not None and not (self._is_tentative or self._rule.shadow)

    def toll(self, scope: Scope, place: str) -> Toll | None:
        """What this rule alone charges a connection, where it is the same for this client each
        time."""
        if self.client_of is None or not self.is_simple:
            return None
        value = self.client_of(scope)
        return toll_of(self, value, place) if value and len(value) <= LONGEST else None

    def at_once(self, connection: HTTPConnection, place: str) -> Demand | None:
        """The demand, where the rule has nothing to wait for and knows the client."""
        if self.client_of is not None:
            value = self.client_of(connection.scope)
            if value and len(value) <= LONGEST:
                return self.demand_of(value, place)
        return None

    async def demand(
        self, connection: HTTPConnection, place: str, injected: Mapping[str, Any]
    ) -> Demand | Verdict | None:
        """What is to be counted for a connection. None: nothing; a verdict: refused unseen."""
        rule = self._rule
        self._is_used_by_route = True
        if rule.exempt is not None and await _answer(rule.exempt(connection)):
            return None
        limits = await self._limits_for(connection, injected)
        if not limits:
            return None
        identity = await self._identify(connection, injected)
        if identity is None and rule.unknown == "shared":
            identity = Identity("unknown", "")
        if identity is None:
            if rule.unknown == "exempt":
                return None
            return Verdict(
                rule.name or place, "unidentified", counted_by="nobody", shadow=rule.shadow
            )
        cost = injected.get("cost", rule.cost)
        if callable(cost):
            cost = await _answer(cost(connection))
        return self._demand(
            self._bucket(identity, limits, place), place, checked_cost("cost", cost)
        )

    def by_hand(
        self,
        identity: Identity | str | int,
        limits: Plan,
        route: str | None,
        cost: int = 1,
    ) -> Demand:
        """The demand of a hit that somebody counts by hand. It is never tentative."""
        bucket = self.bucket_by_hand(identity, limits, route)
        return self._demand(bucket, route or "", checked_cost("cost", cost), is_final=True)

    def bucket_by_hand(
        self, identity: Identity | str | int, limits: Plan, route: str | None
    ) -> Bucket:
        """Where hits of an identity are counted."""
        rule = self._rule
        if self._is_used_by_route and rule.name is None and route is None:
            raise ConfigurationError(
                f"{rule!r} has no name and counts every route apart: give it a name=, "
                "or say which with route='GET /items/{id}'"
            )
        if rule.plans and limits is None:
            raise ConfigurationError(
                f"{rule!r} takes its limits from the connection; by hand, say limits='5/minute'"
            )
        if isinstance(rule.by, ClientIP) and isinstance(identity, str):
            identity = rule.by.canonical(identity)
        known = identity_from(rule.by, identity)
        if known is None:
            raise ConfigurationError(f"{rule!r}: the identity is empty, so it is nobody's")
        chosen = rule.limits if limits is None else self._checked(_written(limits))
        return self._bucket(known, chosen, route or "")

    def demand_of(self, value: str, place: str) -> Demand:
        """The demand of a client in a place: the same for as long as it is remembered."""
        return _demand_of(self, value, place)

    # --- within

    def toll_met(self, value: str, place: str) -> Toll:
        """What this rule alone charges."""
        return Toll([self.demand_of(value, place)])

    def met(self, value: str, place: str) -> Demand:
        """The demand of a client who is met for the first time, or again."""
        rule = self._rule
        self._is_used_by_route = True
        bucket = self._bucket(Identity(rule.by.kind, value), rule.limits, place)
        return self._demand(bucket, place, checked_cost("cost", rule.cost))

    def _demand(self, bucket: Bucket, place: str, cost: int, *, is_final: bool = False) -> Demand:
        rule = self._rule
        owed: Callable[[Answered], int] | None = None
        if self._is_tentative and not is_final:
            owed = partial(self._owed, cost=cost)
        is_own = bucket.limits is rule.limits
        return Demand(
            label=rule.name or place,
            bucket=bucket,
            policies=self._own_policies if is_own else self._policies(bucket.limits),
            cost=cost,
            block=rule.block_ms,
            on_outage=rule.on_outage,
            shadow=rule.shadow,
            owed=owed,
        )

    def _owed(self, answered: Answered, cost: int) -> int:
        rule = self._rule
        if rule.count_when is not None and not rule.count_when(answered):
            return 0
        if answered.cache == "hit" and rule.cost_on_hit is not None:
            return rule.cost_on_hit
        return cost

    def _policies(self, limits: tuple[Limit, ...]) -> tuple[str, ...]:
        name = self._rule.name
        if name is None:
            return tuple(limit.label for limit in limits)
        if len(limits) == 1:
            return (name,)
        return tuple(f"{name}-{limit.label}" for limit in limits)

    async def _limits_for(
        self, connection: HTTPConnection, injected: Mapping[str, Any]
    ) -> tuple[Limit, ...]:
        if not self._rule.plans:
            return self._rule.limits
        written: list[LimitLike] = list(self._rule.limits)
        for index, plan in enumerate(self._rule.plans):
            given = injected.get(f"limits_{index}")
            if not is_dependency(plan):
                given = await _answer(plan(connection))
            written += _written(given)
        return self._checked(written)

    def _checked(self, written: Iterable[LimitLike]) -> tuple[Limit, ...]:
        limits = parse_limits(list(written))
        if self._rule.algorithm == "sliding":
            demand_exact(limits)
        return limits

    async def _identify(
        self, connection: HTTPConnection, injected: Mapping[str, Any]
    ) -> Identity | None:
        rule = self._rule
        answer = injected.get("by")
        if not is_dependency(rule.by):
            answer = await _answer(rule.by(connection))
        identity = identity_from(rule.by, answer)
        if identity is None and rule.unknown == "address" and not isinstance(rule.by, ClientIP):
            return identity_from(client_ip, client_ip(connection))
        return identity

    def _bucket(self, identity: Identity, limits: tuple[Limit, ...], place: str) -> Bucket:
        if self._rule.name is not None:
            name = self._rule.name.encode()
        else:  # "~" begins no name
            stand = f"{place}\0{self.told_by}".encode()
            name = b"~" + blake2b(stand, digest_size=8).hexdigest().encode()
        return Bucket(identity.tag, name, limits, self._rule.algorithm)


@lru_cache(REMEMBERED)
def _demand_of(asking: Asking, value: str, place: str) -> Demand:
    return asking.met(value, place)


class Charging(Protocol):
    """Whoever makes tolls, of one rule or of several."""

    def toll_met(self, value: str, place: str) -> Toll | None:
        """What a client is charged who is met for the first time, or again."""
        ...


@lru_cache(REMEMBERED)  # of all of them together
def toll_of(charging: Charging, value: str, place: str) -> Toll | None:
    return charging.toll_met(value, place)


def is_dependency(value: object) -> bool:
    """Whether this is FastAPI's `Depends(...)`, told without importing FastAPI."""
    return hasattr(value, "dependency") and hasattr(value, "use_cache")


def _spelled(part: object) -> str:
    """A part of a rule's meaning as text. Functions go by their names: an address of this process
    would make another rule of it in the next one."""
    if isinstance(part, tuple):
        return f"({', '.join(map(_spelled, cast(tuple[object, ...], part)))})"
    if is_dependency(part):
        return f"Depends({_spelled(getattr(part, 'dependency', None))})"
    if callable(part):
        named: Any = part if hasattr(part, "__qualname__") else type(part)
        return f"{named.__module__}.{named.__qualname__}"
    return repr(part)


def _written(plan: Plan) -> list[LimitLike]:
    if plan is None:
        return []
    return [plan] if isinstance(plan, str | Limit) else list(plan)


async def _answer(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
