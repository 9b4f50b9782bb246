"""The decisions: who is admitted, what is done with what is found, what is kept."""

import math
from typing import Any

import pytest
from msgspec import structs

from cachemw.caching.cache_control import NOTHING, CacheControl
from cachemw.caching.entry import Entry, EntryHeader, pack, unpack
from cachemw.caching.freshness import Lifetime
from cachemw.caching.judging import (
    Keep,
    Refuse,
    Verdict,
    Wishes,
    confirm,
    entry_header,
    judge,
    questions_about,
    said_by_the_app,
)
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.rules import (
    Found,
    Hit,
    Miss,
    OnlyIfCached,
    StaleHit,
    Validate,
    admit,
    decide,
    may_stand_in,
)
from cachemw.caching.status import Forward
from cachemw.messages import Headers, RequestHead, ResponseHead

NOW = 1_700_000_000.0
TOKEN = b"Bearer x"


def lines(*pairs: tuple[str, str]) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in pairs)


def asked(*pairs: tuple[str, str], method: str = "GET") -> RequestHead:
    return RequestHead(method, "http", b"shop.example", b"/x", b"", lines(*pairs))


def entry(*pairs: tuple[str, str], age: float = 0, **more: Any) -> Entry:
    """An entry that is fresh for 100 seconds, received `age` seconds ago."""
    received = int((NOW - age) * 1e6)
    values: dict[str, Any] = {
        **{"status": 200, "headers": lines(*pairs), "received": received},
        "born": received - 1_000_000,  # it took a second
        **{"initial_age": 0.0, "fresh": 100.0, "stale_while_revalidate": 0.0},
        **{"stale_if_error": 0.0, "may_be_stale": True, "immutable": False, "tags": ()},
        **{"has_own_etag": True, **more},
    }
    return Entry(EntryHeader(**values), b"body")


# --- admit


@pytest.mark.parametrize(
    ("policy", "request_", "outside", "reason"),
    [
        ({}, asked(), {}, None),
        ({}, asked(method="HEAD"), {}, None),
        ({}, asked(method="POST"), {}, Reason.METHOD),
        ({"methods": ("POST",)}, asked(method="POST"), {}, None),
        ({"methods": ("POST",)}, asked(), {}, Reason.METHOD),
        ({}, asked(("if-match", "*")), {}, Reason.PRECONDITION),
        ({}, asked(("if-unmodified-since", "x")), {}, Reason.PRECONDITION),
        ({}, asked(("if-none-match", "*")), {}, None),
        ({}, asked(("upgrade", "h2c")), {}, Reason.UPGRADE),
        ({}, asked(("cache-control", "no-store")), {}, None),
        ({"obey_client": True}, asked(("cache-control", "no-store")), {}, Reason.REQUEST_NO_STORE),
        ({"obey_client": True}, asked(("cache-control", "no-cache")), {}, None),
        ({}, asked(("authorization", "x")), {}, Reason.AUTHORIZATION),
        ({}, asked(("cookie", "a=b")), {}, Reason.COOKIE),
        ({"vary_by": "cookie:a"}, asked(("cookie", "a=b")), {}, None),
        ({"vary_by": "x-api-key"}, asked(("x-api-key", "k")), {}, None),
        ({}, asked(), {"is_known": True}, Reason.AUTHORIZATION),
        ({}, asked(), {"has_session": True}, Reason.SESSION),
        ({"credentials": "strip"}, asked(("cookie", "a=b")), {}, None),
        ({"credentials": "strip"}, asked(("authorization", "x")), {"is_known": True}, None),
        ({"credentials": "strip"}, asked(), {"has_session": True}, None),
        ({"credentials": "identity"}, asked(("cookie", "a=b")), {"is_known": True}, None),
        ({"credentials": "identity"}, asked(("x-api-key", "k")), {"is_known": True}, None),
        ({"credentials": "identity"}, asked(), {}, None),
        ({"credentials": "identity"}, asked(), {"is_known": True}, Reason.AUTHORIZATION),
        ({"credentials": "identity", "identity": len}, asked(), {"is_known": True}, None),
    ],
)
def test_who_is_admitted(
    policy: dict[str, Any],
    request_: RequestHead,
    outside: dict[str, bool],
    reason: Reason | None,
) -> None:
    assert admit(request_, CachePolicy(**policy), **outside) is reason


