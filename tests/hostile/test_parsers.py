"""Every parser of what comes from outside, on anything at all: a value or its own kind of no.

`corpus/` holds one input a file: what has once been of interest is tried first, every time.
CACHEMW_FUZZ is how many others each parser is to be tried on.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.caching import (
    cache_control,
    credentials,
    data,
    dates,
    entry,
    etags,
    fields,
    groups,
    invalidation,
    ranges,
    stamps,
    vary,
)
from cachemw.caching.policy import CachePolicy
from cachemw.clientip import parse_address
from cachemw.durations import seconds
from cachemw.errors import ConfigurationError, UnreadableEntry
from cachemw.messages import RequestHead, ResponseHead
from cachemw.ratelimit.limits import parse_limit
from cachemw.sessions import record
from cachemw.sizes import size
from cachemw.stores import open_store
from cachemw.testing.framing import Framer

CORPUS = sorted(Path(__file__).with_name("corpus").glob("*.bin"))
WORDS = [
    *(b"max-age=", b"s-maxage=1", b"no-cache", b'"', b"\\", b",", b";", b"=", b" ", b"\t", b"W/"),
    *(b"bytes=", b"-", b"0", b"99999999999999999999", b"*", b"Sun, 06 Nov 1994 08:49:37 GMT"),
    *(b"\x00", b"\xff", b"\r\n", b"(", b":", b"@", b"%00", b"1E", b"\x93", b"\xc7", b"id=", b"["),
]
ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join),
    st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=4)), max_size=20).map(b"".join),
)
POLICY = CachePolicy(ttl=60, vary_by=["cookie:theme"])


def _request(raw: bytes) -> RequestHead:
    headers = ((b"range", raw), (b"if-range", raw), (b"cookie", raw), (b"if-none-match", raw))
    return RequestHead("GET", "http", b"host", b"/" + raw, raw, headers)


def _response(raw: bytes) -> ResponseHead:
    names = (b"location", b"etag", b"last-modified", b"vary", b"cache-groups", b"cache-control")
    return ResponseHead(200, tuple((name, raw) for name in names))


def _text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda raw: parse(raw.decode("latin-1"))


PARSERS: dict[str, tuple[Callable[[bytes], Any], tuple[type[Exception], ...]]] = {
    "cache-control": (lambda raw: cache_control.parse([raw, raw]), ()),
    "targeted": (lambda raw: cache_control.parse_targeted([raw]), ()),
    "date": (lambda raw: dates.parse_date(raw, now=1e9), ()),
    "etags": (lambda raw: etags.tags([raw]), ()),
    "members": (fields.members, ()),
    "seconds of a field": (fields.delta_seconds, ()),
    "field names": (fields.field_names, ()),
    "structured list": (lambda raw: fields.structured_list([raw]), ()),
    "structured dictionary": (lambda raw: fields.structured_dictionary([raw]), ()),
    "groups": (lambda raw: groups.groups_of(_response(raw).headers), ()),
    "vary": (lambda raw: vary.selecting_fields(_response(raw).headers), ()),
    "range": (lambda raw: ranges.plan(_request(raw), _response(raw), 100, received=1e9), ()),
    "location": (
        lambda raw: invalidation.targets_to_invalidate(
            RequestHead("POST", "http", b"host", b"/", b"", ()), _response(raw)
        ),
        (),
    ),
    "cookies": (lambda raw: credentials.cookies_named(_request(raw).headers, POLICY), ()),
    "credentials": (lambda raw: credentials.has_credentials(_request(raw).headers, POLICY), ()),
    "entry": (entry.unpack, (UnreadableEntry,)),
    "beginning of an entry": (entry.unpack_beginning, (UnreadableEntry,)),
    "value": (data.unpack, (UnreadableEntry,)),
    "stamp": (stamps.read_stamp, ()),
    "session": (
        lambda raw: record.unpack(0, [b"@", raw, b"=k", raw], None),
        (UnreadableEntry,),
    ),
    "value of a session": (record.parse, (ValueError,)),
    "address": (_text(parse_address), ()),
    "duration": (_text(seconds), (ConfigurationError,)),
    "size": (_text(size), (ConfigurationError,)),
    "limit": (_text(parse_limit), (ConfigurationError,)),
    "url of a store": (_text(lambda text: _opened(text)), (ConfigurationError,)),
    "resp": (lambda raw: Framer().feed(raw), (ValueError,)),
}


def _opened(text: str) -> None:
    if not text.startswith("embedded"):  # it would start a server
        open_store(text)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=50, deadline=None)
@given(raw=ANYTHING)
def test_anything_is_read_or_refused(name: str, raw: bytes) -> None:
    _try(name, raw)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=int(os.environ.get("CACHEMW_FUZZ", "1000")), deadline=None)
@given(raw=ANYTHING)
def test_a_great_many_things_are_read_or_refused(name: str, raw: bytes) -> None:
    _try(name, raw)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus_is_read_or_refused(name: str, path: Path) -> None:
    _try(name, path.read_bytes())


def _try(name: str, raw: bytes) -> None:
    parse, own = PARSERS[name]
    try:
        parse(raw)
    except own:
        pass
    except RecursionError:
        raise AssertionError(f"{name} can be driven into the ground") from None


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 10 and re.fullmatch(r"[a-z0-9-]+", CORPUS[0].stem)
