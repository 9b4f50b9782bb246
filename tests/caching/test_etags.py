"""Entity tags (RFC 9110 §8.8.3)."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.etags import (
    etag_of,
    generate_etag,
    is_strong,
    match_strongly,
    match_weakly,
    tags,
)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        ([b'"a"'], b'"a"'),
        ([b' "a" '], b'"a"'),
        ([b'W/"a"'], b'W/"a"'),
        ([b'""'], b'""'),
        ([b'"a, b"'], None),  # no space within a tag
        ([b'"a,b"'], b'"a,b"'),
        ([b'"a\\"'], b'"a\\"'),
        ([b'"\xe4\xff"'], b'"\xe4\xff"'),
        ([b'"a"', b'"a"'], b'"a"'),
        ([b'"a"', b'"b"'], None),
        ([b'"a", "b"'], None),
        ([b"a"], None),
        ([b'w/"a"'], None),
        ([b'W\\"a"'], None),
        ([b'W"a"'], None),
        ([b'"a'], None),
        ([b"*"], None),
        ([b'"a"\n'], None),
    ],
)
def test_the_tag_of_a_response(lines: list[bytes], expected: bytes | None) -> None:
    assert etag_of(tuple((b"etag", line) for line in lines)) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b""], []),
        ([b'"a"'], [b'"a"']),
        ([b'"a","b" , W/"c"'], [b'"a"', b'"b"', b'W/"c"']),
        ([b'"a"', b'"b"'], [b'"a"', b'"b"']),
        ([b'"a,b", "c"'], [b'"a,b"', b'"c"']),
        ([b'"a\\", "b"'], [b'"a\\"', b'"b"']),  # a backslash escapes nothing
        ([b'junk, "a", *, w/"b", "c'], [b'"a"']),
        ([b'x"a", "b"'], [b'"b"']),
        ([b'"a" "b", "c"'], [b'"c"']),
    ],
)
def test_lists_of_tags(lines: list[bytes], expected: list[bytes]) -> None:
    assert tags(lines) == expected


@pytest.mark.parametrize(
    ("one", "other", "strongly", "weakly"),
    [  # the table of §8.8.3.2
        (b'W/"1"', b'W/"1"', False, True),
        (b'W/"1"', b'W/"2"', False, False),
        (b'W/"1"', b'"1"', False, True),
        (b'"1"', b'W/"1"', False, True),
        (b'"1"', b'"1"', True, True),
    ],
)
def test_comparison(one: bytes, other: bytes, strongly: bool, weakly: bool) -> None:
    assert match_strongly(one, other) is strongly
    assert match_weakly(one, other) is weakly


def test_generated_tags() -> None:
    digest = sha256(b"body").digest()
    plain = generate_etag(digest)
    assert plain == generate_etag(digest)
    assert is_strong(plain)
    assert etag_of(((b"etag", plain),)) == plain
    assert generate_etag(digest, weak=True) == b"W/" + plain
    assert generate_etag(digest, b"gzip") == generate_etag(digest, b"GZIP") != plain
    assert generate_etag(sha256(b"other").digest()) != plain


def test_long_lists_cost_linear_time() -> None:
    assert tags([b'"' * 1_000_001]) == []
    assert len(tags([b'"a",' * 100_000])) == 100_000


@given(st.lists(st.binary(max_size=40) | st.text('W/"a, \\*', max_size=30).map(str.encode)))
def test_nothing_raises_and_tags_are_tags(lines: list[bytes]) -> None:
    for tag in tags(lines):
        assert etag_of(((b"etag", tag),)) == tag
    etag_of(tuple((b"etag", line) for line in lines))
