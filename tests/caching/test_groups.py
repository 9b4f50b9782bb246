"""Cache-Groups and Cache-Group-Invalidation (RFC 9875)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.groups import group_tag, groups_of, groups_to_invalidate
from cachemw.caching.invalidation import SAFE_METHODS
from cachemw.messages import RequestHead, ResponseHead


def test_a_group_belongs_to_the_origin_that_was_asked() -> None:
    asked = [
        RequestHead("GET", scheme, host, b"/")
        for scheme, host in (("http", b"a"), ("https", b"a"), ("http", b"b"), ("http", b"a b"))
    ]
    assert len({group_tag(request, "g") for request in asked}) == 4
    assert group_tag(asked[0], "b g") != group_tag(asked[3], "g")
    assert group_tag(asked[0], "g") == group_tag(RequestHead("PUT", "http", b"A", b"/x"), "g")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], set()),
        ([b""], set()),
        ([b'"a"'], {"a"}),
        ([b'"a", "b"', b'"a"'], {"a", "b"}),
        ([b'"A";revalidate, "a"'], {"A", "a"}),  # §2.1: character by character
        ([b'""'], {""}),
        ([b", ".join(b'"%032d"' % n for n in range(32))], {f"{n:032}" for n in range(32)}),
        # RFC 9651 §4.2: one fault spoils the field
        ([b"a"], set()),
        ([b'"a", b'], set()),
        ([b'"a", 1'], set()),
        ([b'"a", ("b")'], set()),
        ([b'"a",'], set()),
        ([b'"a'], set()),
        ([b'"\xff"'], set()),
    ],
)
def test_the_groups_of_a_response(lines: list[bytes], expected: set[str]) -> None:
    assert groups_of(tuple((b"cache-groups", line) for line in lines)) == expected


def test_only_unsafe_requests_invalidate() -> None:
    """§3."""
    response = ResponseHead(200, ((b"cache-group-invalidation", b'"a", "b"'),))
    for method in ("POST", "PUT", "PATCH", "DELETE", "FOO"):
        request = RequestHead(method, "http", b"example.com", b"/")
        assert groups_to_invalidate(request, response) == {"a", "b"}
    for method in SAFE_METHODS:
        request = RequestHead(method, "http", b"example.com", b"/")
        assert groups_to_invalidate(request, response) == set()


@given(st.lists(st.binary(max_size=30) | st.text('"a, ;=\\', max_size=20).map(str.encode)))
def test_nothing_raises(lines: list[bytes]) -> None:
    assert all(
        isinstance(group, str)
        for group in groups_of(tuple((b"cache-groups", line) for line in lines))
    )
