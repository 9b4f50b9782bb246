"""One row of the table: a fault is injected while everybody uses the app, and it is seen what of.

    async with row(app, "a server is killed", number="2") as seen:
        await seen.during(kill)           people are there all the time
        await seen.normal()               and everything works again

At the end of the block: not one wrong byte, no update lost, no limit off by one, nothing left over.
What the fault may do to the answers is the row's own to say: `seen.tally`.
"""

import asyncio
import inspect
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from anyio import to_thread

from tests.faults.fleet import Fleet
from tests.faults.people import Crowd, Tally
from tests.faults.table import LINES, Line, told
from tests.faults.truth import Truth
from tests.faults.wire import Broken, ask
from tests.servers import Server

CALM = 0.2  # seconds of use before the fault
SPAN = float(os.environ.get("FAULTS_SPAN", "0.7"))  # seconds of use under it
RECOVERY = 30.0
_number = count(1)


@dataclass
class Seen:
    """A fault as it is seen from outside."""

    app: Fleet
    crowd: Crowd
    servers: Sequence[Server]
    line: Line
    tally: Tally = field(default_factory=Tally)
    usual: float = 0.0
    pids: set[int] = field(default_factory=set[int])

    async def during(
        self, inject: Callable[[], object] | None = None, *, span: float = SPAN
    ) -> None:
        """Inject a fault, in a thread if it is no coroutine function, and let people suffer it."""
        with self.crowd.tallied() as self.tally:
            if inject is not None:
                await carry_out(inject)
            await asyncio.sleep(span)

    async def normal(self, heal: Callable[[], object] | None = None) -> None:
        """Take the fault away, and wait until everything works in every worker."""
        if heal is not None:
            await carry_out(heal)
        healed = time.monotonic()
        async with asyncio.timeout(RECOVERY):
            while not await self._works():
                pass
        self.line.normal = time.monotonic() - healed

    async def _works(self) -> bool:
        try:
            workers = await self.app.inside()
            if any(worker["open"] for worker in workers):
                return False
            for _ in range(3 * self.app.workers):
                if not await self._works_once():
                    return False
        except Broken:
            return False
        return True

    async def _works_once(self) -> bool:
        """Kept and found, logged in and remembered, let in and counted."""
        port, name = self.app.port, f"{time.monotonic_ns()}"
        # After a loss of data the first page of each bucket of tags is not kept, for safety.
        pages = [await ask(port, "GET", f"/item/probe-{name}") for _ in range(3)]
        if "hit" not in pages[-1].header("cache-status"):
            return False
        login = await ask(port, "POST", f"/login?user={name}")
        again = await ask(port, "GET", "/session", {"cookie": login.cookie})
        let_in = await ask(port, "GET", "/closed", {"x-key": name})
        is_known = again.status == 200 and json.loads(again.body).get("user_id") == name
        return is_known and let_in.status == 200 and "ratelimit" in dict(let_in.headers)

    # --- what is left

    async def leaks(self) -> list[str]:
        """What is there that was not there before; work that is about to end has its time."""
        give_up = time.monotonic() + 10
        while True:
            found = [*await self._left_in_workers(), *await to_thread.run_sync(self._left_on_disk)]
            found += await to_thread.run_sync(self._left_in_servers)
            if not found or time.monotonic() > give_up:
                return found
            await asyncio.sleep(0.05)

    async def _left_in_workers(self) -> list[str]:
        found: list[str] = []
        for worker in await self.app.inside():
            more = Counter(worker["tasks"]) - self.app.tasks
            found += [f"{number} tasks {name}" for name, number in more.items()]
            files = worker["files"] - self.app.files
            found += [f"{files} files or sockets"] if files > 0 else []
        if self.pids and set(self.app.pids) != self.pids:
            found.append(f"other processes than before: {self.app.pids}")
        return found

    def _left_on_disk(self) -> list[str]:
        there = {path.name for path in self.app.directory.iterdir()}
        return [f"the file {name}" for name in sorted(there - {"database", "log"})]

    def _left_in_servers(self) -> list[str]:
        found: list[str] = []
        for server in self.servers:
            if not server.runs() or server.info("replication")["role"] != "master":
                continue
            endless = [k for k in server.ask("KEYS", "*") if server.ask("PTTL", k) == -1]
            found += [f"the key {key} for ever" for key in endless]
            listed = str(server.ask("CLIENT", "LIST", "TYPE", "normal")).splitlines()
            clients = [client for client in listed if "name=sentinel" not in client]
            workers = len(self.crowd.ports) - 1 + self.app.workers
            most = 1 + 3 * workers  # two lanes, perhaps a watch, and we who ask
            found += [f"{len(clients)} connections to a server"] if len(clients) > most else []
        return found

    # --- what it comes to

    def write(self, left: Sequence[str]) -> None:
        line, tally = self.line, self.tally
        line.cache, line.sessions = told(tally.of("cache")), told(tally.of("session"))
        line.limits = told(tally.of("limit"))
        line.requests = tally.requests
        line.worst = max(0.0, tally.worst - self.usual)
        line.left = ", ".join(left) or "nothing"
        LINES.append(line)


async def carry_out(doing: Callable[[], object]) -> None:
    if inspect.iscoroutinefunction(doing):
        await doing()
    else:
        done = await to_thread.run_sync(doing)
        if isinstance(done, Awaitable):
            await done


@asynccontextmanager
async def row(
    app: Fleet,
    fault: str,
    *,
    number: str,
    servers: Sequence[Server] = (),
    engine: str = "",
    loses_data: bool = False,
    keeps_processes: bool = True,
    grace: float = 0.0,
    also: Sequence[Fleet] = (),
) -> AsyncIterator[Seen]:
    """People who use `app`, and at the end the judgement of what they have seen."""
    ports = [app.port, *(other.port for other in also)]
    crowd = Crowd(ports, f"row{next(_number)}", Truth(grace=grace), loses_data=loses_data)
    seen = Seen(app, crowd, servers, Line(number, fault, engine))
    if not app.tasks:
        await warm(app)
    seen.pids = set(app.pids) if keeps_processes else set()
    crowd.come()
    try:
        await asyncio.sleep(CALM)
        times = sorted(crowd.tally.times)
        seen.usual = statistics.median(times) if times else 0.0
        yield seen
    finally:
        await crowd.leave()
    wrong = [*crowd.tally.wrong, *seen.tally.wrong]
    seen.line.wrong = len(wrong)
    left = await seen.leaks()
    seen.write(left)
    assert not wrong, "\n".join(wrong[:20])
    assert not left, f"left over: {left}"


async def warm(app: Fleet) -> None:
    """Use everything once in every worker, so that what is made once is made."""
    targets = ["/item/large", "/item/w", "/data/w", "/stream/w", "/closed", "/session"]
    targets += [f"/item/{number}-large" for number in range(8)]  # to every node of a cluster
    for _ in range(4 * app.workers):
        for target in targets:
            await ask(app.port, "GET", target, {"x-key": "warm"})
        await ask(app.port, "POST", "/write?key=warm&version=1")
    await app.note_what_is_usual()
