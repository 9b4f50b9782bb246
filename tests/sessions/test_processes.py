"""Four processes at once on one session: no update is lost, and what was ended stays ended."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import anyio.to_thread
import pytest

from cachemw.sessions.sessions import Sessions
from cachemw.stores import open_store
from cachemw.stores.base import Store
from tests.servers import Cluster
from tests.sessions.apps import session_app
from tests.sessions.browser import Browser
from tests.sessions.worker import TASKS
from tests.sessions.world import session_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PROCESSES = 4


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = open_store(redis_url + "?deadline=10s")
    await store.open()
    yield store
    await store.aclose()


Worker = subprocess.Popen[str]


@contextmanager
def workers(url: str, cookie: str, *task: str) -> Iterator[list[Worker]]:
    with ExitStack() as at_the_end:
        running: list[Worker] = []
        for number in range(PROCESSES):
            command = [sys.executable, "-m", "tests.sessions.worker", url, cookie, f"w{number}"]
            process = subprocess.Popen([*command, *task], stdout=subprocess.PIPE, text=True)
            at_the_end.enter_context(process)
            at_the_end.callback(process.kill)
            running.append(process)
        yield running


async def line_of(worker: Worker) -> str:
    assert worker.stdout is not None
    return (await anyio.to_thread.run_sync(worker.stdout.readline)).strip()


async def ended(worker: Worker) -> None:
    assert await line_of(worker) == "ended"
    assert await anyio.to_thread.run_sync(partial(worker.wait, timeout=20)) == 0


async def test_no_update_is_lost(store: Store, redis_url: str) -> None:
    times = 25
    browser = Browser(session_app(Sessions(store=store, renew=None)))
    await browser.post("/update", {"user_id": 7, "total": 0})
    assert browser.cookie is not None
    with workers(redis_url, browser.cookie, "count", str(times)) as running:
        for worker in running:
            assert await line_of(worker) == "begun"
        for worker in running:
            await ended(worker)
    session = await session_of(browser)
    assert session.pop("user_id") == 7
    assert session.pop("total") == PROCESSES * TASKS * times
    keys = [f"w{process}-{task}" for process in range(PROCESSES) for task in range(TASKS)]
    expected = dict.fromkeys(keys, times) | {f"{key}-list": [times] for key in keys}
    assert session == expected


@pytest.mark.parametrize("end", ["logout", "revoke"])
async def test_what_was_ended_stays_ended(store: Store, redis_url: str, end: str) -> None:
    sessions = Sessions(store=store, renew=None)
    browser = Browser(session_app(sessions))
    await browser.post("/update", {"user_id": 7})
    assert browser.cookie is not None
    tab = browser.clone()
    with workers(redis_url, browser.cookie, "write") as running:
        for worker in running:
            assert await line_of(worker) == "begun"
            for _ in range(TASKS):
                assert await line_of(worker) == "writing"
        if end == "logout":
            await browser.post("/logout", {})
        else:
            assert await sessions.revoke_all(7) == 1
        for worker in running:
            await ended(worker)
    assert await session_of(tab) == {}
    assert [key async for batch in store.scan(b"s:*") for key in batch] == []


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_sessions_work_the_same_on_a_cluster(cluster: Cluster) -> None:
    store = open_store(cluster.url + "?deadline=5s")
    await store.open()
    sessions = Sessions(store=store)
    browser = Browser(session_app(sessions))
    for subject in range(30):
        await browser.post("/update", {"cart": [subject]})
        anonymous = browser.clone()
        await browser.post("/update", {"user_id": subject})
        before = browser.clone()
        await browser.post("/rotate")
        assert await session_of(browser) == {"cart": [subject], "user_id": subject}
        assert await session_of(before) == await session_of(anonymous) == {}
        assert len(await sessions.list(subject)) == 1
        if subject % 2:
            assert await sessions.revoke_all(subject) == 1
            browser.cookie = None
        else:
            await browser.post("/logout", {})
    await store.aclose()
