"""A policy is checked when it is written; what it says wrongly is named with the fix."""

import copy
from datetime import timedelta
from typing import Any, get_type_hints

import pytest
from starlette.requests import HTTPConnection

from cachemw.caching.options import CookieInput, HeaderInput, PolicyOptions, cookie, header
from cachemw.caching.policy import PRESETS, CachePolicy
from cachemw.errors import ConfigurationError
from cachemw.messages import ResponseHead

OK = ResponseHead(200)


async def guard(connection: HTTPConnection) -> bool:
    return True


class Guard:
    async def __call__(self, connection: HTTPConnection) -> bool:
        return True


async def tenant_later(connection: object) -> str:
    return "acme"


def tenant(connection: HTTPConnection) -> str:
    return "acme"


def test_the_defaults_are_the_safe_ones() -> None:
    policy = CachePolicy()
    assert policy.lifetime(OK) is None
    assert policy.credentials == "bypass"
    assert policy.browser_ttl is None
    assert policy.methods == {"GET", "HEAD"}
    assert policy.max_body == 2 * 1024 * 1024
    assert not policy.force


def test_every_option_can_be_written_and_every_field_has_one() -> None:
    assert set(get_type_hints(PolicyOptions)) == set(CachePolicy.model_fields)


@pytest.mark.parametrize("written", ["1h30m", 5400, 5400.0, timedelta(minutes=90), "5400"])
def test_durations_are_seconds_inside(written: Any) -> None:
    assert CachePolicy(ttl=written, stale_if_error=written).ttl == 5400
    assert CachePolicy(stale_if_error=written).stale_if_error == 5400


def test_the_lifetime_may_depend_on_the_response() -> None:
    policy = CachePolicy(
        ttl=lambda head: None if head.status == 203 else "2m",
        ttl_by_status={404: "10s", "410": 5},  # type: ignore[dict-item]
    )
    assert [policy.lifetime(ResponseHead(status)) for status in (200, 203, 404, 410)] == [
        120,
        None,
        10,
        5,
    ]
    assert policy.ttl_by_status == ((404, 10), (410, 5))
    assert CachePolicy(ttl_by_status=policy.ttl_by_status).ttl_by_status == policy.ttl_by_status  # type: ignore[arg-type]


def test_a_policy_is_a_value() -> None:
    policy = CachePolicy(ttl="5m", ttl_by_status={404: 1}, vary_by=["Accept-Language", tenant])
    assert hash(policy) == hash(copy.deepcopy(policy)) and policy == copy.deepcopy(policy)
    with pytest.raises(ValueError, match="frozen"):
        policy.ttl = 3


def test_ways_to_compress() -> None:
    ways = (None, False, True, "zlib", "zstd")
    compressed = [CachePolicy(compress=way).compress for way in ways]  # type: ignore[arg-type]
    assert compressed == [None, None, "zlib", "zlib", "zstd"]


def test_methods() -> None:
    assert CachePolicy(methods="get").methods == {"GET", "HEAD"}
    assert CachePolicy(methods=["QUERY", "post"]).methods == {"QUERY", "POST"}
    assert CachePolicy(methods=[]).methods == set()


def test_what_a_key_covers() -> None:
    policy = CachePolicy(
        vary_by=["Accept-Language", "cookie:theme", cookie("x"), header("A"), "a", tenant]
    )
    assert policy.vary_by == (
        HeaderInput("accept-language"),
        CookieInput("theme"),
        CookieInput("x"),
        HeaderInput("a"),
        tenant,
    )
    assert policy.header_names == ("accept-language", "a")
    assert policy.cookie_names == {"theme", "x"}
    assert policy.identities == (tenant,)
    assert CachePolicy(vary_by=tenant).identities == (tenant,)
    assert CachePolicy(vary_by="Accept").header_names == ("accept",)


