"""One worker that reads, writes and purges, and looks whether it is ever given what was purged.

    python -m tests.caching.cache_worker CACHE_URL DATABASE_URL NAME ROUNDS

The database is a counter: every write makes it greater. When a writer's purge has returned, it says
so, under its own name. A reader first looks at what all writers have said, then reads through the
cache, and may be given nothing less. Prints how many reads there were, how many of them were hits,
and how many were too old.
"""

import asyncio
import random
import sys

from redis.asyncio import Redis

from cachemw.caching.cache import Cache
from cachemw.caching.datakeys import holders_key
from cachemw.caching.stamps import bucket_of, mark_key, stamp_key
from cachemw.caching.tags import tag_bytes
from cachemw.stores import open_store

NAMES = [f"said:{number}" for number in range(4)]
TAGS = ["product", "shop"]


async def work(cache_url: str, database_url: str, name: str, rounds: int) -> tuple[int, int, int]:
    store, database = open_store(cache_url), Redis.from_url(database_url)
    cache = Cache(store)
    reads = too_old = 0

    async def load() -> int:
        value = int(await database.get("counter") or 0)
        await asyncio.sleep(random.random() * 0.03)
        return value

    async def read() -> None:
        nonlocal reads, too_old
        said = await database.mget(NAMES)
        least = max(int(one or 0) for one in said)
        value = await cache.get_or_set("k", load, "1m", tags=TAGS, lease_wait="1s")
        reads += 1
        too_old += value < least

    async def save(_: object) -> int:
        return int(await database.incr("counter"))

    async def write() -> None:
        match random.randrange(5):
            case 0:
                value = await save(None)
                await cache.purge(tags=[random.choice(TAGS)])
            case 1:
                value = await save(None)
                await cache.delete("k")
            case 2:
                value = await save(None)
                await cache.purge(pattern="k*")
            case 3:
                async with cache.writing(tags=[random.choice(TAGS)]):
                    value = await save(None)
            case _:
                async with cache.writing(keys="k"):
                    value = await save(None)
        await database.set(f"said:{name}", value)

    async def evict() -> None:
        tag = tag_bytes(random.choice(TAGS))
        keys = [stamp_key(tag), mark_key(bucket_of(tag)), holders_key("k")]
        for key in random.sample(keys, random.randint(1, 3)):
            await store.delete([key])

    async def reader() -> None:
        for _ in range(rounds):
            await asyncio.sleep(random.random() * 0.01)
            await read()

    async def writer() -> None:
        while True:
            await asyncio.sleep(random.random() * 0.3)
            await write()
            if random.random() < 0.2:
                await evict()

    writing = asyncio.create_task(writer())
    await asyncio.gather(reader(), reader(), reader())
    writing.cancel()
    await asyncio.wait([writing])
    hits = (await cache.stats()).hits
    await cache.aclose()
    await store.aclose()
    await database.aclose()
    return reads, hits, too_old


if __name__ == "__main__":
    cache_url, database_url, name, rounds = sys.argv[1:]
    print(*asyncio.run(work(cache_url, database_url, name, int(rounds))))
