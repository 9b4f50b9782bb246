"""What cachemw costs where it does nothing: a route without a policy, and an import.

    python3 -m benchmarks.costs

Measured within one process, without a server, because a load test cannot tell microseconds apart.
Prints JSON.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from starlette.types import ASGIApp, Message

TURNS = 2000
ROUNDS = 21
IMPORT = """
import asyncio, time
import redis.asyncio, starlette.applications, starlette.requests, starlette.routing
began = time.process_time()
{statement}
print(time.process_time() - began)
"""
NOTHING_YET = "import cachemw"  # names are imported when they are asked for
ALL_OF_IT = "from cachemw import install"


def scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/item/17",
        "raw_path": b"/item/17",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    pass


async def seconds_a_call(app: ASGIApp) -> float:
    began = time.process_time()
    for _ in range(TURNS):
        await app(scope(), receive, send)
    return (time.process_time() - began) / TURNS


async def no_policy() -> tuple[float, float]:
    """Seconds a request without the middleware, and how much more with it."""
    from benchmarks.apps import bare, ours

    alone, wrapped = bare.starlette(), ours.no_policy()
    bases: list[float] = []
    extra: list[float] = []
    for _ in range(ROUNDS):
        base = await seconds_a_call(alone)
        bases.append(base)
        extra.append(await seconds_a_call(wrapped) - base)
    return statistics.median(bases), statistics.median(extra)


def import_seconds(statement: str) -> float:
    """CPU time of an import where Starlette and redis-py are already imported."""
    command = [sys.executable, "-c", IMPORT.format(statement=statement)]
    said = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(9)]
    return statistics.median(float(each.stdout) for each in said)


def main() -> None:
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    base, extra = asyncio.run(no_policy())
    imports = {"import": import_seconds(NOTHING_YET), "install": import_seconds(ALL_OF_IT)}
    print(json.dumps({"bare": base, "no_policy": extra, **imports}))


if __name__ == "__main__":
    main()
