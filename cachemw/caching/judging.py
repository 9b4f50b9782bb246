"""Every decision about whether a response may be kept, and as what, is made here.

    judge    may the response that now begins be kept, and as what?
    confirm  what does a 304 make of the entry that it speaks of?

Nothing here awaits, reads a clock, draws a random number or knows the store: those come in as
arguments, and what goes out is a verdict that the middleware carries out.
"""

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from msgspec import Struct, structs

from cachemw.caching.cache_control import NOTHING, TARGETS, CacheControl, effective
from cachemw.caching.credentials import keeps_users_apart
from cachemw.caching.entry import NAMED, Entry, EntryHeader
from cachemw.caching.fields import members_of
from cachemw.caching.freshness import Lifetime, Source, initial_age, lifetime_of
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.storing import (
    freshened,
    freshened_for_one,
    is_worth_storing,
    may_store,
    sets_cookie,
    stored_headers,
)
from cachemw.caching.validation import conditional_headers
from cachemw.caching.vary import selecting_fields
from cachemw.messages import Headers, RequestHead, ResponseHead, first_of, lines_of, without

POLICY_STATUSES = frozenset({200, 203, 204, 300, 301, 308})
"""What a policy's plain `ttl` applies to; other statuses need `ttl_by_status` or the origin."""

HANDLER_STATUSES = POLICY_STATUSES | {404, 410}
"""What a handler's own `cache.ttl()` applies to: not to an error that was raised after it."""

ORIGIN_STATUSES = frozenset({404, 405, 410, 414, 451})
"""The errors that the origin's headers alone can have kept.

Any other may be the answer to something in the request that no key covers, such as an oversized or
malformed field, and a client that provokes it must not choose what the others get. So an app that
puts `max-age` on whatever it sends does not have its errors kept, unless `ttl_by_status` names
them.
"""

KEPT_FOR_VALIDATION = 3600.0
"""How long a response is kept that may be used only after the app has confirmed it."""

_TOLD = frozenset({b"cache-control", b"expires", b"pragma"})
_LIFETIME_FIELDS = frozenset({b"cache-control", b"expires", *TARGETS})
_ENDLESS_TYPES = (b"text/event-stream", b"multipart/x-mixed-replace", b"application/grpc")


class Keep(Struct, frozen=True):
    """The response may be kept."""

    headers: Headers
    """What is stored of its head, and what everybody gets who did not ask for it first."""
    lifetime: Lifetime
    initial_age: float
    fields: tuple[bytes, ...]
    """The request fields that select it."""
    tells_clients: bool = False
    """Whether its Cache-Control is ours, for clients, and not the app's."""

    @property
    def usable(self) -> float:
        """For how many seconds from now it can serve for anything."""
        usable = self.lifetime.usable
        return usable - self.initial_age if usable > 0 else KEPT_FOR_VALIDATION


@dataclass(frozen=True, slots=True)
class Refuse:
    """The response must not be kept."""

    reason: Reason
    error: Exception | None = field(default=None, compare=False)
    """What the operator's own code raised, if that is the reason."""


Verdict: TypeAlias = Keep | Refuse


class Wishes(Struct, frozen=True):
    """What the handler itself said about its response."""

    ttl: float | None = None
    skipped: bool = False
    used_session: bool = False


