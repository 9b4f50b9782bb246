"""What may be kept of a response: the whole of it (RFC 9111 §3), and which of its fields.

`may_store` needs only the heads, so it can be asked before the first byte of a body. It is stricter
than the RFC in two things: a response that sets a cookie is never stored, and neither is one whose
status answers parts of the request that no key covers (`PER_REQUEST_STATUSES`). `stored_headers`
leaves out what is about one exchange rather than the resource (`PER_EXCHANGE`), where §3.1 would
keep it: replayed, it would be untrue or give somebody away.
"""

from collections.abc import Collection
from functools import lru_cache

from cachemw.caching.cache_control import OUR_TARGET, CacheControl
from cachemw.caching.fields import members_of
from cachemw.caching.freshness import HEURISTIC_STATUSES, Lifetime
from cachemw.caching.reasons import Reason
from cachemw.caching.vary import varies_on_everything
from cachemw.messages import Headers, RequestHead, ResponseHead, lines_of, without

PER_REQUEST_STATUSES = frozenset(
    {304, 401, 407, 408, 412, 413, 415, 416, 417, 421, 425, 426, 428, 429, 431, 511}
)
"""Answers to something in the request that no cache key covers: its preconditions, credentials,
body, size, timing. Stored, they would let one client choose what the next one gets."""

UNDERSTOOD_STATUSES = (HEURISTIC_STATUSES - {206}) | {
    *(201, 202, 205, 302, 303, 307, 400, 402, 403, 406, 409, 411, 422, 451),
    *(500, 502, 503, 504, 505),
}
"""The final statuses whose caching requirements, if they have any, are met here (§5.2.2.3)."""

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
    | {b"transfer-encoding"}
    | {b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization"}
)
"""Fields that end at the next hop or belong to a client's proxy (§3.1, RFC 9110 §7.6.1)."""

PER_EXCHANGE = frozenset(
    {b"set-cookie", b"set-cookie2", b"age", b"authentication-info", b"retry-after"}
    | {b"ratelimit", OUR_TARGET}
    | {b"request-id", b"x-request-id", b"x-correlation-id", b"x-trace-id", b"x-amzn-requestid"}
    | {b"x-amzn-trace-id", b"x-amz-request-id", b"x-cloud-trace-context", b"cf-ray"}
    | {b"traceparent", b"tracestate", b"traceresponse", b"server-timing"}
    | {b"x-process-time", b"x-response-time", b"x-runtime"}
)
"""Fields that tell of one exchange.

Age is computed anew (§4). Retry-After, rate limits and timings hold for their moment and client;
identifiers and traces name one request. Our own targeted field has done its work.
"""
PER_EXCHANGE_PREFIXES = (b"ratelimit-", b"x-ratelimit-", b"x-rate-limit-")

_COOKIES = frozenset({b"set-cookie", b"set-cookie2"})
_VALIDATORS = frozenset({b"etag", b"last-modified"})

_DESCRIBES_STORED_BODY = frozenset(
    {b"content-length", b"content-encoding", b"content-type", b"content-range"}
    | {b"content-digest", b"etag"}
)


def may_store(
    request: RequestHead,
    response: ResponseHead,
    cc: CacheControl,
    *,
    explicit: bool = False,
    shared_credentials: bool = False,
    methods: Collection[str] = ("GET",),
) -> Reason | None:
    """Why this response must not be stored, None when it may be.

    `cc` is what `effective` read from the response. `explicit` says that the operator's policy
    gives it a lifetime, which is as good as one of the origin's own. `shared_credentials` says that
    the policy keeps the users of an authorized request apart, or vouches that they all may see
    this. What a request says of storing is heard before (`rules.admit`).
    """
    status = response.status
    if request.method not in methods:
        return Reason.METHOD
    if status < 200 or status in PER_REQUEST_STATUSES:
        return Reason.PER_REQUEST
    # §3.3: partial responses are not combined here, so not stored.
    if status == 206:
        return Reason.PARTIAL
    if sets_cookie(response.headers):
        return Reason.SET_COOKIE
    if varies_on_everything(response.headers):
        return Reason.VARY_STAR
    return _forbidden_by_directive(request, status, cc, shared_credentials) or (
        None if explicit or _is_cacheable(response, cc) else Reason.STATUS
    )


