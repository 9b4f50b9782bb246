"""Judging servers but for their memory: answers, versions, trips, clocks, replicas, the cluster."""

import re
from collections.abc import Iterator, Sequence

from cachemw.doctor.facts import Facts
from cachemw.doctor.finding import Finding, Severity
from cachemw.stores.selfcheck import FLOOR

SLOTS = 16384
SLOW = 0.2  # of the deadline: a usual trip that takes this long leaves no room
HICCUP = 0.5  # of the deadline, for the slowest trip
SKEW = 1.0  # seconds
LAG = 10  # seconds
_MOVING = re.compile(r"\[(\d+)-([<>])-([0-9a-f]+)\]")


def judge_server(server: Facts, deadline: float, *, expects_replicas: bool) -> Iterator[Finding]:
    """What one server is like."""
    if server.away:
        yield Finding(
            Severity.CRITICAL,
            "connection",
            f"it does not answer: {server.away}",
            "start it, or mend the address, the password or the network",
            server.name,
        )
        return
    for command in server.refused:
        yield Finding(
            Severity.NOTICE,
            "permissions",
            f"this user may not {command}, so not everything can be looked at",
            f"allow +{command.lower().replace(' ', '|')} to whoever examines",
            server.name,
        )
    yield from _version(server)
    yield from _trips(server, deadline)
    yield from _clients(server)
    yield from _replication(server, expects_replicas=expects_replicas)


def _version(server: Facts) -> Iterator[Finding]:
    engine = "valkey" if "valkey_version" in server.info else "redis"
    version = server.info.get(f"{engine}_version", "")
    if not version:
        return
    floor = FLOOR[engine]
    if tuple(int(part) for part in version.split(".")[:2]) < floor:
        oldest = ".".join(map(str, floor))
        told = f"{engine} {version} is older than {oldest}, which is not tested"
        yield Finding(Severity.WARNING, "version", told, "upgrade", server.name)
    else:
        yield Finding(Severity.OK, "version", f"{engine} {version}", server=server.name)


