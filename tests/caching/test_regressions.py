"""Faults that were there once: each test is the shortest way to one of them."""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw import Cache, CacheContext, CacheMiddleware, CachePolicy, MemoryStore
from cachemw.caching import flow
from cachemw.caching.flow import Broken, Flow, Reader
from cachemw.caching.marks import CONTEXT
from cachemw.errors import StoreUnavailable
from cachemw.testing import Client, FakeClock, Gate, ScriptedOrigin
from cachemw.testing.origin import START
from tests.caching.caches import cached

pytestmark = pytest.mark.anyio


def behind(app: ASGIApp, store: MemoryStore | None = None, **policy: Any) -> Client:
    default = CachePolicy(**{"ttl": 60, **policy})
    return Client(CacheMiddleware(app, store=store or MemoryStore(), default=default))


async def turns(times: int = 50) -> None:
    """Let everything that can run do so."""
    for _ in range(times):
        await asyncio.sleep(0)


# --- whose response it is


async def test_a_follower_does_not_get_the_variant_that_another_worker_stored() -> None:
    gate, store = Gate(), MemoryStore()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        who = Request(scope).headers["x-tenant"]
        await gate.pass_through()
        await PlainTextResponse(who, headers={"vary": "x-tenant"})(scope, receive, send)

    here, there = behind(app, store), behind(app, store)
    other = there.start("GET", "/", headers={"x-tenant": "alice"})
    await gate.reached()
    alice = here.start("GET", "/", headers={"x-tenant": "alice"})
    await turns()
    bob = here.start("GET", "/", headers={"x-tenant": "bob"})
    await turns()
    gate.open()
    assert [(await one.response()).body for one in (other, alice, bob)] == [
        b"alice",
        b"alice",
        b"bob",
    ]


async def guard(connection: HTTPConnection) -> bool:
    return "authorization" in connection.headers


async def test_what_the_app_makes_for_a_stranger_is_not_kept_for_members() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_member = "authorization" in Request(scope).headers
        await PlainTextResponse("all" if is_member else "teaser")(scope, receive, send)

    client = behind(app, credentials="shared", guard=guard)
    stranger = await client.get("/")
    assert (stranger.body, stranger.detail) == (b"teaser", "guard")
    assert (await client.get("/", headers={"authorization": "m"})).body == b"all"


async def test_a_refresh_has_the_address_that_its_variant_was_chosen_by() -> None:
    clock = FakeClock()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["client"][0])(scope, receive, send)

    def country(connection: HTTPConnection) -> str:
        return "DE" if connection.client and connection.client.host[:6] == "198.51" else "?"

    policy = CachePolicy(ttl=1, stale_while_revalidate=60, vary_by=country)
    middleware = CacheMiddleware(app, store=MemoryStore(clock=clock), default=policy)
    client = Client(middleware)
    await client.get("/")
    clock.advance(2)
    assert (await client.get("/")).cache == "stale"
    await middleware.engine.flights.drain(5)
    again = await client.get("/")
    assert (again.cache, again.body) == ("hit", b"198.51.100.7")


# --- purges


async def test_a_confirmation_does_not_bring_back_what_was_purged_meanwhile() -> None:
    gate, clock = Gate(), FakeClock()
    versions = iter([("OLD", '"v1"'), ("NEW", '"v2"')])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[CONTEXT].tags.append(b"dynamic")
        headers = Request(scope).headers
        if "if-none-match" in headers:
            await gate.pass_through()
            response = Response(status_code=304, headers={"etag": headers["if-none-match"]})
        else:
            text, etag = next(versions)
            response = PlainTextResponse(text, headers={"etag": etag, "cache-control": "max-age=1"})
        await response(scope, receive, send)

    store = MemoryStore(clock=clock)
    client = behind(app, store, stale_if_error=600)
    await client.get("/")
    clock.advance(5)
    before = client.start("GET", "/")
    await gate.reached()
    await Cache(store).purge(tags=["dynamic"])
    after = client.start("GET", "/")
    await turns()
    gate.open()
    assert (await before.response()).body == b"OLD"
    assert (await after.response()).body == b"NEW"


