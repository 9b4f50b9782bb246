"""Rules by route, seen from outside: who is admitted, and what the answers say."""

import json
from collections.abc import Mapping
from typing import cast
from uuid import UUID

import anyio
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.identity import ClientIP, Identity, by_name, client_ip, header, subject
from cachemw.ratelimit.ledger import RESULT
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware, Rules
from cachemw.ratelimit.refusal import RateLimited
from cachemw.ratelimit.rule import RateLimit
from cachemw.ratelimit.verdicts import Answered
from cachemw.stores.memory import MemoryStore
from tests.ratelimit.apps import Client, Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(MemoryStore(clock=clock), clock=clock)


async def answer(request: Request) -> Response:
    status = int(request.query_params.get("status", 200))
    if status == 500:
        raise RuntimeError("the handler broke")
    return PlainTextResponse("done", status)


def app_with(
    limiter: Limiter, routes: Mapping[str, Rules], *inner: Middleware, legacy_headers: bool = False
) -> Starlette:
    return Starlette(
        routes=[Route("/{rest:path}", answer, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])],
        middleware=[
            Middleware(
                RateLimitMiddleware, store=limiter, routes=routes, legacy_headers=legacy_headers
            ),
            *inner,
        ],
    )


# --- counting


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


# --- who


async def test_addresses_are_counted_apart(limiter: Limiter) -> None:
    app = app_with(limiter, {"/x": RateLimit("1/minute")})
    assert await Client(app, "203.0.113.1").statuses("/x", 2) == [200, 429]
    assert await Client(app, "203.0.113.2").statuses("/x", 2) == [200, 429]


async def test_one_ipv6_network_is_one_client(limiter: Limiter) -> None:
    app = app_with(limiter, {"/x": RateLimit("1/minute")})
    assert await Client(app, "2001:db8::1").statuses("/x", 1) == [200]
    assert await Client(app, "2001:db8::2%eth0").statuses("/x", 1) == [429]
    assert await Client(app, "2001:db8:0:1::1").statuses("/x", 1) == [200]


async def test_a_forged_header_is_not_believed(limiter: Limiter) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/minute")}))
    codes = [
        (await client.get("/x", x_forwarded_for=f"198.51.100.{n}")).status_code for n in range(3)
    ]
    assert codes == [200, 429, 429]


async def test_behind_a_trusted_proxy_the_rightmost_untrusted_hop_counts() -> None:
    app = Starlette(
        routes=[Route("/x", answer)],
        middleware=[
            Middleware(
                RateLimitMiddleware,
                store=MemoryStore(),
                routes={"/x": RateLimit("1/minute")},
                trusted_proxies=["203.0.113.0/24"],
            )
        ],
    )
    client = Client(app)
    lies = ["6.6.6.6, 198.51.100.1", "7.7.7.7, 198.51.100.1", "x" * 100_000 + ", 198.51.100.1"]
    codes = [(await client.get("/x", x_forwarded_for=lie)).status_code for lie in lies]
    assert codes == [200, 429, 429]
    assert (await client.get("/x", x_forwarded_for="198.51.100.2")).status_code == 200


async def test_a_client_without_an_address_is_refused_and_not_lumped_together(
    limiter: Limiter, caplog: pytest.LogCaptureFixture
) -> None:
    refused = await Client(app_with(limiter, {"/x": RateLimit("9/minute")}), None).get("/x")
    assert refused.status_code == 403
    assert refused.headers["cache-control"] == "no-store"
    assert "counted" in refused.json()["detail"]
    assert "trusted_proxies=['unix']" in caplog.text


async def test_unknown_clients_may_be_let_through_or_counted_together(limiter: Limiter) -> None:
    rules = {
        "/exempt": RateLimit("1/minute", unknown="exempt"),
        "/shared": RateLimit("1/minute", unknown="shared"),
    }
    client = Client(app_with(limiter, rules), None)
    assert await client.statuses("/exempt", 2) == [200, 200]
    assert await client.statuses("/shared", 2) == [200, 429]


