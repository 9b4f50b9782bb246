"""Rules of the middleware: who is admitted, who is refused, what is given back."""

from typing import cast

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw.ratelimit.identity import header
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware
from cachemw.ratelimit.rule import RateLimit
from cachemw.scopekeys import RESULT
from tests.ratelimit.apps import Client, Clock, app_with

pytestmark = pytest.mark.anyio


async def test_the_quota_is_admitted_and_no_more(limiter: Limiter, clock: Clock) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("3/minute")}))

    assert await client.statuses("/x", 5) == [200, 200, 200, 429, 429]

    clock.sleep(60)
    assert await client.statuses("/x", 4) == [200, 200, 200, 429]


async def test_the_first_pattern_that_matches_wins(limiter: Limiter) -> None:
    client = Client(
        app_with(limiter, {"/a/b": RateLimit("1/minute"), "/a/{rest:path}": RateLimit("2/minute")})
    )
    assert await client.statuses("/a/b", 2) == [200, 429]
    assert await client.statuses("/a/c", 3) == [200, 200, 429]
    assert await client.statuses("/free", 3) == [200, 200, 200]


async def test_methods_are_counted_apart_and_head_is_a_get(limiter: Limiter) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/minute")}))
    assert (await client.get("/x")).status_code == 200
    assert (await client.post("/x")).status_code == 200
    assert (await client.ask("HEAD", "/x")).status_code == 429


async def test_a_rule_for_get_takes_head_too(limiter: Limiter) -> None:
    client = Client(app_with(limiter, {"GET /x": RateLimit("1/minute")}))
    assert (await client.get("/x")).status_code == 200
    assert (await client.ask("HEAD", "/x")).status_code == 429
    assert (await client.post("/x")).status_code == 200


async def test_made_up_methods_share_one_bucket(limiter: Limiter) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/minute")}))
    assert (await client.ask("FOO", "/x")).status_code == 405
    assert (await client.ask("BAR", "/x")).status_code == 429


async def test_encoded_paths_come_under_the_same_rule(limiter: Limiter) -> None:
    client = Client(app_with(limiter, {"/login": RateLimit("1/minute")}))
    assert (await client.get("/login")).status_code == 200
    assert (await client.get("/lo%67in")).status_code == 429


async def test_a_name_shares_one_bucket_among_routes_and_methods(limiter: Limiter) -> None:
    shared = RateLimit("2/minute", name="shared")
    client = Client(app_with(limiter, {"/a": shared, "/b": shared}))
    assert (await client.get("/a")).status_code == 200
    assert (await client.post("/b")).status_code == 200
    assert (await client.get("/b")).status_code == 429


async def test_all_limits_or_none_are_charged(limiter: Limiter, clock: Clock) -> None:
    rule = RateLimit("2/second", "5/minute", name="two")
    client = Client(app_with(limiter, {"/x": rule}))

    assert await client.statuses("/x", 10) == [200] * 2 + [429] * 8

    clock.sleep(1)
    assert (await rule.peek("203.0.113.9")).standings[1].remaining == 3


async def test_a_refusal_by_one_identity_gives_back_what_the_other_was_charged(
    limiter: Limiter,
) -> None:
    by_key = RateLimit("1/minute", name="key", by=header("x-api-key"))
    by_ip = RateLimit("9/minute", name="ip")
    client = Client(app_with(limiter, {"/x": [by_ip, by_key]}))

    codes = [(await client.get("/x", x_api_key="k")).status_code for _ in range(5)]

    assert codes == [200, 429, 429, 429, 429]
    assert (await by_ip.peek("203.0.113.9")).remaining == 8


async def test_cost_is_a_number_or_asks_the_request(limiter: Limiter) -> None:
    async def size(request: HTTPConnection) -> int:
        return int(request.headers["x-size"])

    client = Client(app_with(limiter, {"/x": RateLimit("10/minute", cost=size)}))
    codes = [
        (await client.get("/x", x_size=size)).status_code for size in ("6", "5", "4", "0", "1")
    ]
    assert codes == [200, 429, 200, 200, 429]


@pytest.mark.parametrize("cost", [-1, 1.5, float("nan"), True, None])
async def test_a_cost_that_cannot_be_counted_is_an_error(limiter: Limiter, cost: object) -> None:
    client = Client(
        app_with(limiter, {"/x": RateLimit("10/minute", cost=lambda request: cast(int, cost))})
    )
    assert (await client.get("/x")).status_code == 500


async def test_limits_by_plan(limiter: Limiter) -> None:
    async def plan(request: HTTPConnection) -> list[str] | None:
        return {"gold": ["3/minute", "100/day"], "free": ["1/minute"]}.get(request.headers["plan"])

    client = Client(app_with(limiter, {"/x": RateLimit(plan, by=header("plan"))}))

    async def codes(name: str) -> list[int]:
        return [(await client.get("/x", plan=name)).status_code for _ in range(4)]

    assert await codes("free") == [200, 429, 429, 429]
    assert await codes("gold") == [200, 200, 200, 429]
    assert await codes("unlimited") == [200, 200, 200, 200]


