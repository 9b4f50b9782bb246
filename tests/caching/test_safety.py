"""Nothing that one client sends, or is, reaches another: through the whole middleware.

The app is a mirror: it answers with all that it can see of the request, so whatever one client can
get into a page is in the page. What the next client gets must not have it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware as CookieSessions
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import (
    CacheMiddleware,
    CachePolicy,
    MemoryStore,
    RateLimit,
    SessionMiddleware,
    install,
)
from cachemw.caching.credentials import CREDENTIAL_PREFIXES, CREDENTIALS, UNKEYED
from cachemw.caching.flow import Broken
from cachemw.testing import Client, FakeClock, Gate, ScriptedOrigin

pytestmark = pytest.mark.anyio

MARK = "one-clients-own"


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with everything that it can see, cacheable for a minute."""
    assert scope["type"] == "http"
    request = Request(scope, receive)
    user, state = scope.get("user"), scope.get("state", {})
    page = {
        "method": request.method,
        "url": str(request.url),
        "link": str(request.base_url),
        "raw": scope["raw_path"].decode("latin-1"),
        "headers": [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]],
        "cookies": request.cookies,
        "body": (await request.body()).decode(),
        "client": scope.get("client"),
        "user": getattr(user, "display_name", repr(user)),
        "scopes": getattr(scope.get("auth"), "scopes", None),
        "session": dict(scope.get("session", {})),
        "state": {name: str(value) for name, value in state.items()},
        "tls": str((scope.get("extensions") or {}).get("tls")),
    }
    response = PlainTextResponse(json.dumps(page), headers={"cache-control": "public, max-age=60"})
    await response(scope, receive, send)


def cached(app: ASGIApp = mirror, **options: Any) -> CacheMiddleware:
    policy = CachePolicy(**{"ttl": "1m", **options})
    return CacheMiddleware(app, store=MemoryStore(), routes={"/{rest:path}": policy})


