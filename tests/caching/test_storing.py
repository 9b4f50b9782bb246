"""Which responses may be stored (RFC 9111 §3), and which of their fields (§3.1, §3.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.cache_control import NOTHING, CacheControl, effective
from cachemw.caching.freshness import HEURISTIC_STATUSES, Lifetime
from cachemw.caching.reasons import Reason
from cachemw.caching.storing import (
    freshened,
    is_worth_storing,
    may_store,
    stored_headers,
)
from cachemw.messages import Header, Headers, RequestHead, ResponseHead

AUTHORIZED = ((b"authorization", b"Bearer x"),)


def cc(value: bytes) -> Header:
    return b"cache-control", value


def verdict(
    *headers: Header,
    status: int = 200,
    method: str = "GET",
    request: Headers = (),
    explicit: bool = False,
    shared_credentials: bool = False,
) -> Reason | None:
    return may_store(
        RequestHead(method, "http", b"example.com", b"/", b"", request),
        ResponseHead(status, headers),
        effective(headers),
        explicit=explicit,
        shared_credentials=shared_credentials,
    )


FRESH = cc(b"max-age=60")


def test_the_method_must_be_understood() -> None:
    for method in ("POST", "HEAD", "PUT", "OPTIONS", "get"):
        assert verdict(FRESH, method=method) is Reason.METHOD
    query = RequestHead("QUERY", "http", b"example.com", b"/")
    head = ResponseHead(200, (FRESH,))
    assert may_store(query, head, effective(head.headers), methods=("GET", "QUERY")) is None


@pytest.mark.parametrize(
    "status",
    [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599],
)
def test_any_final_status_with_explicit_freshness(status: int) -> None:
    assert verdict(FRESH, status=status) is None
    assert verdict(cc(b"s-maxage=60"), status=status) is None
    assert verdict((b"expires", b"0"), status=status) is None
    assert verdict(cc(b"public"), status=status) is None
    assert verdict(status=status, explicit=True) is None


PER_REQUEST = [304, 401, 407, 408, 412, 413, 415, 416, 417, 421, 425, 426, 428, 429, 431, 511]


@pytest.mark.parametrize("status", [100, 103, 199, *PER_REQUEST])
def test_an_answer_to_the_request_itself_is_never_stored(status: int) -> None:
    assert verdict(cc(b"public, max-age=60"), status=status, explicit=True) is Reason.PER_REQUEST


def test_partial_content_is_not_stored() -> None:
    """§3.3."""
    assert verdict(FRESH, status=206, explicit=True) is Reason.PARTIAL


@pytest.mark.parametrize("status", [200, 201, 202, 302, 303, 307, 403, 500, 502, 503, 504, 599])
def test_without_explicit_freshness_the_status_decides(status: int) -> None:
    expected = None if status in HEURISTIC_STATUSES else Reason.STATUS
    assert verdict(status=status) is expected
    assert verdict(cc(b"must-revalidate"), status=status) is expected


def test_a_targeted_field_makes_expires_void() -> None:
    """RFC 9213 §2.2."""
    expires = (b"expires", b"Fri, 31 Dec 9999 23:59:59 GMT")
    target = (b"cdn-cache-control", b"none")
    assert verdict(expires, target, status=201) is Reason.STATUS
    assert verdict(cc(b"no-store"), (b"cdn-cache-control", b"max-age=9")) is None
    assert verdict(cc(b"max-age=9"), (b"cdn-cache-control", b"no-store")) is Reason.NO_STORE
    assert verdict(cc(b"max-age=9"), (b"cdn-cache-control", b"private")) is Reason.PRIVATE


@pytest.mark.parametrize(
    "value", [b"no-store", b"No-StOrE", b"max-age=60, no-store", b"no-store=x"]
)
def test_no_store(value: bytes) -> None:
    """§5.2.2.5."""
    assert verdict(cc(value), (b"expires", b"0"), explicit=True) is Reason.NO_STORE


def test_the_statuses_that_are_understood() -> None:
    understood = {
        status
        for status in range(200, 600)
        if verdict(cc(b"public, must-understand"), status=status) is None
    }
    assert understood == {
        *(200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308),
        *(400, 402, 403, 404, 405, 406, 409, 410, 411, 414, 422, 451),
        *(500, 501, 502, 503, 504, 505),
    }


def test_must_understand() -> None:
    """§5.2.2.3: it overrides no-store where the status is understood, else it forbids."""
    value = cc(b"max-age=60, no-store, must-understand")
    assert verdict(value, status=200) is None
    assert verdict(value, status=599) is Reason.MUST_UNDERSTAND
    assert verdict(cc(b"max-age=60, must-understand"), status=299) is Reason.MUST_UNDERSTAND
    assert verdict(cc(b"max-age=60, must-understand"), status=404) is None


@pytest.mark.parametrize(
    "value", [b"private, max-age=60", b"PRIVATE", b'private=""', b'private="x']
)
def test_private(value: bytes) -> None:
    """§5.2.2.7."""
    assert verdict(cc(value), explicit=True) is Reason.PRIVATE


def test_qualified_private_concerns_its_fields_only() -> None:
    headers = (cc(b'private="X-User", max-age=60'), (b"x-user", b"a"), (b"x-other", b"b"))
    assert verdict(*headers) is None
    assert stored_headers(headers, effective(headers)) == (headers[0], headers[2])


def test_authorization() -> None:
    """§3.5."""
    assert verdict(FRESH, request=AUTHORIZED) is Reason.AUTHORIZATION
    assert verdict(FRESH, request=AUTHORIZED, explicit=True) is Reason.AUTHORIZATION
    for value in (b"public", b"must-revalidate, max-age=60", b"s-maxage=60"):
        assert verdict(cc(value), request=AUTHORIZED) is None
    assert verdict(FRESH, request=AUTHORIZED, shared_credentials=True) is None


def test_without_a_word_from_the_policy_the_origin_alone_decides() -> None:
    request = RequestHead("GET", "http", b"example.com", b"/", b"", AUTHORIZED)
    assert may_store(request, ResponseHead(200), NOTHING) is Reason.AUTHORIZATION
    anonymous = RequestHead("GET", "http", b"example.com", b"/")
    assert may_store(anonymous, ResponseHead(201), NOTHING) is Reason.STATUS


@pytest.mark.parametrize("name", [b"set-cookie", b"set-cookie2"])
def test_a_response_that_sets_a_cookie_is_never_stored(name: bytes) -> None:
    headers = (cc(b"public, max-age=60"), (name, b"sid=1"))
    assert verdict(*headers, explicit=True, shared_credentials=True) is Reason.SET_COOKIE
    qualified = (cc(b'max-age=60, no-cache="set-cookie"'), (name, b"sid=1"))
    assert verdict(*qualified) is Reason.SET_COOKIE


@pytest.mark.parametrize("value", [b"*", b"accept, *", b"not a name"])
def test_vary_star(value: bytes) -> None:
    """§4.1."""
    assert verdict(FRESH, (b"vary", value), explicit=True) is Reason.VARY_STAR


def test_what_a_request_says_of_storing_is_not_heard_here() -> None:
    """§5.2.1.5: where clients have a say, their requests were not admitted."""
    assert verdict(FRESH, request=(cc(b"no-store"),)) is None


def test_what_can_never_be_used_is_not_worth_storing() -> None:
    plain = ResponseHead(200, ())
    assert not is_worth_storing(plain, Lifetime(0))
    assert is_worth_storing(plain, Lifetime(1))
    assert is_worth_storing(plain, Lifetime(0, 1))
    assert is_worth_storing(ResponseHead(200, ((b"etag", b'"a"'),)), Lifetime(0))
    assert is_worth_storing(ResponseHead(200, ((b"last-modified", b"x"),)), Lifetime(0))


# --- §3.1: storing fields ---------------------------------------------------------------------


def test_every_field_is_kept_in_order_with_repetitions() -> None:
    headers = (
        (b"x-unheard-of", b"1"),
        (b"link", b"</a>"),
        (b"clear-site-data", b'"cache"'),
        (b"link", b"</b>"),
        (b"content-foo", b""),
        (b"cdn-cache-control", b"max-age=9"),
        (b"cache-status", b"inner; hit"),
    )
    assert stored_headers(headers, NOTHING) == headers


@pytest.mark.parametrize(
    "name",
    [
        # RFC 9110 §7.6.1, RFC 9111 §3.1
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
        *(b"transfer-encoding", b"proxy-authenticate", b"proxy-authentication-info"),
        b"proxy-authorization",
        # of one exchange
        *(b"set-cookie", b"set-cookie2", b"age", b"authentication-info", b"retry-after"),
        *(b"ratelimit", b"ratelimit-policy", b"ratelimit-limit", b"x-ratelimit-limit"),
        *(b"x-rate-limit-reset", b"cachemw-cache-control", b"request-id", b"x-request-id"),
        *(b"x-correlation-id", b"x-trace-id", b"x-amzn-requestid", b"x-amzn-trace-id"),
        *(b"x-amz-request-id", b"x-cloud-trace-context", b"cf-ray", b"traceparent"),
        *(b"tracestate", b"traceresponse", b"server-timing", b"x-process-time"),
        *(b"x-response-time", b"x-runtime"),
    ],
)
def test_some_fields_are_never_kept(name: bytes) -> None:
    headers = ((name, b"x-dummy"), (b"a", b"b"))
    assert stored_headers(headers, NOTHING) == ((b"a", b"b"),)
    assert freshened(((b"a", b"b"),), ((name, b"x-dummy"),), NOTHING) == ((b"a", b"b"),)


def test_fields_that_connection_lists_are_dropped() -> None:
    headers = ((b"connection", b"A , b"), (b"connection", b"d"))
    rest = ((b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4"))
    assert stored_headers(headers + rest, NOTHING) == ((b"c", b"3"),)


def test_fields_that_no_cache_names_are_dropped() -> None:
    """§5.2.2.4."""
    headers = ((b"x-a", b"1"), (b"x-b", b"2"))
    assert stored_headers(headers, CacheControl(no_cache_fields=frozenset({b"x-a"}))) == headers[1:]


# --- §3.2: updating fields --------------------------------------------------------------------


def test_an_update_replaces_all_lines_of_a_field() -> None:
    stored = ((b"x", b"1"), (b"y", b"1"), (b"x", b"2"))
    assert freshened(stored, ((b"x", b"3"), (b"x", b"4"), (b"z", b"5")), NOTHING) == (
        (b"y", b"1"),
        (b"x", b"3"),
        (b"x", b"4"),
        (b"z", b"5"),
    )


def test_fields_that_the_update_omits_stay() -> None:
    stored = ((b"test-header", b"A"), (b"cache-control", b"max-age=1"))
    assert freshened(stored, (), NOTHING) == stored


@pytest.mark.parametrize(
    "name",
    [
        *(b"content-length", b"content-encoding", b"content-type", b"content-range"),
        *(b"content-digest", b"etag"),
    ],
)
def test_what_describes_the_stored_bytes_stays(name: bytes) -> None:
    assert freshened(((name, b"A"),), ((name, b"B"),), NOTHING) == ((name, b"A"),)


@pytest.mark.parametrize(
    "name",
    [
        *(b"test-header", b"content-foo", b"cache-control", b"content-location", b"expires"),
        *(b"content-security-policy", b"x-frame-options", b"date", b"last-modified", b"vary"),
    ],
)
def test_all_else_is_updated(name: bytes) -> None:
    assert freshened(((name, b"A"),), ((name, b"B"),), NOTHING) == ((name, b"B"),)


def test_an_update_that_makes_a_field_private_removes_it() -> None:
    stored, new = ((b"x-user", b"A"), (b"y", b"1")), (cc(b'private="x-user"'), (b"x-user", b"B"))
    assert freshened(stored, new, effective(new)) == ((b"y", b"1"), new[0])


# --- in general -------------------------------------------------------------------------------

headers_of = st.lists(
    st.tuples(
        st.sampled_from(
            [b"cache-control", b"set-cookie", b"vary", b"connection", b"expires", b"etag", b"age"]
        ),
        st.sampled_from([b"*", b"no-store", b"private", b"max-age=9", b"public", b"close, vary"])
        | st.binary(max_size=20),
    ),
    max_size=6,
).map(tuple)


@given(
    headers_of,
    st.integers(100, 599),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from([(), AUTHORIZED, (cc(b"no-store"),)]),
    st.booleans(),
)
def test_what_must_never_be_stored_is_not(
    headers: Headers, status: int, method: str, request: Headers, explicit: bool
) -> None:
    if verdict(*headers, status=status, method=method, request=request, explicit=explicit) is None:
        control = effective(headers)
        assert method == "GET"
        assert status >= 200
        assert status not in (206, 304)
        assert not control.private
        assert not control.no_store or control.must_understand
        assert all(name != b"set-cookie" for name, _ in headers)
        assert (b"vary", b"*") not in headers
        assert request != AUTHORIZED or control.public


@given(headers_of, headers_of)
def test_storing_is_idempotent_and_updates_bring_nothing_forbidden(
    stored: Headers, new: Headers
) -> None:
    kept = stored_headers(stored, NOTHING)
    assert stored_headers(kept, NOTHING) == kept
    updated = freshened(kept, new, effective(new))
    assert stored_headers(updated, NOTHING) == updated
    assert freshened(updated, new, effective(new)) == updated
