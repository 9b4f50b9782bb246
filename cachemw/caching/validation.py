"""Conditional requests, both ways (RFC 9111 §4.3, RFC 9110 §13).

`evaluate` answers a client's condition from a stored response. `conditional_headers` asks the
origin about a stored response, and `to_freshen` says what its answer confirms. How a confirmed
response is updated is in `storing.freshened`.
"""

from collections.abc import Sequence
from enum import Enum, auto

from cachemw.caching.dates import parse_date
from cachemw.caching.etags import etag_of, is_strong, match_strongly, match_weakly, tags
from cachemw.caching.fields import OWS
from cachemw.caching.freshness import date_of
from cachemw.messages import (
    Header,
    Headers,
    RequestHead,
    ResponseHead,
    first_of,
    without,
)

CONDITIONAL = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"}
)
PARTIALITY = CONDITIONAL | {b"range"}

NOT_MODIFIED_FIELDS = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"vary"}
    | {b"cdn-cache-control", b"cache-status"}
)
"""What a 304 repeats of the 200 (RFC 9110 §15.4.5), and what else tells caches behind us how to
treat theirs."""


class Condition(Enum):
    """What a client's condition makes of a stored response."""

    SERVE = auto()
    """There is none, or it is met: the client gets the response."""
    NOT_MODIFIED = auto()
    """The client has this response already: 304."""
    FORWARD = auto()
    """If-Match and If-Unmodified-Since do not apply to a cache (§4.3.2): ask the origin."""


def evaluate(request: RequestHead, stored: ResponseHead, *, received: float) -> Condition:
    """What the conditions of a request say about a stored response, received at `received`."""
    none_match: list[bytes] = []
    modified_since: list[bytes] = []
    for name, value in request.headers:
        if name == b"if-none-match":
            none_match.append(value)
        elif name == b"if-modified-since":
            modified_since.append(value)
        elif name in (b"if-match", b"if-unmodified-since"):
            return Condition.FORWARD
    # §4.3.2 speaks of stored 200 responses; RFC 9110 §13.2.1 ignores conditions on all but 2xx.
    if stored.status != 200 or request.method not in ("GET", "HEAD"):
        return Condition.SERVE
    # RFC 9110 §13.2.2: with If-None-Match present, If-Modified-Since is ignored.
    if none_match:
        unchanged = _has_tag(none_match, stored.headers)
    else:
        unchanged = _is_unmodified(modified_since, stored.headers, received)
    return Condition.NOT_MODIFIED if unchanged else Condition.SERVE


def _has_tag(none_match: list[bytes], stored: Headers) -> bool:
    if len(none_match) == 1 and none_match[0].strip(OWS) == b"*":
        return True
    tag = etag_of(stored)
    if tag is None:
        return False
    # RFC 9110 §13.1.2: If-None-Match compares weakly. Most often it is our tag, as we gave it.
    return tag in none_match or any(match_weakly(tag, given) for given in tags(none_match))


def _is_unmodified(modified_since: list[bytes], stored: Headers, received: float) -> bool:
    # RFC 9110 §13.1.3: a field with several members is ignored.
    if len(modified_since) != 1:
        return False
    since = parse_date(modified_since[0], now=received)
    if since is None:
        return False
    line = first_of(stored, b"last-modified")
    modified = None if line is None else parse_date(line, now=received)
    # §4.3.2: without Last-Modified, Date decides, or the time the response was received.
    changed_at = date_of(stored, received=received) if modified is None else modified
    return changed_at <= since


def not_modified_headers(stored: Headers) -> Headers:
    """The fields of a 304 that stands for a stored 200 (RFC 9110 §15.4.5).

    Last-Modified is among them only where there is no tag to know the response by.
    """
    has_tag = any(name == b"etag" for name, _ in stored)
    kept = NOT_MODIFIED_FIELDS if has_tag else NOT_MODIFIED_FIELDS | {b"last-modified"}
    return tuple(pair for pair in stored if pair[0] in kept)


def conditional_headers(stored: Headers) -> Headers:
    """The fields that ask whether a stored response is still good (§4.3.1), by every validator that
    it has: who knows nothing of tags goes by the date."""
    asking: list[Header] = []
    if (tag := etag_of(stored)) is not None:
        asking.append((b"if-none-match", tag))
    modified = first_of(stored, b"last-modified")
    if modified is not None and parse_date(modified, now=0) is not None:
        asking.append((b"if-modified-since", modified))
    return tuple(asking)


def unconditional(headers: Headers) -> Headers:
    """A request's fields without what would get it less than the full response.

    A fill is for everybody: one client's conditions or ranges must not shape it.
    """
    return without(headers, PARTIALITY)


def to_freshen(stored: Sequence[Headers], not_modified: Headers) -> list[int]:
    """Which of the stored responses a 304 confirms, as indices (§4.3.4).

    Last-Modified counts as a weak validator: what makes one strong (RFC 9110 §8.8.2.2) a cache
    cannot see for certain.
    """
    tag = etag_of(not_modified)
    if tag is not None and is_strong(tag):
        # "each of those strong validators identify": all that have it, or none at all
        return [i for i, own in enumerate(map(etag_of, stored)) if own and match_strongly(own, tag)]
    modified = first_of(not_modified, b"last-modified")
    if tag is None and modified is None:
        alone = len(stored) == 1 and not conditional_headers(stored[0])
        return [0] if alone else []
    matching = [i for i, own in enumerate(stored) if _corresponds(own, tag, modified)]
    return [max(matching, key=lambda i: (date_of(stored[i], received=0), i))] if matching else []


def _corresponds(stored: Headers, tag: bytes | None, modified: bytes | None) -> bool:
    """Whether every weak validator of a 304 is one that the stored response has too."""
    own = etag_of(stored)
    same_tag = tag is None or (own is not None and match_weakly(own, tag))
    return same_tag and (modified is None or first_of(stored, b"last-modified") == modified)
