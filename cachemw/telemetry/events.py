"""What can happen, as small values: they are shown, logged and sent to whoever watches the fleet.

Their words are the ones that `Cache-Status`, metrics, logs and docs use, too: the reasons of
`caching/reasons.py`, the outcomes of limits and sessions, and those below. Instants are
microseconds on the fleet's clock, spans are seconds. New fields go to the end and have defaults, so
that workers of two versions can read each other.
"""

from msgspec import Struct

from cachemw.words import Word

LONGEST = 160  # characters of a path or a name that are kept
NAMED = 10  # names of a purge that are kept


class Outcome(Word):
    """What became of a request that comes under a policy."""

    HIT = "hit", "answered from the cache"
    STALE = "stale", "answered from the cache, beyond the lifetime of the entry"
    MISS = "miss", "answered by the app, or with what another request got from it"
    BYPASS = "bypass", "handed to the app as it came, and nothing kept"


class Refreshed(Word):
    """What became of a refresh in the background."""

    KEPT = "kept", "the entry was made anew, or confirmed"
    REFUSED = "refused", "the app answered, and the answer may not be kept"
    FAILED = "failed", "the app failed, or took too long"
    COLLAPSED = "collapsed", "somebody else was at it, or had just failed to"
    ABANDONED = "abandoned", "the store was away"


class Subject(Word):
    """What a purge was told to purge."""

    TAGS = "tags", "whatever has one of some tags"
    NAMESPACE = "namespace", "whatever is in a namespace"
    ROUTE = "route", "the responses of a route"
    URL = "url", "a URL with all its variants"
    KEY = "key", "a value of the data cache"
    PATTERN = "pattern", "the values whose keys match a pattern"
    CHANGE = "change", "what a request that changed something made obsolete"
    RELAYED = "relayed", "what another region purged"


class Difference(Word):
    """In what a stored answer is not as the app answers now."""

    STATUS = "status", "another status"
    HEADERS = "headers", "another type, encoding, language, target, or a cookie"
    BODY = "body", "another body"


class Exchange(Struct, frozen=True, array_like=True, gc=False):
    """One request, as far as it is known when its answer begins."""

    at: int
    method: str
    path: str
    """Without the query, which may hold what is nobody's business."""
    route: str
    """The pattern under which its policy was found: there are only so many."""
    outcome: str
    reason: str = ""
    status: int = 0
    age: float = 0.0
    seconds: float = 0.0
    """From its arrival until its answer began."""
    size: int = 0
    """Bytes of the body, where it came from the cache."""
    saved: float = 0.0
    """What the app had once taken to make it, where it was spared."""
    stored: bool = False
    collapsed: bool = False
    """Whether it waited for the answer to another request."""

    def __str__(self) -> str:
        said = [f"{self.method} {self.path} {self.outcome} {self.status}", f"route={self.route}"]
        said += [f"reason={self.reason}"] * bool(self.reason)
        said += [f"age={self.age:.0f}s"] * (self.outcome in (Outcome.HIT, Outcome.STALE))
        said += ["stored"] * self.stored + ["collapsed"] * self.collapsed
        return " ".join([*said, f"{self.seconds * 1000:.1f}ms"])


class Refresh(Struct, frozen=True, array_like=True, gc=False):
    """A refresh that has ended."""

    at: int
    route: str
    path: str
    ended: str
    seconds: float = 0.0


class Purge(Struct, frozen=True, array_like=True, gc=False):
    """A purge that was carried out, or that failed."""

    at: int
    subject: str
    names: tuple[str, ...]
    """The first of what it named."""
    seconds: float = 0.0
    soft: bool = False
    failed: bool = False
    cause: str = ""
    """The request that led to it, by method and path; nothing for a call of the API."""
    region: str = ""
    """Where it began; nothing for here."""


class Verification(Struct, frozen=True, array_like=True, gc=False):
    """What is stored, beside what the app answers now."""

    at: int
    route: str
    path: str
    age: float
    differences: tuple[str, ...] = ()
    """`status`, `body`, `headers:content-type`...; nothing when they are the same."""


def shortened(text: str) -> str:
    """A text that is no longer than is worth keeping."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
