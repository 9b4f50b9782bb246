"""Parts of a stored response (RFC 9110 §14), for a body of ten bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.dates import format_date
from cachemw.caching.ranges import (
    WHOLE,
    Partial,
    Plan,
    Span,
    Unsatisfiable,
    partial,
    plan,
    unsatisfiable,
)
from cachemw.messages import Headers, RequestHead, ResponseHead

NOW = 1_800_000_000
BODY = b"0123456789"
TAG = (b"etag", b'"a"')


def planned(
    *lines: bytes,
    if_range: bytes | None = None,
    stored: Headers = (TAG,),
    method: str = "GET",
    status: int = 200,
    length: int = 10,
) -> Plan:
    headers = tuple((b"range", line) for line in lines)
    if if_range is not None:
        headers += ((b"if-range", if_range),)
    request = RequestHead(method, "http", b"example.com", b"/", b"", headers)
    return plan(request, ResponseHead(status, stored), length, received=NOW)


def spans(*pairs: tuple[int, int]) -> Partial:
    return Partial(tuple(Span(*pair) for pair in pairs))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-0", spans((0, 0))),
        (b"bytes=0-4", spans((0, 4))),
        (b"bytes=5-", spans((5, 9))),
        (b"bytes=0-", spans((0, 9))),
        (b"bytes=-3", spans((7, 9))),
        (b"bytes=-100", spans((0, 9))),
        (b"bytes=8-100", spans((8, 9))),
        (b"bytes=9-9", spans((9, 9))),
        (b"bytes=007-008", spans((7, 8))),
        (b"Bytes=0-1", spans((0, 1))),  # §14.1: range units are case-insensitive
        (b"bytes= 0-1 , ,\t3-4", spans((0, 1), (3, 4))),
        (b"bytes=8-9, 0-1", spans((8, 9), (0, 1))),
        (b"bytes=0-1, 50-60", spans((0, 1))),
        # §15.3.7.2: overlapping ranges may be coalesced
        (b"bytes=0-5, 3-8", spans((0, 8))),
        (b"bytes=0-8, 3-5", spans((0, 8))),
        (b"bytes=8-9, 3-5, 0-4", spans((8, 9), (0, 5))),
        (b"bytes=3-5, 8-9, 0-4", spans((0, 5), (8, 9))),
        (b"bytes=0-, -5, 2-3", spans((0, 9))),
        (b"bytes=0-1, 2-3", spans((0, 1), (2, 3))),
        # §15.5.17
        (b"bytes=10-", Unsatisfiable()),
        (b"bytes=10-20, 30-", Unsatisfiable()),
        (b"bytes=-0", Unsatisfiable()),
        (b"bytes=999999999999999999-", Unsatisfiable()),
        # malformed or unknown: ignored (§14.2)
        (b"", WHOLE),
        (b"bytes", WHOLE),
        (b"bytes=", WHOLE),
        (b"bytes=,", WHOLE),
        (b"bytes=-", WHOLE),
        (b"bytes=5-4", WHOLE),
        (b"bytes=0-1, 5-4", WHOLE),
        (b"bytes=a-b", WHOLE),
        (b"bytes=0 - 1", WHOLE),
        (b"bytes=0-1;x", WHOLE),
        (b"bytes=--1", WHOLE),
        (b"bytes=+1-2", WHOLE),
        (b"bytes 0-1", WHOLE),
        (b"bytes =0-1", WHOLE),
        (b"items=0-1", WHOLE),
        (b"bytes=" + b"9" * 10_000 + b"-", WHOLE),
        (b"bytes=0-" + b"9" * 19, WHOLE),
        # greedy: ignored
        (b"bytes=" + b"0-0," * 16, spans((0, 0))),
        (b"bytes=" + b"0-0," * 17, WHOLE),
        (b"bytes=" + b"," * 31 + b"0-1", spans((0, 1))),
        (b"bytes=" + b"," * 32 + b"0-1", WHOLE),
        (b"bytes=" + b"," * 100_000, WHOLE),
    ],
)
def test_ranges(value: bytes, expected: Plan) -> None:
    assert planned(value) == expected


def test_what_is_never_ranged() -> None:
    assert planned() == WHOLE
    assert planned(b"bytes=0-1", b"bytes=2-3") == WHOLE
    assert planned(b"bytes=0-1", method="HEAD") == WHOLE  # §14.2: GET only
    assert planned(b"bytes=0-1", status=404) == WHOLE
    assert planned(b"bytes=0-1", length=0) == WHOLE
    assert planned(b"bytes=5-", length=0) == WHOLE


@pytest.mark.parametrize(
    ("condition", "stored", "holds"),
    [  # §13.1.5
        (b'"a"', b'"a"', True),
        (b' "a" ', b'"a"', True),
        (b'"b"', b'"a"', False),
        (b'W/"a"', b'W/"a"', False),  # strong comparison
        (b'"a"', b'W/"a"', False),
        (b'"a", "b"', b'"a"', False),
        (b"*", b'"a"', False),
        (b"a", b'"a"', False),
        (b"", b'"a"', False),
        (b'"a"', b"a", False),
    ],
)
def test_if_range_by_tag(condition: bytes, stored: bytes, holds: bool) -> None:
    found = planned(b"bytes=0-1", if_range=condition, stored=((b"etag", stored),))
    assert found == (spans((0, 1)) if holds else WHOLE)


@pytest.mark.parametrize(
    ("since", "modified", "generated", "holds"),
    [
        (-100, -100, 0, True),
        (-100, -100, -99, True),
        (-100, -100, -100, False),  # §8.8.2.2: it may have changed within the second
        (-99, -100, 0, False),  # exact match, not "not later"
        (-101, -100, 0, False),
        (-100, -100, None, True),
        (0, 0, None, False),
        (-100, None, 0, False),
    ],
)
def test_if_range_by_date(
    since: int, modified: int | None, generated: int | None, holds: bool
) -> None:
    offsets = ((b"last-modified", modified), (b"date", generated))
    stored = tuple(
        (name, format_date(NOW + offset)) for name, offset in offsets if offset is not None
    )
    found = planned(b"bytes=0-1", if_range=format_date(NOW + since), stored=stored)
    assert found == (spans((0, 1)) if holds else WHOLE)


def test_if_range_by_what_is_no_date() -> None:
    assert planned(b"bytes=0-1", if_range=b"x", stored=((b"last-modified", b"x"),)) == WHOLE


def test_two_if_ranges_hold_never() -> None:
    headers = ((b"range", b"bytes=0-1"), (b"if-range", b'"a"'), (b"if-range", b'"a"'))
    request = RequestHead("GET", "http", b"example.com", b"/", b"", headers)
    assert plan(request, ResponseHead(200, (TAG,)), 10, received=NOW) == WHOLE


HEAD = ResponseHead(
    200,
    (
        (b"content-type", b"text/plain"),
        (b"content-length", b"10"),
        (b"content-range", b"bytes 0-9/10"),
        TAG,
        (b"vary", b"accept"),
    ),
)


def test_one_part() -> None:
    head, content = partial(HEAD, BODY, [Span(2, 4)], b"sep")
    assert head == ResponseHead(
        206,
        (
            (b"content-type", b"text/plain"),
            TAG,
            (b"vary", b"accept"),
            (b"content-range", b"bytes 2-4/10"),
            (b"content-length", b"3"),
        ),
    )
    assert content == b"234"


def test_several_parts() -> None:
    head, content = partial(HEAD, BODY, [Span(8, 9), Span(0, 0)], b"sep")
    assert content == (
        b"--sep\r\ncontent-type: text/plain\r\ncontent-range: bytes 8-9/10\r\n\r\n89\r\n"
        b"--sep\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-0/10\r\n\r\n0\r\n"
        b"--sep--\r\n"
    )
    assert head == ResponseHead(
        206,
        (
            TAG,
            (b"vary", b"accept"),
            (b"content-type", b"multipart/byteranges; boundary=sep"),
            (b"content-length", b"%d" % len(content)),
        ),
    )


def test_several_parts_of_an_untyped_body() -> None:
    _, content = partial(ResponseHead(200), BODY, [Span(8, 9), Span(0, 0)], b"sep")
    assert content.startswith(b"--sep\r\ncontent-range: bytes 8-9/10\r\n\r\n89\r\n--sep")


def test_416() -> None:
    assert unsatisfiable(10) == ResponseHead(
        416, ((b"content-range", b"bytes */10"), (b"content-length", b"0"))
    )


numbers = st.none() | st.integers(0, 30)


@given(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20),
    st.integers(0, 25),
)
def test_the_parts_are_exactly_what_was_asked_for(
    asked: list[tuple[int | None, int | None]], length: int
) -> None:
    texts = [f"{'' if a is None else a}-{'' if b is None else b}" for a, b in asked]
    found = planned(("bytes=" + ",".join(texts)).encode(), length=length)
    wanted: set[int] = set()
    for first, last in asked:
        if first is not None:
            wanted |= set(range(first, length if last is None else last + 1))
        elif last is not None:
            wanted |= set(range(max(0, length - last), length))
    wanted &= set(range(length))
    if isinstance(found, Partial):
        sent = [i for first, last in found.spans for i in range(first, last + 1)]
        assert len(sent) == len(set(sent)) <= length  # never more than the body
        assert set(sent) == wanted
    elif isinstance(found, Unsatisfiable):
        assert not wanted


@given(st.binary(max_size=60) | st.text("bytes=0123456789-, ", max_size=40).map(str.encode))
def test_nothing_raises(value: bytes) -> None:
    found = planned(value, if_range=value[:20] or None)
    found = planned(b"bytes=" + value)
    if isinstance(found, Partial):
        head, content = partial(HEAD, BODY, found.spans, b"sep")
        assert (b"content-length", b"%d" % len(content)) in head.headers
