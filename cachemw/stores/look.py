"""Looking at a key without knowing whose it is: for people and their tools, not for features."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from cachemw.scripts import SEAL, Keyspace, Reply, Script, WrongType
from cachemw.stores.base import Store, together


@dataclass(frozen=True, slots=True)
class Sight:
    """What is to be seen of one key."""

    key: bytes
    kind: str
    """`string`, `hash`, or another type of the server's."""
    lives: int
    """Milliseconds until it ends; -1 when it never does."""
    length: int
    """Bytes of a string, fields of a hash; 0 when it cannot be asked."""
    memory: int
    """What the server says it costs, in bytes; 0 when it cannot be asked."""
    begins: bytes
    """Its first bytes, as they are stored: behind the mark of its key."""

    def value(self, store: Store) -> bytes | None:
        """How the value begins, None when it does not belong to its key."""
        is_its_own = self.begins.startswith(store.sealed(self.key, b""))
        return self.begins[SEAL:] if is_its_own else None


async def look(store: Store, keys: Sequence[bytes], most: int = 0) -> list[Sight]:
    """What is to be seen of those keys that are there, with up to `most` of their first bytes.

    All in one write to each server. Raises `StoreUnavailable`.
    """
    steps: list[Awaitable[Reply]] = [store.run(LOOK, (key,), (b"%d" % most,)) for key in keys]
    sights: list[Sight] = []
    for key, reply in zip(keys, await together(steps), strict=True):
        match reply:
            case [bytes(kind), int(lives), int(length), int(memory), bytes(begins)]:
                sights.append(Sight(key, kind.decode(), lives, length, memory, begins))
            case _:
                pass  # it has gone
    return sights


def _look(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """The twin of look.lua; what a key costs is not known here."""
    lives, most = keyspace.ttl(keys[0]), int(args[0])
    if lives == -2:
        return []
    try:
        value = keyspace.get(keys[0]) or b""
    except WrongType:
        return [b"hash", lives, keyspace.hlen(keys[0]), 0, b""]
    return [b"string", lives, len(value), 0, value[:most]]


LOOK = Script.load("cachemw.stores", "look", _look)
