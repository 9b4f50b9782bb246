"""Sessions of WebSockets: the cookie goes out with the accept, a revocation ends the socket."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from cachemw.sessions.guards import load_session
from cachemw.sessions.middleware import SessionMiddleware
from cachemw.sessions.sessions import Sessions
from tests.sessions.apps import session_app
from tests.sessions.browser import Browser
from tests.sessions.world import World, session_of

pytestmark = pytest.mark.anyio


async def test_a_socket_reads_and_writes_its_session() -> None:
    world = World()
    browser = await world.logged_in(7)
    async with browser.websocket("/live") as socket:
        assert socket.answer == {"type": "websocket.accept", "subprotocol": None, "headers": ()}
        socket.say({"heard": 1})
        assert await socket.hear() == {"user_id": 7, "heard": 1}
    assert await session_of(browser) == {"user_id": 7, "heard": 1}
    assert world.kinds == ["login"]


@pytest.mark.parametrize("turns", range(6))
async def test_a_message_is_not_lost_on_an_app_that_stops_waiting(turns: int) -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await ready.wait()
        waiting = asyncio.create_task(receive())
        for _ in range(5):
            await asyncio.sleep(0)
        socket.say("first")
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            heard.append(await waiting)
        socket.say("second")
        said.set()
        heard.append(await receive())

    ready, said = asyncio.Event(), asyncio.Event()
    world = World()
    browser = await world.logged_in(7)
    around = SessionMiddleware(app, sessions=world.sessions)
    async with Browser(around, cookie=browser.cookie).websocket("/") as socket:
        ready.set()
        await said.wait()
    assert heard[0] == {"type": "websocket.receive", "text": '"first"'}


async def test_what_the_app_has_closed_is_not_closed_again() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        await world.sessions.revoke_all(7)
        await asyncio.sleep(0.1)  # ten checks

    world = World(websocket_check="10ms")
    browser = await world.logged_in(7)
    around = SessionMiddleware(app, sessions=world.sessions)
    async with Browser(around, cookie=browser.cookie).websocket("/") as socket:
        assert (await socket.next())["code"] == 1000
    assert socket.from_app.empty()


async def test_what_the_client_has_closed_is_not_closed_again() -> None:
    """Servers refuse a close then, with errors that nobody would hear of in a task."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        await world.sessions.revoke_all(7)
        await asyncio.sleep(0.1)  # ten checks

    world = World(websocket_check="10ms")
    browser = await world.logged_in(7)
    around = SessionMiddleware(app, sessions=world.sessions)
    async with Browser(around, cookie=browser.cookie).websocket("/") as socket:
        pass
    assert socket.from_app.empty()


async def test_a_session_can_begin_with_the_accept() -> None:
    world = World()
    browser = world.browser()
    async with browser.websocket("/live-new"):
        assert browser.cookie is not None
    assert await session_of(browser) == {"accepted": True}


async def test_a_session_cannot_begin_later() -> None:
    world = World()
    browser = world.browser()

    async def talk() -> None:
        async with browser.websocket("/live") as socket:
            socket.say({"heard": 1})
            assert await socket.hear() == {"heard": 1}

    with pytest.warns(RuntimeWarning, match="after the response had begun"):
        await talk()
    assert world.stored_keys() == []
    assert world.kinds == ["late-change"]


