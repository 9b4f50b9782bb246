"""What a request comes under is decided by the first pattern, or by the route that will take it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Message, Scope
from starlette.websockets import WebSocket

from cachemw.errors import ConfigurationError
from cachemw.routes import AppRoute, Pattern, Routes, app_routes
from cachemw.routetable import RouteTable


def policy_of(routes: Routes[str], method: str, path: str) -> str | None:
    found = routes.match(method, path)
    return None if found is None else found.policy


# -- patterns and the table -----------------------------------------------------------------------


def test_the_first_pattern_that_matches_wins() -> None:
    routes = Routes.of(
        {"/items/special": "special", "GET /items/{id}": "get", "/items/{id}": "any", "/{x}": "x"}
    )
    assert policy_of(routes, "GET", "/items/special") == "special"
    assert policy_of(routes, "GET", "/items/7") == "get"
    assert policy_of(routes, "HEAD", "/items/7") == "get"
    assert policy_of(routes, "PUT", "/items/7") == "any"
    assert policy_of(routes, "PROPFIND", "/items/7") == "any"
    assert policy_of(routes, "GET", "/items/7/parts") is None
    assert policy_of(routes, "GET", "/items/") is None
    assert policy_of(routes, "GET", "") is None


def test_an_earlier_pattern_takes_a_fixed_path_too() -> None:
    routes = Routes.of({"GET /items/{id}": "get", "/items/special": "special"})
    assert policy_of(routes, "GET", "/items/special") == "get"
    assert policy_of(routes, "POST", "/items/special") == "special"


def test_what_matched_says_pattern_and_parameters() -> None:
    routes = Routes.of({"/{kind}/{id:int}": "p", "GET,post /f/{price:float}/{rest:path}": "q"})
    found = routes.match("GET", "/shoes/007")
    assert found is not None
    assert (str(found.pattern), found.params) == ("/{kind}/{id:int}", {"kind": "shoes", "id": "7"})
    found = routes.match("POST", "/f/1.50/a/b")
    assert found is not None
    assert str(found.pattern) == "GET,HEAD,POST /f/{price:float}/{rest:path}"
    assert found.params == {"price": "1.5", "rest": "a/b"}


def test_a_number_too_long_to_convert_is_left_as_it_is() -> None:
    found = Routes.of({"/{id:int}": "p"}).match("GET", "/" + "9" * 5000)
    assert found is not None and found.params == {"id": "9" * 5000}


def test_a_final_newline_is_no_way_around_a_policy() -> None:
    """Starlette routes "/login%0A" to "/login"."""
    routes = Routes.of({"/login": "limit", "/items/{id}": "items"})
    assert policy_of(routes, "GET", "/login\n") == "limit"
    assert policy_of(routes, "GET", "/items/a\n") == "items"
    assert policy_of(routes, "GET", "/other\n") is None
    app = Starlette(routes=[Route("/login", lambda request: PlainTextResponse("in"))])
    assert TestClient(app).get("/login%0A").text == "in"


def test_a_newline_within_a_path_is_no_way_around_a_policy() -> None:
    routes = Routes.of({"/api/{rest:path}": "limit"}, default="default")
    assert Route("/api/search/{q}", plain).path_regex.match("/api/search/a\nb")
    assert policy_of(routes, "GET", "/api/search/a\nb") == "limit"
    assert policy_of(routes, "GET", "/api/a\nb\n") == "limit"
    assert policy_of(routes, "GET", "/other/a\nb") == "default"


def test_a_mark_takes_a_newline_only_where_its_route_does() -> None:
    app = Starlette(routes=[Route("/a/{rest:path}", hot), Route("/b/{q}", hot)])
    rules = table()
    assert look(rules, app, "GET /a/x\ny") is None
    assert look(rules, app, "GET /b/x\ny") == look(rules, app, "GET /b/x") is not None


def test_a_default_applies_where_nothing_matches() -> None:
    routes = Routes.of({"/a": "a"}, default="else")
    assert policy_of(routes, "GET", "/a") == "a"
    assert policy_of(routes, "DELETE", "/any/thing") == "else"
    assert policy_of(Routes[str](), "GET", "/any/thing") is None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("products/{id}", "must be a path that begins with '/'"),
        ("GET", "must be a path"),
        ("GET,/x", "must be a path"),
        ("GET/x", "must be a path"),
        ("", "must be a path"),
        ("FETCH /x", "FETCH is no method, choose among GET, "),
        ("/x/{id:number}", "no convertor 'number', choose among str, "),
        ("/blog/**", "write '{id}' for one segment"),
        ("/x/{id", "cannot be read"),
        ("/x/{a b}", "cannot be read"),
        ("/{id}/{id}", "Duplicated param name id"),
    ],
)
def test_a_wrong_pattern_is_refused_and_named(written: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Routes.of({written: 1})
    assert message in str(caught.value)
    assert repr(written) in str(caught.value)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("/a", "GET /a"),
        ("GET,POST /a", "POST /a"),
        ("GET /a", "HEAD /a"),
        ("/{x}", "/{y}"),
        ("/{x}", "/a"),
        ("/{x:str}/b", "/a-{y:int}/b"),
        ("/{x:int}", "/{y:int}"),
        ("/a/{rest:path}", "/a/"),
        ("/a/{rest:path}", "/a/{id}/b"),
        ("/{rest:path}", "/{all:path}"),
    ],
)
def test_a_pattern_that_can_never_match_is_refused(earlier: str, later: str) -> None:
    with pytest.raises(ConfigurationError, match="can never match") as caught:
        Routes.of({earlier: 1, later: 2})
    assert str(Pattern.parse(earlier)) in str(caught.value) and later in str(caught.value)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("GET /a", "/a"),
        ("GET /a", "GET,POST /a"),
        ("/a/{x}", "/a/{x:path}"),
        ("/a/{x}", "/a/"),
        ("/a/{rest:path}", "/a"),
        ("/{x:int}", "/{y}"),
        ("/{x:path}/b", "/a/c"),
        ("/a/b", "/a"),
        ("/a", "/a/b"),
        ("/a/{x}b", "/a/{x}"),
    ],
)
def test_a_pattern_that_may_match_stays(earlier: str, later: str) -> None:
    assert len(Routes.of({earlier: 1, later: 2}).entries) == 2


SEGMENTS = st.sampled_from(["a", "b", "{p}", "{p:int}", "{p:path}", "x{p}", "7", ""])
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=3).map(
    lambda parts: (
        "/" + "/".join(part.replace("p", f"p{i}", 1) for i, part in enumerate(parts))
    ).replace("path", "path")
)
PATHS = st.lists(st.sampled_from(["a", "b", "7", "07", "x7", "c", "", "\n"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(
    st.lists(st.tuples(PATTERNS, st.sampled_from([None, "GET", "POST"])), max_size=6),
    PATHS,
    st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
)
def test_the_table_agrees_with_a_walk_over_starlettes_own_routes(
    written: list[tuple[str, str | None]], path: str, method: str
) -> None:
    entries = [
        (Pattern.of(p, frozenset({m}) if m else None), i) for i, (p, m) in enumerate(written)
    ]
    scope = {"type": "http", "method": method, "path": path, "headers": []}

    async def endpoint(request: Request) -> Response:
        raise AssertionError

    class Anything:
        async def __call__(self, *args: Any) -> None: ...

    expected = None
    for index, (text, only) in enumerate(written):
        route = Route(text, endpoint, methods=[only]) if only else Route(text, Anything())
        # A policy takes a newline wherever any route could, Starlette's `.*` does not.
        route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)
        if route.matches(scope)[0] is Match.FULL:
            expected = index
            break
    found = Routes(entries).match(method, path)
    assert (None if found is None else found.policy) == expected


@given(PATTERNS, PATTERNS, PATHS)
def test_what_covers_takes_every_path(earlier: str, later: str, path: str) -> None:
    broad, narrow = Pattern.of(earlier), Pattern.of(later)
    if broad.covers(narrow) and narrow.params(path) is not None:
        assert broad.params(path) is not None


# -- the app's own routes -------------------------------------------------------------------------


class Mark:
    """A dependency that carries a word, as marks do."""

    def __init__(self, word: str) -> None:
        self.word = word

    async def __call__(self) -> None:
        ran.append(self.word)


ran: list[str] = []  # the marks that were reached, in order


def marked(word: str) -> Callable[[Any], Any]:
    def mark(endpoint: Any) -> Any:
        endpoint.word = word
        return endpoint

    return mark


def word_of(route: AppRoute) -> str | None:
    for carrier in reversed(route.carriers):
        word: str | None = getattr(getattr(carrier, "dependency", carrier), "word", None)
        if word is not None:
            return word
    return None


def table(patterns: Mapping[str, str] | None = None) -> RouteTable[str]:
    return RouteTable(Routes.of(patterns or {}), word_of)


def look(rules: RouteTable[str], app: object, target: str, host: str = "test") -> str | None:
    method, path = target.split(" ")
    found = rules.match(app, method, path, [(b"host", host.encode())])
    return None if found is None else f"{found.policy} {found.pattern.text}"


async def plain(request: Request) -> Response:
    return PlainTextResponse("plain")


@marked("hot")
async def hot(request: Request) -> Response:
    ran.append("hot")
    return PlainTextResponse("hot")


async def chat(websocket: WebSocket) -> None: ...


def test_a_mark_applies_only_to_what_its_route_receives() -> None:
    app = Starlette(
        routes=[
            Route("/items/special", plain),
            Route("/items/{id}", hot),
            Route("/items/{id}/{part}", plain),
        ]
    )
    rules = table({"/items/special": "pattern", "/{rest:path}": "rest"})
    assert look(rules, app, "GET /items/special") == "pattern /items/special"
    assert look(rules, app, "GET /items/1") == "hot /items/{id}"
    assert look(rules, app, "HEAD /items/1") == "hot /items/{id}"
    assert look(rules, app, "POST /items/1") == "rest /{rest:path}"
    assert look(rules, None, "GET /items/1") == "rest /{rest:path}"


def test_a_mounted_app_takes_all_that_is_below_it() -> None:
    inner = Starlette(routes=[Route("/x/{id}", hot)])
    app = Starlette(
        routes=[
            Mount("/static", app=PlainTextResponse("file")),
            Mount("/shop/{tenant}", app=inner),
            Mount("/deep", routes=[Mount("/er", routes=[Route("/", hot)])]),
            Route("/shop/a/y", hot),
            Route("/static/hot", hot),
            WebSocketRoute("/late", chat),
            Route("/late", hot),
        ]
    )
    rules = table()
    assert look(rules, app, "GET /shop/a/x/1") == "hot /shop/{tenant}/x/{id}"
    assert look(rules, app, "GET /shop/a/y") is None
    assert look(rules, app, "GET /static/hot") is None
    assert look(rules, app, "GET /deep/er/") == "hot /deep/er/"
    assert look(rules, app, "GET /deep/er") is None
    assert look(rules, app, "GET /late") == "hot /late"


def test_an_inner_parameter_hides_an_outer_one_of_its_name() -> None:
    routes = [Mount("/{id}", routes=[Mount("/{id:int}", routes=[Route("/{id}", hot)])])]
    rules = table()
    found = rules.match(Starlette(routes=routes), "GET", "/a/1/c")
    assert found is not None
    assert found.params == {"id__": "a", "id_": "1", "id": "c"}


def test_a_mount_that_spans_segments_is_not_guessed_at() -> None:
    app = Starlette(routes=[Mount("/{rest:path}/x", routes=[Route("/y", hot)]), Route("/z", hot)])
    rules = table()
    assert look(rules, app, "GET /a/x/y") is None
    assert look(rules, app, "GET /z") == "hot /z"


def test_hosts_have_tables_of_their_own() -> None:
    app = Starlette(
        routes=[
            Host("api.example.org", app=Router(routes=[Route("/x", hot)])),
            Host("{tenant}.example.org", app=Router(routes=[Host("a.b", app=plain)])),  # type: ignore[arg-type]
            Route("/x", marked("main")(partial(plain))),
            Route("/y", hot),
        ]
    )
    rules = table()
    assert look(rules, app, "GET /x", "api.example.org:80") == "hot /x"
    assert look(rules, app, "GET /y", "API.example.org") is None
    assert look(rules, app, "GET /x", "www.example.org") is None
    assert look(rules, app, "GET /x", "example.org") == "main /x"
    assert look(rules, app, "GET /y", "example.org") == "hot /y"


def test_class_endpoints_are_marked_whole_or_by_method() -> None:
    class Whole(HTTPEndpoint):
        word = "whole"

        async def get(self, request: Request) -> Response:
            return PlainTextResponse("")

    class Parts(HTTPEndpoint):
        @marked("read")
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("")

        async def post(self, request: Request) -> Response:
            return PlainTextResponse("")

    app = Starlette(
        routes=[
            Route("/whole", Whole),
            Route("/parts", Parts),
            Route("/only", Parts, methods=["POST"]),
        ]
    )
    rules = table()
    assert look(rules, app, "GET /whole") == "whole /whole"
    assert look(rules, app, "DELETE /whole") == "whole /whole"
    assert look(rules, app, "GET /parts") == "read /parts"
    assert look(rules, app, "HEAD /parts") == "read /parts"
    assert look(rules, app, "POST /parts") is None
    assert look(rules, app, "GET /only") is None


def test_a_partial_endpoint_shows_the_mark_of_its_function() -> None:
    rules = table()
    assert look(rules, Starlette(routes=[Route("/", partial(hot))]), "GET /") == "hot /"


class ByHeader(Route):
    """A route that does not take all requests of its path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.NONE, {}


