"""Streams stay streams: nothing waits for a whole body, and only a whole body is stored."""

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Scope

from cachemw.caching import flow
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.stores.memory import MemoryStore
from cachemw.testing.client import Client
from cachemw.testing.gate import Gate
from cachemw.testing.origin import START
from tests.caching.caches import FRESH, cached

pytestmark = pytest.mark.anyio


async def test_the_first_byte_does_not_wait_for_the_last() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers("one", gate, "two", headers=FRESH)
    asking = cache.start("GET", "/")
    assert (await asking.head()).status == 200
    assert await asking.chunk() == b"one"
    gate.open()
    assert (await asking.response()).body == b"onetwo"
    assert (await cache.get("/")).cache == "hit"
    assert cache.origin.called_once()


@pytest.mark.parametrize("length", [{}, {"content-length": "4"}])
async def test_the_head_does_not_wait_for_a_body_that_takes_its_time(
    length: dict[str, str],
) -> None:
    """Not even when its length is known, for which an ETag might still be made."""
    cache, gate = cached(), Gate()
    cache.origin.answers(START, gate, "four", headers={**FRESH, **length})
    asking = cache.start("GET", "/")
    async with asyncio.timeout(5):
        assert (await asking.head()).status == 200
    gate.open()
    await asking.response()
    assert (await cache.get("/")).header("etag") is not None


async def test_a_body_in_one_piece_has_the_same_etag_on_a_miss_and_a_hit() -> None:
    cache = cached()
    cache.origin.answers("whole", headers={**FRESH, "content-length": "5"})
    miss, hit = await cache.get("/"), await cache.get("/")
    assert miss.header("etag") == hit.header("etag") is not None


async def test_it_is_stored_before_the_client_has_its_last_byte() -> None:
    cache, reads = cached(), Gate()
    cache.origin.answers("one", "two", headers=FRESH)
    asking = cache.start("GET", "/", reads=reads)
    await reads.reached()
    # The slow one has nothing yet, and everybody else can have it all.
    assert (await cache.get("/")).cache == "hit"
    reads.open()
    await asking.response()


@pytest.mark.parametrize(
    ("length", "pieces", "ends"),
    [
        ("9", ["four"], True),
        ("3", ["four"], True),
        ("8", ["four"], False),
        (None, ["four"], False),
        (None, ["fo", RuntimeError("broke"), "ur"], True),
        (None, [START, RuntimeError("broke")], True),
    ],
    ids=["too short", "too long", "returns early", "returns without an end", "raises", "at once"],
)
async def test_what_is_incomplete_is_not_stored(
    length: str | None, pieces: list[Any], ends: bool
) -> None:
    cache = cached()
    headers = {**FRESH, **({"content-length": length} if length else {})}
    cache.origin.answers_once(*pieces, headers=headers, ends=ends)
    cache.origin.answers("whole", headers=FRESH)
    asking = cache.start("GET", "/")
    await asyncio.wait([asking._task])
    if asking._task.exception() is None:
        assert length in ("9", "3")
        assert not asking.so_far.is_stored
    assert (await cache.get("/")).body == b"whole"
    assert cache.origin.called(2)


async def test_followers_of_a_stream_that_breaks_off_hear_of_it() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers_once("one", gate, RuntimeError("broke"), "two", headers=FRESH)
    first, second = cache.start("GET", "/"), cache.start("GET", "/")
    assert await first.chunk() == await second.chunk() == b"one"
    gate.open()
    with pytest.raises(RuntimeError):
        await first.response()
    with pytest.raises(flow.Broken):
        await second.response()
    assert not first.so_far.is_complete
    assert not second.so_far.is_complete


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_leader_that_leaves_in_the_middle_costs_its_followers_nothing(
    hangs_up: bool,
) -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers("one", gate, "two", headers=FRESH)
    leader, follower = cache.start("GET", "/", hangs_up=hangs_up), cache.start("GET", "/")
    await leader.chunk()
    await follower.chunk()
    leader.disconnect()
    gate.open()
    assert (await follower.response()).body == b"onetwo"
    assert (await cache.get("/")).cache == "hit"
    assert cache.origin.called_once()
    await asyncio.wait([leader._task])


