"""What comes of a fill, as all who wait for it learn it.

Broadcast   the response may be kept: its body is shared with everybody while it flows
Direct      it may not: it goes to the one who asked first, and the others go their own way
Instead     an entry is served in its place: another worker's, the confirmed one, or a stale one
"""

from typing import TypeAlias

from msgspec import Struct

from cachemw.caching.cache_control import OUR_TARGET
from cachemw.caching.entry import Entry
from cachemw.caching.judging import Keep
from cachemw.caching.reasons import Reason
from cachemw.messages import Headers, ResponseHead

_TOLD = frozenset({b"cache-control", b"expires", b"vary"})
_HIDDEN = _TOLD | {b"pragma", OUR_TARGET}


class Broadcast(Struct, frozen=True):
    """The response is shared by everybody who waits and may have it."""

    status: int
    headers: Headers
    """As the app sent them, for whoever asked first."""
    keep: Keep
    received: int
    """When its head came, in microseconds."""
    tags: tuple[bytes, ...]
    reason: Reason | None = None
    """Why it is not being stored all the same."""

    @property
    def head(self) -> ResponseHead:
        return ResponseHead(self.status, self.keep.headers)

    def for_first(self) -> Headers:
        """The app's own headers, with what clients are told about keeping the response."""
        told = [pair for pair in self.keep.headers if pair[0] in _TOLD]
        return (*[pair for pair in self.headers if pair[0] not in _HIDDEN], *told)


class Direct(Struct, frozen=True):
    """The response goes to the one who asked first, as it is."""

    reason: Reason
    status: int = 0

    @property
    def is_error(self) -> bool:
        return self.status >= 500


class Instead(Struct, frozen=True):
    """This entry is served."""

    entry: Entry
    detail: Reason | None
    is_stale: bool = False
    status: int = 0
    """What the app has answered, if it was asked and has."""
    is_for_first: bool = False
    """Whether it is for nobody but the one who asked first."""
    as_of: float = 0.0
    """When, on the event loop's clock, it was looked for: it may have been purged since."""


Outcome: TypeAlias = Broadcast | Direct | Instead
