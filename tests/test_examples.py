"""The programs in docs/examples do what they say, with and without a server."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp

from cachemw.stores import open_store
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.testing import FakeClock

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[Store]:
    store = open_store(f"{valkey_url}?deadline=5s")
    yield store
    await store.aclose()


def example(name: str) -> Any:
    """The module of an example, as if its file had been imported."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def browse(app: ASGIApp) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://app")


def test_every_example_is_tested() -> None:
    tests = Path(__file__).read_text("utf-8")
    for file in EXAMPLES.glob("*.py"):
        assert f'example("{file.stem}")' in tests, file


async def test_profile(store: Store) -> None:
    app = example("profile").make_app(store)
    database = app.state.database
    async with browse(app) as client:
        for _ in range(3):
            assert (await client.get("/users/1")).json()["name"] == "Ada"
            assert (await client.get("/users/2")).status_code == 404
        assert database.reads == 2
        await client.put("/users/1?name=Augusta")
        await client.put("/users/2?name=Grace")
        assert (await client.get("/users/1")).json()["name"] == "Augusta"
        assert (await client.get("/users/2")).json()["name"] == "Grace"
        assert database.reads == 2  # what was written is what is read


async def test_feed() -> None:
    clock = FakeClock()
    app = example("feed").make_app(MemoryStore(clock=clock))
    cache, database = app.state.cache, app.state.database
    async with browse(app) as client:

        async def feed() -> Any:
            return (await client.get("/feeds/eve")).json()

        assert await feed() == ["ada: hello"]
        clock.advance("10m")  # stale
        answers = await asyncio.gather(*(feed() for _ in range(10)))
        assert answers == [["ada: hello"]] * 10
        await cache.aclose()
        assert database.queries == 2  # ten readers, one refresh
        assert (await client.post("/posts?author=ada&text=news")).status_code == 201
        assert await feed() == ["ada: hello"]
        await cache.aclose()
        assert await feed() == ["ada: news", "ada: hello"]
        assert database.queries == 3
        clock.advance("1s")
        await client.post("/posts?author=stranger&text=spam")
        assert await feed() == ["ada: news", "ada: hello"]
        assert database.queries == 3


async def test_verification(store: Store) -> None:
    app = example("verification").make_app(store)
    async with browse(app) as client:
        assert (await client.post("/register?email=ada@example.org")).status_code == 202
        email, link = app.state.outbox.pop()
        assert email == "ada@example.org"
        token = link.partition("token=")[2]
        for _ in range(2):  # a mail scanner, then a person
            assert token in (await client.get("/verify", params={"token": token})).text
        posts = [client.post("/verify", data={"token": token}) for _ in range(5)]
        statuses = sorted(response.status_code for response in await asyncio.gather(*posts))
        assert statuses == [200, 400, 400, 400, 400]
        assert app.state.verified == {"ada@example.org"}
        assert (await client.post("/verify", data={"token": "made-up"})).status_code == 400
        asked = [await client.post("/register?email=eve@example.org") for _ in range(5)]
        assert asked[-1].status_code == 429


async def test_rag(store: Store) -> None:
    app = example("rag").make_app(store)
    library = app.state.library
    async with browse(app) as client:

        async def answer(question: str) -> str:
            return str((await client.get("/answers", params={"question": question})).json()["text"])

        questions = ["What is Redis?", "what is  redis?"] * 3
        answers = await asyncio.gather(*map(answer, questions))
        assert answers == ["Redis keeps data in memory."] * 6
        assert await answer("how to make tea?") == "Tea needs hot water."
        assert await answer("what is valkey?") == "I do not know."
        assert library.asked == 3
        await client.put("/documents/redis?text=Redis is fast.")
        assert await answer("what is redis?") == "Redis is fast."
        assert await answer("how to make tea?") == "Tea needs hot water."
        assert library.asked == 4
        await client.put("/documents/valkey?text=Valkey, too.")
        assert await answer("what is valkey?") == "Valkey, too."


# --- the starters


async def test_the_starters_cache_purge_and_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_STORE", "memory://")
    fastapi, starlette = example("starter_fastapi"), example("starter_starlette")
    quart = example("starter_quart")
    for app in (fastapi.app, starlette.app, quart.app):
        async with browse(app) as client:
            seen = [await client.get("/products/1") for _ in range(2)]
            assert "; stored" in seen[0].headers["cache-status"]
            assert "; hit" in seen[1].headers["cache-status"]
            assert seen[1].headers["ratelimit"].startswith('"minute";r=98')
            if app is quart.app:
                changed = await client.put("/products/1", json={"price": 8.0})
            else:
                changed = await client.put("/products/1?price=8")
            assert changed.status_code == 200
            assert (await client.get("/products/1")).json() == {"id": 1, "price": 8.0}
    for app in (fastapi.app, starlette.app):
        async with browse(app) as client:
            logins = [await client.post("/login?name=ada") for _ in range(6)]
            assert [one.status_code for one in logins] == [200] * 5 + [429]
            assert "HttpOnly" in logins[0].headers["set-cookie"]