async def test_an_app_that_is_asked_again_is_the_same_below_a_mount() -> None:
    """A mount moves its path from one part of the scope to another."""
    seen: list[tuple[str, str | None, bool]] = []

    async def page(request: Request) -> Response:
        context, asked = CacheContext.of(request), request.headers.get("if-none-match")
        seen.append((request.scope["root_path"], asked, context.active))
        if asked is not None:
            context.skip("what it says of this answer is not about the next one")
            return Response(status_code=304, headers={"etag": '"z"'})
        headers = {"etag": f'"{len(seen)}"', "cache-control": "max-age=60"}
        return PlainTextResponse(f"run {len(seen)}", headers=headers)

    clock = FakeClock()
    app = Starlette(routes=[Mount("/shop", routes=[Route("/page", page)])])
    client = behind(app, MemoryStore(clock=clock), stale_if_error="1h")
    await client.get("/shop/page")
    clock.advance("2m")
    again = await client.get("/shop/page")
    assert (again.status, again.body, again.is_stored) == (200, b"run 3", True)
    assert seen == [("/shop", None, True), ("/shop", '"1"', True), ("/shop", None, True)]


async def test_a_fill_begun_in_an_outage_is_not_followed_after_a_purge() -> None:
    gate, clock, store = Gate(), FakeClock(), Moody()
    origin = ScriptedOrigin()
    origin.answers_once(gate, START, "OLD")
    origin.answers("NEW")
    client = behind(origin, store, tags=["t"])
    store.is_away = True
    before = client.start("GET", "/")
    await gate.reached()
    store.is_away = False
    clock.advance(1)
    await Cache(store).purge(tags=["t"])
    after = client.start("GET", "/")
    await turns()
    gate.open()
    assert (await before.response()).body == b"OLD"
    assert (await after.response()).body == b"NEW"


class Moody(MemoryStore):
    """A store whose looks fail: all of them, or the one behind the next lease."""

    is_away = False
    fails_after = -1

    def get_many(self, keys: Any) -> Awaitable[list[bytes | None]]:
        self.fails_after -= 1
        if self.is_away or self.fails_after == 0:
            return _away()
        return super().get_many(keys)


async def _away() -> list[bytes | None]:
    raise StoreUnavailable("away", "get")


async def test_a_lease_is_given_back_when_the_look_behind_it_fails() -> None:
    store = Moody()
    client = behind(ScriptedOrigin(), store, lease_wait=0, tags=["t"])
    await client.get("/a")
    await Cache(store).purge(tags=["t"])  # so that there is something to look at
    store.fails_after = 2
    assert (await client.get("/a")).detail == "store-unavailable"
    assert (await client.get("/a")).is_stored


# --- streams


async def test_a_stream_that_is_not_kept_outlives_the_timeout() -> None:
    gate = Gate()
    cache = cached(ttl=60, timeout=0.02)
    headers = {"content-type": "text/event-stream"}
    cache.origin.answers("one", gate, "two", headers=headers)
    stream = cache.start("GET", "/")
    assert await stream.chunk() == b"one"
    await asyncio.sleep(0.06)  # longer than the timeout
    gate.open()
    assert (await stream.response()).body == b"onetwo"


