"""QUERY and POST: answers kept by the body of their request. And what is no request: websockets."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from cachemw import CacheMiddleware, CachePolicy, MemoryStore
from cachemw.caching.cache import Cache
from cachemw.testing import Client, Gate
from tests.caching.caches import FRESH, Cached, cached

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


def asking(**policy: Any) -> Cached:
    cache = cached(methods=["GET", "QUERY", "POST"], ttl=60, **policy)
    cache.origin.answers("answer")
    return cache


@pytest.mark.parametrize("method", ["QUERY", "POST"])
@pytest.mark.parametrize(
    ("body", "headers", "is_same"),
    [
        (b"a=1", JSON, True),
        (b"a=2", JSON, False),
        (b"", JSON, False),
        (b"a=1", {"content-type": "text/plain"}, False),
        (b"a=1", {**JSON, "content-encoding": "gzip"}, False),
        (b"a=1", {**JSON, "accept": "text/html"}, True),
    ],
)
async def test_type_coding_and_bytes_of_the_body_are_the_key(
    method: str, body: bytes, headers: dict[str, str], is_same: bool
) -> None:
    cache = asking()
    assert (await cache.client.request(method, "/s", headers=JSON, body=b"a=1")).is_stored
    again = await cache.client.request(method, "/s", headers=headers, body=body)
    assert again.cache == ("hit" if is_same else "miss")


async def test_methods_are_kept_apart_though_they_ask_the_same() -> None:
    cache = asking()
    for method in ("GET", "QUERY", "POST"):
        assert (await cache.client.request(method, "/s", body=b"")).is_stored
    for method in ("GET", "QUERY", "POST"):
        assert (await cache.client.request(method, "/s", body=b"")).cache == "hit"


async def test_the_app_reads_the_body_that_the_key_was_made_of() -> None:
    cache = asking()
    await cache.client.request("QUERY", "/s", headers=JSON, body=b"x" * 100_000)
    assert cache.origin.last.body == b"x" * 100_000
    assert cache.origin.last.method == "QUERY"
    assert cache.origin.last.header("content-type") == "application/json"


async def test_a_refresh_asks_with_the_body() -> None:
    cache = asking(stale_while_revalidate="1h")
    await cache.client.request("QUERY", "/s", headers=JSON, body=b"q")
    cache.clock.advance("2m")
    cache.origin.answers("newer")
    assert (await cache.client.request("QUERY", "/s", headers=JSON, body=b"q")).cache == "stale"
    await cache.settle()
    assert (cache.origin.last.method, cache.origin.last.body) == ("QUERY", b"q")
    fresh = await cache.client.request("QUERY", "/s", headers=JSON, body=b"q")
    assert (fresh.cache, fresh.body) == ("hit", b"newer")


async def test_an_app_that_is_asked_again_is_asked_with_the_body() -> None:
    """RFC 9111 §4.3.4: after a 304 that confirms something else."""
    cache = asking(stale_if_error="1h")
    cache.origin.answers("answer", headers={**FRESH, "etag": '"a"'})
    await cache.client.request("QUERY", "/s", headers=JSON, body=b"q")
    cache.clock.advance("2m")
    cache.origin.answers_once("", status=304, headers={"etag": '"z"'})
    cache.origin.answers("another")
    again = await cache.client.request("QUERY", "/s", headers=JSON, body=b"q")
    assert (again.body, again.is_stored, cache.origin.calls) == (b"another", True, 3)
    assert [asked.body for asked in cache.origin.requests] == [b"q"] * 3
    assert cache.origin.last.header("if-none-match") is None


async def test_every_line_of_the_type_is_in_the_key() -> None:
    """Which one of several an app takes is its own affair."""
    cache = asking()
    one, other = ("content-type", "text/a"), ("content-type", "text/b")
    for number, lines in enumerate(([one], [one, other], [other, one], [other]), start=1):
        await cache.client.request("QUERY", "/s", headers=lines, body=b"q")
        assert cache.origin.calls == number
    await cache.client.request("QUERY", "/s", headers=[("content-type", "text/a, text/b")])
    assert cache.origin.calls == 5


async def test_those_who_ask_the_same_at_once_are_one() -> None:
    cache, gate = asking(), Gate()
    cache.origin.answers(gate, "answer")
    same = [cache.client.start("QUERY", "/s", body=b"q") for _ in range(5)]
    await gate.reached()
    other = cache.client.start("QUERY", "/s", body=b"r")
    await gate.reached(2)
    gate.open()
    for one in (*same, other):
        assert (await one.response()).body == b"answer"
    assert cache.origin.calls == 2


async def test_a_body_longer_than_may_be_kept_passes_by_whole() -> None:
    cache = asking(max_body="1KiB")
    long = await cache.client.request("POST", "/s", body=b"x" * 5000)
    assert (long.cache, long.detail) == ("bypass", "key-too-large")
    assert cache.origin.last.body == b"x" * 5000


async def test_a_post_that_is_cached_purges_nothing_and_one_that_is_not_purges() -> None:
    """A cached POST asks; any other changes, and its success is the end of what was kept."""
    cache = asking()
    assert (await cache.get("/s")).is_stored
    await cache.client.request("POST", "/s", body=b"q")
    assert (await cache.get("/s")).cache == "hit"
    await cache.client.request("PUT", "/s", body=b"q")
    assert (await cache.get("/s")).cache == "miss"
    assert (await cache.client.request("POST", "/s", body=b"q")).cache == "miss"


async def test_answers_by_body_are_purged_by_tag_and_by_url() -> None:
    cache = asking(tags=["search"])
    assert cache.store is not None
    api = Cache(cache.store)
    for purge in ({"tags": ["search"]}, {"url": "/s"}, {"url": "http://testserver/s"}):
        await cache.client.request("QUERY", "/s", body=b"q")
        assert (await cache.client.request("QUERY", "/s", body=b"q")).cache == "hit"
        await api.purge(**purge)
        assert (await cache.client.request("QUERY", "/s", body=b"q")).cache == "miss"


async def test_a_condition_on_what_was_asked_by_a_body_gets_the_whole() -> None:
    """RFC 9110 §13.1.2 has 304 for GET and HEAD only; the whole is right for every method."""
    cache = asking()
    kept = await cache.client.request("QUERY", "/s", body=b"q")
    tag = kept.header("etag") or ""
    assert tag
    again = await cache.client.request("QUERY", "/s", headers={"if-none-match": tag}, body=b"q")
    assert (again.status, again.body, again.cache) == (200, b"answer", "hit")


async def test_credentials_keep_a_query_out_as_they_keep_a_get() -> None:
    cache = asking()
    headers = {"authorization": "Bearer x"}
    answer = await cache.client.request("QUERY", "/s", headers=headers, body=b"q")
    assert (answer.cache, answer.detail) == ("bypass", "authorization")
    assert cache.origin.last.body == b"q"


async def test_what_follows_a_cached_post_is_read_from_the_same_connection() -> None:
    """The client's leaving is heard of behind the body that was read for the key."""
    cache, gate = asking(), Gate()
    cache.origin.answers(gate, "answer", headers=FRESH)
    leaving = cache.client.start("POST", "/s", body=b"q")
    await gate.reached()
    leaving.disconnect()
    await leaving.response()
    gate.open()
    await cache.settle()
    assert (await cache.client.request("POST", "/s", body=b"q")).cache == "hit"


# --- websockets


async def test_a_websocket_passes_untouched() -> None:
    """Its scope, its messages and both callables are those of the server."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive, send))
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"].upper()})
        await send({"type": "websocket.close", "code": 1000})

    cache = CacheMiddleware(app, store=MemoryStore(), default=CachePolicy(ttl=60))
    coming: asyncio.Queue[Message] = asyncio.Queue()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "websocket", "path": "/ws", "headers": [(b"cookie", b"sid=1")]}
    before = dict(scope)
    coming.put_nowait({"type": "websocket.connect"})
    coming.put_nowait({"type": "websocket.receive", "text": "hello"})
    await cache(scope, coming.get, send)
    assert seen == [scope, coming.get, send] and scope == before
    assert [message["type"] for message in sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    assert sent[1]["text"] == "HELLO"


async def test_a_request_that_is_to_become_a_websocket_passes_by() -> None:
    cache = cached(ttl=60)
    headers = {"upgrade": "websocket", "connection": "upgrade"}
    answer = await Client(cache.middleware).get("/", headers=headers)
    assert (answer.cache, answer.detail) == ("bypass", "upgrade")