async def test_a_leader_that_is_cancelled_costs_its_followers_nothing() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers(gate, START, "one", headers=FRESH)
    leader, follower = cache.start("GET", "/"), cache.start("GET", "/")
    await gate.reached()
    await leader.cancel()
    gate.open()
    assert (await follower.response()).body == b"one"
    assert cache.origin.called_once()


async def test_a_follower_that_leaves_costs_nobody_anything() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers("one", gate, "two", headers=FRESH)
    leader, follower = cache.start("GET", "/"), cache.start("GET", "/")
    await follower.chunk()
    follower.disconnect()
    await follower.response()
    gate.open()
    assert (await leader.response()).body == b"onetwo"
    assert follower.so_far.body == b"one"


async def test_what_everybody_has_left_is_finished_and_kept() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers("one", gate, "two", headers=FRESH)
    asking = cache.start("GET", "/")
    await asking.chunk()
    asking.disconnect()
    await asking.response()
    gate.open()
    await cache.settle()
    assert (await cache.get("/")).cache == "hit"


async def test_what_everybody_has_left_does_not_go_on_for_ever() -> None:
    cache, gate = cached(timeout=0.01), Gate()
    cache.origin.answers("one", gate, "two", headers=FRESH)
    asking = cache.start("GET", "/")
    await asking.chunk()
    asking.disconnect()
    await asking.response()
    (task,) = cache.middleware.engine.flights._tasks
    await asyncio.wait([task], timeout=5)  # nobody opens the gate
    assert task.done()
    assert isinstance(task.exception(), TimeoutError)
    assert cache.origin.running == 0


@pytest.mark.parametrize(
    ("headers", "trailers"),
    [
        ({"content-type": "text/event-stream", **FRESH}, False),
        ({"cache-control": "no-store"}, False),
        (FRESH, True),
    ],
    ids=["events", "not to be kept", "trailers"],
)
async def test_what_is_not_kept_passes_as_it_is(headers: dict[str, str], trailers: bool) -> None:
    cache, gate = cached(), Gate()
    last = {"type": "http.response.trailers", "headers": [(b"x", b"y")]}
    pieces: list[Any] = ["one", gate, "two", *([last] if trailers else [])]
    cache.origin.answers(*pieces, headers=headers, trailers=trailers)
    asking = cache.start("GET", "/")
    assert await asking.chunk() == b"one"
    gate.open()
    response = await asking.response()
    assert response.body == b"onetwo"
    assert not response.is_stored
    assert (response.messages[-1] == last) is trailers
    assert response.messages[0].get("trailers", False) is trailers


async def test_an_endless_stream_ends_with_its_client() -> None:
    """The app hears that the client of a response of its own has left, as without a cache; and it
    alone, since some servers say it but once."""
    from starlette.responses import StreamingResponse

    async def endless() -> Any:
        while True:
            yield b"data: x\n\n"
            await asyncio.sleep(0)

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await StreamingResponse(endless(), media_type="text/event-stream")(scope, receive, send)

    cache, told = cached(origin=app), 0
    asking = cache.start("GET", "/")
    receive = asking._receive

    async def once() -> Message:
        nonlocal told
        message = await receive()
        told += message["type"] == "http.disconnect"
        if told > 1:
            await asyncio.Event().wait()
        return message

    asking._receive = once  # type: ignore[method-assign]
    await asking.chunk()
    asking.disconnect()
    async with asyncio.timeout(5):
        await asking.response()


@pytest.mark.parametrize("kind", ["http.response.debug", "http.response.early_hint"])
async def test_messages_before_the_response_reach_the_client(kind: str) -> None:
    cache = cached()
    early: Message = {"type": kind, "info": {"template": "x"}, "links": [b"</x>"]}
    cache.origin.answers(early, START, "one", headers=FRESH)
    response = await cache.get("/")
    assert response.messages[0] == early
    assert response.is_stored
    assert (await cache.get("/")).messages[0]["type"] == "http.response.start"


