"""Conditional requests of clients, and our own to the origin (RFC 9111 §4.3, RFC 9110 §13)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.dates import format_date
from cachemw.caching.validation import (
    CONDITIONAL,
    Condition,
    conditional_headers,
    evaluate,
    not_modified_headers,
    to_freshen,
    unconditional,
)
from cachemw.messages import Header, Headers, RequestHead, ResponseHead

NOW = 1_800_000_000
TAG = (b"etag", b'"abcdef"')


def at(offset: int, name: bytes) -> Header:
    return name, format_date(NOW + offset)


def condition(
    asked: Headers, stored: Headers, *, status: int = 200, method: str = "GET"
) -> Condition:
    request = RequestHead(method, "http", b"example.com", b"/", b"", asked)
    return evaluate(request, ResponseHead(status, stored), received=NOW)


def none_match(*lines: bytes) -> Headers:
    return tuple((b"if-none-match", line) for line in lines)


SERVE, NOT_MODIFIED, FORWARD = Condition.SERVE, Condition.NOT_MODIFIED, Condition.FORWARD


def test_no_condition() -> None:
    assert condition((), (TAG,)) is SERVE


@pytest.mark.parametrize(
    "lines",
    [
        (b'"abcdef"',),
        (b'W/"abcdef"',),  # RFC 9110 §13.1.2: weak comparison
        (b'"abcdef", "1", "2"',),
        (b'"1", "abcdef", "2"',),
        (b'"1", "2", "abcdef"',),
        (b'"1"', b'"abcdef"'),
        (b"*",),
        (b" * ",),
        (b'junk, "abcdef"',),
    ],
)
def test_if_none_match_with_the_stored_tag(lines: tuple[bytes, ...]) -> None:
    assert condition(none_match(*lines), (TAG,)) is NOT_MODIFIED
    assert condition(none_match(*lines), ((b"etag", b'W/"abcdef"'),)) is NOT_MODIFIED


@pytest.mark.parametrize(
    "lines",
    [
        (b'"1"',),
        (b"",),
        (b"abcdef",),
        (b'w/"abcdef"',),
        (b'W\\"abcdef"',),
        (b'W"abcdef"',),
        (b'"ABCDEF"',),
        (b'*, "1"',),
        (b"*", b"*"),
    ],
)
def test_if_none_match_without_it(lines: tuple[bytes, ...]) -> None:
    assert condition(none_match(*lines), (TAG,)) is SERVE


def test_if_none_match_with_obs_text() -> None:
    assert condition(none_match(b'"abc\xe4"'), ((b"etag", b'"abc\xe4"'),)) is NOT_MODIFIED


def test_an_untagged_response_matches_only_the_star() -> None:
    assert condition(none_match(b'"a"'), ()) is SERVE
    assert condition(none_match(b"a"), ((b"etag", b"a"),)) is SERVE
    assert condition(none_match(b"*"), ()) is NOT_MODIFIED


def test_if_none_match_takes_precedence() -> None:
    """RFC 9110 §13.2.2, in both directions."""
    stored = (TAG, at(-100, b"last-modified"))
    since_now, since_before = at(0, b"if-modified-since"), at(-200, b"if-modified-since")
    assert condition((*none_match(b'"x"'), since_now), stored) is SERVE
    assert condition((since_before, *none_match(b'"abcdef"')), stored) is NOT_MODIFIED


@pytest.mark.parametrize(
    ("offset", "expected"), [(-100, NOT_MODIFIED), (0, NOT_MODIFIED), (-101, SERVE)]
)
def test_if_modified_since(offset: int, expected: Condition) -> None:
    asked = (at(offset, b"if-modified-since"),)
    assert condition(asked, (at(-100, b"last-modified"),)) is expected
    # §4.3.2: without Last-Modified by Date, without Date by the time of receipt
    assert condition(asked, (at(-100, b"date"),)) is expected
    assert condition(asked, (at(-100, b"date"), (b"last-modified", b"?"))) is expected
    assert condition(asked, ()) is (NOT_MODIFIED if offset == 0 else SERVE)


def test_dates_in_obsolete_formats() -> None:
    stored = ((b"last-modified", b"Sun, 06 Nov 1994 08:49:37 GMT"),)
    for text in (b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"):
        assert condition(((b"if-modified-since", text),), stored) is NOT_MODIFIED


def test_an_invalid_if_modified_since_is_ignored() -> None:
    """RFC 9110 §13.1.3."""
    stored = (at(-100, b"last-modified"),)
    twice = (at(0, b"if-modified-since"), at(0, b"if-modified-since"))
    assert condition(((b"if-modified-since", b"now"),), stored) is SERVE
    assert condition(twice, stored) is SERVE


@pytest.mark.parametrize("name", [b"if-match", b"if-unmodified-since"])
def test_what_does_not_apply_to_a_cache_goes_to_the_origin(name: bytes) -> None:
    """§4.3.2."""
    assert condition((*none_match(b"*"), (name, b'"abcdef"')), (TAG,)) is FORWARD
    assert condition(((name, b'"abcdef"'),), (TAG,), status=404) is FORWARD


def test_only_a_stored_200_is_confirmed() -> None:
    """RFC 9110 §13.2.1."""
    for status in (203, 301, 404, 500):
        assert condition(none_match(b"*"), (TAG,), status=status) is SERVE
    assert condition(none_match(b"*"), (TAG,), method="HEAD") is NOT_MODIFIED
    assert condition(none_match(b"*"), (TAG,), method="POST") is SERVE


def test_the_fields_of_a_304() -> None:
    """RFC 9110 §15.4.5."""
    kept: Headers = (
        (b"cache-control", b"max-age=9"),
        (b"content-location", b"/x"),
        (b"date", b"d"),
        TAG,
        (b"expires", b"e"),
        (b"vary", b"accept"),
        (b"vary", b"origin"),
        (b"cdn-cache-control", b"max-age=99"),
        (b"cache-status", b"inner; hit"),
    )
    dropped = ((b"content-type", b"x"), (b"content-length", b"9"), (b"x-other", b"1"))
    modified = at(0, b"last-modified")
    assert not_modified_headers((*dropped, *kept, modified)) == kept
    assert not_modified_headers((*dropped, modified)) == (modified,)


def test_asking_the_origin() -> None:
    """§4.3.1."""
    modified = at(-100, b"last-modified")
    since = (b"if-modified-since", modified[1])
    assert conditional_headers((modified, TAG)) == ((b"if-none-match", b'"abcdef"'), since)
    assert conditional_headers(((b"etag", b'W/"a"'),)) == ((b"if-none-match", b'W/"a"'),)
    assert conditional_headers((modified,)) == (since,)
    assert conditional_headers((modified, (b"etag", b"unquoted"))) == (since,)
    assert conditional_headers(((b"last-modified", b"yesterday"),)) == ()
    assert conditional_headers(()) == ()


def test_a_fill_is_unconditional() -> None:
    names = {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
    names |= {b"if-range", b"range"}
    special = tuple((name, b"x") for name in sorted(names))
    assert unconditional((*special, (b"accept", b"y"))) == ((b"accept", b"y"),)


# --- §4.3.4: which stored responses a 304 confirms --------------------------------------------

A, B, WEAK_A = (b"etag", b'"a"'), (b"etag", b'"b"'), (b"etag", b'W/"a"')
OLD, NEW = at(-500, b"last-modified"), at(-100, b"last-modified")


def test_a_strong_validator_confirms_all_that_have_it() -> None:
    assert to_freshen([(A,), (B,), (A, NEW), (WEAK_A,), ()], (A,)) == [0, 2]


def test_a_strong_validator_that_none_has_confirms_none() -> None:
    assert to_freshen([(B,), (WEAK_A, NEW), ()], (A, NEW)) == []


def test_a_weak_validator_confirms_the_most_recent_match() -> None:
    stored: list[Headers] = [
        (A, at(-50, b"date")),
        (WEAK_A, at(-10, b"date")),
        (B, at(0, b"date")),
        (A, at(-90, b"date")),
    ]
    assert to_freshen(stored, (WEAK_A,)) == [1]
    assert to_freshen(stored, ((b"etag", b'W/"c"'),)) == []
    assert to_freshen([(A,), (A,)], (WEAK_A,)) == [1]
    assert to_freshen([()], (WEAK_A,)) == []
    assert to_freshen([(WEAK_A, NEW)], (WEAK_A,)) == [0]


def test_last_modified_is_a_weak_validator() -> None:
    assert to_freshen([(OLD,), (NEW,), (NEW,)], (NEW,)) == [2]
    assert to_freshen([(OLD,), ()], (NEW,)) == []
    assert to_freshen([(WEAK_A, OLD), (WEAK_A, NEW)], (WEAK_A, OLD)) == [0]


def test_without_validators_only_a_lone_response_without_one() -> None:
    assert to_freshen([()], ()) == [0]
    assert to_freshen([(A,)], ()) == []
    assert to_freshen([(), ()], ()) == []
    assert to_freshen([], ()) == []


names = st.sampled_from([*sorted(CONDITIONAL), b"etag", b"last-modified", b"date"])
texts = st.binary(max_size=20) | st.sampled_from([b"*", b'"a"', b'W/"a"', format_date(NOW)])
headers_of = st.lists(st.tuples(names, texts), max_size=6).map(tuple)


@given(headers_of, headers_of, st.floats(0, 4e9))
def test_nothing_raises(asked: Headers, stored: Headers, received: float) -> None:
    request = RequestHead("GET", "http", b"example.com", b"/", b"", asked)
    outcome = evaluate(request, ResponseHead(200, stored), received=received)
    names_asked = {name for name, _ in asked}
    assert (outcome is FORWARD) == bool(names_asked & {b"if-match", b"if-unmodified-since"})
    assert outcome is not NOT_MODIFIED or names_asked & {b"if-none-match", b"if-modified-since"}
    assert all(0 <= index < 2 for index in to_freshen([stored, asked], asked))


@given(headers_of)
def test_a_304_to_our_own_question_confirms_what_was_asked_about(stored: Headers) -> None:
    own = tuple(pair for pair in stored if pair[0] in (b"etag", b"last-modified"))
    if conditional_headers(own):
        assert to_freshen([own], own) == [0]
