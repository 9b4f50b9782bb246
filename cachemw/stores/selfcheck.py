"""What a server lacks for us, found at start-up and said in words. It warns; it never blocks."""

import re
from collections.abc import Sequence
from typing import Any, Protocol

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Keyspace, Reply, Script

FLOOR = {"redis": (7, 0), "valkey": (7, 2)}

# Which feature goes without when a command is refused.
_NEEDED_FOR = {
    "mget": "the cache cannot read",
    "set": "nothing can be written",
    "unlink": "purges by URL and key fail",
    "evalsha": "nothing that must be atomic works: fills, purges, limits, sessions",
    "scan": "purges by pattern and `cachemw ls` fail",
}


def _nothing_refused(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    return []


SELF_CHECK = Script.load("cachemw.stores", "selfcheck", _nothing_refused)


class Askable(Protocol):
    """The part of a store that can be asked about its servers."""

    prefix: bytes

    async def ask(self, *command: bytes | str | int) -> list[Any]: ...
    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any: ...


async def self_check(store: Askable) -> list[str]:
    """Findings, each with its consequence and its fix; none when all is well."""
    findings = await refused_commands(store)
    for info in await _answers(store, "INFO"):
        findings += _judge(facts_of(info))
    return list(dict.fromkeys(findings))


async def refused_commands(store: Askable) -> list[str]:
    """What the user whom we are may not do, with the consequence and, after a `;`, the fix."""
    scratch = store.prefix + b"selfcheck"
    probes: dict[str, tuple[bytes | str | int, ...]] = {
        "mget": ("MGET", scratch),
        "set": ("SET", scratch, "", "PX", 1),
        "unlink": ("UNLINK", scratch),
        "evalsha": ("EVALSHA", "0" * 40, 0),
        "scan": ("SCAN", 0, "MATCH", scratch, "COUNT", 1),
    }
    findings: list[str] = []
    for name, command in probes.items():
        try:
            await store.ask(*command)
        except StoreUnavailable as error:
            if "NOPERM" in error.detail:
                findings.append(
                    f"this user may not {name.upper()}, so {_NEEDED_FOR[name]}; "
                    f"allow +{name} on keys {store.prefix.decode()}*"
                )
    try:
        refused = await store.run(SELF_CHECK, (b"selfcheck",), ())
    except StoreUnavailable as error:
        if "NOPERM" in error.detail:
            findings.append(
                "this user may not EVAL, so nothing that must be atomic works; allow +eval +evalsha"
            )
    else:
        for command in dict.fromkeys(refused or ()):
            name = command.decode()
            findings.append(f"scripts of this user may not {name}; allow +{name.lower()}")
    return findings


async def _answers(store: Askable, *command: str) -> list[Any]:
    try:
        return await store.ask(*command)
    except StoreUnavailable:
        return []  # INFO is not ours to demand


def facts_of(info: Any) -> dict[str, str]:
    """The lines of an answer to INFO, or to CLUSTER INFO."""
    return dict(re.findall(r"^(\w+):(.*?)\r?$", text_of(info), re.MULTILINE))


def _judge(facts: dict[str, str]) -> list[str]:
    findings: list[str] = []
    engine = "valkey" if "valkey_version" in facts else "redis"
    version = facts.get(f"{engine}_version", "")
    if version and tuple(int(part) for part in version.split(".")[:2]) < FLOOR[engine]:
        floor = ".".join(map(str, FLOOR[engine]))
        findings.append(f"{engine} {version} is older than {floor}, which is not tested; upgrade")
    if facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy") == "noeviction":
        findings.append(
            "maxmemory is set with the policy noeviction: when memory is full, every write fails "
            "and nothing new is cached; set maxmemory-policy to allkeys-lru or volatile-lfu"
        )
    return findings


def text_of(info: Any) -> str:
    """What a server has answered, as text; nothing for what is no text."""
    return info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
