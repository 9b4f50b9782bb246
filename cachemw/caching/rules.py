"""Every decision about whether a request may be answered by what is stored is made here.

    admit    may this request be answered from the cache at all?
    decide   what to do, given what is stored

Whether a new response may be kept is `judging.py`. Nothing here awaits, reads a clock, draws a
random number or knows the store: those come in as arguments, and what goes out is one of a few
frozen values that the middleware carries out.
"""

from math import log
from typing import TypeAlias

from msgspec import Struct, structs

from cachemw.caching.cache_control import CacheControl, requested
from cachemw.caching.credentials import credential_in, foreign_cookie_in, has_credentials
from cachemw.caching.entry import Entry
from cachemw.caching.freshness import (
    Lifetime,
    is_fresh_enough,
    may_replace_error,
    may_revalidate_later,
)
from cachemw.caching.look import Look
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.status import Forward
from cachemw.messages import RequestHead

# --- before the store


def admit(
    request: RequestHead,
    policy: CachePolicy,
    *,
    is_known: bool = False,
    has_session: bool = False,
) -> Reason | None:
    """Why this request passes the cache by, None when it does not.

    `is_known` says that a layer around the cache knows who is asking, `has_session` that one has
    read a session.
    """
    if request.method not in policy.methods:
        return Reason.METHOD
    for name, _ in request.headers:
        # §4.3.2: these two are not for a cache to answer.
        if name in (b"if-match", b"if-unmodified-since"):
            return Reason.PRECONDITION
        if name == b"upgrade":
            return Reason.UPGRADE
    if policy.obey_client and requested(request.headers).no_store:
        return Reason.REQUEST_NO_STORE
    if policy.credentials == "identity":
        # Without a function, those who ask are told apart by what they send. He sends nothing.
        is_unkeyed = is_known and policy.identity is None
        alike = is_unkeyed and not has_credentials(request.headers, policy)
        return Reason.AUTHORIZATION if alike else None
    if policy.credentials != "bypass":
        return None
    if is_known or credential_in(request.headers, policy):
        return Reason.AUTHORIZATION
    if has_session:
        return Reason.SESSION
    return Reason.COOKIE if foreign_cookie_in(request.headers, policy) else None


# --- with what is stored


class Found(Struct, frozen=True):
    """What a look into the store came to."""

    entry: Entry | None = None
    is_soft: bool = False
    """Marked stale by a purge."""
    missing: Forward = Forward.URI_MISS
    """Without an entry: in which way it is missing."""
    detail: Reason | None = None
    fields: tuple[bytes, ...] = ()
    """The request fields that have selected the entry."""
    look: Look | None = None
    """What was read, if nothing else was needed to find the entry."""


class Hit(Struct, frozen=True):
    """Serve it; it is fresh, or as fresh as this client wants."""

    entry: Entry
    refresh: bool = False
    detail: Reason | None = None


class StaleHit(Struct, frozen=True):
    """Serve it, and have it refreshed in the background."""

    entry: Entry
    detail: Reason


class Validate(Struct, frozen=True):
    """Ask the app first; the entry may be confirmed, or stand in for an error."""

    entry: Entry
    forward: Forward
    detail: Reason | None = None


class Miss(Struct, frozen=True):
    """Ask the app."""

    forward: Forward
    detail: Reason | None = None


class OnlyIfCached(Struct, frozen=True):
    """The client wants nothing but a stored response, and there is none (§5.2.1.7)."""


Decision: TypeAlias = Hit | StaleHit | Validate | Miss | OnlyIfCached


def decide(
    found: Found, asked: CacheControl, policy: CachePolicy, *, now: int, luck: float
) -> Decision:
    """What to do. `asked` are the client's wishes, `luck` a random number in (0, 1]."""
    entry = found.entry
    if entry is None:
        return OnlyIfCached() if asked.only_if_cached else Miss(found.missing, found.detail)
    age, lifetime = entry.age(now), entry.lifetime
    if found.is_soft:
        # Purged softly: as if its lifetime had just ended.
        lifetime = structs.replace(lifetime, fresh=min(lifetime.fresh, age), immutable=False)
    if is_fresh_enough(lifetime, age, asked):
        is_late = age >= lifetime.fresh
        refresh = not is_late and _is_due(policy, lifetime, age, entry.header.took, luck)
        return Hit(entry, refresh, Reason.MAX_STALE if is_late else None)
    if may_revalidate_later(lifetime, age, asked):
        return StaleHit(entry, _why_stale(found))
    if asked.only_if_cached:
        return OnlyIfCached()
    is_stale = age >= lifetime.fresh
    if is_stale:
        detail = _why_stale(found) if found.is_soft else None
        return Validate(entry, Forward.STALE, detail)
    why = Reason.REQUEST_NO_CACHE if asked.no_cache else Reason.REQUEST_FRESHNESS
    return Validate(entry, Forward.REQUEST, why)


def may_stand_in(entry: Entry, asked: CacheControl, now: int) -> bool:
    """Whether an entry may be served in place of an error or of a long wait."""
    return may_replace_error(entry.lifetime, entry.age(now), asked)


def _why_stale(found: Found) -> Reason:
    return Reason.SOFT_PURGED if found.is_soft else Reason.STALE_WHILE_REVALIDATE


def _is_due(policy: CachePolicy, lifetime: Lifetime, age: float, took: float, luck: float) -> bool:
    """Whether a fresh entry is to be refreshed ahead: late in its life, or by chance.

    The chance grows towards the end and with what the entry took to make (XFetch), so that readers
    of a costly entry do not all wait for the same instant.
    """
    begins = policy.refresh_age(lifetime.fresh)
    if begins is None:
        return False
    return age >= begins or age - took * log(luck) >= lifetime.fresh
