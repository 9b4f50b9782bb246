"""A process that works on one session together with others: `python -m tests.sessions.worker`.

    worker.py URL COOKIE NAME count TIMES     adds up under its own keys, and under a common one
    worker.py URL COOKIE NAME write           writes until the session is gone

Says a line when it has begun, and one when it has ended.
"""

import asyncio
import sys

from cachemw.sessions.errors import ConflictError
from cachemw.sessions.sessions import Sessions
from cachemw.sessions.visit import Visit
from cachemw.stores import open_store

TASKS = 4


async def visit(sessions: Sessions, cookie: str) -> Visit:
    visit = Visit(sessions, {"type": "http", "headers": [(b"cookie", cookie.encode())]})
    await visit.load()
    return visit


async def count(sessions: Sessions, cookie: str, key: str, times: int) -> None:
    for number in range(1, times + 1):
        own = await visit(sessions, cookie)
        own.session[key] = number
        own.session[f"{key}-list"] = [number]
        await own.settle(200)
        while True:
            common = await visit(sessions, cookie)
            common.session["total"] += 1
            try:
                await common.settle(200)
                break
            except ConflictError:
                continue


async def write(sessions: Sessions, cookie: str, key: str) -> None:
    number = 0
    while True:
        current = await visit(sessions, cookie)
        if current.session.is_new:
            break
        await asyncio.sleep(0)
        current.session[key] = number = number + 1
        await current.settle(200)
        if number == 1:
            print("writing", flush=True)


async def main(url: str, cookie: str, name: str, task: str, *more: str) -> None:
    store = open_store(url + "?deadline=10s")
    await store.open()
    sessions = Sessions(store=store, renew=None, guarded=["total"])
    print("begun", flush=True)
    async with asyncio.TaskGroup() as tasks:
        for number in range(TASKS):
            key = f"{name}-{number}"
            if task == "count":
                tasks.create_task(count(sessions, cookie, key, int(more[0])))
            else:
                tasks.create_task(write(sessions, cookie, key))
    print("ended", flush=True)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
