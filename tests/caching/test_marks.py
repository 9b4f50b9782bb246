"""A mark hangs on a route and is found there; what it says wrongly is said with its line."""

import inspect
import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cachemw.caching.marks import (
    CONTEXT,
    CacheContext,
    Cached,
    Notes,
    Purges,
    cached,
    policy_on,
    purges,
    purges_on,
)
from cachemw.caching.policy import CachePolicy
from cachemw.caching.tags import TagInputs
from cachemw.errors import ConfigurationError
from cachemw.routes import Routes
from cachemw.routetable import RouteTable


def ttl_of(app: object, path: str, method: str = "GET") -> object:
    found = RouteTable(Routes[CachePolicy](), policy_on).match(app, method, path)
    return None if found is None else found.policy.ttl


async def page(request: Request) -> Response:
    return PlainTextResponse("page")


def test_a_dependency_marks_route_router_and_app_and_the_nearest_wins() -> None:
    app = FastAPI(dependencies=[Cached(ttl="1h")])
    router = APIRouter(dependencies=[Cached(ttl="1m")])

    @router.get("/near", dependencies=[Cached(CachePolicy(ttl="1s"))])
    async def near() -> str:
        return "near"

    @router.get("/middle")
    async def middle() -> str:
        return "middle"

    @router.get("/inside", dependencies=[Cached(ttl="1s")])
    @cached(ttl="2s")
    def inside() -> str:
        return "inside"

    @app.get("/far")
    async def far() -> str:
        return "far"

    app.include_router(router, prefix="/r")
    paths = ["/r/near", "/r/middle", "/r/inside", "/far"]
    assert [ttl_of(app, path) for path in paths] == [1, 60, 2, 3600]
    with TestClient(app) as client:
        assert [client.get(path).json() for path in paths] == ["near", "middle", "inside", "far"]
        operation = client.get("/openapi.json").json()["paths"]["/r/near"]["get"]
    assert "parameters" not in operation


def test_a_decorator_marks_whatever_an_endpoint_may_be() -> None:
    @cached(ttl=1)
    def sync(request: Request) -> Response:
        return PlainTextResponse("sync")

    @cached(ttl=2)
    class Whole(HTTPEndpoint): ...

    class Parts(HTTPEndpoint):
        @cached(ttl=3)
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("part")

    class Heir(Whole): ...

    class Views:
        async def page(self, request: Request) -> Response:
            return PlainTextResponse("page")

    async def many(number: int, request: Request) -> Response:
        return PlainTextResponse(str(number))

    app = Starlette(
        routes=[
            Route("/sync", sync),
            Route("/whole", Whole),
            Route("/parts", Parts),
            Route("/heir", Heir),
            Route("/method", cached(ttl=4)(Views().page)),
            Route("/partial", cached(ttl=5)(partial(many, 1))),
        ]
    )
    paths = ["/sync", "/whole", "/parts", "/heir", "/method", "/partial"]
    assert [ttl_of(app, path) for path in paths] == [1, 2, 3, None, 4, 5]


def test_the_signature_and_the_function_stay_what_they_are() -> None:
    def endpoint(a: int, b: str = "x") -> None: ...

    marked = cached(ttl="5m")(endpoint)
    assert marked is endpoint
    assert list(inspect.signature(marked).parameters) == ["a", "b"]


def test_the_order_of_decorators_does_not_matter() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return wrapper

    app = FastAPI()

    @cached(ttl=1)
    @app.get("/outside")
    async def outside() -> None: ...

    @app.get("/within")
    @logged
    @cached(ttl=2)
    async def within() -> None: ...

    assert [ttl_of(app, "/outside"), ttl_of(app, "/within")] == [1, 2]


def test_two_decorators_on_one_endpoint_contradict_each_other() -> None:
    with pytest.raises(ConfigurationError, match=r"test_marks.py:\d+: .*endpoint is marked as"):

        @cached(ttl=1)
        @cached(ttl=2)
        def endpoint() -> None: ...


