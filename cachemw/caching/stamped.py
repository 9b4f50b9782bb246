"""Which stamps are there, as far as one process knows.

An entry needs stamps that exist and outlive it (`stamps.py`). To see to that for each entry that is
stored costs a script for each bucket, and hardly ever finds anything to do: a route has one stamp.
So a process remembers until when those live that it has seen to. The server may lose one sooner;
whoever reads and misses it says so here, and the next entry brings it back. To be wrong costs an
entry, which is invalid without its stamp. It never makes one valid.
"""

from collections.abc import Iterable, Sequence

REMEMBERED = 4096  # tags


class Stamped:
    """Until when, on the fleet's clock, the stamps of tags live."""

    def __init__(self) -> None:
        self._until: dict[bytes, int] = {}

    def lacking(self, tags: Sequence[bytes], until: int) -> list[bytes]:
        """Those of the tags whose stamps are not known to live until an instant."""
        known = self._until
        return [tag for tag in tags if known.get(tag, 0) < until]

    def note(self, tags: Iterable[bytes], until: int) -> None:
        """The stamps of these tags live at least until an instant."""
        known = self._until
        for tag in tags:
            known.pop(tag, None)  # to stand at the end
            known[tag] = until
            if len(known) > REMEMBERED:
                del known[next(iter(known))]

    def missed(self, tags: Iterable[bytes]) -> None:
        """The stamps of these tags were looked for in vain."""
        for tag in tags:
            self._until.pop(tag, None)
