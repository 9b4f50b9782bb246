"""Several tasks of one request work on its session at once: they load it once, and save it once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from cachemw.sessions.guards import load_session, save_session
from cachemw.sessions.sessions import Sessions
from cachemw.stores import open_store
from cachemw.stores.redis import RedisStore
from tests.sessions.apps import session_app
from tests.sessions.browser import Browser
from tests.sessions.world import session_of

pytestmark = pytest.mark.anyio
TASKS = 3


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    store = open_store(redis_url + "?deadline=5s")
    assert isinstance(store, RedisStore)
    yield store
    await store.aclose()


async def save_at_once(request: Request) -> Response:
    data = await request.json()

    async def save(number: int) -> None:
        request.session.update(data)
        request.session[f"task-{number}"] = number
        await save_session(request)

    await asyncio.gather(*map(save, range(TASKS)))
    return PlainTextResponse("ok")


async def load_at_once(request: Request) -> Response:
    loaded = await asyncio.gather(*(load_session(request) for _ in range(TASKS)))
    return JSONResponse([dict(session) for session in loaded])


@pytest.mark.parametrize("before", [None, {"cart": [1]}, {"user_id": 8}])
@pytest.mark.parametrize("data", [{"a": 1}, {"user_id": 7}])
async def test_one_session_comes_of_it(store: RedisStore, before: Any, data: Any) -> None:
    browser = Browser(session_app(Sessions(store=store, renew=None), save=save_at_once))
    if before:
        await browser.post("/update", before)

    answer = await browser.post("/save", data)

    records = [store.prefix + key async for batch in store.scan(b"s:*") for key in batch]
    living = [key for key in records if await store.ask("HEXISTS", key, "@") == [1]]
    assert len(living) == 1
    assert len(answer.all("set-cookie")) <= 1
    kept = {} if before == {"user_id": 8} and "user_id" in data else before or {}
    tasks = {f"task-{number}": number for number in range(TASKS)}
    assert await session_of(browser) == {**kept, **data, **tasks}


async def test_a_lazy_session_is_loaded_once_for_all(store: RedisStore) -> None:
    browser = Browser(session_app(Sessions(store=store, renew=None)))
    await browser.post("/update", {"user_id": 7})
    lazy = Sessions(store=store, lazy=True, renew=None)
    tab = Browser(session_app(lazy, load=load_at_once), cookie=browser.cookie)
    assert (await tab.post("/load")).json() == [{"user_id": 7}] * TASKS
