"""What keys, variants, hosts and purges of URLs once got wrong."""

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Scope

from cachemw import Cache, CacheMiddleware, CachePolicy, MemoryStore, purges
from cachemw.asgi import head_of
from cachemw.caching.credentials import credential_in, for_everybody
from cachemw.caching.keys import canonical_path
from cachemw.testing.client import Client
from cachemw.testing.gate import Gate
from tests.caching.caches import FRESH, Cached, cached

pytestmark = pytest.mark.anyio


def purger(cache: Cached) -> Cache:
    assert cache.store is not None
    return Cache(cache.store)


async def test_a_purge_of_a_path_reaches_the_first_fill_of_a_host() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers_once(gate, "old", headers=FRESH)
    cache.origin.answers("new", headers=FRESH)
    asking = cache.start("GET", "/a")
    await gate.reached()
    await purger(cache).purge(url="/a")
    cache.clock.advance("1s")
    gate.open()
    assert (await asking.response()).body == b"old"
    assert (await cache.get("/a")).body == b"new"


@pytest.mark.parametrize("field", ["cookie", "x-forwarded-proto", "authorization"])
async def test_what_the_app_is_not_shown_selects_nothing(field: str) -> None:
    cache = cached(credentials="strip")
    cache.origin.answers("x", headers={**FRESH, "vary": field})
    for number in range(3):
        response = await cache.get("/", headers={field: f"a={number}"})
    assert (response.cache, cache.origin.calls) == ("hit", 1)


async def test_made_up_variants_do_not_keep_a_real_one_out() -> None:
    cache = cached(max_variants=4)
    cache.origin.answers("x", headers={**FRESH, "vary": "accept-language"})
    for number in range(4):
        await cache.get("/", headers={"accept-language": f"x{number}"})
    await cache.get("/", headers={"accept-language": "en"})
    assert (await cache.get("/", headers={"accept-language": "en"})).cache == "hit"


async def test_users_are_not_counted_as_variants() -> None:
    cache = cached(max_variants=2, credentials="identity")
    cache.origin.answers("x", headers=FRESH)
    users = [{"authorization": f"user {number}"} for number in range(5)]
    for user in users:
        await cache.get("/", headers=user)
    assert {(await cache.get("/", headers=user)).cache for user in users} == {"hit"}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        *((name, True) for name in ("x-authorization", "x-jwt", "jwt", "x-vault-token", "auth")),
        *((name, True) for name in ("x-secret", "x-session-key", "session", "x-username")),
        *((name, True) for name in ("x-endpoint-api-userinfo", "my-api-key", "x_user_name")),
        *((name, False) for name in ("user-agent", "x-original-user-agent", "sec-fetch-user")),
        *((name, False) for name in ("authority", "idempotency-key", "x-appengine-user-ip")),
        *((name, False) for name in ("accept", "x-request-id", "sec-websocket-key", "monkey")),
    ],
)
def test_credentials_are_known_by_the_words_in_their_names(field: str, expected: bool) -> None:
    headers = ((field.encode(), b"x"),)
    assert credential_in(headers, CachePolicy()) is expected


@pytest.mark.parametrize(
    "field",
    [
        *("cf-connecting-ip", "true-client-ip", "fastly-client-ip", "x-client-ip", "client-ip"),
        *("x-cluster-client-ip", "x-appengine-user-ip", "x-original-forwarded-for"),
    ],
)
def test_a_fill_for_everybody_sees_no_address(field: str) -> None:
    headers = ((field.encode(), b"192.0.2.1"),)
    assert for_everybody(headers, CachePolicy(), keeps_body=False) == ()


async def test_hosts_beyond_the_most_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    cache = cached()
    cache.origin.answers("x", headers=FRESH)
    with caplog.at_level(logging.WARNING, "cachemw.cache"):
        for number in range(258):
            response = await cache.get("/", headers={"host": f"h{number}"})
    assert response.is_stored
    assert ["TrustedHostMiddleware" in told for told in caplog.messages] == [True]


async def crowded(**policy: Any) -> Cached:
    """A cache that made-up hosts have filled the list of."""
    cache = cached(**policy)
    cache.origin.answers("x", headers=FRESH)
    for number in range(256):
        assert (await cache.get("/", headers={"host": f"h{number}"})).is_stored
    return cache


