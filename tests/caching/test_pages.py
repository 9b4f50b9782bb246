"""The short way answers what the long way would, to the byte, and is taken only where it may be."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from starlette.requests import Request
from starlette.types import Scope

from cachemw.caching import pages
from cachemw.caching.cache import Cache
from cachemw.caching.marks import CacheContext
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.pages import Pages
from cachemw.caching.policy import CachePolicy
from cachemw.errors import StoreUnavailable
from cachemw.stores.memory import MemoryStore
from cachemw.telemetry.events import Exchange
from cachemw.testing.client import Client, Response
from cachemw.testing.clock import FakeClock
from cachemw.testing.origin import START, ScriptedOrigin
from tests.caching.caches import FRESH, Cached, cached


class Forgetful(Pages):
    """Remembers nothing: every request takes the long way."""

    def learn(self, *_: Any) -> None:
        pass


# --- the same answers ---------------------------------------------------------------------------

PATHS = ("/plain", "/strip", "/tagged/1", "/tagged/2", "/varied", "/deflated", "/keyed", "/none")
POLICIES = {
    "/plain": CachePolicy(ttl=60, stale_while_revalidate=20),
    "/strip": CachePolicy(ttl=60, credentials="strip"),
    "/tagged/{n}": CachePolicy(ttl=60, tags=["n:{n}"], stale_if_error=30),
    "/varied": CachePolicy(ttl=60),
    "/deflated": CachePolicy(ttl=60, compress=True),
    "/keyed": CachePolicy(ttl=60, vary_by=["x-tenant"], tags=["t:{header.x-tenant}"]),
}
FIELDS: dict[str, list[str]] = {
    "accept": ["a/a", "b/b"],
    "x-tenant": ["1", "2"],
    "x-request-id": ["1", "2", "3"],
    "cookie": ["a=b"],
    "authorization": ["secret"],
    "x-api-key": ["k"],
    "cache-control": ["no-cache", "only-if-cached", "max-age=5"],
    "pragma": ["no-cache"],
    "if-none-match": ['"e"', "*", '"other"'],
    "if-modified-since": ["Fri, 01 Jan 2100 00:00:00 GMT"],
    "range": ["bytes=0-2", "bytes=99999-", "bytes=0-0,2-3"],
    "if-match": ['"e"'],
    "host": ["one.example", "Two.example"],
}
EXTRAS: list[dict[str, Any]] = [
    {},
    {"session": {}},
    {"root_path": "/below"},
    {"user": object()},
    {"scheme": "https"},
    {"extensions": {"tls": {"client_cert_name": "CN=me"}}},
]
ANSWERS: list[tuple[int, dict[str, str]]] = [
    (200, {}),
    (200, {"etag": '"e"', "content-length": "2000"}),
    (200, {"set-cookie": "a=b"}),
    (200, {"last-modified": "Fri, 01 Jan 2021 00:00:00 GMT", "link": "<a>"}),
    (204, {}),
    (404, {"cache-control": "max-age=10"}),
]

fields = st.sampled_from([(name, value) for name, values in FIELDS.items() for value in values])
nothing_else: st.SearchStrategy[list[Any]] = st.just([])
Step: TypeAlias = tuple[Any, ...]
plain: st.SearchStrategy[Step] = st.just(("ask", "GET", "", [], {}))
with_a_field: st.SearchStrategy[Step] = st.tuples(
    st.just("ask"),
    st.just("GET"),
    st.just(""),
    st.lists(fields, min_size=1, max_size=1),
    st.just({}),
)
requests = st.tuples(
    st.just("ask"),
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"]),
    st.sampled_from(["", "", "", "?a=1", "?b=2&a=1"]),
    st.one_of(nothing_else, st.lists(fields, min_size=1, max_size=2)),
    st.sampled_from([*[{}] * 8, *EXTRAS]),
)
steps = st.one_of(
    plain,
    plain,
    with_a_field,
    requests,
    st.tuples(st.just("wait"), st.sampled_from([0.4, 7.0, 58.0, 65.0])),
    st.tuples(st.just("purge"), st.sampled_from(["tag", "url"]), st.booleans()),
    st.tuples(st.just("answer"), st.sampled_from(ANSWERS)),
)


class World:
    """A cache with a store and a clock of its own, and what has been answered."""

    def __init__(self, path: str, pages: Pages) -> None:
        self.path = path
        self.clock = FakeClock()
        self.origin = ScriptedOrigin()
        store = MemoryStore(clock=self.clock)
        self.middleware = CacheMiddleware(self.origin, store=store, routes=POLICIES)
        self.middleware.engine.pages = pages
        self.cache = Cache(store)
        self.script(200, {})

    def told(self) -> list[Exchange]:
        """What telemetry has heard, but for how long it took."""
        return [replace(event, seconds=0.0) for event in self.middleware.store.tally.recent]

    def script(self, status: int, headers: Mapping[str, str]) -> None:
        def tag(scope: Scope) -> None:
            CacheContext.of(Request(scope)).tag("dynamic")

        vary = {"vary": "accept"} if self.path == "/varied" else {}
        body = b"" if status == 204 else b"x" * 2000
        self.origin.answers(tag, START, body, status=status, headers={**headers, **vary})

    async def step(self, step: Step) -> Response | None:
        match step:
            case ("ask", method, query, fields, extra):
                client = Client(self.middleware, scope=extra)
                response = await client.request(method, self.path + query, headers=fields)
                await self.middleware.engine.flights.drain(5)
                return response
            case ("wait", seconds):
                self.clock.advance(seconds)
            case ("purge", "tag", soft):
                await self.cache.purge(tags=["dynamic"], soft=soft)
            case ("purge", _, soft):
                await self.cache.purge(url="http://testserver" + self.path, soft=soft)
            case ("answer", (status, headers)):
                self.script(status, headers)
            case _:
                raise AssertionError(step)
        return None


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=30, deadline=None)
@given(st.lists(steps, min_size=8, max_size=25))
def test_both_ways_answer_alike(path: str, history: list[Step]) -> None:
    async def live() -> None:
        short, long = World(path, Pages()), World(path, Forgetful())
        for step in history:
            one, other = await short.step(step), await long.step(step)
            assert one == other, step
            assert short.told() == long.told(), step
        assert short.origin.calls == long.origin.calls

    asyncio.run(live())


# --- which way is taken -------------------------------------------------------------------------


@dataclass
class Watched:
    """A cache of which one can see whether it takes the long way."""

    cached: Cached
    long: int = 0

    def __post_init__(self) -> None:
        shelf: Any = self.cached.middleware.engine.shelf
        find = shelf.find

        async def watched(*args: Any, **kwargs: Any) -> Any:
            self.long += 1
            return await find(*args, **kwargs)

        shelf.find = watched

    async def takes_the_long_way(self, target: str = "/", **given: Any) -> bool:
        before = self.long
        method = given.pop("method", "GET")
        client = Client(self.cached.middleware, scope=given.pop("scope", None))
        assert (await client.request(method, target, **given)).status < 500
        return self.long != before


async def warm(**policy: Any) -> Watched:
    cache = cached(**policy)
    cache.origin.answers("hello", headers={**FRESH, "etag": '"e"'})
    for _ in range(2):
        await cache.get("/")
    return Watched(cache)


pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("policy", [{}, {"credentials": "strip"}, {"tags": ["a"]}], ids=str)
async def test_a_page_that_was_answered_before_takes_the_short_way(policy: dict[str, Any]) -> None:
    watched = await warm(**policy)
    assert not await watched.takes_the_long_way()
    assert not await watched.takes_the_long_way(headers={"x-request-id": "1"})
    assert not await watched.takes_the_long_way(headers={"if-none-match": '"e"'})
    watched.cached.clock.advance(50)
    assert not await watched.takes_the_long_way()


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"authorization": "x"}, "passes": True},
        {"headers": {"cookie": "a=b"}, "passes": True},
        {"headers": {"x-api-key": "x"}, "passes": True},
        {"headers": {"if-match": '"e"'}, "passes": True},
        {"scope": {"session": {}}, "passes": True},
        {"scope": {"user": object()}, "passes": True},
        {"headers": {"cache-control": "only-if-cached"}},
        {"headers": {"host": "other.example"}},
        {"scope": {"root_path": "/below"}},
        {"target": "/?a=1"},
    ],
)
async def test_what_could_lead_elsewhere_takes_the_long_way(given: dict[str, Any]) -> None:
    watched = await warm()
    passes = given.pop("passes", False)
    calls = watched.cached.origin.calls
    long = await watched.takes_the_long_way(**given)
    # Past the cache, nothing is looked up, and the app is asked.
    assert (not long and watched.cached.origin.calls == calls + 1) if passes else long


async def test_each_variant_has_a_page_of_its_own() -> None:
    cache = cached()
    for value in ("a/a", "b/b"):
        cache.origin.answers(value, headers={**FRESH, "vary": "accept"})
        for _ in range(2):
            await cache.get("/", headers={"accept": value})
    watched = Watched(cache)
    for value in ("a/a", "b/b", "a/a"):
        response = await cache.get("/", headers={"accept": value})
        assert response.body == value.encode()
    assert watched.long == 0


async def test_a_page_that_is_met_once_pushes_no_other_one_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = cached()
    cache.origin.answers("hello", headers=FRESH)
    monkeypatch.setattr(pages, "REMEMBERED", 2)
    for path in ("/a", "/b", "/c"):
        for _ in range(2):
            await cache.get(path)
    watched = Watched(cache)
    assert [await watched.takes_the_long_way(path) for path in ("/a", "/b")] == [False, False]
    # Asked for once more, it takes the place of the one that was there first.
    taken = [await watched.takes_the_long_way(path) for path in ("/c", "/c", "/b", "/a")]
    assert taken == [True, False, False, True]


@pytest.mark.parametrize("change", [b"", b"hello, and more", b"hell"], ids=repr)
async def test_a_body_of_another_length_is_a_miss(change: bytes) -> None:
    watched = await warm()
    assert not await watched.takes_the_long_way()
    store: Any = watched.cached.store
    [key] = [key async for batch in store.scan(b"e:*") for key in batch]
    [value] = await store.get_many([key])
    await store.set(key, value.removesuffix(b"hello") + change, ttl=60_000)
    assert (await watched.cached.get("/")).body == b"hello"
    assert watched.cached.origin.calls == 2


async def test_what_was_read_in_vain_is_not_read_again() -> None:
    watched = await warm()
    store: Any = watched.cached.middleware.engine.shelf.near
    trips, read = [], store.get_many

    def failing(keys: Any) -> Any:
        trips.append(keys)
        raise StoreUnavailable("timeout", "no answer")

    store.get_many = failing
    assert (await watched.cached.get("/")).detail == "store-unavailable"
    assert len(trips) == 1
    store.get_many = read


@pytest.mark.parametrize("app", [None, object()])
async def test_an_app_without_routes_takes_the_short_way_once_it_has_begun(app: object) -> None:
    cache = cached()
    cache.middleware.policies.resolve(app)  # as its lifespan does
    cache.origin.answers("hello", headers=FRESH)
    client = Client(cache.middleware, scope={} if app is None else {"app": app})
    for _ in range(3):
        await client.get("/")
    watched = Watched(cache)
    assert (await client.get("/")).cache == "hit"
    assert watched.long == 0


async def test_pages_of_an_app_with_routes_are_not_those_of_one_without() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Route

    from cachemw import cached as marked

    never = marked(CachePolicy(methods=frozenset()))
    app = Starlette(routes=[Route("/", never(lambda _: None))])
    cache = cached()
    cache.origin.answers("hello", headers=FRESH)
    for _ in range(3):
        plain = await cache.get("/")
    assert plain.cache == "hit"
    for _ in range(2):
        assert (await Client(cache.middleware, scope={"app": app}).get("/")).cache is None
        assert (await cache.get("/")).cache == "hit"


@pytest.mark.parametrize("before", [[], ["/elsewhere"]])
async def test_routes_that_change_are_read_again(before: list[str]) -> None:
    """A policy marked on a route that came later is heeded at once, whoever asks first."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from cachemw import cached as marked

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse("page", headers=FRESH)

    app = Starlette(routes=[Route("/later", page)])
    app.add_middleware(CacheMiddleware, store=MemoryStore(), routes={"/{path:path}": CachePolicy()})
    client = Client(app)
    for _ in range(3):
        response = await client.get("/later")
    assert response.cache == "hit"
    never = marked(CachePolicy(methods=frozenset()))(page)
    app.router.routes.insert(0, Route("/later", never))
    for path in before:
        await client.get(path)
    assert (await client.get("/later")).cache is None