# --- decide


def decided(found: Found, wish: CacheControl = NOTHING, luck: float = 1.0, **policy: Any) -> Any:
    return decide(found, wish, CachePolicy(**policy), now=int(NOW * 1e6), luck=luck)


def test_nothing_found() -> None:
    found = Found(missing=Forward.VARY_MISS, detail=Reason.PURGED)
    assert decided(found) == Miss(Forward.VARY_MISS, Reason.PURGED)
    assert decided(found, CacheControl(only_if_cached=True)) == OnlyIfCached()


def test_fresh() -> None:
    young = entry(age=99)
    assert decided(Found(young)) == Hit(young)
    assert decided(Found(young), CacheControl(only_if_cached=True)) == Hit(young)
    late = entry(age=100)
    assert decided(Found(late)) == Validate(late, Forward.STALE)


def test_stale_and_taken_so() -> None:
    late = entry(age=100)
    assert decided(Found(late), CacheControl(max_stale=0)) == Hit(late, detail=Reason.MAX_STALE)


def test_stale_and_refreshed() -> None:
    late = entry(age=149, stale_while_revalidate=50.0)
    assert decided(Found(late)) == StaleHit(late, Reason.STALE_WHILE_REVALIDATE)
    only = CacheControl(only_if_cached=True)
    assert decided(Found(late), only) == StaleHit(late, Reason.STALE_WHILE_REVALIDATE)
    later = entry(age=150, stale_while_revalidate=50.0)
    assert decided(Found(later)) == Validate(later, Forward.STALE)
    assert decided(Found(later), only) == OnlyIfCached()


def test_the_client_wants_better() -> None:
    young = entry(age=10)
    for wish, reason in (
        (CacheControl(no_cache=True), Reason.REQUEST_NO_CACHE),
        (CacheControl(max_age=9), Reason.REQUEST_FRESHNESS),
        (CacheControl(min_fresh=91), Reason.REQUEST_FRESHNESS),
    ):
        assert decided(Found(young), wish) == Validate(young, Forward.REQUEST, reason)


def test_softly_purged() -> None:
    """As if its lifetime had just ended; immutable or not."""
    young = entry(age=10, immutable=True)
    assert decided(Found(young, is_soft=True)) == Validate(young, Forward.STALE, Reason.SOFT_PURGED)
    kept = entry(age=10, stale_while_revalidate=5.0)
    assert decided(Found(kept, is_soft=True)) == StaleHit(kept, Reason.SOFT_PURGED)
    late = entry(age=104, stale_while_revalidate=5.0)
    assert decided(Found(late, is_soft=True)) == StaleHit(late, Reason.SOFT_PURGED)
    over = entry(age=105, stale_while_revalidate=5.0)
    assert decided(Found(over, is_soft=True)) == Validate(over, Forward.STALE, Reason.SOFT_PURGED)


@pytest.mark.parametrize(
    ("age", "luck", "ahead", "is_due"),
    [
        (79, 1.0, 0.8, False),
        (80, 1.0, 0.8, True),
        (80, 1.0, None, False),
        (69, 1.0, "30s", False),
        (70, 1.0, "30s", True),
        # by chance: took 1 s, so it is due when 1 s times -log(luck) reaches the end
        (50, math.exp(-50), 0.8, True),
        (50, math.exp(-49), 0.8, False),
    ],
)
def test_refreshed_ahead(age: float, luck: float, ahead: Any, is_due: bool) -> None:
    found = entry(age=age)
    decision = decided(Found(found), luck=luck, refresh_ahead=ahead, ttl=100)
    assert decision == Hit(found, refresh=is_due)


def test_what_is_late_is_not_refreshed_ahead() -> None:
    late = entry(age=100)
    decision = decided(Found(late), CacheControl(max_stale=9), refresh_ahead=0.5)
    assert decision == Hit(late, refresh=False, detail=Reason.MAX_STALE)