@pytest.mark.parametrize(
    ("url", "gone"), [("/", True), ("http://late/", True), ("/other", True), ("http://h1/", False)]
)
async def test_made_up_hosts_keep_no_real_one_out(url: str, gone: bool) -> None:
    """What is kept for a host that is on no list goes with every purge of a path."""
    cache = await crowded()
    late = Client(cache.middleware, host="late")
    assert (await late.get("/")).is_stored
    for _ in range(2):
        assert (await late.get("/")).cache == "hit"
    await purger(cache).purge(url=url)
    assert (await late.get("/")).cache == ("miss" if gone else "hit")
    assert (await late.get("/")).cache == "hit"


async def test_a_purge_of_a_path_softens_what_is_kept_for_hosts_on_no_list() -> None:
    cache = await crowded(stale_while_revalidate="1h")
    late = Client(cache.middleware, host="late")
    assert (await late.get("/")).is_stored
    await purger(cache).purge(url="/", soft=True)
    assert (await late.get("/")).detail == "soft-purged"


async def test_what_is_being_made_for_a_host_on_no_list_is_purged_with_paths() -> None:
    cache, gate = await crowded(), Gate()
    late = Client(cache.middleware, host="late")
    cache.origin.answers_once(gate, "old", headers=FRESH)
    first = late.start("GET", "/")
    await gate.reached()
    await purger(cache).purge(url="/")
    cache.origin.answers("new", headers=FRESH)
    assert (await late.get("/")).body == b"new"  # and does not join what began before
    gate.open()
    assert (await first.response()).body == b"old"
    assert (await late.get("/")).body == b"new"


@pytest.mark.parametrize("url", ["/a", "http://testserver/a"])
async def test_a_purge_of_a_url_covers_what_was_kept_by_bodies(url: str) -> None:
    cache = cached(methods=["GET", "QUERY", "POST"])
    cache.origin.answers("x", headers=FRESH)
    for method in ("QUERY", "POST"):
        await cache.client.request(method, "/a", body=b"q")
        assert (await cache.client.request(method, "/a", body=b"q")).cache == "hit"
    await purger(cache).purge(url=url)
    for method in ("QUERY", "POST"):
        assert (await cache.client.request(method, "/a", body=b"q")).cache == "miss"


@pytest.mark.parametrize(
    ("path", "raw", "expected"),
    [
        ("/a b", b"/a%20b", b"/a%20b"),
        ("/a", b"/%61?x", b"/%61"),
        ("/alice/p", b"/p", b"/alice/p"),
        ("/p", None, b"/p"),
        ("/\udc80", None, b"/%ED%B2%80"),
    ],
)
def test_a_rewritten_path_is_the_one_that_counts(
    path: str, raw: bytes | None, expected: bytes
) -> None:
    scope: Scope = {"method": "GET", "path": path, "raw_path": raw, "headers": []}
    assert head_of(scope).path == expected


def test_escapes_have_one_spelling() -> None:
    assert canonical_path(b"/%61%7e%c3%a9%2f%2F%zz%") == b"/a~%C3%A9%2F%2F%zz%"


async def test_spellings_of_a_path_are_one_resource() -> None:
    cache = cached()
    cache.origin.answers("x", headers=FRESH)
    await cache.get("/%61%c3%a9")
    assert (await cache.get("/a%C3%A9")).cache == "hit"
    await purger(cache).purge(url="/%61é")
    assert (await cache.get("/%61%c3%a9")).cache == "miss"


async def test_a_mark_filled_with_slashes_names_no_other_host() -> None:
    async def show(request: Request) -> PlainTextResponse:
        return PlainTextResponse("x")

    @purges(urls="/{rest}")
    async def change(request: Request) -> PlainTextResponse:
        return PlainTextResponse("changed")

    app = Starlette(
        routes=[
            Route("/purge/{rest:path}", change, methods=["POST"]),
            Route("/{rest:path}", show),
        ]
    )
    routes = {"/{rest:path}": CachePolicy(ttl=60)}
    app.add_middleware(CacheMiddleware, store=MemoryStore(), routes=routes)
    victim, attacker = Client(app, host="victim"), Client(app, host="attacker")
    await victim.get("/x")
    await attacker.request("POST", "/purge//victim/x")
    assert (await victim.get("/x")).cache == "hit"
    assert (await attacker.request("POST", "/purge//[x")).status == 200


async def test_a_scheme_beyond_ascii_does_not_end_purges() -> None:
    cache = cached()
    cache.origin.answers("x", headers=FRESH)
    await Client(cache.middleware, scope={"scheme": "httpé"}).get("/a")
    assert await purger(cache).purge(url="/a") == 1