class Elsewhere(BaseRoute):
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.NONE, {}


class Picky(Mount):
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.NONE, {}


def test_a_route_with_a_matching_of_its_own_is_not_guessed_at() -> None:
    app = Starlette(
        routes=[
            ByHeader("/v", hot),
            Route("/v", hot),
            Picky("/m", routes=[Route("/x", hot)]),
            Route("/m/x", hot),
            Route("/w", hot),
            Elsewhere(),
            Route("/z", hot),
        ]
    )
    rules = table()
    assert [look(rules, app, f"GET {path}") for path in ("/v", "/m/x", "/w", "/z")] == [
        None,
        None,
        "hot /w",
        None,
    ]


def fastapi_app() -> FastAPI:
    shop, parts = APIRouter(prefix="/shop", dependencies=[Depends(Mark("shop"))]), APIRouter()

    @parts.get("/parts/{id}", dependencies=[Depends(Mark("part"))])
    async def part(id: int) -> None: ...

    @parts.get("/parts")
    async def all_parts() -> None: ...

    @shop.get("/offers")
    @marked("offers")
    async def offers() -> None:
        ran.append("offers")

    @shop.post("/offers")
    async def offer() -> None: ...

    @shop.websocket("/parts/live")
    async def live(websocket: WebSocket) -> None: ...

    shop.include_router(parts, prefix="/eu")
    shop.mount("/old", Starlette(routes=[Route("/{id}", hot)]))
    app = FastAPI(dependencies=[Depends(Mark("app"))])
    app.include_router(shop, prefix="/api", dependencies=[Depends(Mark("api"))])

    @app.get("/api/shop/eu/parts/{id}/late")
    async def late(id: int) -> None: ...

    sub = FastAPI()
    sub.include_router(parts, prefix="/us")
    app.mount("/sub", sub)
    return app


