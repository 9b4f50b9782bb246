"""Cache-Control, read as RFC 9111 §5.2 and, targeted, RFC 9213 want it."""

from dataclasses import fields
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.cache_control import (
    NOTHING,
    CacheControl,
    effective,
    parse,
    parse_targeted,
    requested,
)
from cachemw.caching.fields import DELTA_MAX


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", NOTHING),
        (b" , ,", NOTHING),
        (b"max-age=3600", CacheControl(max_age=3600)),
        (b"MaX-aGe=3600", CacheControl(max_age=3600)),
        (b"max-age=003600", CacheControl(max_age=3600)),
        (b'max-age="3600"', CacheControl(max_age=3600)),
        (b"max-age=2147483647", CacheControl(max_age=2**31 - 1)),
        (b"max-age=2147483648", CacheControl(max_age=2**31)),
        (b"max-age=99999999999", CacheControl(max_age=2**31)),
        # §4.2.1: invalid freshness information means stale
        (b"max-age", CacheControl(max_age=0)),
        (b"max-age=", CacheControl(max_age=0)),
        (b"max-age=-3600", CacheControl(max_age=0)),
        (b"max-age='3600'", CacheControl(max_age=0)),
        (b"max-age=3600.0", CacheControl(max_age=0)),
        (b"max-age=3600.5", CacheControl(max_age=0)),
        (b"max-age=a3600", CacheControl(max_age=0)),
        (b"max-age=3600a", CacheControl(max_age=0)),
        (b"max-age=1e3", CacheControl(max_age=0)),
        (b"max-age =3600", CacheControl(max_age=0)),
        (b"max-age= 3600", CacheControl(max_age=0)),
        # §4.2.1: more than one value
        (b"max-age=1800, max-age=1", CacheControl(max_age=1)),
        (b"max-age=1, max-age=1800", CacheControl(max_age=1)),
        (b"max-age=1800, max-age=x", CacheControl(max_age=0)),
        (b"max-stale=5, max-stale=9", CacheControl(max_stale=5)),
        (b"max-stale, max-stale=9", CacheControl(max_stale=0)),
        (b"min-fresh=5, min-fresh=9", CacheControl(min_fresh=9)),
        (b"s-maxage=5, max-age=9", CacheControl(s_maxage=5, max_age=9)),
        # §5.2.1.2: max-stale with and without a value
        (b"max-stale", CacheControl(max_stale=DELTA_MAX)),
        (b"max-stale=10", CacheControl(max_stale=10)),
        # RFC 5861, RFC 8246
        (
            b"max-age=1, stale-while-revalidate=30, stale-if-error=60",
            CacheControl(max_age=1, stale_while_revalidate=30, stale_if_error=60),
        ),
        (b"stale-while-revalidate", CacheControl(stale_while_revalidate=0)),
        (b"immutable, max-age=9", CacheControl(max_age=9, immutable=True)),
        # flags, in any case; a restriction outlives a stray argument, a permission does not
        (b"No-StOrE", CacheControl(no_store=True)),
        (b"no-store=1", CacheControl(no_store=True)),
        (b'no-store="x"', CacheControl(no_store=True)),
        (b"no-store =x", CacheControl(no_store=True)),
        (b"PRIVATE", CacheControl(private=True)),
        (b"public", CacheControl(public=True)),
        (b"public=1", NOTHING),
        (b"immutable=1", NOTHING),
        (b"must-revalidate", CacheControl(must_revalidate=True)),
        (b"proxy-revalidate=1", CacheControl(proxy_revalidate=True)),
        (b"must-understand, no-store", CacheControl(must_understand=True, no_store=True)),
        (b"no-transform, only-if-cached", CacheControl(only_if_cached=True)),
        # §5.2.2.4, §5.2.2.7: qualified forms
        (b'no-cache="X-b, x-a"', CacheControl(no_cache_fields=frozenset({b"x-a", b"x-b"}))),
        (b'private="x", private="Y"', CacheControl(private_fields=frozenset({b"x", b"y"}))),
        (b"private=x", CacheControl(private_fields=frozenset({b"x"}))),
        (b'private="x", private', CacheControl(private=True, private_fields=frozenset({b"x"}))),
        (b'private=""', CacheControl(private=True)),
        (b"private=", CacheControl(private=True)),
        (b'private="a b"', CacheControl(private=True)),
        (b'private="x', CacheControl(private=True)),
        (b'no-cache="x, y', CacheControl(no_cache=True)),
        (b"no-cache =x", CacheControl(no_cache=True)),
        # §5.2.3: extensions, and directives hidden in their quoted arguments
        (b"foobar, max-age=9", CacheControl(max_age=9)),
        (b'ext="max-age=3600", max-age=1', CacheControl(max_age=1)),
        (b'max-age=1, Ext="max-age=3600, public"', CacheControl(max_age=1)),
        (b'ext="x, no-store', CacheControl(no_store=True)),
        (b"max-age;no-store", NOTHING),
        (b"=3, public", CacheControl(public=True)),
    ],
)  # fmt: skip
def test_lenient_reading(value: bytes, expected: CacheControl) -> None:
    assert parse([value]) == expected


def test_several_lines_are_one_list() -> None:
    assert parse([b"max-age=1800", b"no-cache, max-age=1"]) == CacheControl(
        max_age=1, no_cache=True
    )
    assert parse([]) is NOTHING


def test_a_quote_left_open_in_one_line_hides_nothing_in_the_next() -> None:
    assert parse([b'ext="', b'no-store, ext="']).no_store


def test_long_values_are_read_too() -> None:
    assert parse([b"x=" + b"y" * 100_000 + b", no-store"]).no_store


