"""The store is away: who is anonymous notices nothing, who is not hears so at once."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cachemw.sessions.guards import save_session
from cachemw.sessions.sessions import Sessions
from cachemw.stores import open_store
from tests.servers import Server
from tests.sessions.apps import Gate, session_app
from tests.sessions.browser import Answer, Browser
from tests.sessions.world import World, session_of

pytestmark = pytest.mark.anyio


def is_refusal(answer: Answer) -> bool:
    assert answer.status == 503
    assert answer.header("retry-after") == "5"
    assert answer.header("cache-control") == "private, no-store"
    assert answer.header("content-type") == "application/problem+json"
    assert answer.json()["status"] == 503
    return answer.set_cookie is None


async def test_anonymous_requests_are_not_concerned() -> None:
    world = World()
    await world.store.aclose()
    assert (await world.browser().get("/view")).json() == {"session": {}}


async def test_a_request_that_needs_its_session_is_told_to_come_back() -> None:
    world = World()
    browser = await world.logged_in(7)
    cookie = browser.cookie
    await world.store.aclose()
    assert is_refusal(await browser.get("/view"))
    assert is_refusal(await browser.post("/update", {"a": 1}))
    assert browser.cookie == cookie
    await world.store.open()
    assert await session_of(browser) == {"user_id": 7}
    assert world.kinds == ["login", "unavailable", "unavailable"]


async def test_a_request_that_has_a_session_but_does_not_look_at_it_is_served() -> None:
    world = World()
    browser = await world.logged_in(7)
    await world.store.aclose()
    answer = await browser.get("/")
    assert (answer.status, answer.body) == (200, b"hello")


async def test_an_app_that_swallows_the_error_does_not_get_its_page_stored() -> None:
    async def careless(request: Request) -> Response:
        try:
            name = request.session.get("user_id")
        except Exception:
            name = None
        return JSONResponse(name)

    world = World({"careless": careless})
    browser = await world.logged_in(7)
    await world.store.aclose()
    answer = await browser.post("/careless")
    assert answer.header("cache-control") == "private, no-store"
    assert answer.set_cookie is None


@pytest.mark.parametrize("path", ["/slow", "/early"])
async def test_a_save_that_fails_is_no_success(path: str) -> None:
    gate = Gate(lambda request, data: request.session.update(data))

    async def early(request: Request) -> Response:
        response = await gate.handle(request)
        await save_session(request)
        return response

    world = World({"slow": gate.handle, "early": early})
    browser = await world.logged_in(7)

    answer = asyncio.create_task(browser.post(path, {"a": 1}))
    await gate.reached_by(answer)
    await world.store.aclose()
    gate.open.set()
    assert is_refusal(await answer)


async def test_a_login_while_the_store_is_away_is_no_login() -> None:
    world = World()
    await world.store.aclose()
    assert is_refusal(await world.browser().post("/update", {"user_id": 7}))


async def test_a_real_server_that_dies_and_comes_back(valkey: Server) -> None:
    store = open_store(valkey.url)
    await store.open()
    sessions = Sessions(store=store)
    browser = Browser(session_app(sessions))
    await browser.post("/update", {"user_id": 7})
    valkey.stop()
    try:
        assert is_refusal(await browser.get("/view"))
        assert (await browser.get("/")).status == 200
        assert (await Browser(browser.app).get("/view")).status == 200
    finally:
        valkey.cont()
    while (answer := await browser.get("/view")).status != 200:
        assert is_refusal(answer)
    assert answer.json() == {"session": {"user_id": 7}}
    await store.aclose()