def test_what_may_stand_in_for_an_error() -> None:
    at = int(NOW * 1e6)
    assert may_stand_in(entry(age=109, stale_if_error=10.0), NOTHING, at)
    assert not may_stand_in(entry(age=110, stale_if_error=10.0), NOTHING, at)
    assert not may_stand_in(entry(age=1, may_be_stale=False), NOTHING, at)
    assert not may_stand_in(entry(age=1, stale_if_error=10.0), CacheControl(no_cache=True), at)


# --- judge


def judged(
    *pairs: tuple[str, str],
    status: int = 200,
    wishes: Wishes | None = None,
    request: RequestHead | None = None,
    asked_at: float = NOW,
    lot: float = 0.0,
    **policy: Any,
) -> Verdict:
    return judge(
        request or asked(),
        ResponseHead(status, lines(*pairs)),
        CachePolicy(**policy),
        wishes or Wishes(),
        asked_at=asked_at,
        received=NOW,
        lot=lot,
    )


FRESH = ("cache-control", "max-age=100")


def test_what_is_kept_of_a_response() -> None:
    keep = judged(FRESH, ("vary", "Accept"), ("age", "7"), ("x-request-id", "1"), ("x", "y"))
    assert isinstance(keep, Keep)
    assert keep.headers == lines(FRESH, ("vary", "Accept"), ("x", "y"))
    assert keep.fields == (b"accept",)
    assert (keep.initial_age, keep.lifetime.fresh, keep.usable) == (7.0, 100.0, 93.0)
    assert not keep.tells_clients


@pytest.mark.parametrize(
    ("wishes", "headers", "reason"),
    [
        (Wishes(used_session=True, skipped=True), [FRESH], Reason.SESSION),
        (Wishes(skipped=True), [FRESH], Reason.SKIPPED),
        (Wishes(), [FRESH, ("content-type", "Text/Event-Stream; x")], Reason.STREAM),
        (Wishes(), [FRESH, ("content-type", "application/grpc+proto")], Reason.STREAM),
        (Wishes(), [FRESH, ("content-type", "multipart/x-mixed-replace")], Reason.STREAM),
        (Wishes(), [FRESH, ("incremental", "?1")], Reason.STREAM),
        (Wishes(), [FRESH, ("set-cookie", "a=b")], Reason.SET_COOKIE),
        (Wishes(), [FRESH, ("content-length", "101")], Reason.TOO_LARGE),
        (Wishes(), [FRESH, ("age", "100")], Reason.NO_LIFETIME),
        (Wishes(), [], Reason.NO_LIFETIME),
        (Wishes(), [("cache-control", "max-age=0")], Reason.NO_LIFETIME),
        (Wishes(), [("expires", "0"), ("etag", '"a"')], Reason.NO_LIFETIME),
    ],
)
def test_what_is_refused(wishes: Wishes, headers: list[tuple[str, str]], reason: Reason) -> None:
    assert judged(*headers, wishes=wishes, max_body=100) == Refuse(reason)


def test_what_is_at_its_limit_is_kept() -> None:
    for headers in ([FRESH, ("content-length", "100")], [FRESH, ("content-length", "many")]):
        assert isinstance(judged(*headers, max_body=100), Keep)
    assert isinstance(judged(FRESH, ("incremental", "?0")), Keep)


@pytest.mark.parametrize(
    ("status", "named", "kept"),
    [
        (404, False, True),
        (405, False, True),
        (410, False, True),
        (414, False, True),
        (451, False, True),
        (399, False, True),
        (400, False, Reason.ERROR),
        (403, False, Reason.ERROR),
        (503, False, Reason.ERROR),
        (400, True, True),
        (503, True, True),
        (429, False, Reason.PER_REQUEST),
    ],
)
def test_errors_are_kept_where_they_are_named(status: int, named: bool, kept: Any) -> None:
    verdict = judged(FRESH, status=status, ttl_by_status={status: 5} if named else {})
    assert isinstance(verdict, Keep) if kept is True else verdict == Refuse(kept)


