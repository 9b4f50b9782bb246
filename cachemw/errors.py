"""What can go wrong, as few classes as callers need to tell apart.

Every message says what happened, to which route, key or option, and what to do about it.
Errors of other libraries are translated where they enter, in one place each.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CachemwError(Exception):
    """The root of everything this package raises on purpose."""


class ConfigurationError(CachemwError, ValueError):
    """An option, pattern or URL is wrong. Raised at start-up, names the fix."""


class StoreUnavailable(CachemwError):
    """The store did not do, or did not confirm, what it was asked.

    The one exception of every store verb. `reason` is one word of a closed list (`timeout`,
    `connection`, `breaker-open`, `refused`, `desync`, `overloaded`, `closed`), for metrics.
    Whether the command was carried out is unknown, so nothing that counts may be sent again.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class UnreadableEntry(CachemwError):
    """Stored bytes are not what this version writes. Always answered as a miss."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The fix for a misspelt name: the closest valid one, or all of them."""
    known = list(names)
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "choose among " + ", ".join(known)
