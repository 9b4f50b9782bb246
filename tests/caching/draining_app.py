"""What a worker runs that is told to end amid a refresh: it tells afterwards what was left."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cachemw import CacheMiddleware, CachePolicy, StoreUnavailable, open_store

NOTES = Path(os.environ["DRAIN_NOTES"])
STORE = open_store(os.environ["DRAIN_STORE"])
RUNS = [0]


def note(line: str) -> None:
    with NOTES.open("a") as notes:
        notes.write(line + "\n")


async def page(request: Request) -> PlainTextResponse:
    RUNS[0] += 1
    if RUNS[0] > 1:
        note("refresh began")
        await asyncio.sleep(1)
        note("refresh ended")
    return PlainTextResponse(f"run {RUNS[0]}")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    note("app ends")


inner = Starlette(routes=[Route("/", page)], lifespan=lifespan)
inner.add_middleware(
    CacheMiddleware,
    store=STORE,
    default=CachePolicy(ttl="100ms", stale_while_revalidate="1h", jitter=0),
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await inner(scope, receive, send)
    if scope["type"] != "lifespan":
        return
    try:
        await STORE.get(b"x")
    except StoreUnavailable as error:
        note(f"store {error.reason}")
    own = asyncio.current_task()
    others = [task.get_coro() for task in asyncio.all_tasks() if task is not own]
    names = [getattr(coroutine, "__qualname__", "") for coroutine in others]
    note("left: " + " ".join(sorted(name for name in names if "uvicorn" not in name)))
