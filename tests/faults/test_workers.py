"""The failure matrix, in the app's own processes: killed, stopped, stalled, flooded, forked."""

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
from anyio import to_thread

from tests import servers
from tests.faults.conftest import World
from tests.faults.fleet import Fleet, fleet
from tests.faults.people import Crowd
from tests.faults.row import CALM, SPAN, row
from tests.faults.table import LINES, Line, told
from tests.faults.wire import Broken, ask, asked
from tests.servers import VALKEY, Server, is_alive, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one(valkey: Server) -> AsyncIterator[tuple[Fleet, Server]]:
    """An app of the test's own."""
    async with fleet(valkey.url) as app:
        yield app, valkey


# --- its store


async def test_4_packets_dropped_while_connecting() -> None:
    """The kernel drops every SYN to a listener whose backlog is full: a black hole."""

    with socket.socket() as hole, socket.socket() as full, socket.socket() as fuller:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        port = hole.getsockname()[1]
        for filler in (full, fuller):
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with ExitStack() as after:
            async with fleet(f"redis://127.0.0.1:{port}") as app:
                app.tasks["not known yet"] = 1  # nothing has been of use yet
                fault = "every packet to the server dropped"
                async with row(app, fault, number="4", engine=VALKEY, loses_data=True) as seen:
                    await seen.during()
                    assert set(seen.tally.of("cache")) == {"200"}
                    assert seen.tally.of("session")["503"]
                    hole.close()
                    after.enter_context(servers.single(VALKEY, port=port))
                    await seen.normal()
                    await app.note_what_is_usual()


async def test_19_killed_with_everything_in_its_log(engine: str) -> None:
    """Nothing that was acknowledged may be lost, and no step may be half done."""
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with servers.single(engine, *durable, port=0) as server:
        async with fleet(server.url + "?deadline=1s") as app:
            fault = "killed amid writes that are all in its log"
            async with row(app, fault, number="19", engine=engine, servers=[server]) as seen:

                def crash() -> None:
                    server.kill()
                    server.start()

                for _ in range(2):
                    await seen.during(crash, span=SPAN)
                assert set(seen.tally.of("cache")) == {"200"}
                await seen.normal()


async def test_33_reports_to_the_near_cache_fail(valkey: Server) -> None:
    """What was purged elsewhere may be served for a moment, and never longer than 1.5 s."""
    async with fleet(valkey.url, near="8MiB") as app:
        fault = "near caches: connections killed, server frozen"
        async with row(app, fault, number="33", engine=VALKEY, servers=[valkey], grace=1.6) as seen:

            def disturb() -> None:
                for _ in range(5):
                    valkey.ask("CLIENT", "KILL", "TYPE", "normal")
                valkey.stop()

            await seen.during(disturb)
            assert set(seen.tally.of("cache")) == {"200"}
            await seen.normal(valkey.cont)


async def test_23_clocks_an_hour_off(one: tuple[Fleet, Server]) -> None:
    """Workers whose clocks are right, an hour ahead and an hour behind, on one server."""
    app, server = one
    there = app.database
    async with (
        fleet(server.url, workers=1, clock=3600, database=there) as ahead,
        fleet(server.url, workers=1, clock=-3600, database=there) as behind,
        row(
            app,
            "clocks of workers an hour ahead and behind",
            number="23",
            engine=VALKEY,
            servers=[server],
            also=[ahead, behind],
        ) as seen,
    ):
        await seen.during()
        assert set(seen.tally.of("cache")) == {"200"}
        assert set(seen.tally.of("session")) <= {"200", "503"}
        await seen.normal()


# --- its clients


async def test_25_clients_leave_in_droves(world: World) -> None:
    app, chance = world.app, random.Random(25)

    async def leave(number: int) -> None:
        target = chance.choice(["item", "stream", "mine", "data", "slow"])
        request = f"GET /{target}/d{number % 9}?for=0.05 HTTP/1.1\r\nhost: a\r\n\r\n"
        async with asked(app.port, request.encode()):
            await asyncio.sleep(chance.random() * 0.02)

    async with world.row("25", "300 clients leave amid their requests") as seen:

        async def droves() -> None:
            for start in range(0, 300, 30):
                await asyncio.gather(*(leave(start + n) for n in range(30)))

        await seen.during(droves, span=0.1)
        assert set(seen.tally.of("cache")) == {"200"}
        await seen.normal()


async def test_30_huge_bodies(world: World) -> None:
    app, mb = world.app, int(40 * SPAN)
    async with world.row("30", f"bodies of {mb} MB") as seen:

        async def download() -> None:
            before = {worker["pid"]: worker["memory"] for worker in await app.inside()}
            for _ in range(3):
                answer = await ask(app.port, "GET", f"/big?mb={mb}")
                assert len(answer.body) == mb << 20
                assert "hit" not in answer.header("cache-status")
            for worker in await app.inside():
                assert worker["memory"] - before[worker["pid"]] < 20 << 20

        await seen.during(download, span=0)
        await seen.normal()


async def test_31_many_urls(world: World) -> None:
    app, many = world.app, int(300 * SPAN)
    async with world.row("31", f"{many} made-up URLs and hosts") as seen:

        async def wander() -> None:
            async def visit(number: int) -> None:
                headers = {"host": f"h{number}"} if number % 3 == 0 else {}
                answer = await ask(app.port, "GET", f"/item/u{number}?q={number}", headers)
                assert answer.status == 200

            for start in range(0, many, 20):
                await asyncio.gather(*(visit(start + n) for n in range(20)))

        await seen.during(wander, span=0)
        await seen.normal()