@pytest.mark.parametrize(
    ("status", "policy", "wish", "fresh"),
    [
        (200, {"ttl": 7}, None, 7),
        (203, {"ttl": 7}, None, 7),
        (204, {"ttl": 7}, None, 7),
        (300, {"ttl": 7}, None, 7),
        (301, {"ttl": 7}, None, 7),
        (308, {"ttl": 7}, None, 7),
        (410, {"ttl": 7}, 3.0, 3),
        (200, {"ttl": 7}, 3.0, 3),
        (404, {"ttl": 7}, 3.0, 3),
        (404, {"ttl_by_status": {404: 5}}, None, 5),
        (404, {"ttl_by_status": {404: 5}}, 3.0, 3),
        (503, {"ttl_by_status": {503: 5}}, 3.0, 3),
        (503, {"ttl": 7}, 3.0, Reason.STATUS),
        (302, {"ttl": 7}, None, Reason.STATUS),
        (302, {"ttl": 7}, 3.0, Reason.STATUS),
    ],
)
def test_who_gives_the_lifetime(status: int, policy: dict[str, Any], wish: Any, fresh: Any) -> None:
    verdict = judged(status=status, wishes=Wishes(ttl=wish), **policy)
    if isinstance(fresh, Reason):
        assert verdict == Refuse(fresh)
    else:
        assert isinstance(verdict, Keep)
        assert verdict.lifetime.fresh == fresh


def lifetime(*pairs: tuple[str, str], **more: Any) -> Lifetime:
    keep = judged(*pairs, **more)
    assert isinstance(keep, Keep)
    return keep.lifetime


def test_whose_word_counts() -> None:
    assert lifetime(FRESH, ttl=7).fresh == 100
    assert lifetime(FRESH, ttl=7, wishes=Wishes(ttl=3.0)).fresh == 3
    assert lifetime(FRESH, ttl=7, force=True).fresh == 7
    old = ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")
    assert lifetime(old, ttl=7).fresh == 7
    assert lifetime(old).fresh == 86400


@pytest.mark.parametrize(
    "said",
    [
        *("no-store", "no-cache", "private", "must-revalidate", "proxy-revalidate"),
        *("s-maxage=1", "max-age=1"),
    ],
)
def test_force_overrules(said: str) -> None:
    policy = {"ttl": 7, "force": True, "stale_if_error": 9}
    forced = lifetime(("cache-control", said), **policy)
    assert (forced.fresh, forced.stale_if_error, forced.may_be_stale) == (7, 9, True)


def test_force_is_for_the_statuses_that_the_policy_means() -> None:
    assert judged(("cache-control", "no-store"), status=302, ttl=7, force=True) == Refuse(
        Reason.NO_STORE
    )


def test_windows() -> None:
    both = {"stale_while_revalidate": 5, "stale_if_error": 6}
    given = lifetime(FRESH, **both)
    assert (given.stale_while_revalidate, given.stale_if_error) == (5, 6)
    said = ("cache-control", "max-age=100, stale-while-revalidate=1, stale-if-error=2")
    own = lifetime(said, **both)
    assert (own.stale_while_revalidate, own.stale_if_error) == (1, 2)
    zero = lifetime(("cache-control", "max-age=1, stale-while-revalidate=0"), **both)
    assert (zero.stale_while_revalidate, zero.stale_if_error) == (0, 6)
    forbidden = lifetime(("cache-control", "max-age=100, must-revalidate"), **both)
    assert (forbidden.stale_while_revalidate, forbidden.stale_if_error) == (0, 0)
    ours = lifetime(ttl=7, **both)
    assert (ours.stale_while_revalidate, ours.stale_if_error) == (5, 6)


def test_a_window_alone_makes_nothing_cacheable() -> None:
    assert judged(stale_if_error=60, stale_while_revalidate=60) == Refuse(Reason.NO_LIFETIME)
    at_once_stale = judged(("cache-control", "max-age=0"), stale_if_error=60)
    assert isinstance(at_once_stale, Keep)


def test_jitter_is_this_keys_share() -> None:
    assert lifetime(ttl=100, jitter=0.5, lot=0.0).fresh == 100
    assert lifetime(ttl=100, jitter=0.5, lot=0.5).fresh == 75


def test_what_must_be_asked_about_is_kept_for_an_hour() -> None:
    for said in ("no-cache", "max-age=0", "no-cache, max-age=100"):
        keep = judged(("cache-control", said), ("etag", '"a"'))
        assert isinstance(keep, Keep)
        assert keep.usable == 3600


