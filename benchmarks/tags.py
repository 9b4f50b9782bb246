"""Whether a purge by tag takes the same time however much it forgets, next to one SET.

    python3 -m benchmarks.tags

Prints JSON: median seconds of a SET, and of a purge for each number of entries.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable

from cachemw.caching.cache import Cache
from cachemw.stores import open_store
from cachemw.stores.embedded import EmbeddedServer

ENTRIES = (10, 1000, 100_000)
TURNS = 300
BATCH = 500
TTL = 3600


async def medians(*calls: Callable[[], Awaitable[object]]) -> list[float]:
    """Of calls that take turns, since a machine is fast at one moment and slow at another."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(TURNS):
        for call, took in zip(calls, times, strict=True):
            began = time.perf_counter()
            await call()
            took.append(time.perf_counter() - began)
    return [statistics.median(took) for took in times]


async def measure(url: str) -> dict[str, float]:
    store = open_store(f"{url}&deadline=5s" if "?" in url else f"{url}?deadline=5s")
    cache = Cache(store)
    found: dict[str, float] = {}
    for entries in ENTRIES:
        for start in range(0, entries, BATCH):
            numbers = range(start, min(start + BATCH, entries))
            values = {f"entry:{number}": "x" * 200 for number in numbers}
            await cache.set_many(values, TTL, tags=["products"])
        found[str(entries)], found["set"] = await medians(
            lambda: cache.purge(tags=["products"]),
            lambda: store.set(b"benchmark", b"x" * 200, ttl=TTL * 1000),
        )
    await store.aclose()
    return found


if __name__ == "__main__":
    with EmbeddedServer() as server:
        print(json.dumps(asyncio.run(measure(server.url))))
