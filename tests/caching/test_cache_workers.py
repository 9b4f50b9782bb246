"""Four workers read, write, purge and evict at once: nobody is ever given what was purged."""

import asyncio
import sys
from asyncio.subprocess import PIPE

import pytest

from tests.servers import Cluster

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROUNDS = 300


async def too_old_reads(cache_url: str, database_url: str) -> int:
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.caching.cache_worker"),
            *(f"{cache_url}?deadline=20s", database_url, str(number), str(ROUNDS)),
            stdout=PIPE,
        )
        for number in range(4)
    ]
    outputs = [(await worker.communicate())[0].split() for worker in workers]
    reads, hits, too_old = [
        sum(int(column) for column in each) for each in zip(*outputs, strict=True)
    ]
    assert reads == 4 * 3 * ROUNDS
    assert hits > reads // 20, "too few hits to say anything"
    return too_old


async def test_on_one_server(valkey_url: str) -> None:
    assert await too_old_reads(valkey_url, valkey_url) == 0


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_on_a_cluster(cluster: Cluster, valkey_url: str) -> None:
    assert await too_old_reads(cluster.url, valkey_url) == 0