class Passing(BaseHTTPMiddleware):
    """Ends a response that breaks off as if it were whole, and raises afterwards."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


async def test_what_a_layer_made_look_whole_is_not_kept() -> None:
    async def endpoint(request: Request) -> Response:
        async def body() -> Any:
            yield b"part"
            raise ValueError("boom")

        return StreamingResponse(body())

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(Passing)
    client = behind(app)
    for _ in range(2):
        asking = client.start("GET", "/")
        with pytest.raises(ValueError, match="boom"):
            await asking.response()
        assert asking.so_far.cache == "miss"


async def test_a_buffer_that_the_app_uses_again_is_copied() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        buffer = bytearray(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for letter in b"abc":
            buffer[0] = letter
            chunk = memoryview(buffer)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    client = behind(app)
    assert (await client.get("/")).body == b"abc"
    assert (await client.get("/")).body == b"abc"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_headers_may_be_an_iterator(method: str) -> None:
    def headers() -> Iterator[tuple[bytes, bytes]]:
        yield b"cache-control", b"no-store"
        yield b"set-cookie", b"a=b"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers()})
        await send({"type": "http.response.body"})

    response = await behind(app).request(method, "/")
    assert response.header("set-cookie") == "a=b"


# --- who holds up whom


async def test_one_call_that_hangs_does_not_take_the_page_away() -> None:
    never = Gate()
    cache = cached(ttl=60, lease_wait=0.01)
    cache.origin.answers_once(never, START, "late")
    cache.origin.answers("good")
    first = cache.start("GET", "/")
    await never.reached()
    assert (await cache.get("/")).body == b"good"
    never.open()
    assert (await first.response()).body == b"late"


async def test_who_joins_a_fill_that_hangs_does_not_lengthen_its_life() -> None:
    never = Gate()
    cache = cached(ttl=60, timeout=0.05)
    cache.origin.answers_once(never, START, "late")
    cache.origin.answers("good")
    first = cache.start("GET", "/")
    await never.reached()
    first.disconnect()
    await turns()
    assert (await cache.get("/")).body == b"good"


async def read(reader: Reader) -> bytes:
    return b"".join([chunk async for chunk, _ in reader])


async def test_a_slow_reader_of_what_passes_does_not_hold_up_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow, "PATIENCE", 0.01)
    made = Flow(lambda: None)
    slow, quick = made.join(), made.join()
    reading = asyncio.create_task(read(quick))
    made.let_pass()
    chunk = bytes(flow.WINDOW)
    for _ in range(4):
        await made.write(chunk, more=True)
    await made.write(b"", more=False)
    assert await reading == chunk * 4
    with pytest.raises(Broken):
        await read(slow)


async def test_a_reader_alone_may_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "PATIENCE", 0)
    made = Flow(lambda: None)
    slow = made.join()
    made.let_pass()

    async def write() -> None:
        await made.write(bytes(flow.WINDOW + 1), more=True)
        await made.write(b"end", more=False)

    writing = asyncio.create_task(write())
    await turns()
    assert not writing.done()
    assert (await read(slow))[-3:] == b"end"
    await writing


async def test_fills_of_other_variants_are_not_looked_through() -> None:
    gate, many = Gate(), 40
    cache = cached(ttl=60)
    headers = {"vary": "accept-language"}
    cache.origin.answers("x", headers=headers)
    await cache.get("/", headers={"accept-language": "en"})
    cache.origin.answers(gate, "x", headers=headers)
    asked = [
        cache.start("GET", "/", headers={"accept-language": f"l{number}"}) for number in range(many)
    ]
    await gate.reached(many)
    [[by_variant]] = [list(one.values()) for one in cache.middleware.engine.flights._fills.values()]
    assert [len(fills) for fills in by_variant.values()] == [1] * many
    gate.open()
    await asyncio.gather(*(one.response() for one in asked))
    await cache.settle()
    assert not cache.middleware.engine.flights._fills


async def test_what_is_asked_again_reaches_a_mounted_route() -> None:
    async def page(request: Request) -> Response:
        if "if-none-match" in request.headers:
            return Response(status_code=304, headers={"etag": '"another"'})
        return PlainTextResponse("page", headers={"etag": '"one"'})

    app = Starlette(routes=[Mount("/in", routes=[Route("/page", page)])])
    clock = FakeClock()
    client = behind(app, MemoryStore(clock=clock), stale_if_error="1h")
    assert (await client.get("/in/page")).is_stored
    clock.advance("2m")
    response = await client.get("/in/page")
    assert (response.status, response.body) == (200, b"page")


# --- the life of the app


async def test_an_app_without_a_lifespan_keeps_its_cache() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse("x")(scope, receive, send)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None: ...

    middleware = CacheMiddleware(app, store=MemoryStore(), default=CachePolicy(ttl=60))
    with pytest.raises(AssertionError):
        await middleware({"type": "lifespan"}, receive, send)
    client = Client(middleware)
    assert (await client.get("/")).is_stored
    assert (await client.get("/")).cache == "hit"
