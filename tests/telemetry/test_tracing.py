"""Spans: attributes on the request's own, and what the cache does itself."""

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.types import Receive, Scope, Send

from cachemw import Cache
from cachemw.errors import StoreUnavailable
from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import from_url
from cachemw.telemetry.tracing import ATTRIBUTES, trace
from cachemw.testing import Client
from tests.caching.caches import FRESH, Cached, cached
from tests.servers import Server
from tests.test_docs import PAGES

pytestmark = pytest.mark.anyio


class Traced:
    """A cache in an app whose requests and handlers have spans, as instrumentation makes them."""

    def __init__(self, **policy: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("tests")
        self.cache: Cached = cached(**policy)
        self.origin = self.cache.origin
        middleware = self.cache.middleware
        middleware.engine.app = self.handling
        trace(middleware.store, self.provider)
        self.client = Client(self.serving)

    async def serving(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.tracer.start_as_current_span("request"):
            await self.cache.middleware(scope, receive, send)

    async def handling(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.tracer.start_as_current_span("handler"):
            await self.origin(scope, receive, send)

    def spans(self, name: str) -> Sequence[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_request_is_described_on_its_own_span() -> None:
    app = Traced(ttl="1m")
    app.origin.answers("page")
    await app.client.get("/")
    app.cache.clock.advance("5s")
    await app.client.get("/")
    await app.client.get("/", headers={"cookie": "a=b"})
    app.origin.answers("mine", headers={"cache-control": "private"})
    await app.client.get("/mine")
    miss, hit, bypass, direct = map(told, app.spans("request"))
    route = {"cachemw.route": "/{path:path}"}
    assert miss == {"cachemw.result": "miss", "cachemw.stored": True, **route}
    assert hit == {"cachemw.result": "hit", "cachemw.age": 5.0, **route}
    assert bypass == {"cachemw.result": "bypass", "cachemw.reason": "cookie", **route}
    assert direct == {"cachemw.result": "miss", "cachemw.reason": "private", **route}


@pytest.mark.parametrize("credentials", ["bypass", "strip"])
async def test_a_refresh_is_a_trace_of_its_own_linked_to_its_cause(credentials: str) -> None:
    app = Traced(stale_while_revalidate="1m", credentials=credentials)
    app.origin.answers("old", headers=FRESH)
    await app.client.get("/")
    app.cache.clock.advance("70s")
    await app.client.get("/")
    await app.cache.settle()
    (refresh,) = app.spans("cachemw refresh")
    _, cause = app.spans("request")
    assert refresh.parent is None
    assert [link.context for link in refresh.links] == [cause.context]
    assert told(refresh)["cachemw.refresh.result"] == "kept"
    handled = [span for span in app.spans("handler") if span.parent == refresh.context]
    assert len(handled) == 1


async def test_a_refresh_that_fails_is_an_error() -> None:
    app = Traced(stale_while_revalidate="1m")
    app.origin.answers("old", headers=FRESH)
    await app.client.get("/")
    app.cache.clock.advance("70s")
    app.origin.answers(ValueError("oops"))
    await app.client.get("/")
    await app.cache.settle()
    (refresh,) = app.spans("cachemw refresh")
    assert refresh.status.status_code is StatusCode.ERROR


async def test_a_comparison_is_linked_to_its_hit() -> None:
    app = Traced(ttl="1m", verify=1.0)
    app.origin.answers("page")
    await app.client.get("/")
    app.origin.answers("other")
    await app.client.get("/")
    await app.cache.settle()
    (verify,) = app.spans("cachemw verify")
    _, hit = app.spans("request")
    assert [link.context for link in verify.links] == [hit.context]
    assert told(verify)["cachemw.verify.differences"] == ("body",)


async def test_a_purge_is_below_its_cause() -> None:
    app = Traced(ttl="1m")
    app.origin.answers("page")
    await app.client.request("PUT", "/a")
    (purge,), (request,) = app.spans("cachemw purge"), app.spans("request")
    assert purge.parent == request.context
    assert told(purge)["cachemw.purge.subject"] == "change"
    assert told(purge)["cachemw.purge.names"] == ("/a",)


async def test_a_purge_that_fails_is_an_error(valkey: Server) -> None:
    app, store = Traced(ttl="1m"), RedisStore(from_url(valkey.url))
    trace(store, app.provider)
    valkey.kill()
    with pytest.raises(StoreUnavailable):
        await Cache(store).purge(tags=["t"])
    (purge,) = app.spans("cachemw purge")
    assert purge.status.status_code is StatusCode.ERROR
    await store.aclose()


async def test_untraced_there_are_no_spans() -> None:
    app = Traced(ttl="1m")
    tally = app.cache.middleware.engine.tally
    tally.watchers = ()
    app.origin.answers("page")
    await app.client.get("/")
    assert [told(span) for span in app.spans("request")] == [{}]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_documented(name: str) -> None:
    assert f"| `{name}` | {ATTRIBUTES[name]} |" in PAGES["observability.md"]


async def test_no_attribute_is_left_out_of_the_list() -> None:
    app = Traced(stale_while_revalidate="1m", verify=1.0)
    app.origin.answers("old", headers=FRESH)
    for headers in ({}, {}, {"cookie": "a=b"}):
        await app.client.get("/", headers=headers)
    app.cache.clock.advance("70s")
    await app.client.get("/")
    await app.client.request("PUT", "/")
    await app.cache.settle()
    seen = {name for span in app.exporter.get_finished_spans() for name in told(span)}
    assert seen <= set(ATTRIBUTES)
    assert len(seen) > len(ATTRIBUTES) / 2