async def test_what_an_app_wrote_is_kept_when_it_does_not_catch_that_the_client_left() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        while True:
            socket.session.update(await socket.receive_json())

    world = World()
    browser = await world.logged_in(7)
    around = SessionMiddleware(app, sessions=world.sessions)
    with pytest.raises(WebSocketDisconnect):
        async with Browser(around, cookie=browser.cookie).websocket("/") as socket:
            socket.say({"heard": 1})
    assert await session_of(browser) == {"user_id": 7, "heard": 1}


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("logs_out", [True, False])
async def test_of_a_socket_whose_app_fails_a_logout_is_kept_and_nothing_else(
    accepts: bool, logs_out: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if accepts:
            await send({"type": "websocket.accept"})
        scope["session"]["lost"] = 1
        if logs_out:
            scope["session"].destroy()
        raise ZeroDivisionError

    world = World()
    browser = await world.logged_in(7)
    around = SessionMiddleware(app, sessions=world.sessions)
    if not accepts:
        scope = {"type": "websocket", "headers": [(b"cookie", str(browser.cookie).encode())]}
        said = asyncio.Queue[Any]()
        said.put_nowait({"type": "websocket.connect"})
        with pytest.raises(ZeroDivisionError):
            await around(scope, said.get, said.put)
    else:
        with pytest.raises(ZeroDivisionError):
            async with Browser(around, cookie=browser.cookie).websocket("/"):
                pass
    assert await session_of(browser) == ({} if logs_out else {"user_id": 7})


async def test_what_was_heard_while_the_store_was_away_counts_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(websocket_check="10ms", idle="30m")
    checks, run = asyncio.Queue[None](), world.store.run

    def counted(*args: Any) -> Any:
        checks.put_nowait(None)
        return run(*args)

    async def checked() -> None:
        """Wait for a check that begins, and ends, from now on."""
        while not checks.empty():
            checks.get_nowait()
        for _ in range(2):
            await checks.get()

    browser = await world.logged_in(7)
    async with browser.clone().websocket("/live") as socket:
        world.clock.advance(20 * 60)
        await world.store.aclose()
        socket.say({})
        assert await socket.hear() == {"user_id": 7}
        monkeypatch.setattr(world.store, "run", counted)
        await checked()
        await world.store.open()
        await checked()
    world.clock.advance(20 * 60)
    assert await session_of(browser) == {"user_id": 7}


async def test_revocation_closes_the_socket() -> None:
    world = World(websocket_check="10ms")
    browser = await world.logged_in(7)
    async with browser.websocket("/live") as socket:
        socket.say({})
        assert await socket.hear() == {"user_id": 7}
        await world.sessions.revoke_all(7)
        closed = await socket.next()
    assert closed == {
        "type": "websocket.close",
        "code": 1008,
        "reason": "the session has ended",
    }
    assert world.app.app.state.goodbyes == [1008]  # type: ignore[attr-defined]
    assert await session_of(browser) == {}


@pytest.mark.parametrize("then", ["listens", "speaks"])
async def test_revocation_closes_a_socket_that_loaded_its_session_late(then: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await load_session(HTTPConnection(scope))
        loaded.set()
        if then == "speaks":
            await send({"type": "websocket.send", "text": "hello"})
        heard.append(await receive())

    heard: list[Any] = []
    loaded = asyncio.Event()
    world = World(websocket_check="10ms", lazy=True)
    browser = Browser(session_app(Sessions(store=world.store, renew=None)))
    await browser.post("/update", {"user_id": 7})
    around = SessionMiddleware(app, sessions=world.sessions)
    async with Browser(around, cookie=browser.cookie).websocket("/") as socket:
        socket.say("load it")
        await loaded.wait()
        if then == "speaks":
            assert (await socket.next())["text"] == "hello"
        await world.sessions.revoke_all(7)
        assert (await socket.next())["code"] == 1008
    assert heard[0]["type"] == "websocket.disconnect"


async def test_a_login_elsewhere_with_the_same_session_closes_it_too() -> None:
    world = World(websocket_check="10ms")
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    async with browser.clone().websocket("/live") as socket:
        await browser.post("/update", {"user_id": 7})
        assert (await socket.next())["type"] == "websocket.close"


async def test_a_renewal_elsewhere_does_not() -> None:
    world = World(websocket_check="10ms", renew="10m", grace="20s")
    browser = await world.logged_in(7)
    async with browser.clone().websocket("/live") as socket:
        world.clock.advance(600)
        old = browser.cookie
        await browser.get("/")
        assert browser.cookie != old
        while socket.from_app.empty():  # until the socket has found the new id
            visit = socket.scope["cachemw.session_visit"]
            if visit.found.session_id == browser.session_id:
                break
            await asyncio.sleep(0)
        world.clock.advance(25)  # the grace is over
        socket.say({"still": "here"})
        assert (await socket.hear())["still"] == "here"
    assert (await session_of(browser))["still"] == "here"


async def test_a_watch_that_cannot_go_on_closes_the_socket(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("nobody expects this")

    world = World(websocket_check="10ms")
    browser = await world.logged_in(7)
    async with browser.websocket("/live") as socket:
        socket.say({})
        assert await socket.hear() == {"user_id": 7}
        monkeypatch.setattr(world.store, "run", broken)
        assert (await socket.next())["code"] == 1008
    assert "nobody expects this" in caplog.text


async def test_an_outage_closes_nothing_but_refuses_new_sockets() -> None:
    world = World(websocket_check="10ms")
    browser = await world.logged_in(7)
    async with browser.clone().websocket("/live") as socket:
        await world.store.aclose()
        socket.say({})
        assert await socket.hear() == {"user_id": 7}
        async with browser.websocket("/live-new") as refused:
            assert refused.answer == {"type": "websocket.close", "code": 1013}
        async with browser.websocket(
            "/live-new", extensions={"websocket.http.response": {}}
        ) as denied:
            assert denied.answer["status"] == 503
            assert (b"retry-after", b"5") in denied.answer["headers"]
            await denied.next()
        await world.store.open()
