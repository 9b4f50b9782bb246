"""`examine`: what is amiss with the servers that a store lives on, and how to mend it.

    for finding in await examine(store):
        print(finding.severity, finding.subject, finding.what, finding.fix)

What is asked is `facts.py` and `sample.py`; what it means, `memory.py` and `servers.py`, which are
pure. It looks and changes nothing, reads no values, and costs some fifty commands, so that it may
run against production.
"""

from cachemw.doctor.facts import facts_about
from cachemw.doctor.finding import Finding, Severity
from cachemw.doctor.memory import judge_memory, size_words
from cachemw.doctor.sample import judge_sample, sample
from cachemw.doctor.servers import judge_clocks, judge_cluster, judge_server
from cachemw.errors import StoreUnavailable
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.stores.near import NearStore
from cachemw.stores.redis import RedisStore
from cachemw.stores.selfcheck import refused_commands

__all__ = ["Finding", "Severity", "examine"]


async def examine(store: Store) -> list[Finding]:
    """Everything that was found, the gravest first; what is as it should be has severity `ok`.

    Never raises for a server that is away, or that refuses to be asked: that is a finding.
    """
    if isinstance(store, NearStore):
        store = store.store
    findings: list[Finding] = []
    if isinstance(store, RedisStore):
        findings += await _examine_servers(store)
    elif isinstance(store, MemoryStore):
        findings += _examine_memory(store)
    try:
        findings += judge_sample(await sample(store))
    except StoreUnavailable as error:
        refused = error.reason == "refused"
        findings.append(
            Finding(
                Severity.NOTICE if refused else Severity.CRITICAL,
                "keys",
                f"no keys could be sampled: {error}",
                "allow +scan and +eval to whoever examines" if refused else "",
            )
        )
    return sorted(dict.fromkeys(findings), key=lambda finding: finding.severity.rank)


async def _examine_servers(store: RedisStore) -> list[Finding]:
    servers = await facts_about(store)
    findings: list[Finding] = []
    target = store.target
    expects_replicas = target.is_cluster or bool(target.sentinels)
    for server in servers:
        findings += judge_server(server, store.deadline, expects_replicas=expects_replicas)
        findings += judge_memory(server)
    findings += judge_clocks(servers)
    findings += judge_cluster(servers)
    if not servers:
        told = "no server of the cluster answers"
        findings.append(Finding(Severity.CRITICAL, "connection", told, "start it, mend the URL"))
    if servers and not any(server.away for server in servers):
        for told in await refused_commands(store):
            what, _, fix = told.partition("; ")
            findings.append(Finding(Severity.CRITICAL, "permissions", what, fix))
    return findings


def _examine_memory(store: MemoryStore) -> list[Finding]:
    space = store.keyspace
    state = f"{len(space):,} keys, {size_words(space.bytes)}"
    return [
        Finding(
            Severity.NOTICE,
            "memory",
            f"this store is the memory of one process ({state}): each worker has its own cache, "
            "limits count for each, and a restart forgets sessions",
            "for more than one process: redis://, valkey://, or embedded:// to try things out",
        )
    ]
