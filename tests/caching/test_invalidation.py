"""Invalidation by unsafe requests (RFC 9111 §4.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.invalidation import SAFE_METHODS, Target, targets_to_invalidate
from cachemw.messages import RequestHead, ResponseHead

OWN = (b"/a/b/c", b"q=1")


def targets(
    *references: bytes,
    method: str = "POST",
    status: int = 200,
    scheme: str = "http",
    host: bytes = b"example.com",
    name: bytes = b"location",
) -> list[Target]:
    request = RequestHead(method, scheme, host, *OWN)
    headers = tuple((name, reference) for reference in references)
    return targets_to_invalidate(request, ResponseHead(status, headers))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "UNKNOWN"])
def test_an_unsafe_method_invalidates_its_target(method: str) -> None:
    assert targets(method=method) == [OWN]


@pytest.mark.parametrize("method", sorted(SAFE_METHODS))
def test_a_safe_method_invalidates_nothing(method: str) -> None:
    assert targets(b"/x", method=method) == []


@pytest.mark.parametrize(
    ("status", "does"),
    [*((s, True) for s in (200, 204, 303, 399)), *((s, False) for s in (199, 400, 404, 500))],
)
def test_only_a_response_that_is_no_error_invalidates(status: int, does: bool) -> None:
    assert targets(b"/x", status=status) == ([OWN, (b"/x", b"")] if does else [])


@pytest.mark.parametrize("name", [b"location", b"content-location"])
@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (b"/x", (b"/x", b"")),
        (b"/x?y=1#z", (b"/x", b"y=1")),
        (b" /x ", (b"/x", b"")),
        (b"http://example.com/x", (b"/x", b"")),
        (b"HTTP://EXAMPLE.com/x", (b"/x", b"")),
        (b"http://example.com:80/x", (b"/x", b"")),
        (b"http://example.com:/x", (b"/x", b"")),
        (b"http://example.com", (b"/", b"")),
        (b"http://example.com?y", (b"/", b"y")),
        (b"//example.com/x", (b"/x", b"")),
        # RFC 3986 §5.4, as far as it applies
        (b"d", (b"/a/b/d", b"")),
        (b"./d", (b"/a/b/d", b"")),
        (b"d/", (b"/a/b/d/", b"")),
        (b"?y", (b"/a/b/c", b"y")),
        (b"?", (b"/a/b/c", b"")),
        (b"d?y", (b"/a/b/d", b"y")),
        (b".", (b"/a/b/", b"")),
        (b"./", (b"/a/b/", b"")),
        (b"..", (b"/a/", b"")),
        (b"../d", (b"/a/d", b"")),
        (b"../..", (b"/", b"")),
        (b"../../../../d", (b"/d", b"")),
        (b"/./d", (b"/d", b"")),
        (b"/../d", (b"/d", b"")),
        (b"d.", (b"/a/b/d.", b"")),
        (b"..d", (b"/a/b/..d", b"")),
        (b"./d/.", (b"/a/b/d/", b"")),
        (b"d/../e", (b"/a/b/e", b"")),
        (b"/x//y", (b"/x//y", b"")),
        (b"/%7Ex/\xe4", (b"/%7Ex/\xe4", b"")),
    ],
)
def test_other_targets_of_the_same_origin(name: bytes, reference: bytes, expected: Target) -> None:
    assert targets(reference, name=name) == [OWN, expected]


@pytest.mark.parametrize("reference", [b"", b"#x", b"c?q=1", b"/a/b/c?q=1"])
def test_the_same_target_is_named_once(reference: bytes) -> None:
    assert targets(reference) == [OWN]


@pytest.mark.parametrize(
    "reference",
    [
        b"https://example.com/x",
        b"http://other.example/x",
        b"http://example.com:81/x",
        b"http://example.com.evil.example/x",
        b"http://example.com@evil.example/x",
        b"http://user@example.com/x",
        b"//other.example/x",
        b"///x",
        b"ftp://example.com/x",
        b"mailto:x",
        b"http:x",
        b"javascript:/x",
    ],
)
def test_another_origin_is_left_alone(reference: bytes) -> None:
    assert targets(reference) == [OWN]


def test_ports_and_schemes_make_the_origin() -> None:
    x = (b"/x", b"")
    assert targets(b"https://h/x", scheme="https", host=b"h:443") == [OWN, x]
    assert targets(b"https://h:443/x", scheme="https", host=b"H") == [OWN, x]
    assert targets(b"http://h:8000/x", host=b"h:8000") == [OWN, x]
    assert targets(b"http://h:443/x", host=b"h") == [OWN]
    assert targets(b"ws://h/x", scheme="ws", host=b"h") == [OWN, x]
    assert targets(b"http://[::1]:80/x", host=b"[::1]") == [OWN, x]


def test_several_fields() -> None:
    assert targets(b"/x", b"http://o.example/", b"/y", b"/x") == [OWN, (b"/x", b""), (b"/y", b"")]


def test_other_fields_name_no_targets() -> None:
    assert targets(b"/x", name=b"link") == [OWN]


parts = st.sampled_from([b"/", b".", b"..", b"a", b"?", b"#", b"//", b":", b"@", b"http", b"\n"])


@given(st.lists(parts, max_size=12).map(b"".join) | st.binary(max_size=40))
def test_nothing_raises_and_paths_are_absolute(reference: bytes) -> None:
    for path, query in targets(reference):
        assert path.startswith(b"/")
        assert b"?" not in path
        assert b"#" not in query
        assert not {b".", b".."} & set(path.split(b"/"))