async def test_who_sends_no_key_is_counted_by_address(limiter: Limiter) -> None:
    app = app_with(limiter, {"/x": RateLimit("1/minute", by=header("X-API-Key"))})
    one, two = Client(app, "203.0.113.1"), Client(app, "203.0.113.2")
    assert await one.statuses("/x", 2) == [200, 429]
    assert await two.statuses("/x", 1) == [200]
    assert (await two.get("/x", x_api_key="")).status_code == 429
    assert (await two.get("/x", x_api_key="203.0.113.1")).status_code == 200


@pytest.mark.parametrize("key", ["k" * 30_000, "{}", "a:b", "%0d%0a", "é", "rl:{x}:\x00"])
async def test_whatever_the_identity_the_key_is_short_and_plain(clock: Clock, key: str) -> None:
    store = MemoryStore(clock=clock)
    rule = RateLimit("1/minute", name="x", by=lambda request: key)
    client = Client(app_with(Limiter(store), {"/x": rule}))

    assert await client.statuses("/x", 2) == [200, 429]

    keys = [stored async for batch in store.scan(b"*") for stored in batch]
    assert len(keys) == 1
    assert len(keys[0]) < 64
    assert keys[0].startswith(b"rl:{")
    assert keys[0].isascii()


async def test_what_an_identity_may_be(limiter: Limiter) -> None:
    answers: list[object] = [7, b"7", "seven", UUID(int=7), Identity("mine", "7"), 7.5, object()]

    def by(request: HTTPConnection) -> str:
        return cast(str, answers[int(request.headers["n"])])

    rule = RateLimit("1/minute", name="x", by=by)
    client = Client(app_with(limiter, {"/x": rule}))
    codes = [(await client.get("/x", n=str(n))).status_code for n in range(len(answers))]
    assert codes == [200, 429, 200, 200, 200, 500, 500]


async def test_an_identity_that_raises_is_an_error_and_admits_nobody(limiter: Limiter) -> None:
    async def broken(request: HTTPConnection) -> str:
        raise LookupError("the directory is down")

    client = Client(app_with(limiter, {"/x": RateLimit("1/minute", by=broken)}))
    assert (await client.get("/x")).status_code == 500


async def test_by_the_subject_of_a_session_that_is_outside(limiter: Limiter) -> None:
    class Session:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["session"] = {"user_id": 7} if scope["query_string"] == b"in" else {}
            await self.app(scope, receive, send)

    rule = RateLimit("1/minute", name="mine", by=subject)
    app = Starlette(
        routes=[Route("/x", answer)],
        middleware=[
            Middleware(Session),
            Middleware(RateLimitMiddleware, store=limiter, routes={"/x": rule}),
        ],
    )
    one, two = Client(app, "203.0.113.1"), Client(app, "203.0.113.2")
    assert await one.statuses("/x?in", 1) == [200]
    assert await two.statuses("/x?in", 1) == [429]
    assert await two.statuses("/x", 2) == [200, 429]
    assert not (await rule.peek(7)).standings[0].remaining


async def test_by_the_subject_where_there_is_no_session_is_an_error(limiter: Limiter) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/minute", by=subject)}))
    assert (await client.get("/x")).status_code == 500


# --- answers


async def test_every_answer_names_every_limit(limiter: Limiter, clock: Clock) -> None:
    rule = RateLimit("3/minute", "100/day", name="api")
    client = Client(app_with(limiter, {"/x": rule}))
    await client.get("/x")
    clock.sleep(10.2)

    response = await client.get("/x")

    assert response.headers["ratelimit-policy"] == '"api-minute";q=3;w=60, "api-day";q=100;w=86400'
    assert response.headers["ratelimit"] == '"api-minute";r=1;t=50, "api-day";r=98;t=86390'
    assert "retry-after" not in response.headers
    assert "x-ratelimit-limit" not in response.headers


