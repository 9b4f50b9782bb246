"""Age, lifetime and stale windows (RFC 9111 §4.2, RFC 5861), with the clock as an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.cache_control import NOTHING, CacheControl, effective, parse
from cachemw.caching.dates import format_date
from cachemw.caching.freshness import (
    ERROR_STATUSES,
    HEURISTIC_STATUSES,
    Lifetime,
    Source,
    age_value,
    current_age,
    initial_age,
    is_fresh,
    is_fresh_enough,
    lifetime_of,
    may_replace_error,
    may_revalidate_later,
)
from cachemw.messages import Header, ResponseHead

NOW = 1_800_000_000
DAY = 86_400


def date(offset: int, name: bytes = b"date") -> Header:
    return name, format_date(NOW + offset)


def expires(offset: int) -> Header:
    return date(offset, b"expires")


def modified(offset: int) -> Header:
    return date(offset, b"last-modified")


def cc(value: bytes) -> Header:
    return b"cache-control", value


def lifetime(*headers: Header, status: int = 200) -> Lifetime:
    return lifetime_of(ResponseHead(status, headers), effective(headers), received=NOW)


# --- §4.2.1: freshness lifetime ---------------------------------------------------------------


def test_s_maxage_comes_first() -> None:
    assert lifetime(cc(b"max-age=1, s-maxage=3600"), expires(-10)).fresh == 3600
    assert lifetime(cc(b"max-age=3600, s-maxage=1")).fresh == 1
    assert lifetime(cc(b"max-age=0"), cc(b"s-maxage=60")).source is Source.S_MAXAGE


def test_max_age_comes_before_expires() -> None:
    """§5.3: with max-age, Expires must be ignored, whatever it says."""
    for line in (expires(-7200), expires(7200), (b"expires", b"0")):
        assert lifetime(cc(b"max-age=60"), line, date(0)) == Lifetime(60, source=Source.MAX_AGE)
        assert lifetime(cc(b"max-age=0"), line, date(0)).fresh == 0


def test_expires_counts_from_date() -> None:
    assert lifetime(expires(60), date(0)) == Lifetime(60, source=Source.EXPIRES)
    assert lifetime(expires(60), date(-30)).fresh == 90
    assert lifetime(expires(60), date(30)).fresh == 30
    assert lifetime(expires(3600), date(7200)).fresh == 0  # both fast


def test_expires_counts_from_receipt_without_a_valid_date() -> None:
    assert lifetime(expires(60)).fresh == 60
    assert lifetime(expires(60), (b"date", b"foo")).fresh == 60


@pytest.mark.parametrize("value", [b"0", b"", b"-1", b"never", b"Thu, 18 Aug 2050 02:01:18 UTC"])
def test_an_invalid_expires_is_in_the_past(value: bytes) -> None:
    """§5.3. It is explicit, so no heuristic takes its place (§4.2.2)."""
    found = lifetime((b"expires", value), modified(-100 * DAY))
    assert found == Lifetime(0, source=Source.EXPIRES)


def test_a_present_or_past_expires_is_stale() -> None:
    assert lifetime(expires(0), date(0)).fresh == 0
    assert lifetime(expires(-60), date(0)).fresh == 0


def test_several_expires() -> None:
    assert lifetime(expires(60), expires(60), date(0)).fresh == 60
    assert lifetime(expires(60), expires(600), date(0)).fresh == 0


def test_a_far_expires_does_not_overflow() -> None:
    assert lifetime((b"expires", b"Fri, 31 Dec 9999 23:59:59 GMT"), date(0)).fresh > 2**37


def test_a_targeted_field_makes_expires_void() -> None:
    """RFC 9213 §2.2."""
    target = (b"cdn-cache-control", b"must-revalidate")
    assert lifetime(target, expires(60), date(0), status=201).source is Source.NONE
    assert lifetime((b"cdn-cache-control", b"max-age=9"), expires(60)).fresh == 9
    assert lifetime((b"cdn-cache-control", b"max-age=9;, "), expires(60), date(0)).fresh == 60


def test_no_cache_is_the_most_restrictive() -> None:
    """§4.2.1 on conflicts, §5.2.2.4: not even caches configured to send stale responses."""
    found = lifetime(cc(b"max-age=60, no-cache, stale-while-revalidate=60, stale-if-error=60"))
    assert found == Lifetime(0, source=Source.NO_CACHE, may_be_stale=False)
    assert lifetime(cc(b'max-age=60, no-cache="x"')).fresh == 60


# --- §4.2.2: heuristic freshness --------------------------------------------------------------


def test_the_statuses_that_mean_something() -> None:
    """RFC 9110 §15.1, RFC 5861 §4."""
    assert {*(200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501)} == HEURISTIC_STATUSES
    assert {500, 502, 503, 504} == ERROR_STATUSES


@pytest.mark.parametrize("status", sorted(HEURISTIC_STATUSES))
def test_a_tenth_of_the_time_without_change(status: int) -> None:
    found = lifetime(modified(-3600), date(0), status=status)
    assert found == Lifetime(360, source=Source.HEURISTIC)


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 403, 500, 502, 503, 504, 599])
def test_heuristics_need_a_status_that_allows_them(status: int) -> None:
    assert lifetime(modified(-DAY), date(0), status=status) == Lifetime(0)
    # §5.2.2.9: public without explicit freshness is heuristically cacheable
    assert lifetime(modified(-3600), date(0), cc(b"public"), status=status).fresh == 360


def test_heuristics_are_capped() -> None:
    assert lifetime(modified(-1000 * DAY), date(0)).fresh == 86_400


def test_heuristics_need_a_past_last_modified() -> None:
    assert lifetime(date(0)) == Lifetime(0)
    assert lifetime((b"last-modified", b"yesterday"), date(0)) == Lifetime(0)
    assert lifetime(modified(60), date(0)) == Lifetime(0)
    assert lifetime(modified(-3600)).fresh == 360  # no Date: since receipt
    assert lifetime(modified(-5)) == Lifetime(0.5, source=Source.HEURISTIC)


@pytest.mark.parametrize("value", [b"max-age=0", b"max-age=x", b"s-maxage=0", b"no-cache"])
def test_explicit_freshness_rules_heuristics_out(value: bytes) -> None:
    assert lifetime(cc(value), modified(-DAY), date(0)).fresh == 0


# --- §4.2.3: age ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], 0),
        ([b"0"], 0),
        ([b"7200"], 7200),
        ([b" 7200 "], 7200),
        ([b"2147483647"], 2**31 - 1),
        ([b"2147483648"], 2**31),
        ([b"2147483649"], 2**31),
        ([b"9" * 10_000], 2**31),
        # §5.1: the first member of the first line
        ([b"7200, 0"], 7200),
        ([b"0, 7200"], 0),
        ([b"7200", b"0"], 7200),
        ([b"0", b"7200"], 0),
        ([b"3600", b"3600"], 3600),
        # §5.1: what is invalid is ignored
        ([b"abc"], 0),
        ([b"-7200"], 0),
        ([b"7200.0"], 0),
        ([b"7200;foo=bar"], 0),
        ([b""], 0),
        ([b", 7200"], 0),
        ([b'"7200"'], 0),
    ],
)
def test_the_age_field(lines: list[bytes], expected: int) -> None:
    assert age_value(tuple((b"age", line) for line in lines)) == expected


def test_age_counts_from_the_request() -> None:
    """§4.2.3: relative to the time the request was initiated."""
    headers = (b"age", b"30"), date(0)
    assert initial_age(headers, asked=NOW - 5, received=NOW) == 35


def test_apparent_age_counts_when_it_is_larger() -> None:
    assert initial_age((date(-7200),), asked=NOW - 5, received=NOW) == 7200
    assert initial_age((date(-7200), (b"age", b"9000")), asked=NOW, received=NOW) == 9000
    assert initial_age((date(7200),), asked=NOW - 5, received=NOW) == 5  # never negative
    assert initial_age((), asked=NOW, received=NOW) == 0
    assert initial_age(((b"date", b"?"),), asked=NOW, received=NOW) == 0


def test_a_clock_set_back_makes_nothing_younger() -> None:
    assert initial_age(((b"age", b"30"),), asked=NOW + 100, received=NOW) == 30
    assert current_age(30, received=NOW, now=NOW - 100) == 30


def test_current_age_grows_while_the_response_is_kept() -> None:
    assert current_age(30, received=NOW, now=NOW + 12.5) == 42.5


# --- §4.2, §4.2.4, §5.2.1: use ----------------------------------------------------------------

FRESH_60 = Lifetime(60)


def test_fresh_until_the_lifetime_is_reached() -> None:
    """§4.2: response_is_fresh = (freshness_lifetime > current_age)."""
    assert is_fresh(FRESH_60, 59.9)
    assert not is_fresh(FRESH_60, 60)
    assert not is_fresh(Lifetime(0), 0)
    assert is_fresh_enough(FRESH_60, 59.9)
    assert not is_fresh_enough(FRESH_60, 60)


@pytest.mark.parametrize(
    ("asked", "age", "expected"),
    [
        (b"no-cache", 0, False),
        (b"max-age=0", 0, True),
        (b"max-age=0", 0.5, False),
        (b"max-age=10", 10, True),  # §5.2.1.1: less than or equal
        (b"max-age=10", 10.5, False),
        (b"max-age=1000", 61, False),  # and nothing stale
        (b"max-age=x", 1, False),
        (b"min-fresh=10", 50, True),  # §5.2.1.3: no less than
        (b"min-fresh=10", 50.5, False),
        (b"max-stale", 1e9, True),
        (b"max-stale=10", 70, True),  # §5.2.1.2: no more than
        (b"max-stale=10", 70.5, False),
        (b"max-stale=0", 60, True),
        (b"max-stale=10, max-age=65", 64, True),
        (b"max-stale=10, max-age=65", 66, False),
        (b"max-stale=10, min-fresh=5", 61, False),
        (b"max-stale=10, no-cache", 61, False),
        (b"only-if-cached", 59, True),
        (b"no-store", 59, True),  # §5.2.1.5: does not apply to what is stored already
    ],
)
def test_what_clients_may_ask(asked: bytes, age: float, expected: bool) -> None:
    assert is_fresh_enough(FRESH_60, age, parse([asked])) is expected


@pytest.mark.parametrize("directive", [b"must-revalidate", b"proxy-revalidate", b"no-cache"])
def test_what_forbids_every_stale_use(directive: bytes) -> None:
    """§4.2.4, §5.2.2.2, §5.2.2.4, §5.2.2.8, §5.2.2.10."""
    found = lifetime(
        cc(b"max-age=60, stale-while-revalidate=600, stale-if-error=600"), cc(directive)
    )
    assert not found.may_be_stale
    assert found.usable == found.fresh
    assert not is_fresh_enough(found, 61, parse([b"max-stale"]))
    assert not may_revalidate_later(found, 61)
    assert not may_replace_error(found, 61, parse([b"stale-if-error=1000"]))


def test_s_maxage_forbids_stale_use_but_not_the_windows_beside_it() -> None:
    """§5.2.2.10, and where we depart from it."""
    alone = lifetime(cc(b"s-maxage=60"))
    assert not alone.may_be_stale
    assert not is_fresh_enough(alone, 61, parse([b"max-stale"]))
    both = lifetime(cc(b"s-maxage=60, stale-while-revalidate=30"))
    assert (both.fresh, both.stale_while_revalidate, both.may_be_stale) == (60, 30, True)
    assert lifetime(cc(b"s-maxage=60, stale-if-error=30")).stale_if_error == 30
    strict = lifetime(cc(b"s-maxage=60, must-revalidate, stale-while-revalidate=30"))
    assert not strict.may_be_stale


WINDOWS = lifetime(cc(b"max-age=60, stale-while-revalidate=30, stale-if-error=600"))


def test_windows_begin_where_freshness_ends() -> None:
    found = lifetime(cc(b"max-age=60, stale-while-revalidate=30, stale-if-error=600"))
    assert found == Lifetime(60, 30, 600, Source.MAX_AGE)
    assert WINDOWS.usable == 660
    assert lifetime(cc(b"max-age=60, stale-while-revalidate=700, stale-if-error=6")).usable == 760
    assert lifetime(cc(b"max-age=60, stale-while-revalidate=x")).usable == 60


def test_stale_while_revalidate_is_bounded() -> None:
    """RFC 5861 §3."""
    assert may_revalidate_later(WINDOWS, 60)
    assert may_revalidate_later(WINDOWS, 89.9)
    assert not may_revalidate_later(WINDOWS, 90)
    assert not may_revalidate_later(FRESH_60, 60)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (b"no-cache", False),
        (b"max-age=1000", False),  # §5.2.1.1: nothing stale, unless with max-stale
        (b"max-age=1000, max-stale=10", True),
        (b"max-age=60, max-stale=10", False),
        (b"max-stale=9", False),
        (b"max-stale", True),
        (b"min-fresh=0", False),
        (b"only-if-cached", True),
    ],
)
def test_stale_while_revalidate_respects_the_client(asked: bytes, expected: bool) -> None:
    assert may_revalidate_later(WINDOWS, 70, parse([asked])) is expected


def test_stale_if_error_is_bounded() -> None:
    """RFC 5861 §4."""
    assert may_replace_error(WINDOWS, 60)
    assert may_replace_error(WINDOWS, 659.9)
    assert not may_replace_error(WINDOWS, 660)
    assert not may_replace_error(FRESH_60, 60)


def test_a_client_may_ask_for_stale_if_error() -> None:
    assert may_replace_error(FRESH_60, 69, parse([b"stale-if-error=10"]))
    assert not may_replace_error(FRESH_60, 70, parse([b"stale-if-error=10"]))
    assert may_replace_error(WINDOWS, 659, parse([b"stale-if-error=10"]))


def test_an_error_is_worse_than_staleness_but_not_than_no_cache() -> None:
    assert may_replace_error(WINDOWS, 70, parse([b"max-age=0"]))
    assert not may_replace_error(WINDOWS, 70, parse([b"no-cache"]))


def test_immutable_spares_reloads_a_validation() -> None:
    """RFC 8246 §2: unless the client signals that one is necessary, as by no-cache."""
    found = lifetime(cc(b"max-age=60, immutable"))
    assert is_fresh_enough(found, 30, parse([b"max-age=0"]))
    assert not is_fresh_enough(found, 30, parse([b"no-cache"]))
    assert not is_fresh_enough(found, 30, parse([b"min-fresh=31"]))
    assert not is_fresh_enough(found, 60, parse([b"max-age=0"]))
    assert not is_fresh_enough(found, 60, parse([b"max-age=0, max-stale"]))


# --- hostile input ----------------------------------------------------------------------------

names = st.sampled_from([b"date", b"age", b"expires", b"last-modified", b"cache-control"])
texts = st.binary(max_size=40) | st.sampled_from(
    [b"0", b"max-age=9", format_date(NOW), format_date(NOW - DAY), format_date(253402300799)]
)


@given(st.lists(st.tuples(names, texts)), st.sampled_from([200, 503]), st.floats(0, 4e9))
def test_whatever_comes_the_numbers_stay_sane(
    headers: list[Header], status: int, received: float
) -> None:
    head = ResponseHead(status, tuple(headers))
    found = lifetime_of(head, effective(head.headers), received=received)
    assert 0 <= found.fresh <= found.usable
    assert initial_age(head.headers, asked=received, received=received) >= 0


controls = st.sampled_from(
    [NOTHING, CacheControl(max_age=5), CacheControl(min_fresh=5), CacheControl(max_stale=5)]
)


@given(st.floats(0, 100), st.floats(0, 100), controls)
def test_older_is_never_better(fresh: float, age: float, asked: CacheControl) -> None:
    found = Lifetime(fresh, 20, 20)
    for usable in (is_fresh_enough, may_revalidate_later, may_replace_error):
        if usable(found, age + 1, asked):
            assert usable(found, age, asked)