def test_the_time_it_took_is_part_of_the_age() -> None:
    keep = judged(FRESH, asked_at=NOW - 3)
    assert isinstance(keep, Keep)
    assert keep.initial_age == 3


@pytest.mark.parametrize(
    ("said", "policy", "told"),
    [
        ([], {"ttl": 7}, "no-cache"),
        ([], {"ttl": 7, "browser_ttl": 3}, "max-age=3"),
        ([], {"ttl": 7, "browser_ttl": 0}, "max-age=0"),
        ([], {"ttl": 7, "credentials": "identity"}, "private, no-cache"),
        ([], {"ttl": 7, "credentials": "strip"}, "no-cache"),
        ([("cache-control", "max-age=9")], {"ttl": 7, "browser_ttl": 3}, "max-age=9"),
        ([("cache-control", "max-age=9")], {"ttl": 7, "force": True}, "no-cache"),
        ([("pragma", "no-cache")], {"ttl": 7, "browser_ttl": 3}, "max-age=3"),
        ([], {"ttl": 7, "browser_ttl": 3, "vary_by": "cookie:theme"}, "private, max-age=3"),
        ([], {"ttl": 7, "vary_by": lambda connection: "a"}, "private, no-cache"),
        ([], {"ttl": 7, "vary_by": "Accept-Language"}, "no-cache"),
    ],
)
def test_what_clients_are_told(
    said: list[tuple[str, str]], policy: dict[str, Any], told: str
) -> None:
    keep = judged(*said, **policy)
    assert isinstance(keep, Keep)
    assert [value.decode() for name, value in keep.headers if name == b"cache-control"] == [told]
    assert keep.tells_clients == (told != "max-age=9")
    assert not (keep.tells_clients and any(name == b"pragma" for name, _ in keep.headers))


def test_caches_behind_us_are_told_what_selects() -> None:
    def told(*said: tuple[str, str]) -> list[bytes]:
        keep = judged(FRESH, *said, vary_by=["X-Tenant", "X-Region"])
        assert isinstance(keep, Keep)
        return [value for name, value in keep.headers if name == b"vary"]

    assert told() == [b"x-region, x-tenant"]
    assert told(("vary", "Accept, X-Tenant")) == [b"Accept, X-Tenant", b"x-region"]
    assert told(("vary", "X-TENANT"), ("vary", "x-region")) == [b"X-TENANT", b"x-region"]
    made_for_one = ("access-control-allow-origin", "https://a.example")
    assert told(made_for_one) == [b"origin, x-region, x-tenant"]