def judge(
    request: RequestHead,
    response: ResponseHead,
    policy: CachePolicy,
    wishes: Wishes,
    *,
    asked_at: float,
    received: float,
    lot: float = 0.0,
) -> Verdict:
    """Whether a response may be kept. `lot`, in [0, 1), is this key's share of the jitter."""
    if wishes.used_session:
        return Refuse(Reason.SESSION)
    if wishes.skipped:
        return Refuse(Reason.SKIPPED)
    if _never_ends(response.headers):
        return Refuse(Reason.STREAM)
    try:
        given = _given(response, policy, wishes)
    except Exception as error:
        return Refuse(Reason.TTL_RULE, error)
    cc = effective(response.headers)
    if policy.force and given is not None:
        cc = _overruled(cc)
    reason = may_store(
        request,
        response,
        cc,
        explicit=given is not None,
        shared_credentials=keeps_users_apart(policy),
        methods=policy.methods,
    )
    if reason is not None:
        return Refuse(reason)
    is_error = response.status >= 400 and response.status not in ORIGIN_STATUSES
    if is_error and not _is_named(response, policy):
        return Refuse(Reason.ERROR)
    length = first_of(response.headers, b"content-length")
    if length is not None and length.isdigit() and int(length) > policy.max_body:
        return Refuse(Reason.TOO_LARGE)
    lifetime = _lifetime(response, cc, policy, wishes, given, received, 1 - policy.jitter * lot)
    asks_for_validation = cc.no_cache or cc.max_age == 0
    if lifetime.usable <= 0:
        may_be_asked_about = asks_for_validation and is_worth_storing(response, lifetime)
        if not may_be_asked_about:
            return Refuse(Reason.NO_LIFETIME)
    fields = selecting_fields(response.headers)
    own = _saying_vary(stored_headers(response.headers, cc), fields, policy)
    headers = _for_clients(own, policy)
    age = initial_age(response.headers, asked=asked_at, received=received)
    keep = Keep(headers, lifetime, age, fields, headers is not own)
    return keep if keep.usable > 0 else Refuse(Reason.NO_LIFETIME)


def confirm(
    request: RequestHead,
    entry: Entry,
    answer: ResponseHead,
    policy: CachePolicy,
    wishes: Wishes,
    *,
    asked_at: float,
    received: float,
    lot: float = 0.0,
) -> Verdict:
    """What becomes of an entry that the app has confirmed by a 304 (§4.3.4).

    It is judged as if it came now, with the fields that the 304 brings. A 304 that says nothing
    about a lifetime, and whose entry says nothing either, renews the one there was.
    """
    if sets_cookie(answer.headers):
        return Refuse(Reason.SET_COOKIE)
    headers = freshened(said_by_the_app(entry), answer.headers, effective(answer.headers))
    head = ResponseHead(entry.header.status, headers)
    verdict = judge(request, head, policy, wishes, asked_at=asked_at, received=received, lot=lot)
    age = initial_age(answer.headers, asked=asked_at, received=received)
    if isinstance(verdict, Keep):
        return structs.replace(verdict, initial_age=age)
    is_silent = not any(name in _LIFETIME_FIELDS for name, _ in answer.headers)
    if verdict.reason not in (Reason.NO_LIFETIME, Reason.STATUS) or not is_silent:
        return verdict
    fields = selecting_fields(headers)
    headers = _saying_vary(headers, fields, policy)
    told = _for_clients(headers, policy)
    keep = Keep(told, entry.lifetime, age, fields, told is not headers)
    return keep if keep.usable > 0 else verdict


def confirmed_for_one(
    entry: Entry, answer: ResponseHead, *, asked_at: float, received: int
) -> Entry:
    """What the one client gets for whom a 304 is that may not be kept: it may say so now, or bring
    a cookie."""
    header = structs.replace(
        entry.header,
        headers=freshened_for_one(entry.header.headers, answer.headers),
        received=received,
        initial_age=initial_age(answer.headers, asked=asked_at, received=received / 1e6),
    )
    return structs.replace(entry, header=header)


def entry_header(
    keep: Keep,
    status: int,
    *,
    born: int,
    received: int,
    tags: tuple[bytes, ...],
    has_own_etag: bool,
    target: bytes = b"",
) -> EntryHeader:
    """What is stored of a response that may be kept."""
    lifetime = keep.lifetime
    windows = lifetime.stale_while_revalidate, lifetime.stale_if_error
    spans = (keep.initial_age, lifetime.fresh, *windows)
    # The same numbers, which take one byte instead of nine when they are whole and small.
    age, fresh, later, errors = [int(s) if float(s).is_integer() else s for s in spans]
    return EntryHeader(
        status=status,
        headers=keep.headers,
        born=born,
        received=received,
        initial_age=age,
        fresh=fresh,
        stale_while_revalidate=later,
        stale_if_error=errors,
        may_be_stale=lifetime.may_be_stale,
        immutable=lifetime.immutable,
        tags=tags,
        has_own_etag=has_own_etag,
        has_own_lifetime=not keep.tells_clients,
        target=target[:NAMED],
    )


