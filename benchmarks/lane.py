"""What the lane buys: a store's reads and scripts against a pooled redis-py client.

    python3 -m benchmarks.lane [--seconds 1.0] [--rounds 5] [--url redis://localhost:6379]

Prints a Markdown table. Both sides run the same task on the same machine: so many workers, each
making one call after another. The sides take turns, round after round, and the medians count, so
that a busy machine harms both alike. Without a URL a private Valkey is started on a unix socket.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from hashlib import sha1

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from cachemw.scripts import Script
from cachemw.stores.embedded import EmbeddedServer
from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import from_url

CONCURRENCIES = (1, 32, 128)
KEYS = [b"key:%d" % number for number in range(1000)]
VALUE = bytes(1024)
LUA = "return redis.call('EXISTS', KEYS[1])"
ECHO = Script("exists", LUA, lambda db, keys, args: int(db.exists(keys[0])))

Call = Callable[[int], Awaitable[object]]


def pooled(url: str) -> "redis.asyncio.Redis":
    """A client as its documentation has it, with the settings that a careful service gives it."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=128,
        timeout=1,
        socket_timeout=5,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        driver_info=None,
    )
    return redis.asyncio.Redis.from_pool(pool)


async def rate(call: Call, concurrency: int, seconds: float) -> float:
    """Calls a second of so many workers."""
    done = 0
    end = time.perf_counter() + seconds

    async def work(turn: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call(turn)
            turn += concurrency
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*[work(turn) for turn in range(concurrency)])
    return done / (time.perf_counter() - began)


async def measure(url: str, seconds: float, rounds: int) -> None:
    client, store = pooled(url), RedisStore(from_url(url), prefix="", deadline="5s")
    for key in KEYS:
        await store.set(key, VALUE, ttl=600_000)
    sha = sha1(LUA.encode(), usedforsecurity=False).hexdigest()
    await client.script_load(LUA)
    calls: dict[str, tuple[Call, Call]] = {
        "GET, 1 KiB": (
            lambda turn: client.get(KEYS[turn % 1000]),
            lambda turn: store.get_many((KEYS[turn % 1000],)),
        ),
        "three GETs (MGET)": (
            lambda turn: client.mget(KEYS[turn % 990 : turn % 990 + 3]),
            lambda turn: store.get_many(KEYS[turn % 990 : turn % 990 + 3]),
        ),
        "EVALSHA": (
            lambda turn: client.evalsha(sha, 1, KEYS[turn % 1000]),
            lambda turn: store.run(ECHO, (KEYS[turn % 1000],), ()),
        ),
    }
    print("| command | at once | redis-py pool | lane | ratio |")
    print("|---|--:|--:|--:|--:|")
    for name, (ours_not, ours) in calls.items():
        for concurrency in CONCURRENCIES:
            rates: tuple[list[float], list[float]] = [], []
            for _ in range(rounds):
                for side, call in enumerate((ours_not, ours)):
                    rates[side].append(await rate(call, concurrency, seconds))
            pool, lane = (statistics.median(side) for side in rates)
            print(f"| {name} | {concurrency} | {pool:,.0f}/s | {lane:,.0f}/s | {lane / pool:.2f} |")
    await store.aclose()
    await client.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description="The lane against a pooled redis-py client.")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url")
    given = parser.parse_args()
    with ExitStack() as at_the_end:
        url = given.url or at_the_end.enter_context(EmbeddedServer()).url
        asyncio.run(measure(url, given.seconds, given.rounds))


if __name__ == "__main__":
    main()
