"""HTTP-date: three formats, any case, nothing looser."""

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.dates import format_date, parse_date

NOW = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
MOMENT = 784111777  # the example of RFC 9110 §5.6.7


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"Sun Nov 06 08:49:37 1994",
        # RFC 9111 §4.2: match the field value case-insensitively
        b"SUN, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 gMT",
        b" \tSun, 06 Nov 1994 08:49:37 GMT ",
        b"Tue, 06 Nov 1994 08:49:37 GMT",  # it was a Sunday
    ],
)
def test_what_is_a_date(value: bytes) -> None:
    assert parse_date(value, now=NOW) == MOMENT


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"-1",
        b"784111777",
        b"Thu, 18 Aug 2050 02:01:18 UTC",
        b"Thu, 18 Aug 2050 02:01:18 AEST",
        b"Thu, 18 Aug 2050 02:01:18 +0000",
        b"Thu, 18 Aug 2050 02:01:18",
        b"Thu, 18 Aug 50 02:01:18 GMT",
        b"Thu 18 Aug 2050 02:01:18 GMT",
        b"Thu, 18  Aug  2050 02:01:18 GMT",
        b"Thu, 18-Aug-2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 02.01.18 GMT",
        b"Thu, 18 Aug 2050 2:01:18 GMT",
        b"Thu, 8 Aug 2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 24:01:18 GMT",
        b"Thu, 18 Aug 2050 02:60:18 GMT",
        b"Thu, 18 Aug 2050 02:01:61 GMT",
        b"Thu, 30 Feb 2050 02:01:18 GMT",
        b"Thu, 00 Feb 2050 02:01:18 GMT",
        b"Thu, 18 Foo 2050 02:01:18 GMT",
        b"Thu, 18 Aug 0000 02:01:18 GMT",
        b"Thursday, 30-Feb-50 02:01:18 GMT",
        b"2050-08-18T02:01:18Z",
        "Thu, 1٣ Aug 2050 02:01:18 GMT".encode(),
        b"Thu, 18 Aug 2050 02:01:18 GMT\n",
    ],
)
def test_what_is_none(value: bytes) -> None:
    assert parse_date(value, now=NOW) is None


@pytest.mark.parametrize(
    ("now", "two_digits", "year"),
    [
        (2026, b"26", 2026),
        (2026, b"50", 2050),
        (2026, b"76", 2076),  # 49 years and some months ahead
        (2026, b"77", 1977),
        (2026, b"94", 1994),
        (2026, b"00", 2000),
        (2098, b"03", 2103),
        (2060, b"09", 2109),
        (2060, b"12", 2012),
        (1990, b"38", 2038),
    ],
)
def test_two_digit_years_lie_within_fifty_years_ahead(
    now: int, two_digits: bytes, year: int
) -> None:
    """RFC 9110 §5.6.7."""
    moment = parse_date(
        b"Monday, 01-Jun-" + two_digits + b" 00:00:00 GMT",
        now=datetime(now, 11, 21, tzinfo=UTC).timestamp(),
    )
    assert moment == datetime(year, 6, 1, tzinfo=UTC).timestamp()


def test_a_leap_second_is_a_moment() -> None:
    assert parse_date(b"Sat, 31 Dec 2016 23:59:60 GMT", now=NOW) == 1483228800


@pytest.mark.parametrize("year", [1900, 1969, 2038, 2286, 9999])
def test_dates_beyond_32_bits(year: int) -> None:
    moment = parse_date(b"Sun, 21 Nov %d 04:46:39 GMT" % year, now=NOW)
    assert moment == datetime(year, 11, 21, 4, 46, 39, tzinfo=UTC).timestamp()


@given(st.integers(-30_000_000_000, 253_402_300_799))
def test_round_trip(moment: int) -> None:
    assert parse_date(format_date(moment), now=NOW) == moment


@given(st.integers(0, 250_000_000_000))
def test_the_standard_library_agrees(moment: int) -> None:
    assert format_date(moment) == formatdate(moment, usegmt=True).encode()


@given(st.binary(max_size=60), st.floats(0, 4e9))
def test_nothing_raises(value: bytes, now: float) -> None:
    assert isinstance(parse_date(value, now=now), int | None)