async def test_a_refusal_is_a_problem_document_that_nobody_stores(
    limiter: Limiter, clock: Clock
) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/minute", "100/day", name="api")}))
    await client.get("/x")
    clock.sleep(0.5)

    refused = await client.get("/x")

    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["cache-control"] == "no-store"
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["ratelimit"] == '"api-minute";r=0;t=60, "api-day";r=99;t=86400'
    assert json.loads(refused.content) == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "Try again in 60 seconds.",
        "violated-policies": ["api-minute"],
    }


async def test_policies_of_one_name_are_told_apart(limiter: Limiter) -> None:
    rules = [RateLimit("3/minute"), RateLimit("2/minute", by=header("x-api-key"))]
    client = Client(app_with(limiter, {"/x": rules}))
    fields = (await client.get("/x", x_api_key="k")).headers
    assert fields["ratelimit-policy"] == '"minute";q=3;w=60, "minute-2";q=2;w=60'


async def test_legacy_fields_speak_of_the_tightest_limit(limiter: Limiter, clock: Clock) -> None:
    rule = RateLimit("3/minute", "2/day")
    client = Client(app_with(limiter, {"/x": rule}, legacy_headers=True))
    fields = (await client.get("/x")).headers
    assert fields["x-ratelimit-limit"] == "2"
    assert fields["x-ratelimit-remaining"] == "1"
    assert fields["x-ratelimit-reset"] == str(int(clock.now) + 86_400)


async def test_fields_from_further_in_are_replaced(limiter: Limiter) -> None:
    """A stored answer, or an inner service, may carry somebody else's counters."""

    async def upstream(request: Request) -> Response:
        return Response(headers={"RateLimit": '"other";r=1;t=1', "X-RateLimit-Limit": "1"})

    app = Starlette(
        routes=[Route("/x", upstream)],
        middleware=[
            Middleware(RateLimitMiddleware, store=limiter, routes={"/x": RateLimit("3/minute")})
        ],
    )
    fields = (await Client(app).get("/x")).headers
    assert fields.get_list("ratelimit") == ['"minute";r=2;t=60']
    assert "x-ratelimit-limit" not in fields


@pytest.mark.parametrize("status", [404, 500])
async def test_fields_survive_failures(limiter: Limiter, status: int) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("3/minute")}))
    failed = await client.get(f"/x?status={status}")
    assert failed.status_code == status
    assert failed.headers["ratelimit"] == '"minute";r=2;t=60'


async def test_the_apps_own_handler_answers_a_failure_once(limiter: Limiter) -> None:
    handled = []

    async def on_error(request: Request, error: Exception) -> Response:
        handled.append(error)
        return PlainTextResponse("sorry", 500)

    app = app_with(limiter, {"/x": RateLimit("3/minute")})
    app.add_exception_handler(Exception, on_error)
    failed = await Client(app).get("/x?status=500")
    assert failed.text == "sorry"
    assert len(handled) == 1


async def test_foreign_middleware_outside_keeps_its_say_about_failures(limiter: Limiter) -> None:
    class Catcher:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await self.app(scope, receive, send)
            except RuntimeError:
                await PlainTextResponse("caught", 500)(scope, receive, send)

    app = app_with(limiter, {"/x": RateLimit("3/minute")})
    app.add_middleware(Catcher)
    assert (await Client(app).get("/x?status=500")).text == "caught"


async def test_outside_of_everything_fields_survive_the_apps_own_handler(limiter: Limiter) -> None:
    async def on_error(request: Request, error: Exception) -> Response:
        return PlainTextResponse("sorry", 500)

    app = Starlette(routes=[Route("/x", answer)], exception_handlers={Exception: on_error})
    wrapped = RateLimitMiddleware(app, store=limiter, routes={"/x": RateLimit("3/minute")})
    failed = await Client(wrapped).get("/x?status=500")
    assert failed.text == "sorry"
    assert failed.headers["ratelimit"] == '"minute";r=2;t=60'


