"""`RateLimit`: what is limited, for whom, and what happens then, as the user writes it.

One object serves as FastAPI dependency, as decorator, as the middleware's rule, and by hand. It
turns a connection into a `Demand`; counting is the limiter's, answering the guard's.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, Literal, Self, TypeAlias, TypeVar, cast, overload

from starlette.requests import HTTPConnection

from cachemw.durations import DurationLike
from cachemw.errors import ConfigurationError
from cachemw.ratelimit import guard
from cachemw.ratelimit.counting import Bucket
from cachemw.ratelimit.identity import (
    By,
    ClientIP,
    Identity,
    by_name,
    client_ip,
    identity_from,
)
from cachemw.ratelimit.limiter import Limiter, decision_of
from cachemw.ratelimit.limits import Limit, LimitLike, parse_limits
from cachemw.ratelimit.options import (
    checked_block,
    checked_cost,
    checked_name,
    demand_exact,
    knows_its_options,
    one_of,
)
from cachemw.ratelimit.verdicts import Answered, Decision, Demand, OutagePolicy, Verdict
from cachemw.ratelimit.window import Algorithm
from cachemw.stores.base import Store

Plan: TypeAlias = "LimitLike | Iterable[LimitLike] | None"
PlanOf: TypeAlias = "Callable[[HTTPConnection], Plan | Awaitable[Plan]]"
CostOf: TypeAlias = "Callable[[HTTPConnection], int | Awaitable[int]]"
Unknown: TypeAlias = Literal["address", "refuse", "exempt", "shared"]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class RateLimit:
    """A rule: `RateLimit("10/second", "500/hour", by=header("x-api-key"))`.

    `limits` are strings, or callables that return them for a connection (None: no limit). `by`,
    `cost`, `exempt` and those callables may be async, or a FastAPI `Depends(...)` where the rule is
    used as a dependency. Raises `ConfigurationError` for whatever cannot be meant.
    """

    @knows_its_options
    def __init__(
        self,
        *limits: "LimitLike | PlanOf | Any",
        name: str | None = None,
        by: "By | str | Any" = client_ip,
        cost: "int | CostOf | Any" = 1,
        count_when: Callable[[Answered], bool] | None = None,
        cost_on_hit: int | None = None,
        exempt: Callable[[HTTPConnection], bool | Awaitable[bool]] | None = None,
        on_outage: OutagePolicy = "open",
        shadow: bool = False,
        block: DurationLike | None = None,
        algorithm: Algorithm = "fixed",
        unknown: Unknown = "address",
    ) -> None:
        if not limits:
            raise ConfigurationError("RateLimit() limits nothing: write RateLimit('100/minute')")
        one_of("on_outage", on_outage, OutagePolicy)
        one_of("algorithm", algorithm, Algorithm)
        one_of("unknown", unknown, Unknown)
        self.name = checked_name(name)
        self.limits = parse_limits([each for each in limits if isinstance(each, str | Limit)])
        self._plans: tuple[Any, ...] = tuple(
            each for each in limits if not isinstance(each, str | Limit)
        )
        for plan in self._plans:
            if not callable(plan) and not _is_dependency(plan):
                raise ConfigurationError(f"{plan!r} is not a limit: write it like '100/minute'")
        if algorithm == "sliding":
            demand_exact(self.limits)
        self.algorithm: Algorithm = algorithm
        self.by: Any = by_name(by) if isinstance(by, str) else by
        if not callable(self.by) and not _is_dependency(self.by):
            raise ConfigurationError(
                f"by={by!r} cannot be asked: use client_ip, header('x-api-key'), subject, "
                "or a function of the connection"
            )
        self.cost = cost
        if not callable(cost) and not _is_dependency(cost):
            checked_cost("cost", cost, self.limits)
        if cost_on_hit is not None:
            checked_cost("cost_on_hit", cost_on_hit, self.limits)
        self.cost_on_hit = cost_on_hit
        self.count_when = count_when
        self.exempt = exempt
        self.on_outage: OutagePolicy = on_outage
        self.shadow = shadow
        self.block_ms = checked_block(block)
        self.unknown: Unknown = unknown
        self._own_policies = self._policies(self.limits)
        self._limiter: Limiter | None = None
        self._counts_by_route = False
        self.dependencies: Mapping[str, Any] = self._dependencies()
        self.__signature__ = guard.signature(self.dependencies)  # FastAPI reads it

    def __repr__(self) -> str:
        told = [repr(str(limit)) for limit in self.limits] + ["<plan>"] * len(self._plans)
        if self.name:
            told.append(f"name={self.name!r}")
        return f"RateLimit({', '.join(told)})"

    # --- on a route

    async def _enforced(self, connection: HTTPConnection, **injected: Any) -> None:
        """Count this connection, or raise `RateLimited`."""
        await guard.enforce(self, connection, injected)

    @overload
    def __call__(self, connection: HTTPConnection, **injected: Any) -> Awaitable[None]: ...
    @overload
    def __call__(self, connection: Endpoint) -> Endpoint: ...
    @functools.wraps(_enforced, assigned=())  # by what is wrapped FastAPI learns to await it
    def __call__(self, connection: Any, **injected: Any) -> Any:
        """As a dependency: count this connection, or refuse it. As a decorator: do so each time."""
        if not isinstance(connection, HTTPConnection):
            return guard.decorated(self, connection)
        return self._enforced(cast(HTTPConnection, connection), **injected)

    async def check(self, connection: HTTPConnection, *, cost: int | None = None) -> Decision:
        """Count once more on a connection, say for a message; raises `RateLimited` when over."""
        injected = {} if cost is None else {"cost": checked_cost("cost", cost)}
        return await guard.enforce(self, connection, injected, again=True)

    # --- by hand

    def bind(self, to: Store | Limiter) -> Self:
        """Say where `hit`, `peek` and the others count. The middleware does it for its rules."""
        self._limiter = to if isinstance(to, Limiter) else Limiter(to)
        return self

    async def hit(
        self, identity: Identity | str | int, *, cost: int = 1, limits: Plan = None,
        route: str | None = None,
    ) -> Verdict:  # fmt: skip
        """Count `cost` for a client, or refuse: `.allowed`, `.remaining`, `.retry_after`."""
        bucket = self._bucket_by_hand(identity, limits, route)
        demand = self._demand(bucket, route or "", checked_cost("cost", cost), None)
        return decision_of(await self._bound().charge([demand])).verdicts[0]

    async def peek(
        self, identity: Identity | str | int, *, limits: Plan = None, route: str | None = None
    ) -> Verdict:
        """What a hit would be told now; counts nothing. Raises `StoreUnavailable`."""
        bucket = self._bucket_by_hand(identity, limits, route)
        return await self._bound().peek(self._demand(bucket, route or "", 1, None))

    async def refund(
        self, identity: Identity | str | int, amount: int = 1, *, limits: Plan = None,
        route: str | None = None,
    ) -> None:  # fmt: skip
        """Give back, never below nothing. Raises `StoreUnavailable`."""
        bucket = self._bucket_by_hand(identity, limits, route)
        await self._bound().adjust(bucket, -checked_cost("refund", amount))

    async def penalty(
        self, identity: Identity | str | int, amount: int = 1, *, limits: Plan = None,
        route: str | None = None,
    ) -> None:  # fmt: skip
        """Charge whether or not there is room. Raises `StoreUnavailable`."""
        bucket = self._bucket_by_hand(identity, limits, route)
        await self._bound().adjust(bucket, checked_cost("penalty", amount))

    async def reset(
        self, identity: Identity | str | int, *, limits: Plan = None, route: str | None = None
    ) -> None:
        """Forget counts and block. Other processes may take ten seconds to notice."""
        await self._bound().reset(self._bucket_by_hand(identity, limits, route))

    async def block(
        self, identity: Identity | str | int, duration: DurationLike, *, route: str | None = None
    ) -> None:
        """Refuse a client for `duration`, whatever it has left. Raises `StoreUnavailable`."""
        bucket = self._bucket_by_hand(identity, (), route)
        await self._bound().block(bucket, checked_block(duration))

    # --- what it asks for

    async def demand(
        self, connection: HTTPConnection, place: str, injected: Mapping[str, Any]
    ) -> Demand | Verdict | None:
        """What is to be counted for a connection. None: nothing; a verdict: refused unseen."""
        self._counts_by_route = self.name is None
        if self.exempt is not None and await _answer(self.exempt(connection)):
            return None
        limits = await self._limits_for(connection, injected)
        if not limits:
            return None
        identity = await self._identify(connection, injected)
        if identity is None and self.unknown == "shared":
            identity = Identity("unknown", "")
        if identity is None:
            if self.unknown == "exempt":
                return None
            return Verdict(
                self.name or place, "unidentified", counted_by="nobody", shadow=self.shadow
            )
        cost = injected.get("cost", self.cost)
        if callable(cost):
            cost = await _answer(cost(connection))
        bucket = self._bucket(identity, limits, place)
        cost = checked_cost("cost", cost)
        is_tentative = self.count_when is not None or self.cost_on_hit is not None
        owed = functools.partial(self._owed, cost=cost) if is_tentative else None
        return self._demand(bucket, place, cost, owed)

    @property
    def meaning(self) -> tuple[object, ...]:
        """Everything but the name: rules that share a name, and so their buckets, agree in it."""
        return (
            self.limits, self._plans, self.by, self.cost, self.count_when, self.cost_on_hit,
            self.exempt, self.on_outage, self.shadow, self.block_ms, self.algorithm, self.unknown,
        )  # fmt: skip

    def _demand(
        self, bucket: Bucket, place: str, cost: int, owed: Callable[[Answered], int] | None
    ) -> Demand:
        return Demand(
            label=self.name or place,
            bucket=bucket,
            policies=(
                self._own_policies
                if bucket.limits is self.limits
                else self._policies(bucket.limits)
            ),
            cost=cost,
            block=self.block_ms,
            on_outage=self.on_outage,
            shadow=self.shadow,
            owed=owed,
        )

    def _policies(self, limits: tuple[Limit, ...]) -> tuple[str, ...]:
        if self.name is None:
            return tuple(limit.label for limit in limits)
        if len(limits) == 1:
            return (self.name,)
        return tuple(f"{self.name}-{limit.label}" for limit in limits)

    def _owed(self, answered: Answered, cost: int) -> int:
        if self.count_when is not None and not self.count_when(answered):
            return 0
        if answered.cache == "hit" and self.cost_on_hit is not None:
            return self.cost_on_hit
        return cost

    async def _limits_for(
        self, connection: HTTPConnection, injected: Mapping[str, Any]
    ) -> tuple[Limit, ...]:
        if not self._plans:
            return self.limits
        written: list[LimitLike] = list(self.limits)
        for index, plan in enumerate(self._plans):
            given = injected.get(f"limits_{index}")
            if not _is_dependency(plan):
                given = await _answer(plan(connection))
            written += _written(given)
        return self._checked(written)

    def _checked(self, written: Iterable[LimitLike]) -> tuple[Limit, ...]:
        limits = parse_limits(list(written))
        if self.algorithm == "sliding":
            demand_exact(limits)
        return limits

    async def _identify(
        self, connection: HTTPConnection, injected: Mapping[str, Any]
    ) -> Identity | None:
        answer = injected.get("by")
        if not _is_dependency(self.by):
            answer = await _answer(self.by(connection))
        identity = identity_from(self.by, answer)
        if identity is None and self.unknown == "address" and not isinstance(self.by, ClientIP):
            return identity_from(client_ip, client_ip(connection))
        return identity

    def _bucket(self, identity: Identity, limits: tuple[Limit, ...], place: str) -> Bucket:
        if self.name is not None:
            name = self.name.encode()
        else:  # "~" begins no name
            name = b"~" + blake2b(place.encode(), digest_size=8).hexdigest().encode()
        return Bucket(identity.tag, name, limits, self.algorithm)

    def _bucket_by_hand(
        self, identity: Identity | str | int, limits: Plan, route: str | None
    ) -> Bucket:
        if self._counts_by_route and route is None:
            raise ConfigurationError(
                f"{self!r} has no name and counts every route apart: give it a name=, "
                "or say which with route='GET /items/{id}'"
            )
        if self._plans and limits is None:
            raise ConfigurationError(
                f"{self!r} takes its limits from the connection; by hand, say limits='5/minute'"
            )
        if isinstance(self.by, ClientIP) and isinstance(identity, str):
            identity = self.by.canonical(identity)
        known = identity_from(self.by, identity)
        if known is None:
            raise ConfigurationError(f"{self!r}: the identity is empty, so it is nobody's")
        chosen = self.limits if limits is None else self._checked(_written(limits))
        return self._bucket(known, chosen, route or "")

    def _bound(self) -> Limiter:
        if self._limiter is None:
            raise ConfigurationError(
                f"{self!r} does not know where to count: call .bind(store), or use it in an app "
                "with RateLimitMiddleware or install()"
            )
        return self._limiter

    def _dependencies(self) -> dict[str, Any]:
        candidates = {"by": self.by, "cost": self.cost}
        candidates |= {f"limits_{index}": plan for index, plan in enumerate(self._plans)}
        return {key: value for key, value in candidates.items() if _is_dependency(value)}


def _written(plan: Plan) -> list[LimitLike]:
    if plan is None:
        return []
    return [plan] if isinstance(plan, str | Limit) else list(plan)


def _is_dependency(value: object) -> bool:
    """Whether this is FastAPI's `Depends(...)`, told without importing FastAPI."""
    return hasattr(value, "dependency") and hasattr(value, "use_cache")


async def _answer(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
