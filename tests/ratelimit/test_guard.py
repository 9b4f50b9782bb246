"""Rules on routes: FastAPI dependencies, decorated endpoints, and the route they count for."""

import asyncio
from collections.abc import Callable
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Request, WebSocket
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.identity import header
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware
from cachemw.ratelimit.refusal import RateLimited
from cachemw.ratelimit.rule import RateLimit
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from tests.ratelimit.apps import Client

pytestmark = pytest.mark.anyio


def fastapi_app(limiter: Limiter, *rules: RateLimit) -> FastAPI:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=limiter)
    return app


async def test_a_dependency_limits_and_describes(limiter: Limiter) -> None:
    app = fastapi_app(limiter)

    @app.post("/login", dependencies=[Depends(RateLimit("2/minute", name="login"))])
    async def login() -> str:
        return "in"

    client = Client(app)
    first = await client.post("/login")
    assert first.headers["ratelimit"] == '"login";r=1;t=60'
    await client.post("/login")
    refused = await client.post("/login")
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["cache-control"] == "no-store"
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["ratelimit"] == '"login";r=0;t=60'
    assert refused.json()["violated-policies"] == ["login"]


async def test_tasks_of_one_request_are_charged_once_for_each_rule(
    opened: Callable[[str], Store], redis_url: str
) -> None:
    limiter = Limiter(opened(redis_url + "?deadline=20s"))
    a, b = RateLimit("5/minute", name="a"), RateLimit("9/hour", name="b")
    app = fastapi_app(limiter)

    @app.get("/")
    async def page(request: Request) -> str:
        await asyncio.gather(a(request), b(request), a(request))
        return "both"

    answer = await Client(app).get("/")
    assert answer.headers["ratelimit"] == '"a";r=4;t=60, "b";r=8;t=3600'
    assert limiter.counts == {("a", "allowed"): 1, ("b", "allowed"): 1}


async def test_the_dependency_of_a_router_counts_each_of_its_routes_apart(limiter: Limiter) -> None:
    """One path in two included routers is two routes; so are two methods on it."""
    app = fastapi_app(limiter)
    rule = Depends(RateLimit("1/minute"))
    inner = APIRouter(dependencies=[rule])

    @inner.get("/{id}")
    @inner.post("/{id}")
    async def item(id: str) -> str:
        return id

    nested = APIRouter(prefix="/nested")
    nested.include_router(inner, prefix="/c")
    app.include_router(inner, prefix="/a")
    app.include_router(inner, prefix="/b")
    app.include_router(nested)
    client = Client(app)
    for path in ("/a/", "/b/", "/nested/c/"):
        assert (await client.get(path + "1")).status_code == 200
        assert (await client.get(path + "2")).status_code == 429
        assert (await client.post(path + "1")).status_code == 200


async def test_a_named_dependency_is_one_bucket_for_all_its_routes(limiter: Limiter) -> None:
    app = fastapi_app(limiter)
    router = APIRouter(dependencies=[Depends(RateLimit("2/minute", name="api"))])

    @router.get("/a")
    @router.get("/b")
    async def endpoint() -> None: ...

    app.include_router(router)
    client = Client(app)
    assert [(await client.get(path)).status_code for path in ("/a", "/b", "/a")] == [200, 200, 429]


@pytest.mark.parametrize("mount", ["/v1", "/{tenant}/v1"])
async def test_mounts_are_part_of_the_route_and_their_parameters_are_not(
    limiter: Limiter, mount: str
) -> None:
    sub = FastAPI()

    @sub.get("/items/{id}", dependencies=[Depends(RateLimit("1/minute"))])
    async def item(id: str) -> str:
        return id

    app = fastapi_app(limiter)
    app.mount(mount, sub)
    app.mount("/other", sub)
    client = Client(app)

    first, second = (mount.replace("{tenant}", tenant) for tenant in ("acme", "umbrella"))
    assert await client.statuses(first + "/items/1", 1) == [200]
    assert await client.statuses(second + "/items/2", 1) == [429]
    assert await client.statuses("/other/items/1", 2) == [200, 429]


async def test_slashes_and_encodings_lead_to_one_bucket_or_to_no_route(limiter: Limiter) -> None:
    app = fastapi_app(limiter)

    @app.get("/login", dependencies=[Depends(RateLimit("1/minute"))])
    async def login() -> None: ...

    client = Client(app)
    assert (await client.get("/login")).status_code == 200
    assert (await client.get("/log%69n")).status_code == 429
    assert (await client.get("/login/")).status_code == 307
    assert (await client.get("//login")).status_code == 404
    assert (await client.get("/LOGIN")).status_code == 404


