"""How long a near cache serves what was purged: over several workers, with a histogram.

    python -m benchmarks.staleness [--workers 4] [--purges 250] [--svg FILE]

Each worker is a process with a near cache, and reads one value again and again. This process
purges it. Counted is, for each purge and each worker, the time from the return of the purge until
the worker's first read that did not find the value: it was stale for at most so long, and 0 is a
read before the purge had returned. How many read it stale at all is told beside. The clock is the
machine's steady one, which all its processes share.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import Sequence
from pathlib import Path

from cachemw.caching.cache import Cache
from cachemw.stores import open_store
from cachemw.stores.embedded import EmbeddedServer
from cachemw.stores.near import NearStore, with_near

KEY = "price"
PAUSE = 0.0005  # seconds between two reads of a worker
BOUNDS = (0.0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 2000)  # milliseconds
WIDE, HIGH, LEFT = 640, 260, 56


async def work(url: str) -> None:
    """A worker: says which value it has seen, and when it last saw it before it was gone."""
    store = with_near(open_store(url), "8MiB")
    cache, seen, last = Cache(store), None, 0.0
    assert isinstance(store, NearStore)
    while True:
        value = await cache.get(KEY)
        if value is not None:
            last = time.monotonic()
            if value != seen:
                print(json.dumps({"seen": value}), flush=True)
        elif seen is not None:
            first, near = time.monotonic(), store.hits
            print(
                json.dumps({"gone": seen, "last": last, "first": first, "near": near}), flush=True
            )
        seen = value
        await asyncio.sleep(PAUSE)


async def measure(url: str, workers: int, purges: int) -> tuple[list[float], int]:
    """For how many milliseconds it was stale at most, of each worker at each purge; and how many
    times it was read stale at all."""
    store = open_store(url)
    cache = Cache(store)
    command = [sys.executable, "-m", "benchmarks.staleness", "--work", url]
    processes = [await create_subprocess_exec(*command, stdout=PIPE) for _ in range(workers)]
    measured: list[float] = []
    stale = 0
    try:
        for number in range(purges):
            await cache.set(KEY, number, "1h")
            await asyncio.gather(*(told(each, "seen", number) for each in processes))
            await cache.purge(key=KEY)
            purged = time.monotonic()
            ends = await asyncio.gather(*(told(each, "gone", number) for each in processes))
            measured += [max(0.0, end["first"] - purged) * 1000 for end in ends]
            stale += sum(end["last"] > purged for end in ends)
            assert number < 3 or all(end["near"] for end in ends), "the near cache was not used"
    finally:
        for process in processes:
            process.kill()
            await process.wait()
        await store.aclose()
    return measured, stale


async def told(process: Process, what: str, number: int) -> dict[str, float]:
    """What a worker says of a value, once it says it."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        said: dict[str, float] = json.loads(line)
        if said.get(what) == number:
            return said
    raise RuntimeError("a worker has ended")


def counts(measured: Sequence[float]) -> list[tuple[str, int]]:
    """How many lie in each bucket, by its name; the first is exactly 0."""
    named = [("0", sum(value == 0 for value in measured))]
    for low, high in zip(BOUNDS, BOUNDS[1:], strict=False):
        found = sum(low < value <= high for value in measured)
        named.append((f"to {high:g}", found))
    while len(named) > 2 and not named[-1][1]:
        named.pop()
    return named


def summary(measured: Sequence[float], stale: int) -> dict[str, float]:
    cuts = statistics.quantiles(measured, n=100, method="inclusive")
    return {
        "samples": len(measured),
        "read stale": stale,
        "median": round(statistics.median(measured), 2),
        "p95": round(cuts[94], 2),
        "p99": round(cuts[98], 2),
        "worst": round(max(measured), 2),
    }


def drawn(buckets: Sequence[tuple[str, int]], told: dict[str, float], workers: int) -> str:
    """The histogram as SVG, in colours that do in the light and in the dark."""
    most = max(count for _, count in buckets)
    step = (WIDE - LEFT - 16) / len(buckets)
    title = (
        f"Stale for at most: {told['samples']:.0f} samples, {workers} workers; median "
        f"{told['median']} ms, 99 % below {told['p99']} ms, worst {told['worst']} ms"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#777">',
        f"<title>{title}</title>",
        f'<text x="{LEFT}" y="20" font-size="13">{title}</text>',
    ]
    for index, (name, count) in enumerate(buckets):
        height = (HIGH - 90) * count / most
        x, y = LEFT + index * step, HIGH - 48 - height
        middle = x + step / 2
        parts += [
            f'<rect x="{x + 2:.1f}" y="{y:.1f}" width="{step - 4:.1f}" height="{height:.1f}" '
            'rx="2" fill="#4a90d9"/>',
            f'<text x="{middle:.1f}" y="{y - 4:.1f}" text-anchor="middle">{count}</text>',
            f'<text x="{middle:.1f}" y="{HIGH - 32}" text-anchor="middle">{name}</text>',
        ]
    parts.append(f'<text x="{WIDE / 2}" y="{HIGH - 10}" text-anchor="middle">milliseconds</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--purges", type=int, default=200)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        asyncio.run(work(given.work))
        return
    with EmbeddedServer() as server:
        url = f"{server.url}?deadline=2s"
        measured, stale = asyncio.run(measure(url, given.workers, given.purges))
    told = summary(measured, stale)
    buckets = counts(measured)
    for name, count in buckets:
        print(f"{name:>8} ms  {count}")
    print(json.dumps(told))
    if given.svg:
        given.svg.write_text(drawn(buckets, told, given.workers), "utf-8")


if __name__ == "__main__":
    main()
