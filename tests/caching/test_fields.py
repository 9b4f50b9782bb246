"""Lists, quoted strings and seconds, above all the broken ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.fields import (
    DELTA_MAX,
    delta_seconds,
    field_names,
    is_token,
    members,
    members_of,
    structured_dictionary,
    structured_list,
    unquoted,
)

hostile = st.binary(max_size=200) | st.text('",\\ =;a*\t(', max_size=60).map(str.encode)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b" , ,\t,", []),
        (b"a", [b"a"]),
        (b"a,b , c\t,d", [b"a", b"b", b"c", b"d"]),
        # RFC 9110 §5.6.4: a comma within a quoted string separates nothing
        (b'a="x, y", b', [b'a="x, y"', b"b"]),
        (b'a="x\\", y", b', [b'a="x\\", y"', b"b"]),
        (b'"a","b"', [b'"a"', b'"b"']),
        # an unclosed quote quotes nothing
        (b'a="x, no-store', [b'a="x', b"no-store"]),
        (b'a="x\\", no-store', [b'a="x\\"', b"no-store"]),
        (b'a="x\\', [b'a="x\\']),
        (b'a="1,2", b="x, private', [b'a="1,2"', b'b="x', b"private"]),
    ],
)
def test_members_of_a_list(value: bytes, expected: list[bytes]) -> None:
    assert members(value) == expected


def test_no_quoted_string_spans_two_lines() -> None:
    assert members_of([b'a="x', b'no-store, b="y"']) == [b'a="x', b"no-store", b'b="y"']


@given(hostile)
def test_members_lose_nothing_but_separators(value: bytes) -> None:
    found = members(value)
    assert all(member == member.strip(b" \t") != b"" for member in found)
    rest = value
    for member in found:
        before, _, rest = rest.partition(member)
        assert before.strip(b" \t,") == b""
    assert rest.strip(b" \t,") == b""


@pytest.mark.parametrize(
    ("piece", "count"),
    [(b'"', 1), (b'"\\', 1), (b'\\"', 1), (b'a="', 1), (b'","', 1), (b'",', 500_000)],
)
def test_long_hostile_lists_cost_linear_time(piece: bytes, count: int) -> None:
    # Were the time quadratic in these million repetitions, this would not end today.
    assert len(members(piece * 1_000_000)) == count


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a", b"a"),
        (b'"a"', b"a"),
        (b'""', b""),
        (b'"a\\"b\\\\c"', b'a"b\\c'),
        (b'"', b'"'),
        (b"'a'", b"'a'"),
        (b'"a', b'"a'),
    ],
)
def test_unquoted(value: bytes, expected: bytes) -> None:
    assert unquoted(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"60", 60),
        (b"0060", 60),
        (b"0" * 9000 + b"7", 7),
        (b"2147483647", 2**31 - 1),
        # RFC 9111 §1.2.2: what overflows is 2^31
        (b"2147483648", DELTA_MAX),
        (b"2147483649", DELTA_MAX),
        (b"9" * 10_000, DELTA_MAX),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.0", None),
        (b" 1", None),
        (b"1s", None),
        (b"0x1", None),
        ("٣".encode(), None),
        (b"'60'", None),
    ],
)
def test_delta_seconds(value: bytes, expected: int | None) -> None:
    assert delta_seconds(value) == expected


def test_field_names() -> None:
    assert field_names(b"Set-Cookie , x-A") == {b"set-cookie", b"x-a"}
    assert field_names(b"") is None
    assert field_names(b"a b") is None
    assert field_names(b'"a"') is None


def test_tokens() -> None:
    assert is_token(b"no-store")
    assert not is_token(b"")
    assert not is_token(b"a\n")
    assert not is_token(b"a b")


def test_structured_lists() -> None:
    assert structured_list([b'"a";p=1', b'"b"']) == ["a", "b"]
    assert structured_list([b""]) == []
    assert structured_list([b'"a",']) is None
    assert structured_list([b'"\xff"']) is None


def test_structured_dictionaries() -> None:
    assert structured_dictionary([b"a=1;p, b", b"c=?0"]) == {"a": 1, "b": True, "c": False}
    assert structured_dictionary([b""]) == {}
    assert structured_dictionary([b"&&&"]) is None


@given(st.lists(hostile | st.from_regex(rb"@-?[0-9]{1,15}|%\"[a-z%0-9]*\"", fullmatch=True)))
def test_nothing_raises(lines: list[bytes]) -> None:
    structured_list(lines)
    structured_dictionary([b"a=" + line for line in lines])
    for line in lines:
        unquoted(line)
        field_names(line)
        delta = delta_seconds(line)
        assert delta is None or 0 <= delta <= DELTA_MAX