def test_pragma_counts_where_there_is_no_cache_control() -> None:
    """§5.4."""
    assert requested(((b"pragma", b"No-Cache"),)).no_cache
    assert requested(((b"pragma", b"x, no-cache"),)).no_cache
    assert requested(((b"pragma", b"x"),)) is NOTHING
    assert not requested(((b"pragma", b"no-cache"), (b"cache-control", b"max-age=9"))).no_cache
    assert requested(((b"accept", b"*/*"),)) is NOTHING


def test_pragma_in_a_response_means_nothing() -> None:
    """§5.4: its meaning in responses was never specified."""
    assert effective(((b"pragma", b"no-cache"),)) is NOTHING


CC = (b"cache-control", b"no-store")


def test_a_targeted_field_replaces_cache_control() -> None:
    """RFC 9213 §2.2."""
    cc = effective((CC, (b"cdn-cache-control", b"max-age=9")))
    assert cc == CacheControl(max_age=9)
    assert cc.target == b"cdn-cache-control"


def test_the_first_valid_target_wins() -> None:
    ours, cdn = (b"cachemw-cache-control", b"max-age=1"), (b"cdn-cache-control", b"max-age=2")
    assert effective((CC, cdn, ours)).max_age == 1
    assert effective((CC, cdn, (b"cachemw-cache-control", b"&&&"))).max_age == 2
    assert effective((CC, cdn, (b"cachemw-cache-control", b""))).max_age == 2


@pytest.mark.parametrize(
    "value",
    [b"", b" ", b"max-age=10000, &&&&&", b"MaX-aGe=3600", b"max-age =100", b"max-age= 100", b"a,"],
)
def test_an_invalid_or_empty_target_is_as_good_as_absent(value: bytes) -> None:
    cc = effective((CC, (b"cdn-cache-control", value)))
    assert cc == CacheControl(no_store=True)
    assert cc.target is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"max-age=2147483648", CacheControl(max_age=2**31)),
        (b"max-age=99999999999", CacheControl(max_age=2**31)),
        (b"max-age=60;p=1", CacheControl(max_age=60)),
        (b"max-age=60, max-age=5", CacheControl(max_age=5)),  # RFC 9651 §3.2: the last one
        # RFC 9213 §2.1: values of another type are not coerced
        (b'max-age="10000"', CacheControl(max_age=0)),
        (b"max-age=60.0", CacheControl(max_age=0)),
        (b"max-age=-60", CacheControl(max_age=0)),
        (b"max-age", CacheControl(max_age=0)),
        (b"max-age=token", CacheControl(max_age=0)),
        (b"max-age=(1 2)", CacheControl(max_age=0)),
        (b"max-age=?0", NOTHING),
        (b"no-store", CacheControl(no_store=True)),
        (b"no-store=?0", NOTHING),
        (b"no-store=1", CacheControl(no_store=True)),
        (b"public=1", NOTHING),
        (b"public", CacheControl(public=True)),
        (b'no-cache="a, B"', CacheControl(no_cache_fields=frozenset({b"a", b"b"}))),
        (b"no-cache=a", CacheControl(no_cache=True)),
        (b"no-cache=5", CacheControl(no_cache=True)),
        (b'private="a"', CacheControl(private_fields=frozenset({b"a"}))),
        (b'private=""', CacheControl(private=True)),
        (b"none", NOTHING),
        (b'ext="v"', NOTHING),
    ],
)
def test_strict_reading(value: bytes, expected: CacheControl) -> None:
    assert parse_targeted([value]) == expected


def written(cc: CacheControl) -> bytes:
    """The directives as the value of a field."""
    parts: list[bytes] = []
    for field in fields(cc):
        value = getattr(cc, field.name)
        name = field.name.removesuffix("_fields").replace("_", "-").encode()
        if value is True:
            parts.append(name)
        elif isinstance(value, frozenset) and value:
            parts.append(b'%s="%s"' % (name, b", ".join(cast("frozenset[bytes]", value))))
        elif isinstance(value, int) and value is not False:
            parts.append(b"%s=%d" % (name, value))
    return b", ".join(parts)


seconds = st.none() | st.integers(0, DELTA_MAX)
names = st.frozensets(st.from_regex(rb"[a-z!~-]{1,8}", fullmatch=True), max_size=3)
values = st.builds(
    CacheControl,
    **dict.fromkeys(
        ("max_age", "s_maxage", "stale_while_revalidate", "stale_if_error", "min_fresh"), seconds
    ),
    max_stale=seconds,
    **dict.fromkeys(
        ("no_cache", "no_store", "only_if_cached", "must_revalidate", "private", "public"),
        st.booleans(),
    ),
    no_cache_fields=names,
    private_fields=names,
)


@given(values)
def test_round_trip(cc: CacheControl) -> None:
    assert parse([written(cc)]) == cc


directives = st.sampled_from(
    [b"max-age", b"no-store", b"private", b"no-cache", b"public", b"max-stale", b"ext", b""]
)
arguments = st.sampled_from([b"", b"=", b"=1", b'="1"', b'="a, b"', b'="', b"= 1", b"=\xff", b"\\"])
lines = st.lists(st.tuples(directives, arguments).map(b"".join), max_size=6).map(b", ".join)


@given(st.lists(lines | st.binary(max_size=80), max_size=4))
def test_nothing_raises_and_numbers_are_bounded(text: list[bytes]) -> None:
    for cc in (parse(text), parse_targeted(text) or NOTHING):
        for number in (cc.max_age, cc.max_stale):
            assert number is None or 0 <= number <= DELTA_MAX


@given(st.lists(lines | st.binary(max_size=40), max_size=4), st.integers(0, 4))
def test_no_line_can_hide_the_no_store_of_another(text: list[bytes], place: int) -> None:
    assert parse([*text[:place], b"no-store", *text[place:]]).no_store
