"""A limit is read as people write it, and a wrong one is told the nearest right one."""

import pytest

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.limits import Limit, parse_limit, parse_limits


@pytest.mark.parametrize(
    ("text", "quota", "seconds"),
    [
        ("100/minute", 100, 60),
        ("50/10s", 50, 10),
        ("5 per 30 seconds", 5, 30),
        ("5 per minute", 5, 60),
        ("1/second", 1, 1),
        (" 5_000 / day ", 5000, 86_400),
        ("7/2 weeks", 7, 1_209_600),
        ("10/5min", 10, 300),
        ("3 PER 2 HOURS", 3, 7200),
    ],
)
def test_spellings(text: str, quota: int, seconds: int) -> None:
    assert parse_limit(text) == Limit(quota, seconds * 1000)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("10/fortnight", "'10/14 days'"),
        ("10/minuet", "'10/minute'"),
        ("10/months", "'10/30 days'"),
        ("10/moon", "second, minute, hour, day, week"),
        ("10", "'100/minute'"),
        ("10/", "'10/minute'"),
        ("10/30", "'10/minute'"),
        ("0/minute", "'1/minute'"),
        ("00/10s", "'1/10second'"),
        ("-5/minute", "'5/minute'"),
        ("1.5/minute", "'3/2 minutes'"),
        ("5/0s", "admits nothing"),
        ("", "'100/minute'"),
        ("lots", "'100/minute'"),
        ("5/400 days", "'5/366 days'"),
        ("9999999999/s", "more than a billion"),
        ("5/minute; 10/hour", "'100/minute'"),
        ("9" * 40 + "/s", "whole number"),
    ],
)
def test_what_is_none_names_the_nearest_form(text: str, nearest: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_limit(text)
    assert nearest in str(error.value)
    assert repr(text) in str(error.value)


def test_a_limit_reads_back_as_it_was_meant() -> None:
    for text in ("100/minute", "50/10s", "5/90s", "7/14 days", "3/2 weeks"):
        assert parse_limit(str(parse_limit(text))) == parse_limit(text)


def test_two_limits_over_one_span_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="keep '5/minute'"):
        parse_limits(["10/minute", "5/60s"])