def test_what_cannot_carry_a_mark_says_so() -> None:
    with pytest.raises(ConfigurationError, match="len cannot carry a mark"):
        cached(ttl=1)(len)
    with pytest.raises(ConfigurationError, match="cannot carry a mark"):
        purges("x")(partial.__call__)


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda: Cached(tll="5m"), "Cached", "CachePolicy: unknown option 'tll': did you mean"),  # type: ignore[call-arg]
        (lambda: cached(ttl="soon"), "@cached", "CachePolicy: ttl: 'soon' is not a duration"),
        (lambda: Purges("product:{id"), "Purges", "tag 'product:{id' has a brace without"),
        (lambda: purges("{}"), "@purges", "tag '{}' has a placeholder {} that means nothing"),
    ],
)
def test_a_wrong_option_is_named_with_the_line_that_wrote_it(
    make: Any, name: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    line = make.__code__.co_firstlineno
    assert str(caught.value).startswith(f"{name} at {Path(__file__)}:{line}: {message}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cached(CachePolicy(), ttl=1), "give a CachePolicy or options"),
        (lambda: Cached("5m"), "give a CachePolicy or options"),  # type: ignore[arg-type]
        (lambda: Purges(), "name what is purged"),
        (lambda: purges(urls="products"), "urls are paths"),
    ],
)
def test_a_mark_that_says_nothing_clear_is_refused(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_tag_must_fit_the_route_that_it_lands_on() -> None:
    app = Starlette(routes=[Route("/p/{pid}", cached(tags="product:{id}")(lambda r: None))])
    with pytest.raises(ConfigurationError) as caught:
        ttl_of(app, "/p/1")
    message = str(caught.value)
    assert "test_marks.py:" in message and "GET,HEAD /p/{pid}" in message
    assert "did you mean {pid}?" in message

    app = Starlette(routes=[Route("/p", purges(urls="/p/{id}")(lambda r: None))])
    with pytest.raises(ConfigurationError, match="names {id}, but the path has no parameters"):
        RouteTable(Routes[Any](), purges_on).resolve(app)


def test_purges_add_up_from_app_to_endpoint() -> None:
    app = FastAPI(dependencies=[Purges("all")])

    @app.put("/p/{id}", dependencies=[Purges("product:{id}", soft=True), Depends(page)])
    @purges("last", urls=["/p/{id}?full=1"])
    @purges(namespace="catalog")
    async def put(id: str) -> None: ...

    @app.get("/p/{id}", dependencies=[Cached(ttl=1)])
    async def get(id: str) -> None: ...

    table = RouteTable(Routes[Any](), purges_on)
    found = table.match(app, "PUT", "/p/a b,c")
    assert found is not None
    inputs = TagInputs(found.params)
    assert [mark.tags.render(inputs) for mark in found.policy] == [
        (b"all",),
        (b"product:a%20b%2Cc",),
        (),
        (b"last",),
    ]
    assert [mark.soft for mark in found.policy] == [False, True, False, False]
    assert found.policy[2].namespace == "catalog"
    assert [url.url(inputs) for url in found.policy[3].urls] == ["/p/a%20b,c?full=1"]
    read = table.match(app, "GET", "/p/1")
    assert read is not None and len(read.policy) == 1
    assert table.match(Starlette(routes=[Route("/", page)]), "GET", "/") is None


def test_without_fastapi_the_decorator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi.params", None)
    with pytest.raises(ConfigurationError, match=r"decorate the endpoint with @cached\(\.\.\.\)"):
        Cached(ttl=1)


def with_notes(app: Any, notes: Notes) -> Any:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[CONTEXT] = notes
        await app(scope, receive, send)

    return wrapped


def test_a_handler_has_a_word_about_its_response() -> None:
    app = FastAPI()

    @app.get("/")
    def handler(request: Request, cache: CacheContext = Depends()) -> list[bool]:
        before = cache.active
        cache.tag("product:1", "müsli")
        CacheContext.of(request).tag("late")
        cache.ttl("5m")
        cache.skip("draft")
        return [before, cache.active]

    notes = Notes()
    assert TestClient(with_notes(app, notes)).get("/").json() == [True, False]
    assert notes == Notes([b"product:1", b"m%C3%BCsli", b"late"], 300.0, "draft")
    # Where nothing is cached, nothing happens.
    assert TestClient(app).get("/").json() == [False, False]


def test_a_wrong_word_is_wrong_where_nothing_is_cached_too() -> None:
    context = CacheContext(Request({"type": "http"}))
    with pytest.raises(ConfigurationError, match="'soon' is not a duration"):
        context.ttl("soon")
