"""What a hit of the data cache costs, next to a plain `redis.get` of bytes of that size.

    python3 -m benchmarks.data

CPU time of one process, many at once as in a busy app, less what the tasks themselves cost; medians
of rounds that take turns. Ours includes the seal, the stamp of a tag, and the value as an object.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from cachemw.caching.cache import Cache
from cachemw.stores import open_store
from cachemw.stores.embedded import EmbeddedServer

KEYS = 64
AT_ONCE = 64
TURNS = 8
ROUNDS = 61
TTL = "1h"
Value = dict[str, str | int]
Call = Callable[[int], Awaitable[object]]


async def made(number: int) -> Value:
    return {"id": number, "name": "x" * 100}


async def seconds_a_call(call: Call) -> float:
    began = time.process_time()
    for _ in range(TURNS):
        await asyncio.gather(*[call(number % KEYS) for number in range(AT_ONCE)])
    return (time.process_time() - began) / (TURNS * AT_ONCE)


async def measure(url: str) -> dict[str, float]:
    store = open_store(f"{url}{'&' if '?' in url else '?'}deadline=5s")
    cache, client = Cache(store), Redis.from_url(url)
    memoized = cache.memoize(TTL, key="memoized:{number}", tags=["items"])(made)
    for number in range(KEYS):
        await client.set(f"plain:{number}", b"x" * 120, ex=3600)

    async def nothing(_: int) -> None:
        await asyncio.sleep(0)

    def kept(number: int) -> Awaitable[Value]:
        return cache.get_or_set(f"kept:{number}", lambda: made(number), TTL, tags=["items"])

    calls: dict[str, Call] = {
        "nothing": nothing,
        "redis.get": lambda number: client.get(f"plain:{number}"),
        "cache.get": lambda number: cache.get(f"kept:{number}"),
        "cache.get_or_set": kept,
        "cache.memoize": memoized,
    }
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            took[name].append(await seconds_a_call(call))
    await client.aclose()
    await cache.aclose()
    await store.aclose()
    # Of each round by itself: a machine is fast at one moment and slow at another.
    return {
        name: statistics.median(
            mine - idle for mine, idle in zip(took[name][1:], took["nothing"][1:], strict=True)
        )
        for name in calls
    }


def main() -> None:
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    with EmbeddedServer() as server:
        found = asyncio.run(measure(server.url))
    print("a hit of the data cache, CPU time of the process")
    for name in list(found)[1:]:
        share = found[name] / found["redis.get"]
        print(f"{name:18}{found[name] * 1e6:6.1f} us{share:7.2f} x redis.get")


if __name__ == "__main__":
    main()
