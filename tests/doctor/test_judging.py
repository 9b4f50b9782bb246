"""What the doctor makes of what servers say: facts in, findings out."""

from typing import Any

import pytest

from cachemw.doctor.facts import Facts
from cachemw.doctor.finding import Finding, Severity
from cachemw.doctor.memory import judge_memory, size_words
from cachemw.doctor.sample import judge_sample
from cachemw.doctor.servers import judge_clocks, judge_cluster, judge_server
from cachemw.stores.look import Sight

GB = str(1 << 30)
WELL = {
    **{"redis_version": "7.4.0", "role": "master", "connected_slaves": "0"},
    **{"used_memory": "104857600", "maxmemory": GB, "maxmemory_policy": "allkeys-lfu"},
    **{"evicted_keys": "0", "expired_keys": "7", "uptime_in_seconds": "1000"},
    **{"db0": "keys=1000,expires=1000,avg_ttl=5", "mem_fragmentation_ratio": "1.02"},
    **{"connected_clients": "20", "maxclients": "10000", "rejected_connections": "0"},
}


def found(findings: Any) -> list[tuple[str, str]]:
    """What is not as it should be: severities and subjects."""
    told: list[Finding] = list(findings)
    assert all(one.fix for one in told if one.severity is not Severity.OK)
    return [(one.severity.value, one.subject) for one in told if one.severity is not Severity.OK]


def of_memory(config: dict[str, str] | None = None, /, **info: str) -> list[tuple[str, str]]:
    return found(judge_memory(Facts("h:1", {**WELL, **info}, config or {})))


def of_server(deadline: float = 0.1, replicas: bool = False, **facts: Any) -> list[tuple[str, str]]:
    told = facts.pop("info", {})
    server = Facts("h:1", {**WELL, **told}, **facts)
    return found(judge_server(server, deadline, expects_replicas=replicas))


def test_a_good_server_is_well() -> None:
    assert of_memory() == []
    assert of_server(trips=(0.001, 0.002, 0.003)) == []


@pytest.mark.parametrize(
    ("info", "severity", "subject"),
    [
        ({"maxmemory": "0"}, "warning", "memory"),
        ({"maxmemory_policy": "noeviction"}, "warning", "memory"),
        ({"maxmemory_policy": "noeviction", "used_memory": GB}, "critical", "memory"),
        ({"maxmemory_policy": "allkeys-random"}, "warning", "memory"),
        ({"maxmemory_policy": "volatile-random"}, "warning", "memory"),
        ({"maxmemory_policy": "volatile-ttl"}, "warning", "memory"),
        ({"evicted_keys": "999"}, "notice", "evictions"),
        ({"evicted_keys": "1000"}, "warning", "evictions"),
        ({"db0": "keys=1000,expires=900"}, "notice", "expiry"),
        (
            {"db3": "keys=50,expires=0", "maxmemory_policy": "volatile-lru"},
            "warning",
            "expiry",
        ),
        ({"mem_fragmentation_ratio": "1.9"}, "notice", "memory"),
        ({"aof_enabled": "1"}, "notice", "persistence"),
        ({"rdb_last_bgsave_status": "err"}, "critical", "persistence"),
    ],
    ids=str,
)
def test_memory(info: dict[str, str], severity: str, subject: str) -> None:
    assert of_memory(None, **info) == [(severity, subject)]


def test_what_is_only_a_little_amiss_is_not_told() -> None:
    assert of_memory(db0="keys=1000,expires=990") == []
    assert of_memory({"save": "", "maxmemory-samples": "5"}) == []
    assert of_memory(mem_fragmentation_ratio="9.0", used_memory="1000000") == []


def test_settings_that_only_the_configuration_tells() -> None:
    assert of_memory({"save": "3600 1"}) == [("notice", "persistence")]
    assert of_memory({"save": "3600 1"}, latest_fork_usec="300000") == [("warning", "persistence")]
    few = {"maxmemory-samples": "5"}
    assert of_memory(few, evicted_keys="9") == [("notice", "memory"), ("notice", "evictions")]
    unharmed = {"stop-writes-on-bgsave-error": "no"}
    assert of_memory(unharmed, rdb_last_bgsave_status="err") == []


