"""Conditional requests, both ways (RFC 9111 §4.3, RFC 9110 §13).

`client_has` answers a client's condition from a stored response. `conditional_headers` asks the
origin about a stored response, and `confirms` says whether its answer is about that one. How a
confirmed response is updated is in `storing.freshened`.
"""

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


def client_has(request: RequestHead, stored: ResponseHead, *, received: float) -> bool:
    """Whether a client has a stored response already, by its own condition: it gets a 304.

    `received` is when the response came. Conditions that are not for a cache to answer have kept
    the request from coming here (`rules.admit`).
    """
    none_match: list[bytes] = []
    modified_since: list[bytes] = []
    for name, value in request.headers:
        if name == b"if-none-match":
            none_match.append(value)
        elif name == b"if-modified-since":
            modified_since.append(value)
    # §4.3.2 speaks of stored 200 responses; RFC 9110 §13.2.1 ignores conditions on all but 2xx.
    if stored.status != 200 or request.method not in ("GET", "HEAD"):
        return False
    # RFC 9110 §13.2.2: with If-None-Match present, If-Modified-Since is ignored.
    if none_match:
        return _has_tag(none_match, stored.headers)
    return _is_unmodified(modified_since, stored.headers, received)


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


def confirms(not_modified: Headers, stored: Headers) -> bool:
    """Whether a 304 is about the stored response, as its validators tell (§4.3.4).

    Last-Modified counts as a weak validator: what makes one strong (RFC 9110 §8.8.2.2) a cache
    cannot see for certain.
    """
    tag, own = etag_of(not_modified), etag_of(stored)
    modified = first_of(not_modified, b"last-modified")
    if tag is not None and is_strong(tag):
        return own is not None and match_strongly(own, tag)
    if tag is None and modified is None:
        return not conditional_headers(stored)
    same_tag = tag is None or (own is not None and match_weakly(own, tag))
    return same_tag and (modified is None or first_of(stored, b"last-modified") == modified)