def _given(response: ResponseHead, policy: CachePolicy, wishes: Wishes) -> float | None:
    """The lifetime that the handler or the policy gives, in this order."""
    named = _is_named(response, policy)
    if wishes.ttl is not None and (named or response.status in HANDLER_STATUSES):
        return wishes.ttl
    return policy.lifetime(response) if named or response.status in POLICY_STATUSES else None


def _is_named(response: ResponseHead, policy: CachePolicy) -> bool:
    named = policy.ttl_by_status
    return bool(named) and any(status == response.status for status, _ in named)


def _overruled(cc: CacheControl) -> CacheControl:
    """What is left of the origin's words when the policy's win (`force`)."""
    if cc is NOTHING:
        return cc
    return replace(
        cc,
        no_store=False,
        no_cache=False,
        private=False,
        must_revalidate=False,
        proxy_revalidate=False,
        s_maxage=None,
        max_age=None,
    )


def _lifetime(
    response: ResponseHead,
    cc: CacheControl,
    policy: CachePolicy,
    wishes: Wishes,
    given: float | None,
    received: float,
    share: float,
) -> Lifetime:
    """The lifetime of a response, of which `share` is left by the jitter."""
    told = lifetime_of(response, cc, received=received)
    fresh, later, errors = told.fresh, told.stale_while_revalidate, told.stale_if_error
    origin_said_nothing = told.source in (Source.NONE, Source.HEURISTIC)
    if given is not None and (policy.force or wishes.ttl is not None or origin_said_nothing):
        fresh = given
    # A window prolongs a lifetime. Where there is none, it makes none.
    has_none = given is None and told.source is Source.NONE
    if not has_none and told.may_be_stale:
        if cc.stale_while_revalidate is None and policy.stale_while_revalidate is not None:
            later = policy.stale_while_revalidate
        if cc.stale_if_error is None and policy.stale_if_error is not None:
            errors = policy.stale_if_error
    return Lifetime(fresh * share, later, errors, told.source, told.may_be_stale, told.immutable)


def _saying_vary(headers: Headers, fields: tuple[bytes, ...], policy: CachePolicy) -> Headers:
    """The same fields, with a Vary by which caches behind us select as we do."""
    if not fields and not policy.header_names:
        return headers
    ours = {*fields, *(name.encode() for name in policy.header_names)}
    said = {name.lower() for name in members_of(lines_of(headers, b"vary"))}
    unsaid = sorted(ours - said)
    return (*headers, (b"vary", b", ".join(unsaid))) if unsaid else headers


def _for_clients(headers: Headers, policy: CachePolicy) -> Headers:
    """What clients are told about keeping a response: by the origin if it spoke, else by us.

    A browser's copy cannot be purged. So where only the policy made the response cacheable, it is
    told to ask each time, which costs a 304, or to keep it for `browser_ttl`.
    """
    names = dict(headers)
    origin_spoke = b"cache-control" in names or b"expires" in names
    if origin_spoke and not policy.force:
        return headers
    # What tells clients apart, and no Vary can say, caches behind us cannot go by.
    is_told_apart = keeps_users_apart(policy) or policy.cookie_names or policy.identities
    private = b"private, " if is_told_apart else b""
    ttl = policy.browser_ttl
    told = private + (b"no-cache" if ttl is None else b"max-age=%d" % ttl)
    plain = headers if _TOLD.isdisjoint(names) else without(headers, _TOLD)
    return (*plain, (b"cache-control", told))


def _never_ends(headers: Headers) -> bool:
    for name, value in headers:
        if name == b"content-type" and value.lower().startswith(_ENDLESS_TYPES):
            return True
        if name == b"incremental" and value == b"?1":
            return True
    return False


def questions_about(entry: Entry) -> Headers:
    """The fields that ask the app whether an entry is still good; none if it could not know.

    An ETag that we have made means nothing to it.
    """
    headers = entry.header.headers
    known = headers if entry.header.has_own_etag else without(headers, frozenset({b"etag"}))
    return conditional_headers(known)


def said_by_the_app(entry: Entry) -> Headers:
    """The fields of an entry without what we have told clients about keeping it."""
    headers = entry.header.headers
    own = entry.header.has_own_lifetime
    return headers if own else without(headers, frozenset({b"cache-control"}))