def test_included_routers_are_resolved_with_prefixes_and_dependencies() -> None:
    app, rules = fastapi_app(), table()
    assert look(rules, app, "GET /api/shop/eu/parts/1") == "part /api/shop/eu/parts/{id}"
    assert look(rules, app, "GET /api/shop/eu/parts") == "shop /api/shop/eu/parts"
    assert look(rules, app, "GET /api/shop/offers") == "offers /api/shop/offers"
    assert look(rules, app, "HEAD /api/shop/offers") is None  # FastAPI answers 405
    assert look(rules, app, "POST /api/shop/offers") == "shop /api/shop/offers"
    assert look(rules, app, "GET /api/old/3") == "hot /api/old/{id}"  # mount() ignores prefix=
    assert look(rules, app, "GET /api/shop/eu/parts/1/late") == "app " + (
        "/api/shop/eu/parts/{id}/late"
    )
    assert look(rules, app, "GET /sub/us/parts/1") == "part /sub/us/parts/{id}"
    assert look(rules, app, "GET /sub/us/parts") is None
    assert look(rules, app, "GET /nowhere") is None
    assert "/api/shop/offers" in {route.pattern.text for route, _ in rules.marked}
    assert "part" in {route.name for route in app_routes(app)}


def test_a_host_within_an_included_router_keeps_the_prefix() -> None:
    app, router, rules = FastAPI(), APIRouter(), table()
    router.routes.append(Host("api.test", app=Router(routes=[Route("/x", hot)])))
    app.include_router(router, prefix="/v1")
    assert look(rules, app, "GET /v1/x", "api.test") == "hot /v1/x"
    assert look(rules, app, "GET /v1/x", "other.test") is None


