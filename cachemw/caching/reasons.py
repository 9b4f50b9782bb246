"""The closed vocabulary of why the cache did what it did.

The same words appear as `detail` in Cache-Status, in metrics, logs, `cachemw explain`, the
dashboard and the docs. A word is never reused with another meaning.
"""

from cachemw.words import Word


class Reason(Word):
    """Why the cache did what it did."""

    # The request is not one the cache answers.
    NO_POLICY = "no-policy", "no cache policy matches the route"
    METHOD = "method", "the policy does not cache this method"
    AUTHORIZATION = "authorization", "the request is authorized and nothing allows sharing"
    COOKIE = "cookie", "the request carries cookies that the policy does not name"
    PRECONDITION = "precondition", "If-Match and If-Unmodified-Since are for the origin to judge"
    REQUEST_NO_STORE = "request-no-store", "the request says no-store"
    ONLY_IF_CACHED = "only-if-cached", "the request takes a stored response only, there is none"
    UPGRADE = "upgrade", "the connection is to leave HTTP"
    GUARD = "guard", "the policy's guard refused the stored response to this client"
    KEY_TOO_LARGE = "key-too-large", "what identifies the response is longer than a key may be"

    # The response is not one the cache keeps.
    STATUS = "status", "the status is not cacheable without an explicit lifetime"
    ERROR = "error", "the status is an error that no policy names, and may be this client's doing"
    PER_REQUEST = "per-request", "the status answers this one request, not the resource"
    PARTIAL = "partial", "the response is a part of the resource only"
    NO_STORE = "no-store", "the response says no-store"
    PRIVATE = "private", "the response says private"
    SET_COOKIE = "set-cookie", "the response sets a cookie"
    VARY_STAR = "vary-star", "the response varies on more than any request shows"
    MUST_UNDERSTAND = "must-understand", "the response wants its status understood, and it is not"
    NO_LIFETIME = (
        "no-lifetime",
        "neither the response nor the policy gives this status a lifetime, or none is left",
    )
    SESSION = "session", "the session was read while the response was made"
    SKIPPED = "skipped", "the handler asked for the response not to be stored"
    TTL_RULE = "ttl-rule", "the policy's ttl function failed, or gave what is no duration"
    TOO_LARGE = "too-large", "the body is larger than the policy stores"
    INCOMPLETE = "incomplete", "the response broke off"
    STREAM = "stream", "the response is a stream of events, or not sent as plain body chunks"
    UNCACHEABLE = "uncacheable", "the last response for this key could not be stored"

    # A stored response was used, or not, for a special cause.
    NO_CACHE = "no-cache", "the stored response must be validated before each use"
    REQUEST_NO_CACHE = "request-no-cache", "the request wants the stored response validated"
    REQUEST_FRESHNESS = "request-freshness", "the stored response is not as fresh as requested"
    MAX_STALE = "max-stale", "stale, and the client takes it so"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate", "stale, and being refreshed"
    STALE_IF_ERROR = "stale-if-error", "stale, in place of an error"
    PURGED = "purged", "the stored response was purged"
    SOFT_PURGED = "soft-purged", "the stored response was marked stale"
    NOT_MODIFIED = "not-modified", "the origin confirmed the stored response"
    UNREADABLE = "unreadable", "the stored bytes are not an entry of this key and version"

    # The policy is on trial (`serve=False`).
    TRIAL_HIT = "trial-hit", "the policy serves nothing yet; it would have, from the cache"
    TRIAL_MISS = "trial-miss", "the policy serves nothing yet; there was nothing to serve"

    # The store did not help.
    STORE_UNAVAILABLE = "store-unavailable", "the store did not answer in time"
    LEASE_TIMEOUT = "lease-timeout", "another worker makes the response and took too long"