async def test_identity_cost_and_plan_may_be_dependencies(limiter: Limiter) -> None:
    async def current_user(authorization: Annotated[str, Header()]) -> str:
        return authorization.removeprefix("Bearer ")

    async def plan(user: Annotated[str, Depends(current_user)]) -> str:
        return "9/minute" if user.startswith("gold") else "2/minute"

    def size(x_size: Annotated[int, Header()] = 1) -> int:
        return x_size

    rule = RateLimit(Depends(plan), name="api", by=Depends(current_user), cost=Depends(size))
    app = fastapi_app(limiter)

    @app.get("/x", dependencies=[Depends(rule)])
    async def endpoint() -> None: ...

    client = Client(app)

    async def codes(user: str, **more: str) -> list[int]:
        named = {"authorization": f"Bearer {user}", **more}
        return [(await client.get("/x", **named)).status_code for _ in range(3)]

    assert await codes("free-1") == [200, 200, 429]
    assert await codes("free-2") == [200, 200, 429]
    assert await codes("gold-1", x_size="4") == [200, 200, 429]
    assert (await client.get("/x")).status_code == 422


async def test_one_rule_counts_a_request_once_wherever_it_stands(limiter: Limiter) -> None:
    rule = RateLimit("2/minute", name="once")
    app = FastAPI(dependencies=[Depends(rule)])
    app.add_middleware(RateLimitMiddleware, store=limiter, routes={"/x": rule})

    @app.get("/x", dependencies=[Depends(rule)])
    async def endpoint() -> None: ...

    assert await Client(app).statuses("/x", 3) == [200, 200, 429]


async def test_a_refusal_by_the_route_gives_back_what_the_middleware_charged(
    limiter: Limiter,
) -> None:
    wide = RateLimit("50/minute", name="wide")
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=limiter, default=wide)

    @app.get("/x", dependencies=[Depends(RateLimit("1/minute", name="narrow"))])
    async def endpoint() -> None: ...

    client = Client(app)
    assert await client.statuses("/x", 4) == [200, 429, 429, 429]
    assert (await wide.peek("203.0.113.9")).remaining == 49


async def test_all_fields_of_middleware_and_route_are_on_one_answer(limiter: Limiter) -> None:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=limiter, default=RateLimit("9/hour", name="all"))

    @app.get("/x", dependencies=[Depends(RateLimit("3/minute", name="x"))])
    async def endpoint() -> Response:
        raise RuntimeError("broken")

    failed = await Client(app).get("/x")
    assert failed.status_code == 500
    assert failed.headers["ratelimit"] == '"all";r=8;t=3600, "x";r=2;t=60'


async def test_failures_of_a_route_are_counted_by_its_own_answer(limiter: Limiter) -> None:
    rule = RateLimit("1/minute", name="login", count_when=lambda answer: answer.status_code == 401)
    app = fastapi_app(limiter)

    @app.post("/login", dependencies=[Depends(rule)])
    async def login(request: Request, response: Response) -> None:
        response.status_code = 401 if request.headers.get("wrong") else 204

    client = Client(app)
    assert [(await client.post("/login")).status_code for _ in range(3)] == [204] * 3
    assert (await client.post("/login", wrong="yes")).status_code == 401
    assert (await client.post("/login")).status_code == 429


async def test_without_the_middleware_the_route_says_what_is_missing() -> None:
    app = FastAPI()

    @app.get("/x", dependencies=[Depends(RateLimit("1/minute"))])
    async def endpoint() -> None: ...

    from starlette.testclient import TestClient

    with pytest.raises(ConfigurationError, match="no RateLimitMiddleware"), TestClient(app) as http:
        http.get("/x")


# --- decorators


async def test_decorated_endpoints_of_every_kind(limiter: Limiter) -> None:
    rule = RateLimit("1/minute")

    @rule
    async def asynchronous(request: Request) -> Response:
        return PlainTextResponse("a")

    @rule
    def threaded(request: Request) -> Response:
        return PlainTextResponse("t")

    class Endpoint(HTTPEndpoint):
        @rule
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("g")

    routes = [Route("/a", asynchronous), Route("/t", threaded), Route("/e", Endpoint)]
    app = Starlette(
        routes=[*routes, Mount("/m", routes=routes)],
        middleware=[Middleware(RateLimitMiddleware, store=limiter)],
    )
    client = Client(app)
    for path in ("/a", "/t", "/e", "/m/a", "/m/t", "/m/e"):
        assert await client.statuses(path, 2) == [200, 429]


@pytest.mark.parametrize("is_sync", [True, False])
async def test_decorated_on_fastapi_with_or_without_a_request(
    limiter: Limiter, is_sync: bool
) -> None:
    app = fastapi_app(limiter)
    rule = RateLimit("1/minute")

    if is_sync:

        @app.get("/plain/{id}")
        @rule
        def plain(id: int) -> dict[str, int]:
            return {"id": id}
    else:

        @app.get("/plain/{id}")
        @rule
        async def plain_async(id: int) -> dict[str, int]:
            return {"id": id}

    @app.get("/asks/{id}")
    @rule
    async def asks(id: int, request: Request) -> dict[str, int]:
        return {"id": id}

    client = Client(app)
    assert (await client.get("/plain/7")).json() == {"id": 7}
    assert (await client.get("/plain/8")).status_code == 429
    assert (await client.get("/asks/7")).json() == {"id": 7}
    assert (await client.get("/asks/8")).status_code == 429
    assert [p["name"] for p in app.openapi()["paths"]["/plain/{id}"]["get"]["parameters"]] == ["id"]