class ContextAsItWas:
    """What FastAPI 0.137.2 to 0.143 say of a route in an included router."""

    def __init__(self, context: Any) -> None:
        self.original_route = context.original_route
        self._effective = context._route_context or context.route

    def __getattr__(self, name: str) -> Any:
        return getattr(self._effective, name)


@pytest.mark.parametrize(
    "told",
    [
        test_included_routers_are_resolved_with_prefixes_and_dependencies,
        test_a_host_within_an_included_router_keeps_the_prefix,
    ],
)
def test_fastapi_before_0_144_is_read_as_well(
    told: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = iter_route_contexts
    monkeypatch.setattr(
        "fastapi.routing.iter_route_contexts", lambda routes: map(ContextAsItWas, resolve(routes))
    )
    told()


def test_older_fastapi_has_a_flat_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("fastapi.routing.iter_route_contexts")
    app, rules = FastAPI(), table()
    app.get("/x", dependencies=[Depends(Mark("x"))])(lambda: None)
    assert look(rules, app, "GET /x") == "x /x"


def test_routes_added_later_are_seen() -> None:
    app, rules = FastAPI(), table({"/{rest:path}": "rest"})
    outer, inner, mounted = APIRouter(), APIRouter(), Starlette()
    outer.include_router(inner, prefix="/in")
    app.include_router(outer, prefix="/out")
    app.mount("/sub", mounted)
    hots = {"dependencies": [Depends(Mark("hot"))]}

    assert look(rules, app, "GET /late") == "rest /{rest:path}"
    app.get("/late", **hots)(lambda: None)  # type: ignore[arg-type]
    assert look(rules, app, "GET /late") == "hot /late"
    inner.get("/late", **hots)(lambda: None)  # type: ignore[arg-type]
    assert look(rules, app, "GET /out/in/late") == "hot /out/in/late"
    mounted.router.routes.append(Route("/late", hot))
    assert look(rules, app, "GET /sub/late") == "hot /sub/late"
    app.router.routes.clear()
    assert look(rules, app, "GET /late") == "rest /{rest:path}"
    assert look(rules, Starlette(routes=[Route("/late", hot)]), "GET /late") == "hot /late"


def test_the_routes_are_read_once_while_they_stay() -> None:
    seen: list[AppRoute] = []
    app = Starlette(routes=[Route("/a", plain), Route("/b", plain)])
    rules = RouteTable[str](Routes.of({"/a": "a"}), lambda route: seen.append(route))
    for _ in range(3):
        assert look(rules, app, "GET /a") == "a /a"
    assert len(seen) == 2


APPS: list[Callable[[], Any]] = [
    fastapi_app,
    lambda: Starlette(
        routes=[
            Route("/items/special", plain),
            Mount("/items", routes=[Route("/{id:int}", hot), Route("/{id}", plain)]),
            Route("/{rest:path}", hot),
        ]
    ),
]


@pytest.mark.parametrize("make", APPS)
@given(
    path=st.lists(
        st.sampled_from(
            ["items", "special", "7", "x", "api", "shop", "eu", "parts", "offers", "old", "sub"]
            + ["us", "late", ""]
        ),
        max_size=6,
    ).map(lambda parts: "/" + "/".join(parts)),
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
)
def test_the_marked_route_is_the_one_that_the_app_calls(
    make: Callable[[], Any], path: str, method: str
) -> None:
    """The marks themselves say which of them ran; the table must have named the last one."""
    app, rules = make(), table()
    ran.clear()
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
    }
    found = rules.match(app, method, path)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None: ...

    asyncio.run(app(scope, receive, send))
    assert (None if found is None else found.policy) == (ran[-1] if ran else None)