def test_an_expires_is_the_origins_word() -> None:
    keep = judged(("expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ttl=7)
    assert isinstance(keep, Keep)
    assert not keep.tells_clients
    forced = judged(("expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ttl=7, force=True)
    assert isinstance(forced, Keep)
    assert [name for name, _ in forced.headers] == [b"cache-control"]


def test_an_authorized_answer_is_kept_where_users_are_kept_apart() -> None:
    request = asked(("authorization", "x"))
    assert judged(FRESH, request=request) == Refuse(Reason.AUTHORIZATION)
    assert isinstance(judged(FRESH, request=request, credentials="identity"), Keep)

    async def guard(connection: object) -> bool:
        return True

    assert isinstance(judged(FRESH, request=request, credentials="shared", guard=guard), Keep)


def test_what_is_stored_of_what_is_kept() -> None:
    keep = judged(("cache-control", "max-age=5, immutable, stale-if-error=9"), ttl=7)
    assert isinstance(keep, Keep)
    header = entry_header(keep, 203, born=1, received=500_001, tags=(b"t",), has_own_etag=False)
    assert (header.status, header.headers) == (203, keep.headers)
    assert (header.born, header.received, header.took) == (1, 500_001, 0.5)
    assert (header.fresh, header.stale_while_revalidate, header.stale_if_error) == (5, 0, 9)
    assert (header.may_be_stale, header.immutable, header.tags) == (True, True, (b"t",))
    assert (header.has_own_etag, header.has_own_lifetime) == (False, True)
    ours = structs.replace(keep, tells_clients=True)
    header = entry_header(ours, 203, born=2, received=1, tags=(), has_own_etag=True)
    assert (header.took, header.has_own_lifetime) == (0, False)


def test_whole_spans_take_a_byte_each() -> None:
    """Nine more for each, and an entry of a kilobyte takes the next step of the allocator."""
    keep = judged(("content-length", "0"), ("cache-control", "max-age=5, stale-if-error=9"))
    assert isinstance(keep, Keep)
    header = entry_header(keep, 200, born=1, received=2, tags=(), has_own_etag=False)
    stored = pack(Entry(header, b""))
    assert unpack(stored) == Entry(header, b"")
    assert b"\xcb" not in stored


# --- confirm


def confirmed(stored: Entry, *pairs: tuple[str, str], **more: Any) -> Verdict:
    wishes = more.pop("wishes", Wishes())
    return confirm(
        asked(),
        stored,
        ResponseHead(304, lines(*pairs)),
        CachePolicy(**more),
        wishes,
        asked_at=NOW,
        received=NOW,
    )


def test_a_304_renews() -> None:
    keep = confirmed(entry(FRESH, ("etag", '"a"'), ("x", "old"), age=500), ("x", "new"))
    assert isinstance(keep, Keep)
    assert (keep.lifetime.fresh, keep.initial_age) == (100, 0)
    assert (b"x", b"new") in keep.headers


def test_the_age_is_that_of_the_304() -> None:
    keep = confirmed(entry(FRESH, ("etag", '"a"')), ("age", "4"))
    assert isinstance(keep, Keep)
    assert keep.initial_age == 4


def test_what_we_have_told_clients_is_nothing_that_the_app_has_said() -> None:
    stored = entry(("cache-control", "no-cache"), ("etag", '"a"'), has_own_lifetime=False)
    keep = confirmed(stored, ttl=7)
    assert isinstance(keep, Keep)
    assert (keep.lifetime.fresh, keep.tells_clients) == (7, True)


def test_a_304_that_says_nothing_renews_a_lifetime_that_was_said_elsewhere() -> None:
    stored = entry(("cache-control", "no-cache"), ("etag", '"a"'), has_own_lifetime=False)
    keep = confirmed(stored)
    assert isinstance(keep, Keep)
    assert (keep.lifetime, keep.tells_clients) == (stored.lifetime, True)
    found = entry(("cache-control", "no-cache"), has_own_lifetime=False, status=302)
    assert isinstance(confirmed(found), Keep)


def test_a_304_that_takes_the_lifetime_away() -> None:
    stored = entry(FRESH, ("etag", '"a"'))
    for said, reason in (
        (("cache-control", "no-store"), Reason.NO_STORE),
        (("cache-control", "private"), Reason.PRIVATE),
        (("cache-control", "public"), Reason.NO_LIFETIME),
        (("cdn-cache-control", "public"), Reason.NO_LIFETIME),
    ):
        assert confirmed(stored, said) == Refuse(reason)
    silent = entry(("etag", '"a"'))
    assert confirmed(silent, ("expires", "0")) == Refuse(Reason.NO_LIFETIME)
    assert confirmed(stored, wishes=Wishes(used_session=True)) == Refuse(Reason.SESSION)


def test_a_304_of_no_age_left_renews_nothing() -> None:
    stored = entry(("etag", '"a"'), fresh=5.0)
    assert isinstance(confirmed(stored, ("age", "4")), Keep)
    assert confirmed(stored, ("age", "5")) == Refuse(Reason.NO_LIFETIME)


# --- what an entry says


def test_what_the_app_can_be_asked() -> None:
    tag, date = ("etag", '"a"'), ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")
    since = (b"if-modified-since", date[1].encode())
    assert questions_about(entry(tag, date)) == ((b"if-none-match", b'"a"'), since)
    ours = entry(tag, date, has_own_etag=False)
    assert questions_about(ours) == ((b"if-modified-since", date[1].encode()),)
    assert questions_about(entry(tag, has_own_etag=False)) == ()


def test_what_the_app_has_said() -> None:
    assert said_by_the_app(entry(FRESH, ("x", "y"))) == lines(FRESH, ("x", "y"))
    assert said_by_the_app(entry(FRESH, ("x", "y"), has_own_lifetime=False)) == lines(("x", "y"))
