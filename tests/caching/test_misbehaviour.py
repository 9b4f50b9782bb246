"""Apps, layers and clients that misbehave: nothing wrong is kept, and nobody else pays for it."""

import asyncio
import tracemalloc
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from cachemw import CacheMiddleware, CachePolicy, MemoryStore, StoreUnavailable
from cachemw.asgi import read_body, replaying
from cachemw.testing import Client, Gate, ScriptedOrigin
from tests.caching.caches import FRESH, cached

pytestmark = pytest.mark.anyio


# --- the life of an app


async def live(app: CacheMiddleware, *messages: str) -> list[Message]:
    """Play a server, as far as the app goes along."""
    coming, sent = list(messages), []

    async def receive() -> Message:
        if not coming:
            await asyncio.get_running_loop().create_future()
        return {"type": coming.pop(0)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan", "state": {}}, receive, send)
    return sent


def living(*sends: str, error: Exception | None = None) -> CacheMiddleware:
    """An app that answers the messages of its life, and then perhaps raises."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for answer in sends:
                await receive()
                await send({"type": answer})
            if error is not None:
                await receive() if not sends else None
                raise error
            return
        await PlainTextResponse("page", headers=FRESH)(scope, receive, send)

    return CacheMiddleware(app, store=MemoryStore(), default=CachePolicy())


async def is_open(app: CacheMiddleware) -> bool:
    try:
        await app.store.get(b"x")
    except StoreUnavailable:
        return False
    return True


async def test_an_app_that_raises_at_its_start_is_taken_for_one_without_a_life() -> None:
    """So do servers, and go on to serve it: then it needs its store."""
    app = living(error=RuntimeError("what is a lifespan?"))
    with pytest.raises(RuntimeError):
        await live(app, "lifespan.startup")
    assert await is_open(app)
    assert (await Client(app).get("/")).is_stored


@pytest.mark.parametrize(
    ("sends", "messages"),
    [
        (["lifespan.startup.failed"], ["lifespan.startup"]),
        (["lifespan.startup.complete"], ["lifespan.startup"]),
        (
            ["lifespan.startup.complete", "lifespan.shutdown.failed"],
            ["lifespan.startup", "lifespan.shutdown"],
        ),
    ],
    ids=["failed", "later", "shutdown"],
)
async def test_an_app_that_ends_badly_leaves_no_open_store(
    sends: list[str], messages: list[str]
) -> None:
    app = living(*sends, error=RuntimeError("broken"))
    with pytest.raises(RuntimeError):
        await live(app, *messages)
    assert not await is_open(app)


async def test_what_is_under_way_when_an_app_breaks_down_is_ended() -> None:
    app, gate = living("lifespan.startup.complete", error=RuntimeError("broken")), Gate()
    origin = ScriptedOrigin()
    origin.answers(gate, "x", headers=FRESH)
    app.engine.app = origin
    asking = Client(app).start("GET", "/")
    await gate.reached()
    gate.open()
    with pytest.raises(RuntimeError):
        await live(app, "lifespan.startup")
    assert origin.finished == 1
    assert (await asking.response()).body == b"x"


# --- responses that are no responses


START = {"type": "http.response.start", "status": 200, "headers": []}


def saying(*messages: dict[str, Any], swallows: bool = False) -> CacheMiddleware:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            try:
                await send(dict(message))
            except RuntimeError:
                if not swallows:
                    raise

    return CacheMiddleware(app, store=MemoryStore(), default=CachePolicy(ttl=60))


def body(chunk: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


@pytest.mark.parametrize(
    "messages",
    [
        (START, START, body(b"x", more=False)),
        (START, body(b"a"), {**START, "status": 404}, body(b"b", more=False)),
        (body(b"a", more=False),),
    ],
    ids=["twice", "amid", "headless"],
)
async def test_a_response_out_of_order_is_an_error_and_not_kept(messages: Any) -> None:
    app = saying(*messages)
    with pytest.raises(RuntimeError, match="the app "):
        await Client(app).get("/")
    with pytest.raises(RuntimeError, match="the app "):
        await Client(app).get("/")


@pytest.mark.parametrize("more", [body(b"b", more=False), START], ids=["body", "start"])
async def test_what_comes_after_the_end_is_an_error_and_no_part_of_it(more: Any) -> None:
    app = saying(START, body(b"a", more=False), more)
    with pytest.raises(RuntimeError, match="the app "):
        await Client(app).get("/")
    assert (await Client(app).get("/")).body == b"a"


async def test_an_app_that_does_not_mind_is_taken_at_its_first_word() -> None:
    app = saying(START, body(b"a"), {**START, "status": 404}, body(b"b", more=False), swallows=True)
    for verdict in ("miss", "hit"):
        response = await Client(app).get("/")
        assert (response.status, response.body, response.cache) == (200, b"ab", verdict)


class Plain(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


def inside_base(*pieces: Any, deep: int = 1, **options: Any) -> Client:
    """An app of which a `BaseHTTPMiddleware` ends what it leaves without an end."""
    origin = ScriptedOrigin()
    origin.answers(*pieces, **options)
    app: Any = origin
    for _ in range(deep):
        app = Plain(app)
    return Client(CacheMiddleware(app, store=MemoryStore(), default=CachePolicy(ttl=60)))


@pytest.mark.parametrize("deep", [1, 3])
async def test_what_a_layer_ends_in_the_apps_place_is_not_kept(deep: int) -> None:
    client = inside_base("one", "two", ends=False, deep=deep)
    for _ in range(2):
        response = await client.get("/")
        assert (response.body, response.cache) == (b"onetwo", "miss")


@pytest.mark.parametrize("deep", [1, 3])
async def test_what_ends_by_itself_is_kept_behind_such_a_layer(deep: int) -> None:
    client = inside_base("one", "two", deep=deep)
    assert (await client.get("/")).body == b"onetwo"
    assert (await client.get("/")).cache == "hit"


async def test_what_such_a_layer_answers_itself_is_kept() -> None:
    class Answering(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            async def chunks() -> Any:
                yield b"own"

            return StreamingResponse(chunks())

    app = CacheMiddleware(
        Answering(ScriptedOrigin()), store=MemoryStore(), default=CachePolicy(ttl=60)
    )
    assert (await Client(app).get("/")).body == b"own"
    assert (await Client(app).get("/")).cache == "hit"


# --- clients that leave


async def test_a_layer_outside_gets_a_response_though_the_client_has_left() -> None:
    """Or it would complain that none was returned, for every visitor who closes a tab."""
    gate, seen = Gate(), []

    async def page(request: Request) -> Response:
        await gate.pass_through()
        return PlainTextResponse("page")

    class Noting(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            response = await call_next(request)
            seen.append(response.status_code)
            return response

    app = Starlette(
        routes=[Route("/", page)],
        middleware=[
            Middleware(Noting),
            Middleware(CacheMiddleware, store=MemoryStore(), default=CachePolicy(ttl=60)),
        ],
    )
    client = Client(app)
    first, second = client.start("GET", "/"), client.start("GET", "/", hangs_up=True)
    await gate.reached()
    first.disconnect()
    second.disconnect()
    await first.response()
    await asyncio.wait([second._task])
    gate.open()
    assert seen == [499, 499]
    assert (await client.get("/")).body == b"page"


# --- a 304 that is one client's own


async def test_a_confirmation_that_may_not_be_shared_is_not() -> None:
    cache = cached(stale_if_error="1h")
    tagged = {**FRESH, "etag": '"a"'}
    cache.origin.answers("page", headers=tagged)
    assert (await cache.get("/")).is_stored
    cache.clock.advance("2m")
    gate = Gate()
    private = {"cache-control": "private", "etag": '"a"'}
    cache.origin.answers_once(gate, status=304, headers=private)
    cache.origin.answers("for the next", headers={"cache-control": "private"})
    first = cache.start("GET", "/")
    await gate.reached()
    second = cache.start("GET", "/")
    for _ in range(20):
        await asyncio.sleep(0)
    gate.open()
    assert (await first.response()).body == b"page"
    assert (await second.response()).body == b"for the next"
    assert cache.origin.calls == 3


# --- clients that provoke errors


async def test_who_provokes_errors_keeps_nobody_from_the_cache() -> None:
    """Errors of their own making, for a key that others want: theirs is not the only lease."""
    cache = cached(ttl=60)
    gate = Gate()
    cache.origin.answers_once("no", status=422)
    await cache.get("/")  # from now on nobody waits for another
    for _ in range(5):
        cache.origin.answers_once(gate, "no", status=422)
    provoking = [cache.start("GET", "/", headers={"x-odd": str(n)}) for n in range(5)]
    await gate.reached(5)
    cache.origin.answers("page")
    assert (await cache.get("/")).is_stored
    assert (await cache.get("/")).cache == "hit"
    gate.open()
    for asking in provoking:
        assert (await asking.response()).status == 422
    assert (await cache.get("/")).cache == "hit"


async def test_a_purge_ends_the_leases_of_those_who_do_not_wait() -> None:
    cache = cached(ttl=60, coalesce=False)
    gate = Gate()
    for _ in range(2):
        cache.origin.answers_once(gate, "old")
    asking = [cache.start("GET", "/") for _ in range(2)]
    await gate.reached(2)
    await Client(cache.middleware).request("DELETE", "/")
    gate.open()
    for one in asking:
        assert (await one.response()).body == b"old"
    cache.origin.answers("new")
    assert (await cache.get("/")).body == b"new"


# --- what layers outside have found out


def telling_state() -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["db"] = "pool"
            await send({"type": "lifespan.startup.complete"})
            await asyncio.get_running_loop().create_future()
        told = ",".join(f"{name}={value}" for name, value in sorted(scope["state"].items()))
        await PlainTextResponse(told)(scope, receive, send)

    return app


@pytest.mark.parametrize(
    ("credentials", "seen"),
    [("strip", b"db=pool"), ("bypass", b"account=7,db=pool,language=de")],
)
async def test_a_fill_without_credentials_sees_the_apps_state_only(
    credentials: Any, seen: bytes
) -> None:
    policy = CachePolicy(ttl=60, credentials=credentials)
    app = CacheMiddleware(telling_state(), store=MemoryStore(), default=policy)
    state: dict[str, Any] = {}
    started = asyncio.Event()

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        started.set()

    life = asyncio.create_task(app({"type": "lifespan", "state": state}, receive, send))
    await started.wait()
    found_out = {**state, "account": 7, "language": "de"}
    assert (await Client(app, scope={"state": found_out}).get("/")).body == seen
    life.cancel()
    await asyncio.wait([life])


async def test_what_a_layer_puts_over_the_apps_state_is_not_the_apps() -> None:
    policy = CachePolicy(ttl=60, credentials="strip")
    app = CacheMiddleware(telling_state(), store=MemoryStore(), default=policy)
    app.engine.app_state = {"db": "pool", "shard": "a"}
    client = Client(app, scope={"state": {"db": "pool", "shard": "of user 7"}})
    assert (await client.get("/")).body == b"db=pool"


# --- bodies in many pieces


async def dribble(size: int) -> Any:
    left = [size]

    async def receive() -> Message:
        left[0] -= 1
        return {"type": "http.request", "body": b"x", "more_body": left[0] > 0}

    return receive


async def test_a_body_in_many_pieces_takes_no_more_than_its_length() -> None:
    tracemalloc.start()
    body, messages, is_all = await read_body(await dribble(50_000), 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(body), is_all) == (50_000, True)
    assert peak < 1_000_000
    receive = replaying(messages, await dribble(1))
    assert await receive() == {"type": "http.request", "body": body, "more_body": False}


async def test_a_body_that_is_too_long_is_handed_on_whole() -> None:
    receive = await dribble(10)
    body, messages, is_all = await read_body(receive, 4)
    assert (len(body), is_all) == (5, False)
    again, total, more = replaying(messages, receive), b"", True
    while more:
        message = await again()
        total, more = total + message["body"], message["more_body"]
    assert total == b"x" * 10


async def test_a_client_that_leaves_amid_its_body_is_heard_of() -> None:
    coming: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return coming.pop(0)

    body, messages, is_all = await read_body(receive, 100)
    assert (body, is_all) == (b"half", False)
    again = replaying(messages, receive)
    assert (await again())["body"] == b"half"
    assert (await again())["type"] == "http.disconnect"