def _trips(server: Facts, deadline: float) -> Iterator[Finding]:
    if not server.trips:
        return
    usual, worst = server.trips[len(server.trips) // 2], server.trips[-1]
    told = f"a trip takes {usual * 1000:.1f} ms, at worst {worst * 1000:.1f} ms"
    if usual > deadline * SLOW:
        yield Finding(
            Severity.WARNING,
            "latency",
            f"{told}; the deadline is {deadline * 1000:.0f} ms, so a busy moment is an outage",
            "put the server nearer, or give the URL ?deadline=250ms",
            server.name,
        )
    elif worst > deadline * HICCUP:
        yield Finding(
            Severity.NOTICE,
            "latency",
            f"{told}, of a deadline of {deadline * 1000:.0f} ms",
            "look for slow commands (SLOWLOG GET), forks, swap, or a busy machine",
            server.name,
        )
    else:
        yield Finding(Severity.OK, "latency", told, server=server.name)


def _clients(server: Facts) -> Iterator[Finding]:
    rejected, most = server.number("rejected_connections"), server.number("maxclients")
    connected = server.number("connected_clients")
    if rejected or (most and connected > 0.8 * most):
        yield Finding(
            Severity.WARNING,
            "clients",
            f"{connected:,} of at most {most:,} clients are connected, {rejected:,} were turned "
            "away since its start",
            "CONFIG SET maxclients; a worker of ours needs two connections to a server, three with "
            "a near cache",
            server.name,
        )


def _replication(server: Facts, *, expects_replicas: bool) -> Iterator[Finding]:
    if server.info.get("role") == "slave":
        yield Finding(
            Severity.CRITICAL,
            "replication",
            "it is a replica, which refuses every write",
            "name the primary in the URL, or the sentinels: redis+sentinel://host1,host2/name/0",
            server.name,
        )
        return
    count = server.number("connected_slaves")
    if "role" in server.info and not count and expects_replicas:
        yield Finding(
            Severity.WARNING,
            "replication",
            "it has no replica: its entries, sessions and limits go when it goes",
            "start a replica of it",
            server.name,
        )
    for index in range(count):
        line = server.info.get(f"slave{index}", "")
        replica = dict(part.split("=", 1) for part in line.split(",") if "=" in part)
        lag = int(replica.get("lag", 0))
        if replica and (replica.get("state") != "online" or lag > LAG):
            address = f"{replica.get('ip')}:{replica.get('port')}"
            yield Finding(
                Severity.WARNING,
                "replication",
                f"the replica {address} is {replica.get('state')}, {lag} s behind: if it took over "
                "now, purges and logins of that time would be undone",
                "look at its log, and at repl-backlog-size",
                server.name,
            )


def judge_clocks(servers: Sequence[Facts]) -> Iterator[Finding]:
    """How far the servers' clocks are from each other, and from ours."""
    ahead = {server.name: server.ahead for server in servers if server.ahead is not None}
    if not ahead:
        return
    first, last = min(ahead, key=ahead.__getitem__), max(ahead, key=ahead.__getitem__)
    apart = ahead[last] - ahead[first]
    if apart > SKEW:
        yield Finding(
            Severity.WARNING,
            "clock",
            f"the clock of {last} is {apart:.1f} s ahead of that of {first}: expiries there come "
            "earlier, and a failover may make a clock jump",
            "run an NTP daemon on every server",
        )
    ours = -ahead[first]
    if abs(ours) > SKEW:
        way = "ahead of" if ours > 0 else "behind"
        yield Finding(
            Severity.NOTICE,
            "clock",
            f"this machine's clock is {abs(ours):.1f} s {way} the server's. Expiries and purges go "
            "by the server's; Date and Expires of responses, and cookies, by the workers'",
            "run an NTP daemon on the workers",
        )
    elif apart <= SKEW:
        yield Finding(Severity.OK, "clock", f"this machine and the servers agree within {SKEW} s")


def judge_cluster(servers: Sequence[Facts]) -> Iterator[Finding]:
    """Whether every slot is served, and nothing was left half way."""
    told = next((server for server in servers if server.cluster), None)
    if told is not None:
        yield from _coverage(told)
    by_id = {line.split()[0]: line.split()[1] for s in servers for line in s.nodes.splitlines()}
    moving: dict[int, set[str]] = {}
    for server in servers:
        for slot, way, other in _MOVING.findall(server.nodes):
            verb = "to" if way == ">" else "from"
            moving.setdefault(int(slot), set()).add(f"{verb} {by_id.get(other, other)}")
    if moving:
        some = ", ".join(f"{s} ({', '.join(sorted(ways))})" for s, ways in sorted(moving.items()))
        yield Finding(
            Severity.WARNING,
            "cluster",
            f"{len(moving)} slots are on the move: {some[:200]}. Scripts over several of their "
            "keys are refused meanwhile",
            "if nobody is resharding just now: redis-cli --cluster fix HOST:PORT",
        )


def _coverage(server: Facts) -> Iterator[Finding]:
    state = server.cluster.get("cluster_state", "")
    counts = {
        name: int(server.cluster.get(f"cluster_slots_{name}", 0))
        for name in ("assigned", "pfail", "fail")
    }
    if state != "ok" or counts["assigned"] < SLOTS or counts["fail"] or counts["pfail"]:
        yield Finding(
            Severity.CRITICAL if state != "ok" else Severity.WARNING,
            "cluster",
            f"its state is {state!r}: {counts['assigned']:,} of {SLOTS:,} slots have an owner, "
            f"{counts['fail']:,} of an owner that is gone, {counts['pfail']:,} of one that is "
            "suspected to be",
            "start the masters that are away, or redis-cli --cluster fix HOST:PORT",
            server.name,
        )
    else:
        size = server.cluster.get("cluster_size", "?")
        yield Finding(Severity.OK, "cluster", f"every slot is served, by {size} masters")