BY_HAND = [
    *("authorization", "proxy-authorization", "x-api-key", "x-auth-token", "x-csrf-token"),
    *("remote-user", "x-forwarded-user", "x-auth-request-email", "cf-access-jwt-assertion"),
    *("x-amzn-oidc-data", "x-goog-authenticated-user-email", "x-ms-client-principal-name"),
    *("x-forwarded-client-cert", "x-ssl-client-s-dn", "tailscale-user-login", "dpop"),
    *("x-consumer-username", "x-authentik-username", "x-user-id", "x_api_key", "x_user"),
    *("cookie", "forwarded", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix"),
    *("x-forwarded-for", "x-real-ip", "x-original-url", "x-rewrite-url", "x-script-name"),
    *("x-http-method-override", "x-http-method", "x-method-override", "x_forwarded_host"),
    *("range", "if-none-match", "if-modified-since", "if-range", "content-type", "expect"),
]
"""Written out, so that a name that gets lost in the package is missed here."""


@pytest.mark.parametrize("credentials", ["bypass", "strip"])
@pytest.mark.parametrize("field", BY_HAND)
async def test_no_field_of_one_client_is_in_what_another_gets(field: str, credentials: str) -> None:
    client = Client(cached(credentials=credentials))
    await client.get("/", headers={field: MARK})
    other = await client.get("/")
    assert other.status == 200
    assert MARK not in other.body.decode()


def test_every_name_in_the_lists_is_as_a_field_name_arrives() -> None:
    for name in CREDENTIALS | UNKEYED | set(CREDENTIAL_PREFIXES):
        assert name == name.lower().strip().replace(b"_", b"-")


@pytest.mark.parametrize("field", ["x-api-key", "x_api_key", "remote-user", "authorization"])
async def test_a_credential_passes_by_and_is_seen_by_the_app_alone(field: str) -> None:
    client = Client(cached())
    own = await client.get("/", headers={field: MARK})
    assert (own.cache, own.detail) == ("bypass", "authorization")
    assert MARK in own.body.decode()


async def test_ordinary_proxy_fields_do_not_switch_caching_off() -> None:
    client = Client(cached())
    fields = {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https", "via": "1.1 proxy"}
    assert (await client.get("/", headers=fields)).is_stored
    assert (await client.get("/", headers={**fields, "x-forwarded-for": "5.6.7.8"})).cache == "hit"


async def test_the_body_of_a_get_does_not_reach_a_shared_page() -> None:
    client = Client(cached())
    await client.request("GET", "/", headers={"content-length": "15"}, body=MARK.encode())
    assert MARK not in (await client.get("/")).body.decode()


async def test_a_parameter_that_does_not_count_does_not_reach_the_app() -> None:
    every: list[dict[str, Any]] = [{"ignore_query": ("utm_*",)}, {"query": ("page",)}]
    for options in every:
        client = Client(cached(**options))
        await client.get(f"/?page=1&utm_source={MARK}&utm%5Fx={MARK}")
        other = await client.get("/?page=1")
        assert other.cache == "hit"
        assert MARK not in other.body.decode()


async def test_of_several_hosts_the_app_sees_the_one_in_the_key() -> None:
    client = Client(cached())
    await client.get("/", headers=[("host", "shop.example"), ("host", MARK)])
    assert MARK not in (await client.get("/", headers={"host": "shop.example"})).body.decode()


async def test_the_spelling_of_the_host_is_nobodys_choice() -> None:
    client = Client(cached())
    await client.get("/", headers={"host": "SHOP.example"})
    other = await client.get("/", headers={"host": "shop.example"})
    assert other.cache == "hit"
    assert "SHOP" not in other.body.decode()
    await client.get("/port", headers={"host": "shop.example:80"})
    for spelt in ("shop.example", "Shop.example:80", "shop.example:"):
        other = await client.get("/port", headers={"host": spelt})
        assert other.cache == "hit"
        assert ":80" not in other.body.decode()
    assert (await client.get("/port", headers={"host": "shop.example:443"})).cache == "miss"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"scheme": "https"}, {"scheme": "http"}),
        ({"root_path": f"/{MARK}"}, {"root_path": ""}),
        ({"root_path": f"/{MARK}"}, {"root_path": "/v2"}),
        ({"client": (MARK, 1)}, {}),
        ({"extensions": {"tls": {"client_cert_name": MARK, "client_cert_chain": ["x"]}}}, {}),
        ({"extensions": {"tls": {"cipher_suite": MARK}}}, {}),
        ({"user": SimpleUser(MARK)}, {}),
        ({"user": {"name": MARK}}, {}),
        ({"auth": AuthCredentials([MARK])}, {}),
        ({"session": {"name": MARK}}, {}),
        ({"state": {"user": MARK}}, {"state": {}}),
    ],
)
@pytest.mark.parametrize("credentials", ["bypass", "strip"])
async def test_what_outer_layers_found_out_about_one_client(
    credentials: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    app = cached(credentials=credentials)
    await Client(app, scope=one).get("/")
    page = (await Client(app, scope=other).get("/")).body.decode()
    assert MARK not in page
    assert other.get("scheme", "http") + "://" in page


@pytest.mark.parametrize("field", ["x-api-key", "authorization", "cookie", "x-forwarded-user"])
async def test_by_identity_each_gets_his_own(field: str) -> None:
    client = Client(cached(credentials="identity"))
    for name in ("anna", "bob"):
        response = await client.get("/", headers={field: name})
        assert response.is_stored
        assert name in response.body.decode()
    for name, stranger in (("anna", "bob"), ("bob", "anna"), ("", "anna"), ("", "bob")):
        response = await client.get("/", headers={field: name} if name else {})
        assert response.cache == ("hit" if name or stranger == "bob" else "miss")
        assert stranger not in response.body.decode()


async def test_who_is_named_by_nothing_in_the_request_passes_by() -> None:
    """A certificate, an address, a field of the app's own: `identity` must say so."""
    app = cached(credentials="identity")
    own = await Client(app, scope={"user": SimpleUser(MARK)}).get("/")
    assert (own.cache, own.detail) == ("bypass", "authorization")
    assert MARK not in (await Client(app).get("/")).body.decode()


@pytest.mark.parametrize("nobody", [None, "", b""])
async def test_whom_identity_does_not_name_shares_nothing_made_from_credentials(
    nobody: Any,
) -> None:
    app = cached(credentials="identity", identity=lambda connection: nobody)
    client = Client(app)
    own = await client.get("/", headers={"authorization": MARK})
    assert (own.cache, own.detail) == ("bypass", "authorization")
    assert (await client.get("/")).is_stored
    assert MARK not in (await client.get("/")).body.decode()


async def test_identities_of_different_kinds_are_different_people() -> None:
    given: dict[str, Any] = {"a": "1", "b": 1, "c": b"1", "d": "n", "e": None}
    app = cached(
        credentials="identity", identity=lambda connection: given[connection.headers["who"]]
    )
    pages = {(await Client(app).get("/", headers={"who": who})).body for who in given}
    assert len(pages) == len(given)


# --- users and sessions of other middleware


class ByOwnField(AuthenticationBackend):
    """Knows people by a field that nobody else has heard of."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-shop-badge")
        return (AuthCredentials(["buy"]), SimpleUser(name)) if name else None


@pytest.mark.parametrize("credentials", ["bypass", "strip", "identity"])
async def test_users_that_starlettes_authentication_found_outside(credentials: Any) -> None:
    async def greet(request: Request) -> Response:
        return PlainTextResponse(f"{request.user.display_name} {request.auth.scopes}")

    app = Starlette(routes=[Route("/", greet)])
    app.add_middleware(
        CacheMiddleware, store=MemoryStore(), default=CachePolicy(ttl=60, credentials=credentials)
    )
    app.add_middleware(AuthenticationMiddleware, backend=ByOwnField())
    client = Client(app)
    for name in ("anna", "bob"):
        own = await client.get("/", headers={"x-shop-badge": name})
        assert own.body == (b" []" if credentials == "strip" else b"%s ['buy']" % name.encode())
    assert (await client.get("/")).body == b" []"
    assert (await client.get("/", headers={"x-shop-badge": "bob"})).body != b"anna ['buy']"


@pytest.mark.parametrize("policy", [{}, {"credentials": "strip"}, {"credentials": "identity"}])
async def test_a_page_that_read_starlettes_session_is_not_kept(policy: dict[str, Any]) -> None:
    async def page(request: Request) -> Response:
        seen = request.session.get("name") if request.url.path == "/reads" else ""
        return PlainTextResponse(f"hello {seen}")

    app = Starlette(
        routes=[Route("/reads", page), Route("/ignores", page)],
        middleware=[
            Middleware(CacheMiddleware, store=MemoryStore(), default=CachePolicy(ttl=60, **policy)),
            Middleware(CookieSessions, secret_key="secret"),
        ],
    )
    client = Client(app)
    for _ in range(2):
        assert (await client.get("/reads")).detail == "session"
    assert (await client.get("/ignores")).is_stored
    assert (await client.get("/ignores")).cache == "hit"


class Greeting:
    """A page behind a wall, which reads the session while it is under way: at its first chunk, or
    behind a gate."""

    def __init__(self) -> None:
        self.gate = Gate()
        app = Starlette(
            routes=[Route("/login/{name}", self.login), Route("/{when}", self.page)],
            middleware=[
                Middleware(
                    CacheMiddleware,
                    store=MemoryStore(),
                    routes={"/{when}": CachePolicy(ttl=60, credentials="shared", guard=self.opens)},
                ),
                Middleware(CookieSessions, secret_key="secret"),
            ],
        )
        self.client = Client(app)

    async def opens(self, connection: HTTPConnection) -> bool:
        return True

    async def login(self, request: Request) -> Response:
        request.session["name"] = request.path_params["name"]
        return PlainTextResponse("")

    async def page(self, request: Request) -> Response:
        async def chunks() -> AsyncIterator[str]:
            if request.url.path == "/later":
                yield "hello "
                await self.gate.pass_through()
            yield request.session.get("name", "stranger")
            yield "!"

        return StreamingResponse(chunks())

    async def cookie_of(self, name: str) -> dict[str, str]:
        answer = await self.client.get(f"/login/{name}")
        return {"cookie": (answer.header("set-cookie") or "").partition(";")[0]}


@pytest.mark.parametrize("when", ["at-once", "later"])
async def test_a_page_that_reads_the_session_while_it_streams_is_not_kept(when: str) -> None:
    greeting = Greeting()
    greeting.gate.open()
    for name in ("anna", "bob"):
        answer = await greeting.client.get(f"/{when}", headers=await greeting.cookie_of(name))
        assert answer.body.decode().endswith(f"{name}!")
    assert (await greeting.client.get(f"/{when}")).body.endswith(b"stranger!")


async def test_who_shares_a_stream_gets_nothing_of_what_a_session_has_to_do_with() -> None:
    greeting = Greeting()
    client = greeting.client
    anna = client.start("GET", "/later", headers=await greeting.cookie_of("anna"))
    await greeting.gate.reached()
    bob = client.start("GET", "/later", headers=await greeting.cookie_of("bob"))
    assert await bob.chunk() == b"hello "
    greeting.gate.open()
    assert (await anna.response()).body == b"hello anna!"
    with pytest.raises(Broken, match="session"):
        await bob.response()
    assert bob.so_far.body == b"hello "


async def test_a_session_is_seen_whose_layer_has_a_copy_of_the_scope() -> None:
    """Also while it streams: layers in between may hand on a scope of their own."""

    async def page(request: Request) -> Response:
        async def chunks() -> AsyncIterator[str]:
            yield "hello "
            yield request.session.get("name", "stranger")

        return StreamingResponse(chunks())

    async def login(request: Request) -> Response:
        request.session["name"] = "anna"
        return PlainTextResponse("")

    async def lets_in(connection: HTTPConnection) -> bool:
        return True

    store = MemoryStore()
    app = Starlette(routes=[Route("/login", login), Route("/", page)])
    within = SessionMiddleware(app, store=store, secure=False)

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        await within(dict(scope), receive, send)

    policy = CachePolicy(ttl=60, credentials="shared", guard=lets_in)
    client = Client(CacheMiddleware(between, store=store, routes={"/": policy}))
    cookie = ((await client.get("/login")).header("set-cookie") or "").partition(";")[0]
    assert (await client.get("/", headers={"cookie": cookie})).body == b"hello anna"
    assert (await client.get("/")).body == b"hello stranger"


async def test_a_page_that_sets_a_cookie_goes_to_one_client() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = PlainTextResponse(MARK, headers={"cache-control": "public, max-age=60"})
        response.set_cookie("sid", MARK)
        await response(scope, receive, send)

    client = Client(cached(app, credentials="strip"))
    for _ in range(2):
        response = await client.get("/")
        assert (response.cache, response.detail) == ("miss", "set-cookie")


async def test_who_waits_together_does_not_get_each_others_cookie() -> None:
    """Ten ask at once for what turns out to be private: each runs the app for himself."""
    runs = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal runs
        runs += 1
        number = runs
        await asyncio.sleep(0)
        response = PlainTextResponse(f"visitor {number}")
        response.set_cookie("sid", f"{number}")
        await response(scope, receive, send)

    client = Client(cached(app))
    asked = [client.start("GET", "/") for _ in range(10)]
    pages = [await asking.response() for asking in asked]
    assert len({page.body for page in pages}) == 10
    assert len({page.header("set-cookie") for page in pages}) == 10


# --- guards


def only_members(connection: HTTPConnection) -> Awaitable[bool]:
    async def decide() -> bool:
        return connection.headers.get("authorization") == "member"

    return decide()


async def guard(connection: HTTPConnection) -> bool:
    return await only_members(connection)


async def behind_a_wall(scope: Scope, receive: Receive, send: Send) -> None:
    """Gives members the page, and others a 403."""
    is_member = Request(scope).headers.get("authorization") == "member"
    text, status = ("for members", 200) if is_member else ("go away", 403)
    await PlainTextResponse(text, status)(scope, receive, send)


MEMBER = {"authorization": "member"}


async def test_a_guard_is_asked_on_every_hit() -> None:
    client = Client(cached(behind_a_wall, credentials="shared", guard=guard))
    assert (await client.get("/", headers=MEMBER)).is_stored
    assert (await client.get("/", headers=MEMBER)).cache == "hit"
    for headers in ({}, {"authorization": "stranger"}):
        response = await client.get("/", headers=headers)
        assert (response.status, response.body, response.detail) == (403, b"go away", "guard")


@pytest.mark.parametrize("credentials", ["bypass", "strip", "identity"])
async def test_what_a_guard_has_let_see_is_not_there_without_it(credentials: Any) -> None:
    """A policy may lose its guard with a deployment, while its entries and another worker stay."""
    origin, store = ScriptedOrigin(), MemoryStore()

    async def guard(connection: HTTPConnection) -> bool:
        return "authorization" in connection.headers

    guarded = CachePolicy(ttl=60, credentials="shared", guard=guard)
    member = {"authorization": "Bearer m"}
    before = Client(CacheMiddleware(origin, store=store, default=guarded))
    after = Client(
        CacheMiddleware(origin, store=store, default=CachePolicy(ttl=60, credentials=credentials))
    )
    origin.answers_once("for members")
    origin.answers("log in")
    await before.get("/", headers=member)
    assert (await before.get("/", headers=member)).cache == "hit"
    for _ in range(2):
        assert (await after.get("/")).body == b"log in"


async def test_a_guard_is_asked_before_a_stale_answer() -> None:
    clock = FakeClock()
    origin = ScriptedOrigin()
    policy = CachePolicy(
        ttl=10, stale_while_revalidate=10, stale_if_error=99, credentials="shared", guard=guard
    )
    app = CacheMiddleware(origin, store=MemoryStore(clock=clock), default=policy)
    client = Client(app)
    origin.answers_once("for members")
    await client.get("/", headers=MEMBER)
    clock.advance(15)  # stale, to be refreshed
    origin.answers_once("go away", status=403)
    assert (await client.get("/")).body == b"go away"
    clock.advance(15)  # stale, only instead of an error
    origin.answers_once("broken", status=503)
    assert (await client.get("/")).body == b"broken"


async def test_a_guard_is_asked_for_what_another_request_is_making() -> None:
    gate = Gate()
    origin = ScriptedOrigin()
    client = Client(cached(origin, credentials="shared", guard=guard))
    origin.answers_once(gate, "for members")
    origin.answers_once("go away", status=403)
    first = client.start("GET", "/", headers=MEMBER)
    await gate.reached()
    second = client.start("GET", "/")
    await asyncio.sleep(0)
    gate.open()
    assert (await first.response()).body == b"for members"
    assert (await second.response()).body == b"go away"


async def test_a_guard_is_asked_for_what_another_worker_has_made() -> None:
    gate = Gate()
    store, origin = MemoryStore(), ScriptedOrigin()
    policy = CachePolicy(ttl=60, credentials="shared", guard=guard)
    here, there = (CacheMiddleware(origin, store=store, default=policy) for _ in range(2))
    origin.answers_once(gate, "for members")
    origin.answers_once("go away", status=403)
    first = Client(here).start("GET", "/", headers=MEMBER)
    await gate.reached()
    second = Client(there).start("GET", "/")
    await asyncio.sleep(0)
    gate.open()
    assert (await first.response()).body == b"for members"
    response = await second.response()
    assert (response.body, response.detail) == (b"go away", "guard")


async def test_a_guarded_request_keeps_its_body() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await Request(scope, receive).body()).decode()
        await PlainTextResponse(body)(scope, receive, send)

    client = Client(cached(app, methods=("QUERY",), credentials="shared", guard=guard))
    assert (await client.request("QUERY", "/", headers=MEMBER, body=b"q")).is_stored
    response = await client.request("QUERY", "/", body=b"q")
    assert (response.detail, response.body) == ("guard", b"q")


# --- one client's errors


TRICKS = [
    ("x-oversized", "y" * 9000, 400),
    ("x-oversized", "y" * 9000, 413),
    ("x-oversized", "y" * 9000, 431),
    ("x-metachar", "\x07", 400),
    ("x-metachar", "\x07", 500),
    ("x-metachar", "\x07", 502),
    ("x-http-method-override", "POST", 405),
    ("x-http-method-override", "POST", 501),
    ("x-forwarded-host", "evil", 404),
    ("x-original-url", "/admin", 403),
    ("accept", "text/nothing", 406),
    ("x-required", "wrong", 422),
]


@pytest.mark.parametrize(("field", "value", "status"), TRICKS)
async def test_an_error_that_one_client_provokes_is_his_own(
    field: str, value: str, status: int
) -> None:
    """As an app that puts a lifetime on whatever it sends."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_tricked = Request(scope).headers.get(field) == value
        headers = {"cache-control": "public, max-age=600"}
        text, code = ("error", status) if is_tricked else ("fine", 200)
        await PlainTextResponse(text, code, headers=headers)(scope, receive, send)

    for options in ({}, {"ttl": 60}, {"stale_if_error": 99}):
        client = Client(cached(app, **options))
        await client.get("/", headers={field: value})
        other = await client.get("/")
        assert (other.status, other.body) == (200, b"fine")


async def test_a_head_leaves_no_empty_page_behind() -> None:
    client = Client(cached())
    assert (await client.head("/")).body == b""
    page = await client.get("/")
    assert page.body
    assert json.loads(page.body)["method"] == "GET"


async def test_a_range_leaves_no_part_behind() -> None:
    client = Client(cached())
    await client.get("/", headers={"range": "bytes=0-0"})
    assert len((await client.get("/")).body) > 1


async def test_one_clients_no_cache_costs_the_app_nothing() -> None:
    client = Client(cached())
    await client.get("/")
    assert (await client.get("/", headers={"cache-control": "no-cache"})).cache == "hit"


# --- what is asked in the background


async def test_a_refresh_knows_nothing_of_who_set_it_off() -> None:
    clock = FakeClock()
    policy = CachePolicy(ttl=1, force=True, stale_while_revalidate=60, credentials="strip")
    app = CacheMiddleware(mirror, store=MemoryStore(clock=clock), default=policy)
    await Client(app).get("/")
    clock.advance(10)
    marked = {name: MARK for name in BY_HAND if not name.startswith(("if-", "range"))}
    scope = {"client": (MARK, 1), "user": SimpleUser(MARK), "state": {"user": MARK}}
    assert (await Client(app, scope=scope).get("/", headers=marked)).cache == "stale"
    for _ in range(50):
        await asyncio.sleep(0)
    page = await Client(app).get("/")
    assert page.cache == "hit"
    assert MARK not in page.body.decode()


# --- cross-origin reading


async def test_starlettes_cors_inside_gives_each_origin_its_own() -> None:
    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    app = Starlette(
        routes=[Route("/", page)],
        middleware=[
            Middleware(CacheMiddleware, store=MemoryStore(), default=CachePolicy(ttl=60)),
            Middleware(
                CORSMiddleware, allow_origin_regex=r"https://.*\.example", allow_credentials=True
            ),
        ],
    )
    client = Client(app)
    for origin in ("https://a.example", "https://b.example", "https://a.example"):
        response = await client.get("/", headers={"origin": origin})
        assert response.header("access-control-allow-origin") == origin
    evil = await client.get("/", headers={"origin": "https://evil.test"})
    assert evil.header("access-control-allow-origin") is None


# --- deception: a personal page at an address that looks like a public file


PATHS = [
    *("/account/x.css", "/account/..;/x.css", "/account%2Fx.css", "/account/%2e%2e/x.css"),
    *("/account/x.css%00.html", "/account;x.css", "/account/x.css?y", "/account//x.css"),
    *("/static/..%2Faccount", "/static/../account", "/static/%2e%2e%2faccount"),
]


@pytest.mark.parametrize("credentials", ["bypass", "strip"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_personal_page_is_not_kept_for_its_address(path: str, credentials: str) -> None:
    """The app shows the account at whatever address; the policy takes it for a public file."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        name = Request(scope).cookies.get("sid", "nobody")
        headers = {"cache-control": "public, max-age=600"}
        await PlainTextResponse(f"account of {name}", headers=headers)(scope, receive, send)

    client = Client(cached(app, credentials=credentials))
    await client.get(path, headers={"cookie": f"sid={MARK}"})
    assert MARK not in (await client.get(path)).body.decode()


async def test_a_path_is_kept_by_its_raw_bytes_and_judged_by_its_decoded_ones() -> None:
    """A policy for /public does not take in what decodes to something else, and two spellings of
    one path are two entries: whatever a proxy in front makes of them, they do not mix."""
    policy = CachePolicy(ttl=60)
    app = CacheMiddleware(mirror, store=MemoryStore(), routes={"/public/{name}": policy})
    client = Client(app)
    assert (await client.get("/public%2Fa")).is_stored
    assert (await client.get("/public/a")).is_stored
    assert (await client.get("/public/a%2Fb")).cache is None
    assert (await client.get("/public/%2e%2e%2fsecret")).cache is None


@pytest.mark.parametrize("credentials", ["bypass", "strip"])
async def test_a_limit_on_a_cached_route_counts_who_asked(credentials: Any) -> None:
    """The page is made for everybody, but each client has a limit of his own."""
    app = FastAPI()
    rule = CachePolicy(ttl=60, credentials=credentials)
    install(app, store=MemoryStore(), cache={"/{n}": rule}, trusted_proxies=["10.0.0.1"])

    @app.get("/{n}", dependencies=[Depends(RateLimit("1/minute", name="page"))])
    async def page(n: int, request: Request) -> str:
        return str(request.client and request.client.host)

    proxy = Client(app, scope={"client": ("10.0.0.1", 1)})
    for address, expected in (("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.1", 429)):
        n = f"{address[-1]}{expected}"
        response = await proxy.get(f"/{n}", headers={"x-forwarded-for": address})
        assert response.status == expected
        assert b"192.0.2" not in response.body
