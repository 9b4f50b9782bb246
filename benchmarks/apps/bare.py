"""What a hit is measured against: apps that do nothing but answer, and hand-written ones.

`hand_redis` is what a patient reader of redis-py's documentation would write; `hand_wire` is what
is left when everything but the protocol is taken away: one connection, pipelined, hiredis.
"""

import asyncio
import json
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
import redis.asyncio
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.apps.origin import SIZES, body, document, ran

URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
MANY = 1024  # connections: the default pool of 100 raises at 128 requests at once
NEVER = 1_000_000_000

Fetch = Callable[[bytes], Awaitable[bytes | None]]
Keep = Callable[[bytes, bytes], Awaitable[object]]


# -- answers without a cache ---------------------------------------------------------------------


async def product(request: Request) -> Response:
    ran()
    return _json(body(int(request.path_params["number"])))


async def catalogue(request: Request) -> Response:
    ran()
    return _json(body(int(request.path_params["number"]), SIZES["big"]))


async def sized(request: Request) -> Response:
    ran()
    return _json(body(int(request.path_params["number"]), int(request.path_params["size"])))


async def slow(request: Request) -> Response:
    ran()
    await asyncio.sleep(0.1)
    return _json(body(int(request.path_params["number"])))


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def routes() -> list[Route]:
    return [
        Route("/item/{number}", product),
        Route("/big/{number}", catalogue),
        Route("/slow/{number}", slow),
        Route("/sized/{size}/{number}", sized),
    ]


def starlette() -> ASGIApp:
    """A constant from a route; `BENCH_RUNS` is not set when it is measured as such."""
    return Starlette(routes=routes())


def fastapi() -> ASGIApp:
    app = FastAPI()

    @app.get("/item/{number}")
    async def item(number: int) -> dict[str, Any]:
        ran()
        return document(number)

    @app.get("/big/{number}")
    async def big(number: int) -> dict[str, Any]:
        ran()
        return document(number, SIZES["big"])

    @app.get("/slow/{number}")
    async def slowly(number: int) -> dict[str, Any]:
        ran()
        await asyncio.sleep(0.1)
        return document(number)

    return app


def raw() -> ASGIApp:
    """The least that an ASGI app can do."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            content = _content(scope["path"])
            await _send(send, content)

    return app


def a_dict() -> ASGIApp:
    """A cache in a dictionary, in front of nothing."""
    kept: dict[bytes, tuple[Message, Message]] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        found = kept.get(scope["raw_path"])
        if found is None:
            content = _content(scope["path"])
            found = kept[scope["raw_path"]] = _start(content), _end(content)
        await send(found[0])
        await send(found[1])

    return app


# -- caches by hand --------------------------------------------------------------------------------


def hand_redis() -> ASGIApp:
    client = redis.asyncio.Redis.from_url(URL, max_connections=MANY)

    async def keep(key: bytes, content: bytes) -> None:
        await client.set(key, content, ex=3600)

    async def fetch(key: bytes) -> Any:
        return await client.get(key)

    return _caching(fetch, keep)


def hand_wire() -> ASGIApp:
    wire = Wire()

    async def keep(key: bytes, content: bytes) -> None:
        await wire.call(b"SET", key, content, b"EX", b"3600")

    async def fetch(key: bytes) -> bytes | None:
        return await wire.call(b"GET", key)

    return _caching(fetch, keep, wire.connect)


class Wire(asyncio.Protocol):
    """Commands of one turn of the loop leave in one write; replies come in order."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.waiting: deque[asyncio.Future[Any]] = deque()
        self.unsent: list[bytes] = []

    async def connect(self) -> None:
        self.loop = asyncio.get_running_loop()
        address = URL.split("/")[2].split(":")
        transport, _ = await self.loop.create_connection(lambda: self, address[0], int(address[1]))
        self.transport = transport

    def call(self, *parts: bytes) -> "asyncio.Future[Any]":
        if not self.unsent:
            self.loop.call_soon(self.flush)
        self.unsent.append(hiredis.pack_command(parts))  # type: ignore[arg-type]
        future = self.loop.create_future()
        self.waiting.append(future)
        return future

    def flush(self) -> None:
        self.transport.write(b"".join(self.unsent))
        self.unsent.clear()

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(reply)


