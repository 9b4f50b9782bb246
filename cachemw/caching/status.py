"""Cache-Status, built (RFC 9211): what the cache did with a request, in one line.

    cachemw; hit; ttl=240
    cachemw; hit; ttl=-12; detail=stale-while-revalidate
    cachemw; fwd=uri-miss; fwd-status=200; stored; ttl=300
    cachemw; fwd=stale; fwd-status=304; ttl=300; detail=not-modified
    cachemw; fwd=stale; fwd-status=503; ttl=-70; detail=stale-if-error
    cachemw; fwd=bypass; detail=authorization

Nothing is decided here. The words of `detail` are `Reason`.
"""

from enum import StrEnum
from math import floor

from cachemw.caching.reasons import Reason
from cachemw.messages import Header

CACHE_STATUS = b"cache-status"
_NAME = b"cachemw"
HIT = _NAME + b"; hit; ttl=%d"
LARGEST = 10**15 - 1  # the largest Integer of a structured field


class Forward(StrEnum):
    """Why a request went on to the origin (RFC 9211 §2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    MISS = "miss"
    REQUEST = "request"
    STALE = "stale"
    PARTIAL = "partial"


def hit(ttl: float, *, detail: Reason | None = None) -> Header:
    """The request was answered from the cache; a negative `ttl` says that the answer is stale."""
    return CACHE_STATUS, HIT % _seconds(ttl) + _explanation(detail)


def forwarded(
    why: Forward,
    *,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl: float | None = None,
    detail: Reason | None = None,
) -> Header:
    """The request went to the origin, whose answer had `status`.

    `collapsed` says that it waited for the answer to another one.
    """
    parts = [_NAME, b"; fwd=", why.encode()]
    if status is not None:
        parts.append(b"; fwd-status=%d" % status)
    if ttl is not None:
        parts.append(b"; ttl=%d" % _seconds(ttl))
    if stored:
        parts.append(b"; stored")
    if collapsed:
        parts.append(b"; collapsed")
    parts.append(_explanation(detail))
    return CACHE_STATUS, b"".join(parts)


def generated(detail: Reason) -> Header:
    """The cache itself made the answer: neither stored nor forwarded (504 to only-if-cached)."""
    return CACHE_STATUS, _NAME + _explanation(detail)


def _explanation(detail: Reason | None) -> bytes:
    return b"" if detail is None else b"; detail=" + detail.encode()


def _seconds(ttl: float) -> int:
    return max(-LARGEST, min(floor(ttl), LARGEST))