async def test_exempt(limiter: Limiter) -> None:
    rule = RateLimit("1/minute", exempt=lambda request: request.headers.get("x-probe") == "yes")
    client = Client(app_with(limiter, {"/x": rule}))
    assert await client.statuses("/x", 2) == [200, 429]
    assert (await client.get("/x", x_probe="yes")).status_code == 200


async def test_only_failures_count(limiter: Limiter) -> None:
    rule = RateLimit("2/minute", name="login", count_when=lambda answer: answer.status_code == 401)
    client = Client(app_with(limiter, {"/login": rule}))

    assert await client.statuses("/login", 6) == [200] * 6
    assert await client.statuses("/login?status=401", 3) == [401, 401, 429]


async def test_a_hundred_attempts_at_once_fail_no_more_often_than_the_limit_says(
    limiter: Limiter,
) -> None:
    """Each attempt holds its place until its answer is known."""
    everybody_is_in = anyio.Event()
    inside = 0

    async def login(request: Request) -> Response:
        nonlocal inside
        inside += 1
        if inside == 3:
            everybody_is_in.set()
        await everybody_is_in.wait()
        return Response(status_code=401)

    rule = RateLimit("3/minute", name="login", count_when=lambda answer: answer.status_code == 401)
    app = Starlette(
        routes=[Route("/login", login)],
        middleware=[Middleware(RateLimitMiddleware, store=limiter, routes={"/login": rule})],
    )
    codes: list[int] = []

    async def attempt() -> None:
        codes.append((await Client(app).get("/login")).status_code)

    async with anyio.create_task_group() as attempts:
        for _ in range(100):
            attempts.start_soon(attempt)

    assert codes.count(401) == 3
    assert codes.count(429) == 97


class PretendCache:
    """Stands where the response cache stands, and says that it hit when the request says so."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[RESULT] = "hit" if scope["query_string"] == b"hit" else "miss"
        await self.app(scope, receive, send)


async def test_a_cached_hit_may_cost_nothing(limiter: Limiter) -> None:
    rule = RateLimit("2/minute", cost_on_hit=0)
    client = Client(app_with(limiter, {"/x": rule}, Middleware(PretendCache)))

    assert await client.statuses("/x?hit", 5) == [200] * 5
    assert (await client.get("/x?hit")).headers["ratelimit"] == '"minute";r=2;t=60'
    assert await client.statuses("/x", 3) == [200, 200, 429]


async def test_a_breach_blocks(limiter: Limiter, clock: Clock) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/second", block="15m")}))
    assert await client.statuses("/x", 2) == [200, 429]

    clock.sleep(60)
    refused = await client.get("/x")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "840"
    assert refused.json()["type"].endswith("#abnormal-usage-detected")

    clock.sleep(840)
    assert (await client.get("/x")).status_code == 200


async def test_a_breach_of_one_limit_names_that_one_and_blocks_all(limiter: Limiter) -> None:
    rule = RateLimit("1/second", "9/day", name="r", block="15m")
    client = Client(app_with(limiter, {"/x": rule}))
    await client.get("/x")
    refused = await client.get("/x")
    assert refused.json()["violated-policies"] == ["r-second"]
    assert refused.headers["ratelimit"] == '"r-second";r=0;t=900, "r-day";r=0;t=86400'
    assert refused.headers["retry-after"] == "900"


async def test_in_the_shadow_everything_passes_and_is_counted(limiter: Limiter) -> None:
    rule = RateLimit("1/minute", name="new", shadow=True)
    client = Client(app_with(limiter, {"/x": rule}))

    assert await client.statuses("/x", 3) == [200, 200, 200]

    assert limiter.counts["new", "allowed"] == 1
    assert limiter.counts["new", "shadow limited"] == 2
    assert "ratelimit" not in (await client.get("/x")).headers


async def test_a_rule_in_the_shadow_does_not_hold_others_back(limiter: Limiter) -> None:
    strict = RateLimit("1/minute", name="strict", shadow=True)
    real = RateLimit("3/minute", name="real")
    client = Client(app_with(limiter, {"/x": [strict, real]}))
    assert await client.statuses("/x", 4) == [200, 200, 200, 429]


async def test_sliding_windows_have_no_boundary_burst(limiter: Limiter, clock: Clock) -> None:
    fixed = RateLimit("10/minute", name="fixed")
    sliding = RateLimit("10/minute", name="sliding", algorithm="sliding")
    client = Client(app_with(limiter, {"/fixed": fixed, "/sliding": sliding}))
    around_the_boundary = {}
    for path in ("/fixed", "/sliding"):
        assert await client.statuses(path, 1) == [200]
        clock.sleep(59)
        before = await client.statuses(path, 9)
        clock.sleep(2)
        after = await client.statuses(path, 10)
        around_the_boundary[path] = [*before, *after].count(200)

    assert around_the_boundary == {"/fixed": 19, "/sliding": 9}
