"""`RateLimit`: what is limited, for whom, and what happens then, as the user writes it.

One object serves as FastAPI dependency, as decorator, as the middleware's rule, and by hand. What
it asks for is found out in `asking.py`; counting is the limiter's, answering the guard's.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Self, TypeAlias, TypeVar, cast, overload

from starlette.requests import HTTPConnection

from cachemw.durations import DurationLike
from cachemw.errors import ConfigurationError
from cachemw.ratelimit import guard
from cachemw.ratelimit.asking import Asking, Plan, is_dependency
from cachemw.ratelimit.identity import By, Identity, by_name, client_ip
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
from cachemw.ratelimit.verdicts import Answered, Decision, OutagePolicy, Verdict
from cachemw.ratelimit.window import Algorithm
from cachemw.stores.base import Store

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
        self.plans: tuple[Any, ...] = tuple(
            each for each in limits if not isinstance(each, str | Limit)
        )
        for plan in self.plans:
            if not callable(plan) and not is_dependency(plan):
                raise ConfigurationError(f"{plan!r} is not a limit: write it like '100/minute'")
        if algorithm == "sliding":
            demand_exact(self.limits)
        self.algorithm: Algorithm = algorithm
        self.by: Any = by_name(by) if isinstance(by, str) else by
        if not callable(self.by) and not is_dependency(self.by):
            raise ConfigurationError(
                f"by={by!r} cannot be asked: use client_ip, header('x-api-key'), subject, "
                "or a function of the connection"
            )
        self.cost = cost
        if not callable(cost) and not is_dependency(cost):
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
        self.asking = Asking(self)
        self._limiter: Limiter | None = None
        self.dependencies: Mapping[str, Any] = self._dependencies()
        self.__signature__ = guard.signature(self.dependencies)  # FastAPI reads it

    def __repr__(self) -> str:
        told = [repr(str(limit)) for limit in self.limits] + ["<plan>"] * len(self.plans)
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
        demand = self.asking.by_hand(identity, limits, route, cost)
        return decision_of(await self._bound().charge([demand])).verdicts[0]

    async def peek(
        self, identity: Identity | str | int, *, limits: Plan = None, route: str | None = None
    ) -> Verdict:
        """What a hit would be told now; counts nothing. Raises `StoreUnavailable`."""
        return await self._bound().peek(self.asking.by_hand(identity, limits, route))

    async def refund(
        self, identity: Identity | str | int, amount: int = 1, *, limits: Plan = None,
        route: str | None = None,
    ) -> None:  # fmt: skip
        """Give back, never below nothing. Raises `StoreUnavailable`."""
        bucket = self.asking.bucket_by_hand(identity, limits, route)
        await self._bound().adjust(bucket, -checked_cost("refund", amount))

    async def penalty(
        self, identity: Identity | str | int, amount: int = 1, *, limits: Plan = None,
        route: str | None = None,
    ) -> None:  # fmt: skip
        """Charge whether or not there is room. Raises `StoreUnavailable`."""
        bucket = self.asking.bucket_by_hand(identity, limits, route)
        await self._bound().adjust(bucket, checked_cost("penalty", amount))

    async def reset(
        self, identity: Identity | str | int, *, limits: Plan = None, route: str | None = None
    ) -> None:
        """Forget counts and block. Other processes may take ten seconds to notice."""
        await self._bound().reset(self.asking.bucket_by_hand(identity, limits, route))

    async def block(
        self, identity: Identity | str | int, duration: DurationLike, *, route: str | None = None
    ) -> None:
        """Refuse a client for `duration`, whatever it has left. Raises `StoreUnavailable`."""
        bucket = self.asking.bucket_by_hand(identity, (), route)
        await self._bound().block(bucket, checked_block(duration))

    # --- within

    @property
    def meaning(self) -> tuple[object, ...]:
        """Everything but the name: rules that share a name, and so their buckets, agree in it."""
        return (
            self.limits, self.plans, self.by, self.cost, self.count_when, self.cost_on_hit,
            self.exempt, self.on_outage, self.shadow, self.block_ms, self.algorithm, self.unknown,
        )  # fmt: skip

    def _bound(self) -> Limiter:
        if self._limiter is None:
            raise ConfigurationError(
                f"{self!r} does not know where to count: call .bind(store), or use it in an app "
                "with RateLimitMiddleware or install()"
            )
        return self._limiter

    def _dependencies(self) -> dict[str, Any]:
        candidates = {"by": self.by, "cost": self.cost}
        candidates |= {f"limits_{index}": plan for index, plan in enumerate(self.plans)}
        return {key: value for key, value in candidates.items() if is_dependency(value)}
