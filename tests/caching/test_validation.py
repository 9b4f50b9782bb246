"""Conditional requests of clients, and our own to the origin (RFC 9111 §4.3, RFC 9110 §13)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.dates import format_date
from cachemw.caching.validation import (
    CONDITIONAL,
    client_has,
    conditional_headers,
    confirms,
    not_modified_headers,
    unconditional,
)
from cachemw.messages import Header, Headers, RequestHead, ResponseHead

NOW = 1_800_000_000
TAG = (b"etag", b'"abcdef"')


def at(offset: int, name: bytes) -> Header:
    return name, format_date(NOW + offset)


def has(asked: Headers, stored: Headers, *, status: int = 200, method: str = "GET") -> bool:
    """Whether who asks under these conditions gets a 304."""
    request = RequestHead(method, "http", b"example.com", b"/", b"", asked)
    return client_has(request, ResponseHead(status, stored), received=NOW)


def none_match(*lines: bytes) -> Headers:
    return tuple((b"if-none-match", line) for line in lines)


def test_no_condition() -> None:
    assert not has((), (TAG,))


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
    assert has(none_match(*lines), (TAG,))
    assert has(none_match(*lines), ((b"etag", b'W/"abcdef"'),))


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
    assert not has(none_match(*lines), (TAG,))


def test_if_none_match_with_obs_text() -> None:
    assert has(none_match(b'"abc\xe4"'), ((b"etag", b'"abc\xe4"'),))


def test_an_untagged_response_matches_only_the_star() -> None:
    assert not has(none_match(b'"a"'), ())
    assert not has(none_match(b"a"), ((b"etag", b"a"),))
    assert has(none_match(b"*"), ())


def test_if_none_match_takes_precedence() -> None:
    """RFC 9110 §13.2.2, in both directions."""
    stored = (TAG, at(-100, b"last-modified"))
    since_now, since_before = at(0, b"if-modified-since"), at(-200, b"if-modified-since")
    assert not has((*none_match(b'"x"'), since_now), stored)
    assert has((since_before, *none_match(b'"abcdef"')), stored)


@pytest.mark.parametrize(("offset", "expected"), [(-100, True), (0, True), (-101, False)])
def test_if_modified_since(offset: int, expected: bool) -> None:
    asked = (at(offset, b"if-modified-since"),)
    assert has(asked, (at(-100, b"last-modified"),)) is expected
    # §4.3.2: without Last-Modified by Date, without Date by the time of receipt
    assert has(asked, (at(-100, b"date"),)) is expected
    assert has(asked, (at(-100, b"date"), (b"last-modified", b"?"))) is expected
    assert has(asked, ()) is (offset == 0)


def test_dates_in_obsolete_formats() -> None:
    stored = ((b"last-modified", b"Sun, 06 Nov 1994 08:49:37 GMT"),)
    for text in (b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"):
        assert has(((b"if-modified-since", text),), stored)


def test_an_invalid_if_modified_since_is_ignored() -> None:
    """RFC 9110 §13.1.3."""
    stored = (at(-100, b"last-modified"),)
    twice = (at(0, b"if-modified-since"), at(0, b"if-modified-since"))
    assert not has(((b"if-modified-since", b"now"),), stored)
    assert not has(twice, stored)


def test_only_a_stored_200_is_confirmed() -> None:
    """RFC 9110 §13.2.1."""
    for status in (203, 301, 404, 500):
        assert not has(none_match(b"*"), (TAG,), status=status)
    assert has(none_match(b"*"), (TAG,), method="HEAD")
    assert not has(none_match(b"*"), (TAG,), method="POST")


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


# --- §4.3.4: whether a 304 is about the stored response ----------------------------------------

A, B, WEAK_A, WEAK_C = (
    (b"etag", b'"a"'),
    (b"etag", b'"b"'),
    (b"etag", b'W/"a"'),
    (b"etag", b'W/"c"'),
)
OLD, NEW = at(-500, b"last-modified"), at(-100, b"last-modified")


@pytest.mark.parametrize("stored", [(A,), (A, NEW), (A, OLD)])
def test_a_strong_validator_confirms_what_has_it(stored: Headers) -> None:
    assert confirms((A, NEW), stored)


@pytest.mark.parametrize("stored", [(B,), (B, NEW), (WEAK_A, NEW), ()])
def test_a_strong_validator_confirms_nothing_else(stored: Headers) -> None:
    assert not confirms((A, NEW), stored)


def test_a_weak_validator_confirms_what_has_its_like() -> None:
    assert confirms((WEAK_A,), (A,))
    assert confirms((WEAK_A,), (WEAK_A, NEW))
    assert not confirms((WEAK_C,), (A,))
    assert not confirms((WEAK_A,), (B,))
    assert not confirms((WEAK_A,), ())


def test_last_modified_is_a_weak_validator() -> None:
    assert confirms((NEW,), (NEW,))
    assert confirms((NEW,), (A, NEW))
    assert not confirms((NEW,), (OLD,))
    assert not confirms((NEW,), ())
    assert confirms((WEAK_A, OLD), (WEAK_A, OLD))
    assert not confirms((WEAK_A, OLD), (WEAK_A, NEW))


def test_a_304_without_validators_is_about_what_has_none() -> None:
    assert confirms((), ())
    assert not confirms((), (A,))
    assert not confirms((), (NEW,))


names = st.sampled_from([*sorted(CONDITIONAL), b"etag", b"last-modified", b"date"])
texts = st.binary(max_size=20) | st.sampled_from([b"*", b'"a"', b'W/"a"', format_date(NOW)])
headers_of = st.lists(st.tuples(names, texts), max_size=6).map(tuple)


@given(headers_of, headers_of, st.floats(0, 4e9))
def test_nothing_raises(asked: Headers, stored: Headers, received: float) -> None:
    request = RequestHead("GET", "http", b"example.com", b"/", b"", asked)
    names_asked = {name for name, _ in asked}
    if client_has(request, ResponseHead(200, stored), received=received):
        assert names_asked & {b"if-none-match", b"if-modified-since"}
    confirms(asked, stored)


@given(headers_of)
def test_a_304_to_our_own_question_confirms_what_was_asked_about(stored: Headers) -> None:
    own = tuple(pair for pair in stored if pair[0] in (b"etag", b"last-modified"))
    if conditional_headers(own):
        assert confirms(own, own)