async def test_pages_of_other_origins_may_read_a_refusal(limiter: Limiter) -> None:
    app = app_with(
        limiter,
        {"/x": RateLimit("1/minute")},
        Middleware(CORSMiddleware, allow_origins=["https://shop.example"]),
    )
    origin = {"origin": "https://shop.example"}
    client = Client(app)
    await client.ask("GET", "/x", origin)

    refused = await client.ask("GET", "/x", origin)

    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    assert "RateLimit" in refused.headers["access-control-expose-headers"]
    stranger = await client.ask("GET", "/x", {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers


async def test_a_preflight_is_not_counted(limiter: Limiter) -> None:
    app = app_with(
        limiter,
        {"/x": RateLimit("1/minute", name="x")},
        Middleware(CORSMiddleware, allow_origins=["*"]),
    )
    asked = {"origin": "https://shop.example", "access-control-request-method": "GET"}
    client = Client(app)
    assert [(await client.ask("OPTIONS", "/x", asked)).status_code for _ in range(3)] == [200] * 3
    assert (await client.get("/x")).status_code == 200


async def test_the_apps_own_words_for_a_refusal(limiter: Limiter) -> None:
    def slow_down(request: Request, error: RateLimited) -> Response:
        waits = error.decision.retry_after
        return JSONResponse({"wait": waits}, error.status_code, headers=dict(error.headers or {}))

    app = app_with(limiter, {"/x": RateLimit("1/minute")})
    app.add_exception_handler(RateLimited, slow_down)  # type: ignore[arg-type]
    client = Client(app)
    await client.get("/x")
    refused = await client.get("/x")
    assert refused.json() == {"wait": 60_000}
    assert refused.headers["cache-control"] == "no-store"
    assert refused.headers["ratelimit"] == '"minute";r=0;t=60'


async def test_mounted_apps_come_under_rules_by_full_path(limiter: Limiter) -> None:
    inner = Starlette(routes=[Route("/x", answer)])
    app = Starlette(
        routes=[Mount("/v1", inner), Mount("/v2", inner)],
        middleware=[
            Middleware(RateLimitMiddleware, store=limiter, routes={"/v1/x": RateLimit("1/minute")})
        ],
    )
    client = Client(app)
    assert await client.statuses("/v1/x", 2) == [200, 429]
    assert await client.statuses("/v2/x", 2) == [200, 200]


async def test_http_errors_of_the_app_count_like_any_answer(limiter: Limiter) -> None:
    async def gone(request: Request) -> Response:
        raise HTTPException(410)

    seen: list[Answered] = []

    def never(answered: Answered) -> bool:
        seen.append(answered)
        return False

    app = Starlette(
        routes=[Route("/x", gone)],
        middleware=[
            Middleware(
                RateLimitMiddleware,
                store=limiter,
                routes={"/x": RateLimit("1/minute", count_when=never)},
            )
        ],
    )
    assert await Client(app).statuses("/x", 3) == [410, 410, 410]
    assert [answered.status_code for answered in seen] == [410, 410, 410]


# --- by hand


async def test_peek_refund_penalty_reset_and_block(limiter: Limiter) -> None:
    rule = RateLimit("3/minute", name="api").bind(limiter)
    me = "203.0.113.9"

    assert (await rule.hit(me)).remaining == 2
    await rule.penalty(me, 5)
    assert not (await rule.hit(me)).allowed
    assert (await rule.peek(me)).outcome == "limited"
    await rule.refund(me, 4)
    assert (await rule.peek(me)).remaining == 1
    assert (await rule.hit(me)).allowed
    await rule.block(me, "1h")
    blocked = await rule.hit(me)
    assert (blocked.outcome, blocked.retry_after) == ("blocked", 3_600_000)
    await rule.reset(me)
    assert (await rule.hit(me)).remaining == 2


async def test_by_hand_and_by_request_are_one_counter(limiter: Limiter) -> None:
    rule = RateLimit("2/minute", name="api")
    client = Client(app_with(limiter, {"/x": rule}), "2001:db8::1")
    await client.get("/x")
    assert (await rule.hit("2001:db8::ffff")).remaining == 0
    assert (await client.get("/x")).status_code == 429
    await rule.reset(Identity("ip", "2001:db8::/64"))
    assert (await client.get("/x")).status_code == 200


async def test_by_hand_needs_a_name_or_a_route(limiter: Limiter) -> None:
    rule = RateLimit("2/minute")
    await Client(app_with(limiter, {"/x": rule})).get("/x")
    with pytest.raises(ConfigurationError, match="give it a name="):
        await rule.reset("203.0.113.9")
    assert (await rule.peek("203.0.113.9", route="GET /x")).remaining == 1


async def test_an_unbound_rule_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match=r"\.bind\(store\)"):
        await RateLimit("2/minute").hit("me")


# --- configuration


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda: RateLimit(), "RateLimit\\('100/minute'\\)"),
        (lambda: RateLimit("10/fortnight"), "10/14 days"),
        (lambda: RateLimit("10/minute", "5/60s"), "same span"),
        (lambda: RateLimit(10), "100/minute"),
        (lambda: RateLimit("1/minute", costs=2), "'cost'"),  # type: ignore[call-arg]
        (lambda: RateLimit("1/minute", cost=2), "never fits"),
        (lambda: RateLimit("1/minute", cost=-1), "refund"),
        (lambda: RateLimit("1/minute", cost=float("nan")), "whole number"),
        (lambda: RateLimit("1/minute", on_outage="close"), "'closed'"),  # type: ignore[arg-type]
        (lambda: RateLimit("1/minute", algorithm="slide"), "'sliding'"),  # type: ignore[arg-type]
        (lambda: RateLimit("1/minute", unknown="ip"), "did you mean"),  # type: ignore[arg-type]
        (lambda: RateLimit("1/minute", name="log in"), "'log-in'"),
        (lambda: RateLimit("1/minute", block="soon"), "duration"),
        (lambda: RateLimit("1/minute", block=0), "more than nothing"),
        (lambda: RateLimit("1/minute", by="api-key"), "header:x-api-key"),
        (lambda: RateLimit("1/minute", by=7), "client_ip"),
        (lambda: RateLimit("1000000000/week", algorithm="sliding"), "'fixed'"),
        (lambda: ClientIP(trusted_proxies=("*",)), "name the proxies"),
        (lambda: ClientIP(ipv6_prefix=200), "32 to 128"),
        (lambda: middleware(routes={"/x": "1/minute"}), "RateLimit\\('1/minute'\\)"),
        (lambda: middleware(routes={"x": RateLimit("1/minute")}), "begins with '/'"),
        (lambda: middleware(rules={}), "'routes'"),
        (lambda: middleware(workers=0), "workers"),
        (
            lambda: middleware(
                routes={
                    "/a": RateLimit("1/minute", name="n"),
                    "/b": RateLimit("2/minute", name="n"),
                }
            ),
            "share a name",
        ),
    ],
)
def test_mistakes_fail_at_start_up_and_name_the_fix(wrong: object, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        wrong()  # type: ignore[operator]


def middleware(**options: object) -> RateLimitMiddleware:
    return RateLimitMiddleware(Starlette(), store=MemoryStore(), **options)  # type: ignore[arg-type]


def test_a_configuration_file_names_identities() -> None:
    assert by_name("ip") is client_ip
    assert by_name("subject") == subject
    assert by_name("header:X-API-Key") == header("x-api-key")


def test_equal_rules_may_share_a_name() -> None:
    one, two = RateLimit("1/minute", name="n"), RateLimit("1/minute", name="n")
    assert middleware(routes={"/a": one, "/b": two}).rules == [one, two]
