"""One process that hits one limit many times at once: `python -m tests.ratelimit.hammer URL HITS`.

Says `ready`, waits for a line, hits, and says how many hits were admitted and how many nobody
knows about.
"""

import asyncio
import sys

from cachemw.ratelimit.rule import RateLimit
from cachemw.stores import open_store


async def hammer(url: str, hits: int) -> None:
    store = open_store(url)
    rule = RateLimit("50/10 minutes", "60/day", name="hammer", on_outage="closed").bind(store)
    await rule.peek("warm-up")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    verdicts = await asyncio.gather(*(rule.hit("client") for _ in range(hits)))
    admitted = sum(verdict.allowed for verdict in verdicts)
    unknown = sum(verdict.outcome == "unavailable" for verdict in verdicts)
    print(admitted, unknown, flush=True)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(hammer(sys.argv[1], int(sys.argv[2])))
