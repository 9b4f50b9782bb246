"""The leak matrix finds what is planted, names it, and is silent where nothing is wrong."""

from typing import Annotated, Any

import pytest
from fastapi import Cookie, FastAPI, Header, HTTPException, Request
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from cachemw import (
    Cached,
    CacheMiddleware,
    CachePolicy,
    ConfigurationError,
    MemoryStore,
    Sessions,
    cached,
    install,
)
from cachemw.testing import Caller, LeakFound, cached_routes, check_leaks

USERS = {"token-a": "Anna", "token-b": "Bob"}
KNOWN = [
    Caller("anna", {"x-badge": "token-a"}),
    Caller("bob", {"x-badge": "token-b"}, marks=("Bob",)),
]


def shop(**options: Any) -> FastAPI:
    """A shop that greets by a token, a cookie, a key or a badge; `options` are its policy's."""
    app = FastAPI()
    install(app, store=MemoryStore(), sessions=Sessions(secure=False))

    @app.get("/items/{id:int}", dependencies=[Cached(ttl="5m")])
    async def item(id: int) -> dict[str, int]:
        return {"id": id}

    @app.get("/hello", dependencies=[Cached(**{"ttl": "5m", **options})])
    async def hello(
        authorization: Annotated[str, Header()] = "",
        x_api_key: Annotated[str, Header()] = "",
        sid: Annotated[str, Cookie()] = "",
    ) -> str:
        return f"hello {authorization}{x_api_key}{sid}"

    @app.get("/cart", dependencies=[Cached(ttl="5m")])
    async def cart(request: Request) -> str:
        return str(request.session.get("cart"))

    @app.get("/uncached")
    async def uncached(request: Request) -> str:
        return str(request.headers)

    return app


@pytest.mark.parametrize("credentials", ["bypass", "strip", "identity"])
def test_a_safe_app_has_no_leaks(credentials: str) -> None:
    report = check_leaks(shop(credentials=credentials))
    assert [route.pattern for route in report.routes] == ["/items/{id:int}", "/hello", "/cart"]
    assert report.requests > 1000
    assert report.hits > 100
    assert report.unreached == []


def test_a_field_that_is_no_part_of_the_key_is_found_with_route_owner_and_victim() -> None:
    app = shop()

    @app.get("/agent", dependencies=[Cached(ttl="5m")])
    async def agent(user_agent: Annotated[str, Header()] = "") -> str:
        return user_agent

    with pytest.raises(LeakFound) as found:
        check_leaks(app, accepts=["*/*"], encodings=["gzip"])
    assert {leak.route for leak in found.value.leaks} == {"/agent"}
    assert ("forger", "nobody") in {(leak.owner, leak.victim) for leak in found.value.leaks}
    assert "/agent: nobody got the mark 'leak-" in str(found.value)
    assert "asking GET /agent after GET with" in str(found.value)


def test_users_of_the_app_are_told_apart_by_what_they_are_shown() -> None:
    """No mark of Anna's is known; but Bob gets her page from the cache."""
    app = FastAPI()
    install(app, store=MemoryStore())

    @app.get("/hello", dependencies=[Cached(ttl="5m")])
    async def hello(x_badge: Annotated[str, Header()] = "") -> str:
        return f"hello {USERS.get(x_badge, 'you')}"

    with pytest.raises(LeakFound) as found:
        check_leaks(app, callers=KNOWN)
    told = {(leak.owner, leak.victim, leak.what) for leak in found.value.leaks}
    assert ("anna", "bob", "the very page") in told
    assert ("bob", "anna", "the mark 'Bob'") in told
    assert not any(leak.owner == "nobody" for leak in found.value.leaks)


def test_pages_that_differ_on_every_run_are_told_by_marks_alone() -> None:
    app = FastAPI()
    install(app, store=MemoryStore())
    runs = 0

    @app.get("/counter", dependencies=[Cached(ttl="5m", credentials="strip")])
    async def counter() -> int:
        nonlocal runs
        runs += 1
        return runs

    assert check_leaks(app).leaks == []


def test_a_cookie_in_a_hit_is_found() -> None:
    """As from a layer outside of the cache that adds one to whatever comes."""

    class Cookies(CacheMiddleware):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def adding(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"set-cookie", b"a=b")]
                await send(message)

            await super().__call__(scope, receive, adding if scope["type"] == "http" else send)

    async def page(request: StarletteRequest) -> Response:
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/", cached(ttl=60)(page))])
    app.add_middleware(Cookies, store=MemoryStore())
    with pytest.raises(LeakFound, match="a Set-Cookie"):
        check_leaks(app)


def test_starlette_and_the_bare_middleware() -> None:
    async def page(request: StarletteRequest) -> Response:
        return PlainTextResponse(f"page {request.path_params}")

    app = Starlette(routes=[Route("/{name}/{id:int}", page)])
    cache = CacheMiddleware(app, store=MemoryStore(), default=CachePolicy(ttl=60))
    assert [str(route) for route in check_leaks(cache).routes] == ["/{path:path}"]
    assert [route.path for route in cached_routes(cache)] == ["/x/1"]
    named = cached_routes(cache, params={"name": "shop", "id": "7"})
    assert [route.path for route in named] == ["/shop/7"]


def test_routes_that_answer_nobody_are_told() -> None:
    app = FastAPI()
    install(app, store=MemoryStore())

    @app.get("/things/{kind}", dependencies=[Cached(ttl="5m")])
    async def thing(kind: str) -> str:
        if kind != "known":
            raise HTTPException(404)
        return kind

    quick: dict[str, Any] = {"accepts": ["*/*"], "encodings": ["gzip"]}
    assert check_leaks(app, **quick).unreached == ["/things/{kind}"]
    assert check_leaks(app, params={"kind": "known"}, **quick).unreached == []
    assert check_leaks(app, routes=["/things/known?x=1"], **quick).unreached == []


def test_what_cannot_be_checked_says_so() -> None:
    with pytest.raises(ConfigurationError, match="no CacheMiddleware"):
        check_leaks(FastAPI())
    app = FastAPI()
    install(app, store=MemoryStore())
    with pytest.raises(ConfigurationError, match="no route of this app is cached"):
        check_leaks(app)
