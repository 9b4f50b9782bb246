"""The failure matrix, on a cluster and behind sentinels.

A server that is killed takes with it what it had acknowledged and not passed on yet: replication
does not wait. So what was known shortly before is in doubt (`Truth.doubt`), and nothing else.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
from anyio import to_thread

from tests import servers
from tests.faults.fleet import Fleet, fleet
from tests.faults.row import SPAN, Seen, row
from tests.servers import ENGINES, Cluster, Sentinels, Server, until

pytestmark = pytest.mark.anyio
UNSURE = 1.0  # seconds that a replica may be behind


@dataclass(frozen=True)
class OnCluster:
    app: Fleet
    cluster: Cluster

    def row(self, number: str, fault: str) -> AbstractAsyncContextManager[Seen]:
        servers = self.cluster.nodes
        return row(self.app, fault, number=number, servers=servers, engine="cluster")


@dataclass(frozen=True)
class BehindSentinels:
    app: Fleet
    sentinels: Sentinels

    def row(self, number: str, fault: str) -> AbstractAsyncContextManager[Seen]:
        servers = self.sentinels.data
        return row(self.app, fault, number=number, servers=servers, engine="sentinels")


@pytest.fixture(scope="module")
async def _on_cluster() -> AsyncIterator[OnCluster]:
    with servers.cluster(ENGINES[0]) as cluster:
        async with fleet(cluster.url) as app:
            yield OnCluster(app, cluster)


@pytest.fixture
async def on_cluster(_on_cluster: OnCluster) -> OnCluster:
    await to_thread.run_sync(_on_cluster.cluster.heal)
    return _on_cluster


@pytest.fixture(scope="module")
async def _behind_sentinels() -> AsyncIterator[BehindSentinels]:
    with servers.sentinels(ENGINES[0]) as sentinels:
        async with fleet(sentinels.url) as app:
            yield BehindSentinels(app, sentinels)


@pytest.fixture
async def behind_sentinels(_behind_sentinels: BehindSentinels) -> BehindSentinels:
    await to_thread.run_sync(_behind_sentinels.sentinels.heal)
    return _behind_sentinels


def lose(seen: Seen) -> None:
    """What was acknowledged a moment ago may be lost from now on."""
    seen.crowd.loses_data = True
    seen.crowd.truth.doubt(asyncio.get_running_loop().time() - UNSURE)


def assert_no_page_was_missed(seen: Seen) -> None:
    assert set(seen.tally.of("cache")) == {"200"}
    assert set(seen.tally.of("session")) <= {"200", "503"}
    assert set(seen.tally.of("limit")) <= {"200", "429", "503"}


# --- a cluster


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_12_slots_move(on_cluster: OnCluster) -> None:
    cluster = on_cluster.cluster
    async with on_cluster.row("12", "slots move to another node") as seen:

        def move() -> None:
            source, target = cluster.owner(0), cluster.owner(servers.SLOTS - 1)
            keys = source.ask("KEYS", "*")
            slots = sorted({cluster.slot(key) for key in keys})[:12]
            cluster.move_slots(slots, target)

        await seen.during(move)
        assert_no_page_was_missed(seen)
        await seen.normal()


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_13_a_node_is_frozen(on_cluster: OnCluster) -> None:
    node = on_cluster.cluster.masters()[1]
    async with on_cluster.row("13", "a primary frozen, less long than a failover takes") as seen:
        await seen.during(node.stop, span=0.6)
        assert_no_page_was_missed(seen)
        await seen.normal(node.cont)


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_9_a_node_is_killed(on_cluster: OnCluster) -> None:
    cluster = on_cluster.cluster
    async with on_cluster.row("9a", "a primary killed, its replica takes over") as seen:
        lose(seen)
        await seen.during(cluster.masters()[0].kill)
        assert_no_page_was_missed(seen)
        await seen.normal()  # without healing: the replica has to do
        await to_thread.run_sync(cluster.heal)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_14_slots_without_anybody(on_cluster: OnCluster) -> None:
    cluster = on_cluster.cluster

    def kill() -> None:
        master = cluster.masters()[0]
        identity = str(master.ask("CLUSTER", "MYID"))
        replicas = [n for n in cluster.nodes if n is not master and _follows(n, identity)]
        for node in (*replicas, master):
            node.kill()

    async with on_cluster.row("14", "a primary and its replica killed (`CLUSTERDOWN`)") as seen:
        lose(seen)
        await seen.during(kill, span=max(SPAN, 3.0))
        assert_no_page_was_missed(seen)
        assert seen.tally.of("session")["503"], "the fault was not felt"
        await seen.normal(cluster.heal)


def _follows(node: Server, master: str) -> bool:
    mine = next(li for li in str(node.ask("CLUSTER", "NODES")).splitlines() if "myself" in li)
    return master in mine


# --- sentinels


@pytest.mark.sentinel
@pytest.mark.xdist_group("sentinel")
async def test_9_the_primary_is_killed(behind_sentinels: BehindSentinels) -> None:
    sentinels = behind_sentinels.sentinels
    async with behind_sentinels.row("9b", "the primary killed, its replica takes over") as seen:
        old = sentinels.primary()
        lose(seen)
        await seen.during(old.kill)
        assert_no_page_was_missed(seen)
        assert seen.tally.of("session")["503"], "the fault was not felt"
        await seen.normal()
        await to_thread.run_sync(sentinels.heal)


@pytest.mark.sentinel
@pytest.mark.xdist_group("sentinel")
async def test_8_failover_by_hand(behind_sentinels: BehindSentinels) -> None:
    sentinels = behind_sentinels.sentinels
    async with behind_sentinels.row(
        "8b", "a failover on request; the old primary refuses writes"
    ) as seen:
        old = sentinels.primary()
        lose(seen)

        def fail_over() -> None:
            sentinels.fail_over()
            until(lambda: sentinels.primary() is not old, "another primary")

        await seen.during(fail_over)
        assert_no_page_was_missed(seen)
        await seen.normal()


@pytest.mark.sentinel
@pytest.mark.xdist_group("sentinel")
async def test_10_a_sentinel_hangs(behind_sentinels: BehindSentinels) -> None:
    sentinels = behind_sentinels.sentinels
    async with behind_sentinels.row("10", "the first sentinel frozen, connections killed") as seen:
        primary = sentinels.primary()

        def hang() -> None:
            sentinels.sentinels[0].stop()
            primary.ask("CLIENT", "KILL", "TYPE", "normal")

        await seen.during(hang)
        assert_no_page_was_missed(seen)
        await seen.normal()
        sentinels.sentinels[0].cont()