def sets_cookie(headers: Headers) -> bool:
    """Whether a response was made for one client, as its cookie tells."""
    return not _COOKIES.isdisjoint(dict(headers))


def _forbidden_by_directive(
    request: RequestHead, status: int, cc: CacheControl, shared: bool
) -> Reason | None:
    understood = status in UNDERSTOOD_STATUSES
    if cc.must_understand and not understood:
        return Reason.MUST_UNDERSTAND
    # §5.2.2.3: beside must-understand, no-store is for those who do not understand.
    if cc.no_store and not cc.must_understand:
        return Reason.NO_STORE
    if cc.private:
        return Reason.PRIVATE
    if shared or b"authorization" not in dict(request.headers) or _may_be_shared(cc):
        return None
    return Reason.AUTHORIZATION


def _may_be_shared(cc: CacheControl) -> bool:
    """§3.5: the directives that let an answer to an authorized request be reused for others."""
    return cc.public or cc.must_revalidate or cc.s_maxage is not None


def _is_cacheable(response: ResponseHead, cc: CacheControl) -> bool:
    """The last condition of §3: something says that the response can be cached."""
    has_lifetime = cc.max_age is not None or cc.s_maxage is not None
    # RFC 9213 §2.2: a targeted field makes Expires void.
    has_expires = cc.target is None and bool(lines_of(response.headers, b"expires"))
    return cc.public or has_lifetime or has_expires or response.status in HEURISTIC_STATUSES


def is_worth_storing(response: ResponseHead, lifetime: Lifetime) -> bool:
    """Whether a stored copy could ever be used: in its lifetime, stale, or after validation."""
    return lifetime.usable > 0 or not _VALIDATORS.isdisjoint(dict(response.headers))


def stored_headers(headers: Headers, cc: CacheControl) -> Headers:
    """The fields to keep with a response, and to pass on with every reuse (§3.1).

    Everything is kept, known or not, but hop-by-hop fields and those which Connection lists, what
    is about one exchange, and the fields that a qualified private or no-cache names.
    """
    excluded = cc.private_fields | cc.no_cache_fields
    kept = _end_to_end(headers)
    return tuple([pair for pair in kept if pair[0] not in excluded and not _is_passing(pair[0])])


@lru_cache(maxsize=1024)
def _is_passing(name: bytes) -> bool:
    """Whether a field tells of one exchange, by its name. Asked about every field stored."""
    return name in PER_EXCHANGE or name.startswith(PER_EXCHANGE_PREFIXES)


def _end_to_end(headers: Headers) -> Headers:
    if HOP_BY_HOP.isdisjoint(dict(headers)):
        return headers
    listed = {name.lower() for name in members_of(lines_of(headers, b"connection"))}
    return without(headers, HOP_BY_HOP.union(listed))


def freshened(stored: Headers, new: Headers, cc: CacheControl) -> Headers:
    """The stored fields, updated from a 304 (§3.2); `cc` is that response's.

    Each field that the new response has replaces all stored lines of it. What describes the stored
    bytes stays: Content-Length must (§3.2), and the others would lie about a body that has not
    changed. Fields that are not stored do not come in by this door either.
    """
    fresh = tuple(
        (name, value)
        for name, value in stored_headers(new, cc)
        if name not in _DESCRIBES_STORED_BODY
    )
    replaced = frozenset(name for name, _ in fresh) | cc.private_fields | cc.no_cache_fields
    return tuple(pair for pair in stored if pair[0] not in replaced) + fresh


def freshened_for_one(stored: Headers, new: Headers) -> Headers:
    """The stored fields, updated from a 304 that may not be shared: what its one client gets, with
    what is about this exchange."""
    fresh = without(_end_to_end(new), _DESCRIBES_STORED_BODY | {b"age", OUR_TARGET})
    return without(stored, frozenset(name for name, _ in fresh)) + fresh
