"""What each worker of the fleet runs: a slow handler that leaves a mark whenever it does."""

import asyncio
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.stores import open_store

RUNS = Path(os.environ["FLEET_RUNS"])


def note_run() -> None:
    with RUNS.open("ab") as runs:
        runs.write(b"%d\n" % os.getpid())


async def slow(request: Request) -> JSONResponse:
    note_run()
    await asyncio.sleep(float(request.query_params.get("for", "0.3")))
    return JSONResponse({"worker": os.getpid()})


async def who(request: Request) -> JSONResponse:
    return JSONResponse({"worker": os.getpid()})


app = Starlette(routes=[Route("/slow", slow), Route("/who", who)])
app.add_middleware(
    CacheMiddleware,
    store=open_store(os.environ["FLEET_STORE"]),
    routes={"/slow": CachePolicy(ttl="1m", lease_wait="20s")},
)