def _caching(
    fetch: Fetch, keep: Keep, connect: Callable[[], Awaitable[None]] | None = None
) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send, connect)
            return
        key = scope["raw_path"]
        content = await fetch(key)
        if content is None:
            content = _content(scope["path"])
            ran()
            if key.startswith(b"/slow"):
                await asyncio.sleep(0.1)
            await keep(key, content)
        await _send(send, content)

    return app


async def _live(
    receive: Receive, send: Send, connect: Callable[[], Awaitable[None]] | None
) -> None:
    while (await receive())["type"] == "lifespan.startup":
        if connect is not None:
            await connect()
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def _content(path: str) -> bytes:
    _, kind, number = path.split("/")
    return body(int(number), SIZES.get(kind, SIZES["item"]))


async def _send(send: Send, content: bytes) -> None:
    await send(_start(content))
    await send(_end(content))


def _start(content: bytes) -> Message:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _end(content: bytes) -> Message:
    return {"type": "http.response.body", "body": content}


# -- limits and sessions by hand -------------------------------------------------------------------

WINDOW = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {count, redis.call('PTTL', KEYS[1])}
"""


def limited() -> ASGIApp:
    """A fixed window in Lua over redis-py's pool, in a pure ASGI middleware."""
    client = redis.asyncio.Redis.from_url(URL, max_connections=MANY)
    script = client.register_script(WINDOW)
    app = Starlette(routes=routes())

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        count, left = await script(keys=[b"limit:" + scope["client"][0].encode()], args=[60_000])
        if count > NEVER:
            await send({"type": "http.response.start", "status": 429, "headers": []})
            await send(_end(b""))
            return
        fields = [
            (b"x-ratelimit-limit", b"%d" % NEVER),
            (b"x-ratelimit-remaining", b"%d" % (NEVER - count)),
            (b"x-ratelimit-reset", b"%d" % (left // 1000)),
        ]

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *fields]
            await send(message)

        await app(scope, receive, told)

    return middleware


def visited() -> ASGIApp:
    """Sessions as JSON under a cookie's value: one GET, and one SET when something changed."""
    client = redis.asyncio.Redis.from_url(URL, max_connections=MANY)
    app = Starlette(routes=session_routes())

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        cookie = dict(scope["headers"]).get(b"cookie", b"").partition(b"sid=")[2]
        sid = cookie or os.urandom(16).hex().encode()
        found = await client.get(b"session:" + sid)
        before = found or b"{}"
        scope["session"] = json.loads(before)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                after = json.dumps(scope["session"], separators=(",", ":")).encode()
                if after != before:
                    await client.set(b"session:" + sid, after, ex=1800)
                if not cookie:
                    field = b"set-cookie", b"sid=%b; HttpOnly; Path=/" % sid
                    message["headers"] = [*message["headers"], field]
            await send(message)

        await app(scope, receive, told)

    return middleware


async def log_in(request: Request) -> Response:
    request.session["user_id"] = "17"
    request.session["basket"] = ["teapot", "cup", "cup"]
    return Response("welcome")


async def read(request: Request) -> Response:
    known = request.session["user_id"] == "17" and "basket" in request.session
    return _json(body(0)) if known else Response("who are you?", 403)


async def write(request: Request) -> Response:
    request.session["count"] = request.session.get("count", 0) + 1
    return await read(request)


def session_routes() -> list[Route]:
    return [
        Route("/login", log_in, methods=["POST"]),
        Route("/read", read),
        Route("/write", write),
        *routes(),
    ]


def cookie_sessions() -> ASGIApp:
    """Starlette's own sessions: signed, within the cookie, no server."""
    from starlette.middleware.sessions import SessionMiddleware

    app = Starlette(routes=session_routes())
    app.add_middleware(SessionMiddleware, secret_key="not very secret, but long enough")
    return app
