"""The doctor at real servers: one, a cluster, sentinels, none; and one that tells him little."""

import anyio.to_thread
import pytest

from cachemw.doctor import Finding, Severity, examine
from cachemw.stores import open_store
from tests.servers import Cluster, Sentinels, Server, single
from tests.stores.conftest import Opener

pytestmark = pytest.mark.anyio


def amiss(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(f.severity.value, f.subject) for f in findings if f.severity is not Severity.OK}


def words(findings: list[Finding], subject: str) -> str:
    return " ".join(f.what for f in findings if f.subject == subject)


async def test_what_is_well_is_told_last(server: Server, opened: Opener) -> None:
    server.ask("CONFIG", "SET", "maxmemory", "100mb")
    server.ask("CONFIG", "SET", "maxmemory-policy", "volatile-lfu")
    findings = await examine(opened(server.url))
    assert amiss(findings) == set()
    assert {f.subject for f in findings} >= {
        *("memory", "evictions", "latency", "version", "clock", "keys")
    }
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    findings = await examine(opened(server.url))
    assert findings[0].severity is Severity.WARNING
    assert "noeviction" in findings[0].what


async def test_evictions_that_happened_are_counted(valkey: Server, opened: Opener) -> None:
    valkey.ask("CONFIG", "SET", "maxmemory", "3mb")
    valkey.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    store = opened(valkey.url)
    for number in range(200):
        await store.set(b"%d" % number, bytes(50_000), ttl=60_000)
    evicted = int(valkey.info("stats")["evicted_keys"])
    findings = await examine(store)
    assert "evictions" in {subject for _, subject in amiss(findings)}
    assert 0 < evicted <= int(words(findings, "evictions").split()[0].replace(",", ""))


async def test_keys_without_an_end_and_large_ones_are_named(valkey: Server, opened: Opener) -> None:
    store = opened(valkey.url)
    await store.set(b"large", bytes(1 << 20), ttl=60_000)
    valkey.ask("SET", "cmw:stray", "x")
    findings = await examine(store)
    assert "stray" in words(findings, "expiry")
    assert "large (1.0 MiB)" in words(findings, "size")
    assert valkey.ask("TTL", "cmw:stray") == -1  # it only looks


async def test_a_server_that_is_away_is_a_finding(valkey: Server, opened: Opener) -> None:
    store = opened(valkey.url, deadline="300ms")
    valkey.kill()
    findings = await examine(store)
    assert findings[0].severity is Severity.CRITICAL
    assert findings[0].subject == "connection"


async def test_a_replica_is_no_place_to_write(server: Server, opened: Opener) -> None:
    with single(server.engine, port=0) as replica:
        replica.ask("REPLICAOF", "127.0.0.1", server.port)
        findings = await examine(opened(replica.url))
    assert ("critical", "replication") in amiss(findings)


@pytest.mark.parametrize("rights", ["+@all -info -config", "+ping +get", "+@all -eval -scan"])
async def test_it_survives_being_refused(engine: str, opened: Opener, rights: str) -> None:
    user = f"web on >secret ~cm:* {rights}"
    with single(engine, port=0, acl=[user]) as server:
        store = opened(f"redis://web:secret@127.0.0.1:{server.port}?prefix=cm:")
        findings = await examine(store)
    assert "permissions" in {subject for _, subject in amiss(findings)}


async def test_a_wrong_password_is_a_finding(engine: str, opened: Opener) -> None:
    with single(engine, port=0, password="root") as server:
        findings = await examine(opened(f"redis://:wrong@127.0.0.1:{server.port}"))
    assert findings[0].severity is Severity.CRITICAL


async def test_the_memory_of_one_process_is_no_store_for_several() -> None:
    findings = await examine(open_store("memory://"))
    assert amiss(findings) == {("notice", "memory")}


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_a_cluster_is_examined_master_by_master(cluster: Cluster, opened: Opener) -> None:
    store = opened(cluster.url)
    findings = await examine(store)
    assert "every slot is served, by 3 masters" in words(findings, "cluster")
    masters = {str(master.port) for master in cluster.masters()}
    asked = {f.server.rpartition(":")[2] for f in findings if f.subject == "latency"}
    assert asked == masters
    slot = cluster.slot("cmw:{x}")
    owner = cluster.owner(slot)
    other = next(master for master in cluster.masters() if master is not owner)
    to = other.ask("CLUSTER", "MYID")
    await anyio.to_thread.run_sync(owner.ask, "CLUSTER", "SETSLOT", slot, "MIGRATING", to)
    try:
        findings = await examine(store)
    finally:
        owner.ask("CLUSTER", "SETSLOT", slot, "STABLE")
    assert ("warning", "cluster") in amiss(findings)
    assert f"{slot} (to 127.0.0.1:{other.port}" in words(findings, "cluster")


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_trips_are_told_of_each_server_by_itself(cluster: Cluster, opened: Opener) -> None:
    store = opened(cluster.url, deadline="500ms")
    findings = await examine(store)
    assert ("warning", "latency") not in amiss(findings)
    frozen = cluster.masters()[0]
    frozen.stop()
    findings = await examine(store)
    frozen.cont()
    told = {f.server.rpartition(":")[2]: f.severity for f in findings if f.subject == "latency"}
    assert Severity.WARNING not in told.values()
    assert set(told) == {str(one.port) for one in cluster.masters() if one is not frozen}


@pytest.mark.sentinel
@pytest.mark.xdist_group("sentinel")
async def test_behind_sentinels_the_primary_is_examined(
    sentinel: Sentinels, opened: Opener
) -> None:
    findings = await examine(opened(sentinel.url))
    assert not [f for f in findings if f.severity is Severity.CRITICAL]
    assert {"latency", "memory"} <= {f.subject for f in findings}
