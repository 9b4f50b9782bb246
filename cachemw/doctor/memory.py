"""Judging a server's memory: what it does when it is full, to whom, and how often it came to that.

Several kinds of keys live beside each other. An *entry* that is evicted is made anew. A *stamp*
that is evicted makes every entry under its tag a miss: safe, and dear. A *session* that is evicted
is somebody who is logged out, a *counter* a client whose limit begins anew.
"""

from collections.abc import Iterator

from cachemw.doctor.facts import Facts
from cachemw.doctor.finding import Finding, Severity
from cachemw.durations import words

GOOD = {
    "allkeys-lfu": "entries that are hardly asked for go first, whatever stands in the server",
    "allkeys-lru": "what was not asked for lately goes first; busy stamps and sessions stay",
    "volatile-lfu": "what is hardly asked for goes first; keys without an expiry never",
    "volatile-lru": "what was not asked for lately goes first; keys without an expiry never",
}
_BAD = {
    "allkeys-random": "sessions, counters and stamps go as readily as the coldest entry: somebody "
    "is logged out, a limit begins anew, all entries of a tag miss",
    "volatile-random": "sessions, counters and stamps go as readily as the coldest entry: somebody "
    "is logged out, a limit begins anew, all entries of a tag miss",
    "volatile-ttl": "what ends soonest goes first: short-lived entries and rate limit counters, "
    "however busy they are, so that limits begin anew",
}
_CHOOSE = "CONFIG SET maxmemory-policy volatile-lfu, or allkeys-lru, and write it into its file"
FULL = 0.9
SAMPLES = 10
SHARE = 0.01  # of a server's keys without an expiry: beyond that, it tells
OFTEN = 1.0  # evictions a second
FORK = 0.1  # seconds for which a fork may hold everybody up


def judge_memory(server: Facts) -> Iterator[Finding]:
    """What its memory, its evictions and its persistence are like."""
    if not server.info:
        return
    yield from _limit(server)
    yield from _evictions(server)
    yield from _endless(server)
    yield from _fragments(server)
    yield from _persistence(server)


def _limit(server: Facts) -> Iterator[Finding]:
    used, most, policy = server.number("used_memory"), server.maxmemory, server.policy
    if most == 0:
        has = server.number("total_system_memory")
        machine = f" of {size_words(has)}" if has else ""
        yield _finding(
            server,
            Severity.WARNING,
            "memory",
            f"there is no maxmemory, so it grows until the machine's memory{machine} is full, and "
            f"is killed with everything in it; {size_words(used)} are in use",
            "CONFIG SET maxmemory 512mb (what you can spare); " + _CHOOSE,
        )
        return
    share = used / most
    state = f"{size_words(used)} of {size_words(most)} in use ({share:.0%})"
    if policy == "noeviction":
        grave = Severity.CRITICAL if share >= FULL else Severity.WARNING
        yield _finding(
            server,
            grave,
            "memory",
            f"policy noeviction, {state}: when it is full every write fails. Nothing new is "
            "cached, nobody can log in, limits do what their on_outage says",
            _CHOOSE,
        )
    elif policy in _BAD:
        yield _finding(
            server, Severity.WARNING, "memory", f"policy {policy}: {_BAD[policy]}", _CHOOSE
        )
    else:
        yield _finding(
            server,
            Severity.OK,
            "memory",
            f"{state}; {policy}: {GOOD.get(policy, 'unknown here')}",
        )
    samples = server.config.get("maxmemory-samples", "")
    is_approximate = policy.endswith(("lru", "lfu", "ttl"))
    if is_approximate and samples.isdigit() and int(samples) < SAMPLES and _evicted(server):
        yield _finding(
            server,
            Severity.NOTICE,
            "memory",
            f"evictions choose among {samples} keys at a time, so busy ones are hit now and then",
            f"CONFIG SET maxmemory-samples {SAMPLES}: a little more CPU, nearly the exact order",
        )


def _evicted(server: Facts) -> int:
    return server.number("evicted_keys")


def _evictions(server: Facts) -> Iterator[Finding]:
    evicted, uptime = _evicted(server), max(1, server.number("uptime_in_seconds"))
    if not evicted:
        yield _finding(server, Severity.OK, "evictions", "no key was evicted since its start")
        return
    rate = evicted / uptime
    yield _finding(
        server,
        Severity.WARNING if rate >= OFTEN else Severity.NOTICE,
        "evictions",
        f"{evicted:,} keys were evicted in {words(uptime)} ({rate:,.2f}/s), and "
        f"{server.number('expired_keys'):,} came to their end: it is too small for what is "
        "kept",
        "more maxmemory; shorter ttl and stale windows, smaller max_body, or compress=True",
    )


def _endless(server: Facts) -> Iterator[Finding]:
    """Keys without an expiry, by the server's own count; all of ours have one."""
    keys = expiring = 0
    for name, value in server.info.items():
        if name.startswith("db") and name[2:].isdigit():
            counts = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
            keys += int(counts.get("keys", 0))
            expiring += int(counts.get("expires", 0))
    endless = keys - expiring
    if endless <= keys * SHARE:
        return
    is_stuck = server.policy.startswith("volatile")
    yield _finding(
        server,
        Severity.WARNING if is_stuck else Severity.NOTICE,
        "expiry",
        f"{endless:,} of {keys:,} keys have no expiry; none of them is ours"
        + (f", and {server.policy} can never evict them" if is_stuck else ""),
        "give the cache a server of its own, or let the others' keys expire",
    )


def _fragments(server: Facts) -> Iterator[Finding]:
    ratio = server.info.get("mem_fragmentation_ratio", "0")
    if server.number("used_memory") > 64 << 20 and float(ratio) > 1.5:
        yield _finding(
            server,
            Severity.NOTICE,
            "memory",
            f"it holds {ratio} times the memory that its data needs",
            "CONFIG SET activedefrag yes, where its build has it",
        )


def _persistence(server: Facts) -> Iterator[Finding]:
    halts = server.config.get("stop-writes-on-bgsave-error", "yes") == "yes"
    if server.info.get("rdb_last_bgsave_status") == "err" and halts:
        yield _finding(
            server,
            Severity.CRITICAL,
            "persistence",
            "the last snapshot failed, so it refuses every write (MISCONF)",
            'find out why in its log; a cache needs none: CONFIG SET save ""',
        )
    saves = server.config.get("save", "")
    appends = server.info.get("aof_enabled") == "1"
    if not saves and not appends:
        return
    how = " and ".join(
        name for name, is_on in (("snapshots", saves), ("an append-only file", appends)) if is_on
    )
    fork = server.number("latest_fork_usec") / 1e6
    slow = f"; its last fork held everybody up for {fork * 1000:.0f} ms" if fork > FORK else ""
    yield _finding(
        server,
        Severity.WARNING if slow else Severity.NOTICE,
        "persistence",
        f"it writes {how}, which a cache does not need: forks cost memory and time{slow}",
        'CONFIG SET save "", CONFIG SET appendonly no; keep it if sessions must outlive a restart',
    )


def size_words(size: int) -> str:
    """An amount of memory for people: `1.5 MiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("GiB is the last")


def _finding(server: Facts, severity: Severity, subject: str, what: str, fix: str = "") -> Finding:
    return Finding(severity, subject, what, fix, server.name)
