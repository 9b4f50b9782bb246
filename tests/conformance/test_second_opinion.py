"""Our rules beside those of an independent implementation, hishel, on random heads.

Where the two differ on purpose or by a known mistake of the other, it is written here, as a
condition, with the section that decides. Everything else must agree.
"""

import time
import uuid
from email.utils import formatdate

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cachemw.caching.cache_control import effective, requested
from cachemw.caching.entry import Entry
from cachemw.caching.freshness import initial_age, lifetime_of
from cachemw.caching.judging import Keep, entry_header
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.rules import Found, Hit, decide
from cachemw.caching.storing import PER_REQUEST_STATUSES, may_store
from cachemw.messages import Header, Headers, RequestHead, ResponseHead

theirs = pytest.importorskip("hishel._core._spec")
models = pytest.importorskip("hishel._core.models")
TheirHeaders = pytest.importorskip("hishel._core._headers").Headers

LIFETIMES = (0, 1000, 5000)
AGES = (0, 300, 3000, 9000)

directives = st.lists(
    st.sampled_from(
        [
            *("no-store", "no-cache", "private", "public", "must-revalidate", "x-other=1"),
            *(f"max-age={seconds}" for seconds in LIFETIMES),
            *(f"s-maxage={seconds}" for seconds in LIFETIMES),
        ]
    ),
    max_size=4,
    unique_by=lambda directive: directive.partition("=")[0],
)
statuses = st.sampled_from([200, 203, 204, 206, 301, 302, 304, 307, 404, 410, 500, 503, 103])


@st.composite
def responses(draw: st.DrawFn) -> ResponseHead:
    """A head in one of the many spellings that mean the same."""
    now, fields = time.time(), list[Header]()
    said = draw(directives)
    if said:
        spelt = [word.upper() if draw(st.booleans()) else word for word in said]
        comma = draw(st.sampled_from([",", ", ", " , "]))
        fields.append((b"cache-control", comma.join(spelt).encode()))
    age = draw(st.sampled_from(AGES))
    fields.append((b"date", formatdate(now - age, usegmt=True).encode()))
    if draw(st.booleans()):
        offset = draw(st.sampled_from([-5000, 1000, 5000]))
        fields.append((b"expires", formatdate(now - age + offset, usegmt=True).encode()))
    return ResponseHead(draw(statuses), tuple(fields))


def headers_for_them(headers: Headers) -> object:
    return TheirHeaders({name.decode(): value.decode() for name, value in headers})


def asked(*fields: Header) -> tuple[RequestHead, object]:
    request = RequestHead("GET", "https", b"example.com", b"/", b"", tuple(fields))
    return request, models.Request("GET", "https://example.com/", headers_for_them(tuple(fields)))


def response_for_them(response: ResponseHead) -> object:
    return models.Response(response.status, headers_for_them(response.headers))


@settings(max_examples=400, deadline=None)
@given(responses(), st.booleans())
def test_whether_a_response_may_be_stored(response: ResponseHead, authorized: bool) -> None:
    ours, other = asked(*([(b"authorization", b"x")] if authorized else []))
    reason = may_store(ours, response, effective(response.headers))
    options = theirs.CacheOptions(shared=True, supported_methods=["GET"], allow_stale=False)
    state = theirs.CacheMiss(request=other, options=options).next(response_for_them(response))
    # Ours alone: what answers one request is never stored, whatever it says. §3 would allow it.
    assume(response.status not in PER_REQUEST_STATUSES or response.status == 304)
    assert (reason is None) == isinstance(state, theirs.StoreAndUse), reason


@settings(max_examples=400, deadline=None)
@given(responses())
def test_how_long_it_is_fresh(response: ResponseHead) -> None:
    cc = effective(response.headers)
    # Theirs asks for no-cache elsewhere, and has a negative lifetime for an Expires in the past.
    assume(not cc.no_cache)
    own = lifetime_of(response, cc, received=time.time()).fresh
    other = theirs.get_freshness_lifetime(response_for_them(response), is_cache_shared=True)
    assert own == max(0, other or 0)


@settings(max_examples=400, deadline=None)
@given(
    responses(),
    st.sampled_from([None, b"no-cache", b"x-other"]),
    st.sampled_from([(b"x", b"1"), (b"x", b"2"), (b"y", b"1")]),
)
def test_whether_it_may_be_reused(
    response: ResponseHead, wish: bytes | None, field: Header
) -> None:
    """As it is, without a word to the app, some time after it came."""
    now = time.time()
    fields = [] if wish is None else [(b"cache-control", wish)]
    ours, other = asked(field, *fields)
    _, first = asked((b"x", b"1"))
    told = ResponseHead(200, (*response.headers, (b"vary", b"X")))
    options = theirs.CacheOptions(shared=True, supported_methods=["GET"], allow_stale=False)
    stored = models.Entry(id=uuid.uuid4(), request=first, response=response_for_them(told))
    state = theirs.IdleClient(options=options).next(other, [stored])

    cc, age = effective(told.headers), initial_age(told.headers, asked=now, received=now)
    keep = Keep(told.headers, lifetime_of(told, cc, received=now), age, (b"x",))
    at = int(now * 1e6)
    header = entry_header(keep, 200, born=at, received=at, tags=(), has_own_etag=True)
    entry = Entry(header, b"") if field == (b"x", b"1") else None  # another variant, another key
    found = Found(entry, detail=None if entry else Reason.UNCACHEABLE)
    decision = decide(found, requested(ours.headers), CachePolicy(), now=at, luck=1.0)
    assert isinstance(decision, Hit) == isinstance(state, theirs.FromCache)
