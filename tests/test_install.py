"""`install`: everything in its place by one call."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware as CookieSessions
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from cachemw import (
    Cache,
    CacheContext,
    Cached,
    CacheMiddleware,
    CachePolicy,
    ConfigurationError,
    MemoryStore,
    Purges,
    RateLimit,
    RateLimitMiddleware,
    SessionMiddleware,
    Sessions,
    cached,
    install,
)


@pytest.fixture
def app() -> FastAPI:
    """A shop: one route by pattern, one by mark, one that purges, one with a session."""
    app = FastAPI()
    app.state.runs = 0

    @app.get("/products/{id}")
    async def product(id: int) -> dict[str, int]:
        app.state.runs += 1
        return {"id": id, "run": app.state.runs}

    @app.get("/news", dependencies=[Cached(ttl="5m", tags=["news"])])
    async def news(cache: CacheContext = Depends()) -> int:
        cache.tag("front-page")
        app.state.runs += 1
        return int(app.state.runs)

    @app.put("/products/{id}", dependencies=[Purges("product:{id}", "front-page")])
    async def change(id: int) -> None: ...

    @app.get("/me", dependencies=[Cached(ttl="5m")])
    async def me(request: Request) -> str:
        return str(request.session.get("user_id"))

    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    install(
        app,
        store=MemoryStore(),
        cache={"/products/{id}": CachePolicy(ttl="5m", tags=["product:{id}"])},
        limits={"/limited": RateLimit("2/minute")},
        sessions=Sessions(secure=False),
    )
    with TestClient(app) as client:
        yield client


def result(client: TestClient, url: str) -> tuple[str, str]:
    """What a GET was answered with, and how the cache came to it."""
    response = client.get(url)
    return response.text, response.headers.get("cache-status", "")


def test_limits_are_outside_of_the_cache_and_that_outside_of_sessions(client: TestClient) -> None:
    classes = [entry.cls for entry in client.app.user_middleware]  # type: ignore[attr-defined]
    assert classes == [RateLimitMiddleware, CacheMiddleware, SessionMiddleware]


def test_a_pattern_caches(client: TestClient) -> None:
    first, status = result(client, "/products/1")
    assert "stored" in status
    second, status = result(client, "/products/1")
    assert (second, "hit" in status) == (first, True)


def test_a_mark_caches_and_a_purge_reaches_what_its_handler_tagged(client: TestClient) -> None:
    first, _ = result(client, "/news")
    assert "hit" in result(client, "/news")[1]
    assert client.put("/products/1").status_code == 200
    second, status = result(client, "/news")
    assert (second != first, "purged" in status) == (True, True)


def test_what_read_the_session_is_not_kept(client: TestClient) -> None:
    for _ in range(2):
        text, status = result(client, "/me")
        assert (text, "detail=session" in status) == ('"None"', True)


def test_limits_refuse(client: TestClient) -> None:
    assert [client.get("/limited").status_code for _ in range(3)] == [404, 404, 429]


def test_the_handle_is_in_the_app(client: TestClient) -> None:
    handle = client.app.state.cachemw  # type: ignore[attr-defined]
    assert isinstance(handle.store, MemoryStore)
    assert isinstance(handle.sessions, Sessions)
    assert isinstance(handle.cache, Cache)


async def _purge(client: TestClient, url: str) -> int:
    handle = client.app.state.cachemw  # type: ignore[attr-defined]
    return int(await handle.cache.purge(url=url))


def test_the_handle_purges_a_path_of_every_host(client: TestClient) -> None:
    first, _ = result(client, "/products/1")
    assert "hit" in result(client, "/products/1")[1]
    assert client.portal is not None
    assert client.portal.call(_purge, client, "/products/1") == 1
    assert result(client, "/products/1")[0] != first


def test_plain_starlette_and_a_decorator() -> None:
    runs: list[str] = []

    @cached(ttl="1m")
    async def page(request: StarletteRequest) -> PlainTextResponse:
        runs.append(request.url.path)
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/page", page)])
    install(app, store="memory://")
    with TestClient(app) as client:
        assert [client.get("/page").text for _ in range(3)] == ["page"] * 3
    assert runs == ["/page"]


def test_everything_from_a_file(tmp_path: Path, app: FastAPI) -> None:
    file = tmp_path / "cachemw.toml"
    file.write_text(
        """
        store = "memory://"
        [cache."/products/{id}"]
        policy = "docs"
        [limits]
        "/limited" = "1/minute"
        [sessions]
        idle = "10m"
        """
    )
    handle = install(app, config=file)
    assert handle.sessions is not None
    assert handle.sessions.settings.idle == 600
    with TestClient(app) as client:
        client.get("/products/1")
        assert "hit" in result(client, "/products/1")[1]
        assert [client.get("/limited").status_code for _ in range(2)] == [404, 429]


def test_mistakes_are_told_at_once(app: FastAPI) -> None:
    with pytest.raises(ConfigurationError, match="no store"):
        install(app)
    with pytest.raises(ConfigurationError, match="did you mean 'redis'"):
        install(app, store="reddis://localhost")
    with pytest.raises(ConfigurationError, match="wrap any other ASGI app by hand"):
        install(object(), store="memory://")  # type: ignore[arg-type]
    install(app, store="memory://")
    with pytest.raises(ConfigurationError, match="called twice"):
        install(app, store="memory://")


def test_sessions_outside_of_the_cache_stop_the_start(app: FastAPI) -> None:
    install(app, store="memory://")
    app.add_middleware(CookieSessions, secret_key="k")
    with (
        pytest.raises(ConfigurationError, match="add the cache after the sessions"),
        TestClient(app),
    ):
        pass


def test_a_wrong_mark_stops_the_start() -> None:
    app = FastAPI()

    @app.get("/products/{id}", dependencies=[Cached(ttl=1, tags=["product:{ident}"])])
    async def product(id: int) -> None: ...

    install(app, store="memory://")
    with pytest.raises(ConfigurationError, match=r"the path has \{id\}"), TestClient(app):
        pass


@pytest.mark.parametrize("store", ["memory://", "redis://127.0.0.1:1"])
def test_a_near_cache_that_is_no_size_is_refused_whatever_the_store(store: str) -> None:
    with pytest.raises(ConfigurationError, match="'lots' is not a size"):
        install(Starlette(), store=store, near_cache="lots")
