"""What sessions cost, as the server counts it: one script for a request with a cookie, or none."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cachemw.sessions.guards import load_session
from cachemw.sessions.ids import digest_of_subject, index_key, place_of_subject
from cachemw.sessions.sessions import Sessions
from cachemw.stores import open_store
from cachemw.stores.redis import RedisStore
from tests.sessions.apps import session_app
from tests.sessions.browser import Browser
from tests.sessions.world import session_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    store = open_store(redis_url + "?deadline=5s")
    assert isinstance(store, RedisStore)
    await store.open()
    yield store
    await store.aclose()


class Meter:
    """Scripts run and keys written since the last look."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._before: dict[bytes, int] = {}

    async def calls(self) -> dict[str, int]:
        (info,) = await self._store.ask("INFO", "commandstats")
        now: dict[bytes, int] = {}
        for line in bytes(info).splitlines():
            name, _, numbers = line.partition(b":calls=")
            if numbers:
                now[name.removeprefix(b"cmdstat_")] = int(numbers.partition(b",")[0])
        spent = {k.decode(): n - self._before.get(k, 0) for k, n in now.items()}
        self._before = now
        for bookkeeping in ("info", "time", "client|setname", "config|get"):
            spent.pop(bookkeeping, None)
        return {name: count for name, count in spent.items() if count}


def trips(calls: dict[str, int]) -> int:
    return calls.get("evalsha", 0) + calls.get("eval", 0)


async def test_the_server_counts_one_trip_or_none(store: RedisStore) -> None:
    browser = Browser(session_app(Sessions(store=store, renew=None)))
    meter = Meter(store)
    for path in ("/update", "/rotate", "/logout"):
        await browser.post(path, {"user_id": 9})  # the server has met every script
    await browser.post("/update", {"user_id": 7, "list": []})
    await browser.post("/update", {"a": 1})
    await meter.calls()

    async def cost(act: Any) -> dict[str, int]:
        await act
        return await meter.calls()

    anonymous = Browser(browser.app)
    assert await cost(anonymous.get("/view")) == {}
    assert await cost(Browser(browser.app, cookie="__Host-id=malformed").get("/view")) == {}

    untouched = await cost(browser.get("/"))
    read = await cost(browser.get("/view"))
    assert trips(untouched) == trips(read) == 1
    assert untouched == read
    writes = {"hset": 1, "pexpire": 1}  # when it was last seen, and until when it lives
    assert {name: untouched.get(name) for name in writes} == writes
    assert not {"hdel", "del", "set", "rename"} & untouched.keys()

    assert trips(await cost(browser.post("/update", {"a": 2}))) == 2  # load, save
    assert trips(await cost(browser.post("/update", {"a": 2}))) == 1  # the same value: no save
    assert trips(await cost(browser.post("/append", 1))) == 2  # seen inside a list
    assert trips(await cost(browser.post("/rotate"))) == 2  # load, renew
    assert trips(await cost(anonymous.post("/update", {"x": 1}))) == 1  # create
    assert trips(await cost(anonymous.post("/update", {"user_id": 8}))) == 3  # load, take, create
    assert trips(await cost(browser.post("/logout", {}))) == 2  # load, take


async def test_a_lazy_session_costs_nothing_until_somebody_asks(store: RedisStore) -> None:
    async def ask(request: Request) -> Response:
        return JSONResponse(dict(await load_session(request)))

    app = session_app(Sessions(store=store, renew=None, lazy=True), ask=ask)
    eager = Browser(session_app(Sessions(store=store, renew=None)))
    await eager.post("/update", {"user_id": 7})
    await eager.get("/view")  # the server has met the script
    browser = Browser(app, cookie=eager.cookie)
    meter = Meter(store)
    await meter.calls()

    assert (await browser.get("/")).status == 200
    assert await meter.calls() == {}
    assert (await browser.post("/ask")).json() == {"user_id": 7}
    assert trips(await meter.calls()) == 1


async def test_a_login_does_not_look_at_all_others_of_its_subject(store: RedisStore) -> None:
    """Where their number is not limited, somebody may be logged in a million times."""
    app = session_app(Sessions(store=store, renew=None, max_sessions=None))
    first = Browser(app)
    await first.post("/update", {"user_id": 7})
    meter = Meter(store)
    await meter.calls()

    await Browser(app).post("/update", {"user_id": 7})
    assert "hgetall" not in await meter.calls()

    # Entries of sessions that have ended by their time are not kept for ever all the same.
    place = place_of_subject("7")
    index, who = store.prefix + index_key(place), digest_of_subject("7")
    dead = [part for n in range(100) for part in (b"%b:%x" % (who, n), b"1 1 1 phone")]
    await store.ask("HSET", index, *dead)
    logins = 60
    for _ in range(logins):
        await Browser(app).post("/update", {"user_id": 7})
    (left,) = await store.ask("HLEN", index)
    assert left <= 2 + logins + 40
    assert await session_of(first) == {"user_id": 7}


async def test_every_key_has_an_expiry(store: RedisStore) -> None:
    browser = Browser(session_app(Sessions(store=store, renew=None)))
    await browser.post("/update", {"user_id": 7})
    await browser.post("/update", {"a": 1})
    await browser.post("/rotate")
    keys = [key async for batch in store.scan(b"[su]:*") for key in batch]
    assert len(keys) == 3  # the record, the index, and the way from the old id
    for key in keys:
        (left,) = await store.ask("PTTL", store.prefix + key)
        assert left > 0
