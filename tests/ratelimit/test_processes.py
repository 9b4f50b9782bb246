"""Four processes, five hundred hits each, all at once, on a limit of fifty: fifty."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

import anyio.to_thread
import pytest
import redis.asyncio

from cachemw.ratelimit.identity import Identity
from cachemw.ratelimit.rule import RateLimit
from cachemw.stores import open_store
from cachemw.testing.faultproxy import FaultProxy
from tests import servers
from tests.servers import Cluster, Server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

QUOTA = 50
PATIENT = "?deadline=20s"


async def processes(urls: list[str]) -> list[Process]:
    """Started, warmed up, waiting for the word."""
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.ratelimit.hammer", url, "500", stdin=PIPE, stdout=PIPE
        )
        for url in urls
    ]
    for process in started:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    return started


def give_the_word(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")


async def result(process: Process) -> tuple[int, int]:
    output, _ = await process.communicate()
    admitted, unknown = output.split()
    return int(admitted), int(unknown)


async def counted(url: str) -> list[int]:
    """What the server has counted, by each limit."""
    store = open_store(url)
    rule = RateLimit("50/10 minutes", "60/day", name="hammer").bind(store)
    verdict = await rule.peek(Identity("ip", "client"))
    await store.aclose()
    return [each.limit.quota - each.remaining for each in verdict.standings]


async def test_on_one_server_exactly_fifty(redis_url: str) -> None:
    hammers = await processes([redis_url + PATIENT] * 4)
    for process in hammers:
        give_the_word(process)
    results = await asyncio.gather(*map(result, hammers))

    assert sum(admitted for admitted, _ in results) == QUOTA
    assert sum(unknown for _, unknown in results) == 0
    assert await counted(redis_url) == [QUOTA, QUOTA]


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_in_a_cluster_exactly_fifty(cluster: Cluster) -> None:
    hammers = await processes([cluster.url + PATIENT] * 4)
    for process in hammers:
        give_the_word(process)
    results = await asyncio.gather(*map(result, hammers))

    assert sum(admitted for admitted, _ in results) == QUOTA
    assert await counted(cluster.url) == [QUOTA, QUOTA]


async def test_with_lost_replies_never_more_than_fifty(redis_url: str) -> None:
    """A reply that is lost was counted at most once: admitted and unknown explain the count."""
    async with FaultProxy(redis_url) as proxy:
        hammers = await processes([redis_url + PATIENT] * 3 + [proxy.url + "?deadline=2s"])
        for _ in range(10):
            proxy.drop_next_reply(to="EVALSHA")
        give_the_word(hammers[3])
        through_the_proxy = await result(hammers[3])
        for process in hammers[:3]:
            give_the_word(process)
        results = [through_the_proxy, *await asyncio.gather(*map(result, hammers[:3]))]

    admitted = sum(count for count, _ in results)
    assert through_the_proxy[1] >= 10
    assert await counted(redis_url) == [QUOTA, QUOTA]
    assert QUOTA - through_the_proxy[1] <= admitted < QUOTA


async def test_a_killed_client_changes_nothing_for_the_others(server: Server) -> None:
    url = server.url
    hammers = await processes([url + PATIENT] * 4)
    for process in hammers:
        give_the_word(process)
    hammers[0].kill()
    results = await asyncio.gather(*map(result, hammers[1:]))
    await hammers[0].communicate()

    assert sum(admitted for admitted, _ in results) <= QUOTA
    assert await counted(url) == [QUOTA, QUOTA]
    client = redis.asyncio.from_url(url)
    keys = await client.keys("*rl:*")
    assert keys
    assert all([await client.pttl(key) > 0 for key in keys])
    await client.aclose()


async def test_a_server_killed_amid_it_all_comes_back_without_endless_keys(engine: str) -> None:
    """Every write is in its log before it is answered, and SIGKILL comes between any two."""
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with servers.single(engine, *durable, port=0) as server:
        hammers = await processes([server.url + "?deadline=2s"] * 2)
        for process in hammers:
            give_the_word(process)
        while not server.ask("KEYS", "*rl:*"):
            pass
        server.kill()
        await asyncio.gather(*map(result, hammers))
        server.start()
        keys = server.ask("KEYS", "*rl:*")
        assert keys
        assert all(server.ask("PTTL", key) > 0 for key in keys)


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_while_their_slots_move_everybody_gets_exactly_their_quota(cluster: Cluster) -> None:
    store = open_store(cluster.url + "?deadline=10s")
    rule = RateLimit("150/10 minutes", "400/day", name="moving", on_outage="closed").bind(store)
    clients = [Identity("ip", f"203.0.113.{number}") for number in range(8)]
    slots = [cluster.slot(b"rl:{%b}:" % client.tag) for client in clients]
    admitted = dict.fromkeys(clients, 0)
    is_moving = True

    def move_around() -> None:
        for target in cluster.masters():
            cluster.move_slots([s for s in slots if cluster.owner(s) is not target], target)

    async def hits(client: Identity) -> None:
        outcome = ""
        while is_moving or outcome != "limited":
            outcome = (await rule.hit(client)).outcome
            admitted[client] += outcome == "allowed"
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(hits(client))
        await anyio.to_thread.run_sync(move_around)
        is_moving = False

    assert set(admitted.values()) == {150}
    for client in clients:
        standings = (await rule.peek(client)).standings
        assert [each.limit.quota - each.remaining for each in standings] == [150, 150]
    await store.aclose()
