"""The app that faults befall: every feature of cachemw, on routes whose right answers are known.

What is "in the database" is a file with a version for each key, so that all workers see the same.
`/write` changes it and purges; the client is told 200 only when both are done.
"""

import asyncio
import fcntl
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from cachemw import CachePolicy, RateLimit, Sessions, StoreUnavailable, header, install
from tests.faults.pages import QUOTA, Page

if ahead := float(os.environ.get("FAULTS_CLOCK", "0")):  # a machine whose clock is wrong
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + ahead
    time.time_ns = lambda: right_ns() + int(ahead * 1e9)

DATABASE = Path(os.environ["FAULTS_DATABASE"])
CHUNKS = 8


# --- the database


def version_of(key: str) -> int:
    try:
        return int((DATABASE / key).read_text())
    except FileNotFoundError:
        return 0


def set_version(key: str, version: int) -> None:
    """Versions only rise: a request that everybody gave up on may still come to its end."""
    with (DATABASE / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if version > version_of(key):
            draft = DATABASE / f"{key}.draft"
            draft.write_text(str(version))
            draft.replace(DATABASE / key)


def page(kind: str, request: Request) -> bytes:
    key = request.path_params["key"]
    who = request.headers.get("authorization", "nobody").removeprefix("Bearer ")
    return Page(kind, key, version_of(key), who).to_bytes()


# --- pages


async def item(request: Request) -> Response:
    return PlainTextResponse(page("item", request))


async def mine(request: Request) -> Response:
    return PlainTextResponse(page("mine", request))


async def reflect(request: Request) -> Response:
    """Says everything it sees of a request: whoever can put something here poisons it."""
    seen = [f"{name}: {value}" for name, value in request.headers.items()]
    seen += [f"raw path {request.scope['raw_path']!r}", f"url {request.url}"]
    seen += [f"client {request.client}", f"body {await request.body()!r}"]
    return PlainTextResponse("\n".join(seen))


async def stream(request: Request) -> Response:
    body = page("stream", request)
    step = len(body) // CHUNKS + 1

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]
            await asyncio.sleep(0.002)

    return StreamingResponse(chunks())


async def timed(request: Request) -> Response:
    """Says when it was made, on a clock that all processes of a machine share."""
    if (DATABASE / "broken").exists():
        raise RuntimeError("the origin is broken")
    made = int(time.monotonic() * 1000)
    return PlainTextResponse(Page("timed", request.path_params["key"], made, "nobody").to_bytes())


async def secret(request: Request) -> Response:
    """Never the same twice, and nobody else's business."""
    response = PlainTextResponse(secrets.token_hex())
    response.set_cookie("made-for", "you")
    return response


async def data(request: Request) -> Response:
    key = request.path_params["key"]

    async def load() -> bytes:
        return Page("data", key, version_of(key), "nobody").to_bytes()

    cache = request.app.state.cachemw.cache
    return PlainTextResponse(
        await cache.get_or_set(f"data:{key}", load, ttl="10m", tags=[tag(key)])
    )


async def slow(request: Request) -> Response:
    """Leaves a mark, and takes its time."""
    with (DATABASE / f"{request.path_params['key']}.runs").open("a") as runs:
        runs.write(f"{os.getpid()}\n")
    await asyncio.sleep(float(request.query_params["for"]))
    return PlainTextResponse(page("slow", request))


async def big(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(int(request.query_params["mb"]) * 16):
            yield bytes(65536)

    return StreamingResponse(chunks())


async def events(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


# --- changes


def tag(key: str) -> str:
    return f"thing:{key}"


async def write(request: Request) -> Response:
    key, version = request.query_params["key"], int(request.query_params["version"])
    set_version(key, version)
    try:
        await request.app.state.cachemw.cache.purge(tags=[tag(key)])
    except StoreUnavailable:
        return PlainTextResponse("written, not purged", 503)
    return PlainTextResponse("written and purged")


# --- sessions and limits


async def login(request: Request) -> Response:
    request.session["user_id"] = request.query_params["user"]
    return JSONResponse(dict(request.session))


async def add(request: Request) -> Response:
    tab = request.query_params["tab"]
    request.session[tab] = request.session.get(tab, 0) + 1
    return JSONResponse(dict(request.session))


async def session(request: Request) -> Response:
    return JSONResponse(dict(request.session))


async def limited(request: Request) -> Response:
    return PlainTextResponse("let in")


# --- what is inside a worker


async def inside(request: Request) -> Response:
    tasks = Counter(getattr(t.get_coro(), "__qualname__", "?") for t in asyncio.all_tasks())
    store = request.app.state.cachemw.store
    breakers = getattr(store, "store", store).breakers()
    seen = {
        "pid": os.getpid(),
        "tasks": dict(tasks),
        "files": len(os.listdir("/proc/self/fd")),
        "open": [name for name, is_open in breakers.items() if is_open],
        "memory": memory(),
    }
    return JSONResponse(seen, headers={"cache-control": "no-store"})


def memory() -> int:
    """Resident bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def block(request: Request) -> Response:
    time.sleep(float(request.query_params["for"]))  # noqa: ASYNC251 - this is the fault
    return PlainTextResponse("blocked")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def build() -> Starlette:
    app = Starlette(
        routes=[
            Route("/item/{key}", item),
            Route("/mine/{key}", mine),
            Route("/stream/{key}", stream),
            Route("/reflect/{rest:path}", reflect),
            Route("/timed/{key}", timed),
            Route("/slow/{key}", slow),
            Route("/data/{key}", data),
            Route("/secret", secret),
            Route("/big", big),
            Route("/events", events),
            Route("/write", write, methods=["POST"]),
            Route("/login", login, methods=["POST"]),
            Route("/add", add, methods=["POST"]),
            Route("/session", session),
            Route("/closed", limited),
            Route("/open", limited),
            Route("/local", limited),
            Route("/inside", inside),
            Route("/block", block),
            WebSocketRoute("/echo", echo),
        ]
    )
    kept = CachePolicy(ttl="10m", tags=["thing:{key}"])
    install(
        app,
        store=os.environ["FAULTS_STORE"],
        near_cache=os.environ.get("FAULTS_NEAR") or None,
        cache={
            "/item/{key}": kept,
            "/stream/{key}": kept,
            "/reflect/{rest:path}": CachePolicy(ttl="10m"),
            "/slow/{key}": kept,
            "/mine/{key}": CachePolicy(ttl="10m", tags=["thing:{key}"], credentials="identity"),
            "/timed/{key}": CachePolicy(
                ttl="1s", stale_while_revalidate="2s", stale_if_error="20s", jitter=0
            ),
            "/secret": CachePolicy(ttl="10m"),
            "/big": CachePolicy(ttl="10m", max_body="1MiB"),
            "/events": CachePolicy(ttl="10m"),
        },
        limits={
            f"/{mode}": RateLimit(f"{QUOTA}/day", by=header("x-key"), name=mode, on_outage=mode)
            for mode in ("closed", "open", "local")
        },
        sessions=Sessions(idle="1h", absolute="12h", renew=None, audit=None),
    )
    return app


app = build()