@pytest.mark.parametrize(
    ("facts", "severity", "subject"),
    [
        ({"away": "timeout: h:1"}, "critical", "connection"),
        ({"refused": ("CONFIG GET",)}, "notice", "permissions"),
        ({"info": {"redis_version": "6.2.1"}}, "warning", "version"),
        ({"info": {"valkey_version": "7.1.0"}}, "warning", "version"),
        ({"trips": (0.001, 0.025, 0.03)}, "warning", "latency"),
        ({"trips": (0.001, 0.002, 0.06)}, "notice", "latency"),
        ({"info": {"rejected_connections": "1"}}, "warning", "clients"),
        ({"info": {"connected_clients": "9000"}}, "warning", "clients"),
        ({"info": {"role": "slave"}}, "critical", "replication"),
        ({"replicas": True}, "warning", "replication"),
        (
            {"info": {"connected_slaves": "1", "slave0": "ip=r,port=2,state=online,lag=11"}},
            "warning",
            "replication",
        ),
        (
            {"info": {"connected_slaves": "1", "slave0": "ip=r,port=2,state=wait_bgsave,lag=0"}},
            "warning",
            "replication",
        ),
    ],
    ids=str,
)
def test_servers(facts: dict[str, Any], severity: str, subject: str) -> None:
    assert of_server(**facts) == [(severity, subject)]


def test_a_replica_that_follows_is_well() -> None:
    told = {"connected_slaves": "1", "slave0": "ip=r,port=2,state=online,offset=5,lag=1"}
    assert of_server(info=told, replicas=True) == []


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        ([0.0, 0.2], []),
        ([0.0, 1.5], [("warning", "clock")]),
        ([-5.0, -5.1], [("notice", "clock")]),
        ([3.0], [("notice", "clock")]),
        ([None], []),
    ],
    ids=str,
)
def test_clocks(ahead: list[float | None], expected: list[tuple[str, str]]) -> None:
    servers = [Facts(f"h:{number}", ahead=one) for number, one in enumerate(ahead)]
    assert found(judge_clocks(servers)) == expected


COVERED = {"cluster_state": "ok", "cluster_slots_assigned": "16384", "cluster_size": "3"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"cluster_state": "fail"}, [("critical", "cluster")]),
        ({"cluster_slots_assigned": "16383"}, [("warning", "cluster")]),
        ({"cluster_slots_pfail": "5461"}, [("warning", "cluster")]),
    ],
    ids=str,
)
def test_clusters(change: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert found(judge_cluster([Facts("h:1", cluster={**COVERED, **change})])) == expected


def test_a_migration_that_was_left_half_way_names_both_ends() -> None:
    one, two = "a" * 40, "b" * 40
    here = f"{one} h:1@2 myself,master - 0 0 1 connected 0-9 [7->-{two}]\n"
    there = f"{two} h:2@3 myself,master - 0 0 1 connected 10-19 [7-<-{one}]\n"
    servers = [Facts("h:1", cluster=COVERED, nodes=here), Facts("h:2", nodes=there)]
    (told,) = (f for f in judge_cluster(servers) if f.severity is not Severity.OK)
    assert "7 (from h:1@2, to h:2@3)" in told.what
    assert "1 slots" in told.what


def test_samples() -> None:
    assert found(judge_sample([Sight(b"e:{x}", "string", 5, 100, 0, b"")])) == []
    endless = Sight(b"stray", "string", -1, 100, 0, b"")
    big = Sight(b"e:{x}", "string", 5, 3 << 20, 0, b"")
    wide = Sight(b"si:{x}", "hash", 5, 20_000, 0, b"")
    assert found(judge_sample([endless])) == [("warning", "expiry")]
    assert found(judge_sample([big, wide])) == [("notice", "size"), ("notice", "size")]
    assert "e:{x} (3.0 MiB)" in next(iter(judge_sample([big]))).what


def test_sizes_for_people() -> None:
    assert [size_words(n) for n in (0, 1023, 1536, 5 << 20, 3 << 30, 5 << 40)] == [
        *("0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 GiB", "5120.0 GiB")
    ]
