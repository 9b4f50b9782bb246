"""Several rules in one place: each of them counts, with a name or without."""

from collections.abc import Callable

import pytest
from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware, Rules
from cachemw.ratelimit.rule import RateLimit
from cachemw.stores.memory import MemoryStore
from tests.ratelimit.apps import Client, app_with

pytestmark = pytest.mark.anyio


def everybody(connection: HTTPConnection) -> str:
    return "everybody"


def generous(connection: HTTPConnection) -> str:
    return "50/minute"


def strict(connection: HTTPConnection) -> str:
    return "2/minute"


TIGHT = RateLimit("2/minute")
PAIRS = {
    "limits": [RateLimit("50/minute"), TIGHT],
    "outage": [RateLimit("50/day", on_outage="closed"), TIGHT],
    "shadow": [RateLimit("2/minute", shadow=True), TIGHT],
    "plans": [RateLimit(generous), RateLimit(strict)],
    "tentative": [RateLimit("2/minute", count_when=lambda answered: False), TIGHT],
    "cost": [RateLimit("2/minute", cost=0), TIGHT],
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("order", [1, -1])
async def test_rules_without_a_name_all_count(
    limiter: Limiter, pair: list[RateLimit], order: int
) -> None:
    client = Client(app_with(limiter, {"/x": pair[::order]}))
    assert await client.statuses("/x", 3) == [200, 200, 429]


async def test_rules_of_app_router_route_and_middleware_all_count(limiter: Limiter) -> None:
    app = FastAPI(dependencies=[Depends(RateLimit("4/minute"))])
    app.add_middleware(RateLimitMiddleware, store=limiter, routes={"/x": RateLimit("5/minute")})

    @app.get("/x", dependencies=[Depends(RateLimit("3/minute"))])
    @RateLimit("2/minute")
    async def endpoint() -> None: ...

    client = Client(app)
    first = await client.get("/x")
    assert first.headers["ratelimit-policy"] == (
        '"minute";q=5;w=60, "minute-2";q=4;w=60, "minute-3";q=3;w=60, "minute-4";q=2;w=60'
    )
    assert await client.statuses("/x", 2) == [200, 429]


async def test_the_same_said_twice_counts_once(limiter: Limiter) -> None:
    app = FastAPI(dependencies=[Depends(RateLimit("2/minute"))])
    app.add_middleware(RateLimitMiddleware, store=limiter, routes={"/x": RateLimit("2/minute")})

    @app.get("/x", dependencies=[Depends(RateLimit("2/minute"))])
    async def endpoint() -> None: ...

    assert await Client(app).statuses("/x", 3) == [200, 200, 429]


async def test_workers_that_say_the_same_count_together() -> None:
    """What tells a rule from its neighbours must not be an address in one process."""
    store = MemoryStore()

    class Tier:
        def __call__(self, connection: HTTPConnection) -> str:
            return "2/minute"

    def worker() -> Client:
        rules: Rules = [RateLimit(Tier(), by=everybody), RateLimit("9/minute", cost=lambda _: 1)]
        return Client(app_with(Limiter(store), {"/x": rules}))

    codes = [(await worker().get("/x")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


def of_middleware(*rules: RateLimit) -> FastAPI:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=MemoryStore(), routes={"/x": rules})
    return app


def of_route(*rules: RateLimit) -> FastAPI:
    app = FastAPI(dependencies=[Depends(rules[0])])
    app.add_middleware(RateLimitMiddleware, store=MemoryStore())
    app.get("/x", dependencies=[Depends(rules[1])])(lambda: None)
    return app


def of_both(*rules: RateLimit) -> FastAPI:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=MemoryStore(), routes={"GET /x": rules[0]})
    app.get("/x", dependencies=[Depends(rules[1])])(lambda: None)
    return app


@pytest.mark.parametrize("build", [of_middleware, of_route, of_both])
def test_rules_that_cannot_be_told_apart_fail_at_start_up(build: Callable[..., FastAPI]) -> None:
    one, two = (RateLimit("1/minute", count_when=lambda answered: False) for _ in range(2))
    with (
        pytest.raises(ConfigurationError, match="give one of them a name="),
        TestClient(build(one, two)),
    ):
        pass


def test_other_methods_are_another_place() -> None:
    one, two = (RateLimit("1/minute", count_when=lambda answered: False) for _ in range(2))
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=MemoryStore(), routes={"POST /x": one})
    app.get("/x", dependencies=[Depends(two)])(lambda: None)
    with TestClient(app) as client:
        assert client.get("/x").status_code == 200


async def test_a_rule_on_a_route_counts_in_the_store_of_the_app_that_was_asked() -> None:
    """Routers are written once, and apps made of them many times, by tests and by mounts."""
    rule = RateLimit("1/minute")

    def made() -> Client:
        app = FastAPI()

        @app.get("/x", dependencies=[Depends(rule)])
        async def x() -> None: ...  # pyright: ignore[reportUnusedFunction]

        app.add_middleware(RateLimitMiddleware, store=MemoryStore())
        return Client(app)

    one, other = made(), made()
    assert await one.statuses("/x", 2) == [200, 429]
    assert await other.statuses("/x", 2) == [200, 429]
