"""Vary (RFC 9111 §4.1): what selects a response, and which selections are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.vary import selecting_fields, selection, varies_on_everything
from cachemw.messages import Headers

ACAO = b"access-control-allow-origin"


def vary(*lines: bytes) -> Headers:
    return tuple((b"vary", line) for line in lines)


@pytest.mark.parametrize(
    "lines",
    [
        (b"*",),
        (b"*, *",),
        (b"*", b"*"),
        (b", *",),
        (b"", b"*"),
        (b"*, Foo",),
        (b"Foo, *",),
        (b"foo", b"*"),
        # no list of field names: nobody knows what it varies on
        (b"foo bar",),
        (b'"foo"',),
        (b"foo;q=1",),
        (b"foo\0",),
        (", ".join(f"x-{n}" for n in range(33)).encode(),),
    ],
)
def test_what_varies_on_everything(lines: tuple[bytes, ...]) -> None:
    assert varies_on_everything(vary(*lines))
    assert selecting_fields(vary(*lines)) == (b"*",)


def test_names_are_lower_case_sorted_and_unique() -> None:
    assert selecting_fields(vary(b"Foo, BAR", b" ,foo,Accept ")) == (b"accept", b"bar", b"foo")
    assert selecting_fields(()) == selecting_fields(vary(b"", b" , ")) == ()
    assert not varies_on_everything(())
    assert len(selecting_fields(vary(*(b"x-%d" % n for n in range(32))))) == 32


def test_a_response_for_one_origin_is_selected_by_it() -> None:
    one, any_origin = ((ACAO, b"https://a.example"),), ((ACAO, b"*"),)
    assert selecting_fields(one) == (b"origin",)
    assert selecting_fields((*vary(b"X-A, accept"), *one)) == (b"accept", b"origin", b"x-a")
    assert selecting_fields((*vary(b"Origin"), *one)) == (b"origin",)
    assert selecting_fields(any_origin) == ()
    assert selecting_fields((*any_origin, *one)) == (b"origin",)
    assert selecting_fields((*vary(b"*"), *one)) == (b"*",)


def test_the_bytes() -> None:
    request = ((b"b", b"x"), (b"c", b"y"), (b"b", b"z"))
    assert selection((b"a", b"b"), request) == (b"\0\0\0\1a\0" + b"\0\0\0\1b\1" + b"\0\0\0\4x, z")
    assert selection((), request) == b""
    accept = ((b"accept", b"A/B ; q = 0.5 , c/D;P=Q"),)
    assert selection((b"accept",), accept) == (b"\0\0\0\6accept\1" + b"\0\0\0\x11a/b;q=0.5,c/d;P=Q")


def same(name: bytes, one: list[bytes], other: list[bytes]) -> bool:
    requests = (tuple((name, line) for line in lines) for lines in (one, other))
    first, second = (selection((name,), headers) for headers in requests)
    return first == second


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"foo", [b"1"], [b" 1\t"]),
        (b"foo", [b"1", b"2"], [b"1, 2"]),
        (b"foo", [b" 1", b"2 "], [b"1", b"\t2"]),
        (b"accept-encoding", [b"GZip ; q=1.0,br"], [b"gzip;Q=1.0 , , BR"]),
        (b"accept-encoding", [b"gzip", b"br"], [b"gzip,br"]),
        (b"accept-language", [b"en-GB,de;q=0.5"], [b"EN-gb, de; q = 0.5"]),
        (b"accept-encoding", [b"gzip," * 200], [b"GZIP ," * 200]),
        (b"accept-charset", [b"UTF-8"], [b"utf-8"]),
        (b"accept", [b"Text/HTML , */*;q=0.1"], [b"text/html,*/* ; q=0.1"]),
    ],
)
def test_the_same_selection(name: bytes, one: list[bytes], other: list[bytes]) -> None:
    assert same(name, one, other)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"foo", [], [b""]),  # absent matches only absent
        (b"foo", [b"1"], [b"2"]),
        (b"foo", [b"a"], [b"A"]),
        (b"foo", [b"1,2"], [b"1, 2"]),  # of an unknown syntax no whitespace is known to be idle
        (b"foo", [b"1", b"2"], [b"2", b"1"]),
        (b"accept-language", [b"en,de"], [b"de,en"]),  # order breaks ties for many
        (b"accept-language", [], [b""]),
        (b"accept", [b"a/b;p=X"], [b"a/b;p=x"]),
        (b"accept", [b'a/b;p="x ; y"'], [b'a/b;p="x;y"']),
        (b"accept-encoding", [b"gzip"], [b"gzip;q=0"]),
    ],
)
def test_other_selections(name: bytes, one: list[bytes], other: list[bytes]) -> None:
    assert not same(name, one, other)


@pytest.mark.parametrize("piece", [b" ", b";", b" =\t", b","])
def test_long_hostile_values_cost_linear_time(piece: bytes) -> None:
    # Were the time quadratic in these million repetitions, this would not end today.
    assert same(b"accept", [b"a" + piece * 1_000_000 + b"b"], [b"A" + piece * 1_000_000 + b"b"])


fields = st.sampled_from([b"a", b"b", b"ab", b"accept", b"accept-encoding"])
texts = st.binary(max_size=8) | st.text("a,; =\t", max_size=8).map(str.encode)
requests = st.lists(st.tuples(fields, texts), max_size=5).map(tuple)


@given(requests, requests)
def test_no_field_can_pass_for_another(one: Headers, other: Headers) -> None:
    """Equal material means equal values, field by field: lengths stand before the contents."""
    names = (b"a", b"ab", b"b")
    if selection(names, one) == selection(names, other):
        for name in names:
            assert selection((name,), one) == selection((name,), other)


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_nothing_raises_and_names_are_names(lines: list[bytes]) -> None:
    found = selecting_fields(vary(*lines))
    assert found == (b"*",) or all(name == name.lower() for name in found)
    selection(found, vary(*lines))


def test_a_star_hides_nowhere() -> None:
    assert varies_on_everything(vary(b'"', b"*"))