def test_which_parameters_count() -> None:
    assert CachePolicy().keeps_query("any")
    only = CachePolicy(query="page")
    assert only.keeps_query("page") and not only.keeps_query("utm")
    assert not CachePolicy(query=[]).keeps_query("page")
    ignoring = CachePolicy(ignore_query=["utm_*", "ref"])
    assert [ignoring.keeps_query(name) for name in ("utm_x", "utm_", "utm", "ref", "refs")] == [
        False,
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("written", "age"),
    [(None, None), (False, None), (True, 90), (0.5, 50), ("30s", 70), (1, 99), (timedelta(1), 0)],
)
def test_a_refresh_ahead_begins_at_a_share_or_so_long_before(written: Any, age: Any) -> None:
    assert CachePolicy(refresh_ahead=written).refresh_age(100) == age


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tll": "5m"}, "CachePolicy: unknown option 'tll': did you mean 'ttl'?"),
        ({"zzz": 1}, "unknown option 'zzz': choose among ttl, force, "),
        ({"ttl": "5 parsecs"}, "ttl: '5 parsecs' is not a duration: write it like"),
        ({"ttl": -1}, "ttl: -1 is not a duration"),
        ({"ttl": True}, "ttl: True is not a duration"),
        ({"jitter": 1}, "jitter: Input should be less than 1"),
        (
            {"max_variants": 0, "jitter": -1},
            "max_variants: Input should be greater than or equal to 1",
        ),
        ({"max_variants": 0, "jitter": -1}, "jitter: Input should be greater than or equal to 0; "),
        ({"ttl": 2**31 + 1}, "ttl: 2147483649 is not a duration: 68 years"),
        ({"ttl": tenant_later}, "ttl: an async function cannot give it"),
        ({"ttl_by_status": {99: 1}}, "ttl_by_status: 99 is no status: write {404: '10s'}"),
        ({"ttl_by_status": {600: 1}}, "600 is no status"),
        ({"ttl_by_status": {"4xx": 1}}, "'4xx' is no status"),
        ({"ttl_by_status": {103: 1}}, "103 is not final, and passed on as it comes: leave it out"),
        ({"ttl_by_status": {206: 1}}, "206 is a part, and never kept: give 200 this lifetime"),
        ({"ttl_by_status": {304: 1}}, "304 renews what is kept: give 200 this lifetime"),
        ({"ttl_by_status": {401: 1}}, "401 answers one request only, and is never kept"),
        ({"ttl_by_status": {429: 1}}, "429 answers one request only, and is never kept"),
        ({"ttl_by_status": {404: 1, "404": 2}}, "404 is named twice"),
        ({"ttl_by_status": {404: "x"}}, "ttl_by_status: 'x' is not a duration"),
        ({"ttl_by_status": 404}, "ttl_by_status: 404 must map statuses to durations"),
        ({"compress": "brotli"}, "compress: 'brotli' is no compression: choose 'zlib' or 'zstd'"),
        ({"serve": False}, "serve=False compares what would be served"),
        ({"methods": ["GET", "PUT"]}, "methods: PUT is not cacheable: choose among"),
        ({"vary_by": 3}, "vary_by: 3 is nothing to vary by: name a header"),
        ({"vary_by": "a b"}, "'a b' is no header name"),
        ({"vary_by": "cookie:a b"}, "'a b' is no cookie name"),
        ({"vary_by": "Cookie"}, "say credentials='identity', or name one cookie"),
        ({"credentials": "shard"}, "credentials: Input should be 'bypass', 'strip', 'identity'"),
        ({"credentials": "shared"}, "credentials='shared' gives one user's page to the next"),
        ({"credentials": "shared", "guard": tenant}, "must be an async function of the request"),
        ({"guard": guard}, "guard needs credentials='shared'"),
        ({"identity": tenant}, "identity needs credentials='identity'"),
        ({"identity": 3, "credentials": "identity"}, "3 must be a function of the request"),
        ({"force": True}, "force=True needs a ttl"),
        ({"query": ["a"], "ignore_query": ["b"]}, "query and ignore_query exclude each other"),
        ({"ttl": 1, "soft_timeout": "1s"}, "give stale_while_revalidate or stale_if_error"),
        ({"max_body": "2 apples"}, "max_body: '2 apples' is not a size"),
        ({"max_body": 0}, "max_body: Input should be greater than 0"),
        ({"max_variants": 0}, "max_variants: Input should be greater than or equal to 1"),
        ({"namespace": ""}, "namespace: String should have at least 1 character"),
        ({"tags": ["p:{id"]}, "tag 'p:{id' has a brace without its partner"),
        ({"tags": 3}, "tags: Input should be a valid tuple"),
        ({"tags": "{query.b}", "query": "a"}, "a tag uses {query.b}, which is no part of the key"),
        ({"tags": "{query.b}", "ignore_query": "b"}, "a tag uses {query.b}"),
        ({"tags": "{header.a}"}, "a tag uses {header.a}, which is no part of the key"),
        ({"tags": "u:{identity}"}, "a tag uses {identity}, which is no part of the key"),
    ],
)
def test_a_wrong_option_is_named_with_its_fix(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CachePolicy(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"stale_while_revalidate": "1h"},
        {"soft_timeout": "1s"},
        {"ttl": 1, "soft_timeout": "1s", "stale_if_error": 5},
        {"credentials": "shared", "guard": guard},
        {"credentials": "shared", "guard": Guard()},
        {"credentials": "identity", "identity": tenant, "tags": "u:{identity}"},
        {"vary_by": tenant, "tags": "t:{identity}"},
        {"vary_by": "X-Shop", "tags": "{header.x-shop}"},
        {"query": "a", "tags": ["{query.a}", "p:{id}"]},
        {"force": True, "ttl": 1},
    ],
)
def test_what_agrees_with_itself_is_accepted(options: dict[str, Any]) -> None:
    assert CachePolicy(**options)


def test_presets() -> None:
    lifetimes = {name: CachePolicy.preset(name).ttl for name in PRESETS}  # type: ignore[arg-type]
    assert lifetimes == {"static": 86400, "docs": 21600, "user": 3600, "realtime": 60}
    assert CachePolicy.preset("user").credentials == "identity"
    docs = CachePolicy.preset("docs", ttl="1m", tags="x")
    assert (docs.ttl, docs.stale_while_revalidate, docs.tags) == (60, 86400, ("x",))
    with pytest.raises(ConfigurationError, match="no preset 'statics': did you mean 'static'"):
        CachePolicy.preset("statics")  # type: ignore[arg-type]


def test_a_policy_describes_itself_in_a_line() -> None:
    assert CachePolicy().describe() == "ttl as the origin says; credentials bypass"
    assert CachePolicy(methods=[], ttl=lambda head: 1).describe() == (
        "ttl as its rule says; off; credentials bypass"
    )
    assert CachePolicy(
        ttl="5m",
        force=True,
        stale_while_revalidate="1h",
        browser_ttl="1m",
        refresh_ahead=True,
        ttl_by_status={404: "10s"},
        methods=["GET", "POST"],
        query=[],
        vary_by=["Accept", "cookie:theme", tenant],
        tags=["p:{id}"],
        namespace="shop",
    ).describe() == (
        "ttl 5m (forced); stale_while_revalidate 1h; browser_ttl 1m; refreshed ahead; 404 10s; "
        "methods GET,HEAD,POST; query none; varies by accept,cookie:theme,tenant; "
        "credentials bypass; tags p:{id}; namespace shop"
    )
    assert "query a,b" in CachePolicy(query=["a", "b"]).describe()
    assert "ignores query utm_*" in CachePolicy(ignore_query="utm_*").describe()