async def test_two_decorators_both_count(limiter: Limiter) -> None:
    @RateLimit("1/minute", name="by-key", by=header("x-api-key"))
    @RateLimit("2/minute", name="by-ip")
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("a")

    app = Starlette(
        routes=[Route("/x", endpoint)],
        middleware=[Middleware(RateLimitMiddleware, store=limiter)],
    )
    client = Client(app)
    keys = ["a", "a", "b", "c"]
    assert [(await client.get("/x", x_api_key=key)).status_code for key in keys] == [
        200,
        429,
        200,
        429,
    ]


async def test_where_no_exception_middleware_is_the_limit_middleware_answers(
    limiter: Limiter,
) -> None:
    @RateLimit("1/minute", name="bare")
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("bare")

    from starlette.requests import Request as StarletteRequest

    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(StarletteRequest(scope))
        await response(scope, receive, send)

    app: ASGIApp = RateLimitMiddleware(bare, store=limiter)
    client = Client(app)
    assert await client.statuses("/x", 2) == [200, 429]


async def test_a_handler_of_the_app_words_the_refusals_of_routes(limiter: Limiter) -> None:
    app = fastapi_app(limiter)

    @app.exception_handler(RateLimited)
    async def teapot(request: Request, error: RateLimited) -> Response:
        return PlainTextResponse("short and stout", 418)

    @app.get("/x", dependencies=[Depends(RateLimit("1/minute"))])
    async def endpoint() -> None: ...

    assert await Client(app).statuses("/x", 2) == [200, 418]


def test_what_cannot_work_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="decorate a function"):
        RateLimit("1/minute")(HTTPEndpoint)

    rule = RateLimit("1/minute", by=Depends(lambda: "x"))
    with pytest.raises(ConfigurationError, match=r"dependencies=\[Depends\(rule\)\]"):
        rule(lambda request: None)
    with pytest.raises(ConfigurationError, match=r"dependencies=\[Depends\(rule\)\]"):
        RateLimitMiddleware(Starlette(), store=MemoryStore(), routes={"/x": rule})


@pytest.mark.parametrize("kind", ["http", "websocket", "mounted"])
def test_names_that_clash_on_routes_fail_at_start_up(limiter: Limiter, kind: str) -> None:
    from starlette.testclient import TestClient

    app = fastapi_app(limiter)
    rule = Depends(RateLimit("1/minute", name="n"))
    router = APIRouter(dependencies=[rule] if kind == "http" else [])

    @router.get("/a")
    async def one() -> None: ...

    async def talk(websocket: WebSocket) -> None: ...

    if kind == "websocket":
        router.add_api_websocket_route("/talk", talk, dependencies=[rule])
    elif kind == "mounted":
        sub = FastAPI(dependencies=[rule])
        sub.add_api_websocket_route("/talk", talk)
        app.mount("/sub", sub)
    app.include_router(router)

    @app.get("/b")
    @RateLimit("2/minute", name="n")
    async def two() -> None: ...

    with pytest.raises(ConfigurationError, match="share a name"), TestClient(app):
        pass


@pytest.mark.parametrize(
    ("mount", "paths"),
    [
        ("/t/{id:int}", ["/t/7/x", "/t/007/x"]),
        ("/t/{id:float}", ["/t/7.5/x", "/t/07.5/x"]),
        ("/t/{id:path}/y", ["/t/a/b/y/x", "/t/c/d/y/x"]),
        ("/t/{id}", ["/t/a/x", "/t/b/x"]),
    ],
)
async def test_what_a_mount_is_told_chooses_no_bucket(
    limiter: Limiter, mount: str, paths: list[str]
) -> None:
    @RateLimit("1/minute")
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("done")

    app = Starlette(
        routes=[Mount(mount, routes=[Route("/x", endpoint)])],
        middleware=[Middleware(RateLimitMiddleware, store=limiter)],
    )
    client = Client(app)
    assert [(await client.get(path)).status_code for path in paths] == [200, 429]
    assert len({label for label, _ in limiter.counts}) == 1


async def test_a_route_may_hide_the_parameter_of_its_mount(limiter: Limiter) -> None:
    @RateLimit("1/minute")
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("done")

    app = Starlette(
        routes=[Mount("/t/{id}", routes=[Route("/x/{id}", endpoint)])],
        middleware=[Middleware(RateLimitMiddleware, store=limiter)],
    )
    client = Client(app)
    assert [(await client.get(f"/t/{id}/x/5")).status_code for id in "ab"] == [200, 429]


async def test_a_test_may_switch_a_dependency_off(limiter: Limiter) -> None:
    app = fastapi_app(limiter)
    rule = RateLimit("1/minute", name="off")

    @app.get("/x", dependencies=[Depends(rule)])
    async def endpoint() -> None: ...

    client = Client(app)
    app.dependency_overrides[rule] = lambda: None
    assert await client.statuses("/x", 3) == [200, 200, 200]
    app.dependency_overrides.clear()
    assert await client.statuses("/x", 2) == [200, 429]
