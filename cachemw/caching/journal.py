"""The journal of a region: every purge is noted in it, for other regions to follow.

A note leaves in the same write as the purge it is of, ahead of it. When either is not confirmed,
the purge has failed as a whole, and whoever asked for it does so again. A note without its purge
costs other regions a few misses; a purge without its note would cost them the truth.

How a note is written and read is `notes.py`; who carries it elsewhere, `relay.py`.
"""

import secrets
from collections.abc import Awaitable, Sequence

from cachemw.caching.notes import (
    FOLLOW,
    JOURNAL,
    LIVES,
    NAMES,
    NOTE,
    Gap,
    News,
    What,
    read_on,
    spelled,
)
from cachemw.errors import ConfigurationError
from cachemw.scripts import Reply
from cachemw.stores.base import Store

MOST = 100_000  # notes: some 5 MB with short names


class Journal:
    """The journal in a store, as a worker of `region` writes it, or a relay reads it."""

    def __init__(self, store: Store, region: str, *, most: int = MOST) -> None:
        if not region:
            raise ConfigurationError("a region has no name: give it one such as 'eu-west'")
        self.region = region
        self._store = store
        self._most = most

    def note(
        self, what: What, names: Sequence[bytes], *, soft: bool = False
    ) -> list[Awaitable[Reply]]:
        """Enter a purge of these names, begun at the call: to be awaited with the purge itself."""
        word = spelled(what, soft=soft)
        head = (b"%d" % self._most, b"%d" % LIVES, _number(), self.region.encode(), word)
        parts = [names[start : start + NAMES] for start in range(0, len(names), NAMES)]
        return [self._store.run(NOTE, (JOURNAL,), (*head, *part)) for part in parts]

    async def read(self, position: bytes, most: int) -> News | Gap:
        """At most so many notes after a position. One trip."""
        beginning = spelled(What.BEGINNING, soft=False)
        head = (position, b"%d" % most, b"%d" % LIVES, _number())
        args = (*head, self.region.encode(), beginning)
        return read_on(position, await self._store.run(FOLLOW, (JOURNAL,), args))


def noted(
    journal: Journal | None, what: What, names: Sequence[bytes], *, soft: bool = False
) -> list[Awaitable[Reply]]:
    """The notes of a purge, if there is a journal at all."""
    return journal.note(what, names, soft=soft) if journal is not None else []


def _number() -> bytes:
    """Where a journal begins to count, if it is begun: never where one began before."""
    return b"%d" % secrets.randbits(48)
