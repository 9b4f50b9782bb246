"""How old a stored response is, how long it stays fresh, and how long it may be used when stale.

RFC 9111 §4.2 and RFC 5861 as arithmetic. Times are seconds since the epoch on the clock of whoever
asks, spans are seconds. Nothing here knows a store or a policy: an operator's own lifetimes replace
the fields of a `Lifetime` before it is used.

    generated          fresh                 fresh + stale_while_revalidate
    |----- fresh ------|---- stale, serve ---|                                age ->
                       |---- stale, only instead of an error ----|
                                             fresh + stale_if_error
"""

from enum import StrEnum

from msgspec import Struct

from cachemw.caching.cache_control import NOTHING, CacheControl
from cachemw.caching.dates import parse_date
from cachemw.caching.fields import DELTA_MAX, OWS, delta_seconds
from cachemw.messages import Headers, ResponseHead, first_of, lines_of

HEURISTIC_FRACTION = 0.1  # §4.2.2: "a typical setting of this fraction might be 10%"
HEURISTIC_LIMIT = 86_400.0
HEURISTIC_STATUSES = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""The statuses that are heuristically cacheable (RFC 9110 §15.1)."""

ERROR_STATUSES = frozenset({500, 502, 503, 504})
"""What counts as an error for stale-if-error (RFC 5861 §4)."""


class Source(StrEnum):
    """Where a freshness lifetime comes from."""

    NO_CACHE = "no-cache"
    S_MAXAGE = "s-maxage"
    MAX_AGE = "max-age"
    EXPIRES = "expires"
    HEURISTIC = "heuristic"
    NONE = "none"


class Lifetime(Struct, frozen=True):
    """For how long a response may be used, counted from when it was generated or validated.

    `may_be_stale` is False where an explicit directive forbids any stale use (§4.2.4); both
    windows are then 0, and an operator's windows must not be put in their place.
    """

    fresh: float
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    source: Source = Source.NONE
    may_be_stale: bool = True
    immutable: bool = False

    @property
    def usable(self) -> float:
        """The age at which even its last stale window is over."""
        return self.fresh + max(self.stale_while_revalidate, self.stale_if_error)


def lifetime_of(response: ResponseHead, cc: CacheControl, *, received: float) -> Lifetime:
    """How long a shared cache may use this response. `cc` is what `effective` read from it."""
    fresh, source = _freshness(response, cc, received)
    # §5.2.2.10: s-maxage incorporates proxy-revalidate, so it rules out every stale use. We depart
    # from that where a window stands beside it: whoever writes both means both.
    has_window = cc.stale_while_revalidate is not None or cc.stale_if_error is not None
    validated_when_stale = (
        cc.must_revalidate or cc.proxy_revalidate or (cc.s_maxage is not None and not has_window)
    )
    may_be_stale = not (validated_when_stale or cc.no_cache)
    return Lifetime(
        fresh=fresh,
        stale_while_revalidate=float(cc.stale_while_revalidate or 0) if may_be_stale else 0.0,
        stale_if_error=float(cc.stale_if_error or 0) if may_be_stale else 0.0,
        source=source,
        may_be_stale=may_be_stale,
        immutable=cc.immutable,
    )


def _freshness(response: ResponseHead, cc: CacheControl, received: float) -> tuple[float, Source]:
    """The first match of §4.2.1, with no-cache before all: "the most restrictive directive"."""
    if cc.no_cache:
        return 0.0, Source.NO_CACHE
    if cc.s_maxage is not None:
        return float(cc.s_maxage), Source.S_MAXAGE
    if cc.max_age is not None:
        return float(cc.max_age), Source.MAX_AGE
    names = dict(response.headers)
    if b"expires" in names and cc.target is None:
        return _until_expires(response.headers, received), Source.EXPIRES
    if b"last-modified" in names and (response.status in HEURISTIC_STATUSES or cc.public):
        guess = _heuristic(response.headers, received)
        return guess, Source.HEURISTIC if guess > 0 else Source.NONE
    return 0.0, Source.NONE


def _until_expires(headers: Headers, received: float) -> float:
    expires = lines_of(headers, b"expires")
    # §4.2.1: with several values, the first or stale. Lines that agree are one value.
    if any(line != expires[0] for line in expires):
        return 0.0
    moment = parse_date(expires[0], now=received)
    # §5.3: an invalid date, "0" above all, is in the past.
    return 0.0 if moment is None else max(0.0, moment - date_of(headers, received=received))


def _heuristic(headers: Headers, received: float) -> float:
    line = first_of(headers, b"last-modified")
    modified = None if line is None else parse_date(line, now=received)
    if modified is None:
        return 0.0
    unchanged_for = max(0.0, date_of(headers, received=received) - modified)
    return min(HEURISTIC_FRACTION * unchanged_for, HEURISTIC_LIMIT)


def date_of(headers: Headers, *, received: float) -> float:
    """When the response says it was generated, else when it was received (RFC 9110 §6.6.1)."""
    line = first_of(headers, b"date")
    moment = None if line is None else parse_date(line, now=received)
    return received if moment is None else float(moment)


def age_value(headers: Headers) -> int:
    """The Age field (§5.1): the first member of its first line, and 0 when that is unreadable."""
    line = first_of(headers, b"age")
    if line is None:
        return 0
    return delta_seconds(line.partition(b",")[0].strip(OWS)) or 0


def initial_age(headers: Headers, *, asked: float, received: float) -> float:
    """corrected_initial_age (§4.2.3), of a response that was asked for at `asked`."""
    # A clock that was set back in between must not make anything younger.
    response_delay = max(0.0, received - asked)
    names = dict(headers)
    if b"date" not in names and b"age" not in names:
        return response_delay
    apparent_age = max(0.0, received - date_of(headers, received=received))
    return max(apparent_age, age_value(headers) + response_delay)


def current_age(initial: float, *, received: float, now: float) -> float:
    """current_age (§4.2.3) of a response that had the age `initial` when it was received."""
    return initial + max(0.0, now - received)


def is_fresh(lifetime: Lifetime, age: float) -> bool:
    """response_is_fresh (§4.2)."""
    return lifetime.fresh > age


def is_fresh_enough(lifetime: Lifetime, age: float, asked: CacheControl = NOTHING) -> bool:
    """Whether the client may have the response as it is, without a word to the origin.

    True for a fresh response that satisfies what the client asks (§5.2.1), and for a stale one the
    client declares itself happy with, unless the origin forbids stale use.
    """
    if not _satisfies(lifetime, age, asked):
        return False
    if is_fresh(lifetime, age):
        return True
    staleness = age - lifetime.fresh
    return lifetime.may_be_stale and asked.max_stale is not None and staleness <= asked.max_stale


def may_revalidate_later(lifetime: Lifetime, age: float, asked: CacheControl = NOTHING) -> bool:
    """Whether a stale response may be served now and refreshed meanwhile (RFC 5861 §3)."""
    staleness = age - lifetime.fresh
    in_window = staleness < lifetime.stale_while_revalidate
    # §5.2.1.1: with max-age, a client wants nothing stale unless it says max-stale.
    limit = 0 if asked.max_age is not None else DELTA_MAX
    tolerated = staleness <= (limit if asked.max_stale is None else asked.max_stale)
    return in_window and tolerated and _satisfies(lifetime, age, asked)


def may_replace_error(lifetime: Lifetime, age: float, asked: CacheControl = NOTHING) -> bool:
    """Whether a stale response may be served instead of an error (RFC 5861 §4).

    The client may widen the window by its own stale-if-error. Its other wishes give way, since all
    that is left to choose from is an error, except no-cache.
    """
    if not lifetime.may_be_stale or asked.no_cache:
        return False
    window = max(lifetime.stale_if_error, float(asked.stale_if_error or 0))
    return age - lifetime.fresh < window


def _satisfies(lifetime: Lifetime, age: float, asked: CacheControl) -> bool:
    """Whether the client's wishes other than about staleness are met (§5.2.1)."""
    # RFC 8246 §2: what is immutable needs no check while fresh, unless no-cache insists.
    beyond_doubt = lifetime.immutable and is_fresh(lifetime, age)
    young_enough = asked.max_age is None or age <= asked.max_age or beyond_doubt
    fresh_long_enough = asked.min_fresh is None or lifetime.fresh - age >= asked.min_fresh
    return young_enough and fresh_long_enough and not asked.no_cache