async def test_a_body_that_escapes_is_not_kept() -> None:
    cache = cached()
    sent: Message = {"type": "http.response.pathsend", "path": "/etc/hostname"}
    cache.origin.answers(START, sent, headers=FRESH)
    response = await cache.get("/")
    assert response.messages[-1] == sent
    assert not response.is_stored
    # An app that asks is told that there is no way around chunks.
    asked = cache.origin.last.scope["extensions"]
    assert "http.response.pathsend" not in asked


async def test_work_in_the_background_delays_nobody_and_runs_once() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers("one", gate, headers=FRESH)
    leader, follower = cache.start("GET", "/"), cache.start("GET", "/")
    assert (await leader.complete()).body == b"one"
    assert (await follower.response()).body == b"one"
    assert (await cache.get("/")).cache == "hit"
    assert not leader.is_done  # as without a cache: the server sees how the work ends
    gate.open()
    await leader.response()
    assert gate.arrivals == 1


async def test_a_failure_in_the_background_reaches_the_server_but_not_the_entry() -> None:
    cache = cached()
    cache.origin.answers("one", RuntimeError("later"), headers=FRESH)
    asking = cache.start("GET", "/")
    with pytest.raises(RuntimeError, match="later"):
        await asking.response()
    assert asking.so_far.is_complete
    assert (await cache.get("/")).cache == "hit"


# --- bodies too large to keep


async def test_a_body_in_one_chunk_that_is_too_large_passes_whole() -> None:
    cache = cached(max_body=3)
    cache.origin.answers("four", "more", headers=FRESH)
    response = await cache.get("/")
    assert response.body == b"fourmore"
    assert response.detail == "too-large"
    assert (await cache.get("/")).cache == "miss"


async def test_a_body_too_large_passes_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "WINDOW", 8)
    cache, reads, sent = cached(max_body=16), Gate(), 0

    def count(scope: Scope) -> None:
        nonlocal sent
        sent += 1

    pieces = [piece for _ in range(100) for piece in ("four", count)]
    cache.origin.answers(*pieces, headers=FRESH)
    asking = cache.start("GET", "/", reads=reads)
    await reads.reached()
    for _ in range(200):
        await asyncio.sleep(0)  # let the app run as far as it can
    assert sent <= (16 + 8) // 4 + 1
    reads.open()
    assert len((await asking.response()).body) == 400


async def test_the_slowest_reader_holds_the_pace_until_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow, "WINDOW", 8)
    cache, reads = cached(max_body=16), Gate()
    cache.origin.answers(*["four"] * 100, headers=FRESH)
    slow, quick = cache.start("GET", "/", reads=reads), cache.start("GET", "/")
    await reads.reached()
    for _ in range(200):
        await asyncio.sleep(0)
    assert not quick.is_done
    await slow.cancel()
    assert len((await quick.response()).body) == 400


@pytest.mark.parametrize(("method", "headers"), [("HEAD", {}), ("GET", {"if-none-match": '"tag"'})])
async def test_who_wants_no_body_holds_nobody_up(
    method: str, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "WINDOW", 8)
    cache = cached(max_body=16)
    cache.origin.answers(*["four"] * 100, headers={**FRESH, "etag": '"tag"'})
    async with asyncio.timeout(5):
        assert (await cache.start(method, "/", headers=headers).response()).body == b""


async def test_whoever_comes_too_late_for_a_large_body_gets_one_of_its_own() -> None:
    cache, gate = cached(max_body=3), Gate()
    cache.origin.answers_once("four", gate, "more", headers=FRESH)
    cache.origin.answers("four", "more", headers=FRESH)
    first = cache.start("GET", "/")
    assert await first.chunk() == b"four"
    assert (await cache.get("/")).body == b"fourmore"
    gate.open()
    assert (await first.response()).body == b"fourmore"


async def test_an_app_that_has_answered_hears_that_nobody_is_there_any_more() -> None:
    """As from a server; there are frameworks that end their request only then."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        await PlainTextResponse("whole", headers=FRESH)(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"

    client = Client(CacheMiddleware(app, store=MemoryStore(), default=CachePolicy()))
    async with asyncio.timeout(5):
        assert (await client.get("/")).body == b"whole"
        assert (await client.get("/")).cache == "hit"
