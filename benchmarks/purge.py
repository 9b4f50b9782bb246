"""What a purge by tag costs, and what tags cost at rest: stamps against textbook dependency sets.

    python -m benchmarks.purge                   a server of its own
    python -m benchmarks.purge redis://...       that server, which is EMPTIED

A dependency set is what most caches keep: for each tag a set of the keys that have it, added to on
every store (SADD), read and deleted on purge (SMEMBERS, DEL). Ours is one stamp for each tag,
whatever it covers, and the tag's name in the entry. Both store the same 200 bytes with one tag.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from cachemw.caching.cache import Cache
from cachemw.stores import open_store
from cachemw.stores.embedded import EmbeddedServer

SIZES = (10, 1000, 100_000)
BATCH = 500
VALUE = b"v" * 200
TTL = 3600


async def stamps(url: str, client: "Redis", size: int) -> tuple[float, float]:
    """Milliseconds of a purge, and bytes for each entry."""
    store = open_store(f"{url}?deadline=30s" if "?" not in url else url)
    cache = Cache(store)
    await cache.set("warm", 1, TTL, tags=["warm"])
    before = await used(client)
    for start in range(0, size, BATCH):
        keys = [f"entry:{number}" for number in range(start, min(size, start + BATCH))]
        await cache.set_many(dict.fromkeys(keys, VALUE), TTL, tags=["product:3"])
    bytes_each = (await used(client) - before) / size
    milliseconds = await timed(lambda: cache.purge(tags=["product:3"]))
    assert await cache.get("entry:0") is None
    await store.aclose()
    return milliseconds, bytes_each


async def sets(client: "Redis", size: int) -> tuple[float, float]:
    """The same, the textbook's way."""
    before = await used(client)
    for start in range(0, size, BATCH):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(size, start + BATCH)):
            pipeline.set(f"entry:{number}", VALUE, ex=TTL)
            pipeline.sadd("tag:product:3", f"entry:{number}")
        await pipeline.execute()
    bytes_each = (await used(client) - before) / size

    async def purge() -> None:
        keys = list(await client.smembers("tag:product:3"))
        for start in range(0, len(keys), BATCH):
            await client.unlink(*keys[start : start + BATCH])
        await client.delete("tag:product:3")

    milliseconds = await timed(purge)
    assert await client.get("entry:0") is None
    return milliseconds, bytes_each


async def used(client: "Redis") -> int:
    return int((await client.info("memory"))["used_memory_dataset"])


async def timed(purge: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await purge()
    return (time.perf_counter() - started) * 1000


async def main(url: str) -> None:
    client: Redis = Redis.from_url(url)
    print(f"{'entries':>8}  {'':8} {'purge ms':>9} {'bytes/entry':>12}")
    for size in SIZES:
        rounds = 3 if size > 10_000 else 7
        for name in ("stamps", "sets"):
            results = []
            for _ in range(rounds):
                await client.flushall()
                results.append(
                    await (stamps(url, client, size) if name == "stamps" else sets(client, size))
                )
            purge = statistics.median(result[0] for result in results)
            memory = statistics.median(result[1] for result in results)
            print(f"{size:>8}  {name:8} {purge:>9.2f} {memory:>12.0f}")
    await client.aclose()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        with EmbeddedServer() as server:
            asyncio.run(main(server.url))
