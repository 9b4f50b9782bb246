"""Keys: what is one resource, and what is another."""

from itertools import pairwise
from typing import Any

import pytest

from cachemw.caching.keys import (
    canonical_query,
    census_key,
    lease_key,
    primary_key,
    record_key,
    sorted_query,
    variant_key,
)
from cachemw.caching.policy import CachePolicy
from cachemw.messages import RequestHead

ALL = CachePolicy()


def key(**parts: Any) -> bytes:
    body = parts.pop("body", b"")
    base: dict[str, Any] = {"method": "GET", "scheme": "http", "host": b"h", "path": b"/p"}
    return primary_key(RequestHead(**{**base, **parts}), ALL, body)


def test_each_part_tells_apart_and_none_runs_into_the_next() -> None:
    keys = [
        key(),
        key(method="QUERY"),
        key(scheme="https"),
        key(host=b"h:8080"),
        key(path=b"/P"),
        key(path=b"/%2Fp"),
        key(query=b"a"),
        key(query=b"a="),
        key(body=b"digest"),
        key(path=b"/pa", query=b""),
        key(path=b"/p", query=b"", body=b"a"),
        key(host=b"h/p", path=b""),
        key(path=b"/p\0"),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(one) == 32 for one in keys)


def test_head_is_get_and_hosts_have_no_case() -> None:
    assert key(method="HEAD") == key()
    assert key(host=b"H") == key()


def test_the_port_that_a_scheme_has_anyway_is_none() -> None:
    assert key(host=b"h:80") == key(host=b"h:") == key()
    assert key(scheme="https", host=b"h:443") == key(scheme="https")
    assert key(scheme="https", host=b"h:80") != key(scheme="https")
    assert key(host=b"h:443") != key()
    assert key(host=b"[::1]:80") == key(host=b"[::1]")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", b""),
        (b"b", b"b"),
        (b"b=2&a=1", b"a=1&b=2"),
        (b"a=2&a=1", b"a=2&a=1"),
        (b"a=2&%61=1", b"a=2&%61=1"),
        (b"%61=1&a=2", b"%61=1&a=2"),
        (b"b=1&%61=1", b"%61=1&b=1"),
        (b"x+y=1&x%20y=2&w=3", b"w=3&x+y=1&x%20y=2"),
        (b"b=a=c&a", b"a&b=a=c"),
        (b"b&&a", b"&a&b"),
    ],
)
def test_parameters_are_sorted_by_decoded_name_alone(query: bytes, expected: bytes) -> None:
    assert sorted_query(query) == expected
    assert canonical_query(query, ALL) == expected
    assert sorted_query(expected) == expected


@pytest.mark.parametrize(
    ("options", "query", "expected"),
    [
        ({"query": ("a",)}, b"b=2&a=1&a=0", b"a=1&a=0"),
        ({"query": ("a b",)}, b"a+b=1&a%20b=2&a=3", b"a+b=1&a%20b=2"),
        ({"query": ("\u00fc",)}, b"%C3%BC=1&%FC=2", b"%C3%BC=1"),
        ({"query": ()}, b"a=1", b""),
        ({"ignore_query": ("a",)}, b"b=2&a=1", b"b=2"),
        ({"ignore_query": ("utm_*",)}, b"utm_a=1&%75tm_b=2&utm=3", b"utm=3"),
    ],
)
def test_parameters_that_count(options: dict[str, Any], query: bytes, expected: bytes) -> None:
    assert canonical_query(query, CachePolicy(**options)) == expected


def test_variants_tell_their_parts_apart() -> None:
    keys = [
        variant_key(b"", ()),
        variant_key(b"a", ()),
        variant_key(b"", (b"a",)),
        variant_key(b"", (b"a", b"")),
        variant_key(b"a", (b"b", b"c")),
        variant_key(b"a", (b"bc",)),
        variant_key(b"ab", (b"c",)),
    ]
    assert len(set(keys)) == len(keys)


def test_keys_of_one_resource_share_a_slot() -> None:
    names = [record_key(b"p"), record_key(b"p", b"v"), lease_key(b"p"), census_key(b"p")]
    assert names == [b"e:{p}", b"e:{p}:v", b"l:{p}", b"v:{p}"]
    assert all(one != other for one, other in pairwise(names))
