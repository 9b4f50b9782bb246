"""Websockets: who may connect, and how often a connected client may speak."""

from collections.abc import Callable, Sequence

import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from cachemw.errors import StoreUnavailable
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware
from cachemw.ratelimit.rule import RateLimit
from cachemw.scripts import Reply, Script
from cachemw.stores.memory import MemoryStore


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def nobody(connection: HTTPConnection) -> None:
    return None


def by_middleware(limiter: Limiter) -> FastAPI:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=limiter, routes={"/ws": RateLimit("1/minute")})
    app.add_api_websocket_route("/ws", echo)
    return app


def by_dependency(limiter: Limiter) -> FastAPI:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=limiter)
    rule = Depends(RateLimit("1/minute"))
    app.add_api_websocket_route("/ws", echo, dependencies=[rule])
    return app


def by_decorator(limiter: Limiter) -> FastAPI:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=limiter)
    app.add_api_websocket_route("/ws", RateLimit("1/minute")(echo))
    return app


@pytest.mark.parametrize("build", [by_middleware, by_dependency, by_decorator])
def test_a_connection_too_many_is_denied_with_429(
    limiter: Limiter, build: Callable[[Limiter], FastAPI]
) -> None:
    client = TestClient(build(limiter))
    with client.websocket_connect("/ws") as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "hello"

    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/ws"):
        pass
    assert denied.value.status_code == 429
    assert denied.value.headers["retry-after"] == "60"
    assert denied.value.headers["ratelimit"].endswith(";r=0;t=60")


@pytest.mark.parametrize("build", [by_middleware, by_dependency, by_decorator])
def test_a_server_that_cannot_deny_closes_with_policy_violation(
    limiter: Limiter, build: Callable[[Limiter], FastAPI]
) -> None:
    app = build(limiter)

    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        scope.pop("extensions", None)
        await app(scope, receive, send)

    client = TestClient(plain)
    with client.websocket_connect("/ws"):
        pass
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/ws"):
        pass
    assert closed.value.code == 1008
    assert closed.value.reason == "Try again in 60 seconds."


def test_the_handshake_tells_where_the_client_stands(limiter: Limiter) -> None:
    with TestClient(by_middleware(limiter)).websocket_connect("/ws") as websocket:
        fields: dict[bytes, bytes] = dict(websocket.extra_headers or ())
    assert fields[b"ratelimit"] == b'"minute";r=0;t=60'


def test_a_client_that_says_too_much_is_closed(limiter: Limiter) -> None:
    app = FastAPI()
    app.add_middleware(
        RateLimitMiddleware, store=limiter, messages={"/ws": RateLimit("2/second", name="talk")}
    )
    app.add_api_websocket_route("/ws", echo)
    with TestClient(app).websocket_connect("/ws") as websocket:
        for _ in range(2):
            websocket.send_text("hello")
            assert websocket.receive_text() == "hello"
        websocket.send_text("once more")
        with pytest.raises(WebSocketDisconnect) as closed:
            websocket.receive_text()
    assert closed.value.code == 1008


def test_what_is_said_within_a_mount_is_counted_too(limiter: Limiter) -> None:
    inner = FastAPI()
    inner.add_api_websocket_route("/ws", echo)
    app = FastAPI()
    app.mount("/in", inner)
    app.add_middleware(
        RateLimitMiddleware, store=limiter, messages={"/in/ws": RateLimit("1/second", name="talk")}
    )
    with TestClient(app).websocket_connect("/in/ws") as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "hello"
        websocket.send_text("once more")
        with pytest.raises(WebSocketDisconnect) as closed:
            websocket.receive_text()
    assert closed.value.code == 1008


class Nowhere(MemoryStore):
    """A store that has gone away."""

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
        raise StoreUnavailable("timeout")


@pytest.mark.parametrize(
    ("rule", "store", "code"),
    [
        (RateLimit("9/second", on_outage="closed"), Nowhere(), 1013),
        (RateLimit("9/second", on_outage="open"), Nowhere(), None),
        (RateLimit("9/second", on_outage="closed", shadow=True), Nowhere(), None),
        (RateLimit("9/second", by=nobody, unknown="refuse"), MemoryStore(), 1008),
        (RateLimit("9/second", by=nobody, unknown="refuse", shadow=True), MemoryStore(), None),
    ],
)
def test_a_message_that_cannot_be_counted_is_answered_as_its_rule_says(
    rule: RateLimit, store: MemoryStore, code: int | None
) -> None:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=store, messages={"/ws": rule})
    app.add_api_websocket_route("/ws", echo)
    with TestClient(app).websocket_connect("/ws") as websocket:
        websocket.send_text("hello")
        if code is None:
            assert websocket.receive_text() == "hello"
        else:
            with pytest.raises(WebSocketDisconnect) as closed:
                websocket.receive_text()
            assert closed.value.code == code


def test_an_endpoint_may_count_its_messages_itself(limiter: Limiter) -> None:
    talk = RateLimit("10/minute", name="talk")
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, store=limiter)

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await talk.check(websocket, cost=len(text))
            await websocket.send_text("ok")

    with TestClient(app).websocket_connect("/ws") as websocket:
        for text in ("12345", "1234"):
            websocket.send_text(text)
            assert websocket.receive_text() == "ok"
        websocket.send_text("12")
        with pytest.raises(WebSocketDisconnect) as closed:
            websocket.receive_text()
    assert closed.value.code == 1008
