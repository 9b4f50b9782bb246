"""Who purged what from the dashboard, and when: the last fifty, in the store, for all workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from cachemw.scripts import Keyspace, Reply, Script, hash_at
from cachemw.stores.base import Store

KEY = b"b:{purges}"
MOST = 50
LIVES = 30 * 86_400_000  # milliseconds
LONGEST = 500  # characters of a name that are kept


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One purge."""

    at: int
    """Microseconds, on the fleet's clock."""
    kind: str
    what: str
    soft: bool
    who: str
    found: int | None
    """How many entries it met, None where nobody counts."""


@dataclass(frozen=True, slots=True)
class PurgeLog:
    """The log. Its verbs raise `StoreUnavailable`."""

    store: Store

    async def enter(self, line: Line) -> None:
        """Add a line."""
        name = b"%020d" % line.at
        args = (name, msgspec.json.encode(line), b"%d" % MOST, b"%d" % LIVES)
        await self.store.run(PURGELOG, (KEY,), args)

    async def lines(self) -> list[Line]:
        """The log, the newest line first. What is unreadable is left out."""
        reply = await self.store.run(PURGELOG, (KEY,), (b"", b"", b"", b""))
        found = cast(list[bytes], reply)[1::2]
        read = (_read(line) for line in found)
        return sorted((line for line in read if line), key=lambda line: line.at, reverse=True)


def _read(line: bytes) -> Line | None:
    try:
        return msgspec.json.decode(line, type=Line)
    except (msgspec.MsgspecError, ValueError):
        return None


def _purgelog(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    name, line, most, lives = args
    log = hash_at(keyspace, keys[0])
    if name:
        log[name] = line
        surplus = sorted(log)[: max(0, len(log) - int(most))]
        keyspace.hset(keys[0], {name: line})
        if surplus:
            keyspace.hdel(keys[0], surplus)
        keyspace.expire(keys[0], int(lives))
        log = {key: value for key, value in log.items() if key not in surplus}
    return [part for pair in log.items() for part in pair]


PURGELOG = Script.load("cachemw.dashboard", "purgelog", _purgelog)