async def test_32_what_is_no_plain_response(world: World) -> None:
    """Events, websockets, HEAD, 304 and parts pass while everything else goes on."""
    app = world.app
    async with world.row("32", "events, HEAD, 304, parts of pages") as seen:

        async def differ() -> None:
            for _ in range(5):
                events = await ask(app.port, "GET", "/events")
                assert events.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
                assert "stored" not in events.header("cache-status")
                whole = await ask(app.port, "GET", "/item/other")
                head = await ask(app.port, "HEAD", "/item/other")
                assert (head.status, head.body) == (200, b"")
                known = {"if-none-match": whole.header("etag")}
                assert (await ask(app.port, "GET", "/item/other", known)).status == 304
                part = await ask(app.port, "GET", "/item/other", {"range": "bytes=5-9"})
                assert (part.status, part.body) in ((206, whole.body[5:10]), (200, whole.body))

        await seen.during(differ, span=0)
        await seen.normal()


# --- its processes


async def test_26_a_worker_is_killed_while_others_wait_for_it(
    one: tuple[Fleet, Server],
) -> None:
    app, server = one
    async with row(
        app,
        "a worker killed (SIGKILL) that others wait for",
        number="26",
        engine=VALKEY,
        servers=[server],
        keeps_processes=False,
    ) as seen:
        runs = app.database / "held.runs"
        dying = asyncio.create_task(_outcome(app, "/slow/held?for=4"))
        await to_thread.run_sync(until, runs.exists, "a worker to take the lease")
        victim = int((await to_thread.run_sync(runs.read_text)).split()[0])
        waiting = asyncio.create_task(_outcome(app, "/slow/held?for=4"))
        await seen.during(lambda: os.kill(victim, signal.SIGKILL))
        assert set(seen.tally.of("cache")) <= {"200", "broken"}
        await seen.normal()
        assert await dying == 0
        assert await waiting in (200, 0)  # 0 if it was at the same worker
    app.tasks.clear()


async def test_27_stopped_under_load(valkey: Server) -> None:
    """Nobody gets half an answer, nothing of the app stays, and it does not take for ever."""
    async with fleet(valkey.url, options=("--timeout-graceful-shutdown", "5")) as app:
        crowd = Crowd([app.port], "stopping")
        crowd.come()
        await asyncio.sleep(CALM)
        pids = [app.process.pid, *app.pids]
        slow = asyncio.create_task(_outcome(app, "/slow/last?for=0.5"))
        await to_thread.run_sync(
            until, (app.database / "last.runs").exists, "the last one to begin"
        )
        app.signal(signal.SIGTERM)
        asked = time.monotonic()
        async with asyncio.timeout(30):
            code = await app.process.wait()
        took = time.monotonic() - asked
        assert await slow == 200
        await crowd.leave()
        assert not crowd.tally.wrong
        assert code in (0, -signal.SIGTERM) and not any(map(is_alive, pids))
        assert "Traceback" not in app.log() and "Task was destroyed" not in app.log()
        clients = str(valkey.ask("CLIENT", "LIST", "TYPE", "normal")).splitlines()
        assert len(clients) == 1  # who asks
        line = Line("27", "stopped (SIGTERM) under load", VALKEY, normal=took, left="nothing")
        line.cache = told(crowd.tally.of("cache"))
        LINES.append(line)


async def test_28_workers_forked_from_an_app_that_was_made_before(valkey: Server) -> None:
    command = ("-m", "gunicorn", "tests.faults.app:app", "-k", "asgi", "--preload")
    async with (
        fleet(valkey.url, command=command) as app,
        row(
            app,
            "forked (`gunicorn --preload`), a worker killed",
            number="28",
            engine=VALKEY,
            servers=[valkey],
            keeps_processes=False,
        ) as seen,
    ):
        await seen.during(lambda: os.kill(app.pids[0], signal.SIGKILL))
        assert set(seen.tally.of("cache")) <= {"200", "broken"}
        await seen.normal()


async def test_29_a_handler_blocks_the_event_loop(world: World) -> None:
    app = world.app
    async with world.row("29", "handlers that block the event loop for 0.4 s") as seen:

        async def block() -> None:
            for _ in range(3):
                await asyncio.gather(*(ask(app.port, "GET", "/block?for=0.4") for _ in range(3)))

        await seen.during(block, span=0.1)
        assert set(seen.tally.of("cache")) == {"200"}
        for worker in await app.inside():
            assert not worker["open"], "the breaker opened, although the server was well"
        await seen.normal()


def test_a_store_that_was_used_before_a_fork_is_used_after_it(valkey: Server) -> None:
    """By the child and by the parent, each on connections of its own."""
    from cachemw import open_store

    store = open_store(valkey.url + "?deadline=5s")

    async def use(name: bytes) -> bytes | None:
        await store.set(name, name, ttl=60_000)
        found = await store.get(name)
        await asyncio.gather(*(store.get(name) for _ in range(50)))
        return found

    async def parent() -> None:
        assert await use(b"before") == b"before"
        child = os.fork()
        if child == 0:
            os._exit(_in_child(use))
        for _ in range(20):
            assert await use(b"after") == b"after"
        _, status = await to_thread.run_sync(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        await store.aclose()

    asyncio.run(parent())


def _in_child(use: object) -> int:
    """In a forked child, which must forget the loop of its parent first."""
    asyncio.events._set_running_loop(None)
    try:
        for _ in range(20):
            assert asyncio.run(use(b"child")) == b"child"  # type: ignore[operator]
    except BaseException:
        return 1
    return 0


async def _outcome(app: Fleet, target: str) -> int:
    try:
        return (await ask(app.port, "GET", target, patience=30)).status
    except Broken:
        return 0
