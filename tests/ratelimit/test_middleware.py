"""What answers say: fields, problem documents, and that they survive everything."""

import json

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw.ratelimit.identity import header
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware, Rules
from cachemw.ratelimit.refusal import RateLimited
from cachemw.ratelimit.rule import RateLimit
from cachemw.ratelimit.verdicts import Answered
from tests.ratelimit.apps import Client, Clock, answer, app_with

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("what", [500, Exception])
async def test_the_apps_own_handler_answers_a_failure_once_and_with_fields(
    limiter: Limiter, kind: str, what: "int | type[Exception]"
) -> None:
    handled = []

    def sorry(request: Request, error: Exception) -> Response:
        handled.append(error)
        return PlainTextResponse("sorry", 500, headers={"RateLimit": '"upstream";r=1'})

    async def sorry_later(request: Request, error: Exception) -> Response:
        return sorry(request, error)

    app = app_with(limiter, {"/x": RateLimit("3/minute")})
    app.add_exception_handler(what, sorry if kind == "sync" else sorry_later)
    client = Client(app)
    for left in (2, 1):
        failed = await client.get("/x?status=500")
        assert failed.text == "sorry"
        assert failed.headers.get_list("ratelimit") == [f'"minute";r={left};t=60']
    assert len(handled) == 2
    unlimited = await client.get("/elsewhere?status=500")
    assert unlimited.headers.get_list("ratelimit") == ['"upstream";r=1']


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


async def test_what_looks_like_a_preflight_is_counted_where_nobody_answers_it(
    limiter: Limiter,
) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/minute")}))
    asked = {"origin": "https://a.example", "access-control-request-method": "GET"}
    answers = [await client.ask("OPTIONS", "/x", asked) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]


async def test_what_the_app_sends_stays_as_it_was(limiter: Limiter) -> None:
    """It may send the same message to all: what is said to one client is not for the next."""
    begin = {"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(begin)
        await send({"type": "http.response.body", "body": b""})

    shadow = RateLimit("9/minute", name="shadow", shadow=True)  # takes the long way
    rules: dict[str, Rules] = {
        "/short": RateLimit("2/minute"),
        "/long": [RateLimit("2/minute", name="long"), shadow],
    }
    limited = RateLimitMiddleware(app, store=limiter, routes=rules)
    for path in rules:
        assert "ratelimit" in (await Client(limited).get(path)).headers
        assert "ratelimit" not in (await Client(limited).get("/free")).headers
