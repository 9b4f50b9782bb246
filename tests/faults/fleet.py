"""uvicorn with several workers that run the app under fault, and what can be seen of them.

    async with fleet(server.url, workers=2) as app:
        app.port; await app.inside(); app.signal(SIGTERM)

The processes listen on 127.0.0.1, keep everything in one directory, and end with the block.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.wire import Broken, ask
from tests.servers import free_ports, home, is_alive

UVICORN = ("-m", "uvicorn", "tests.faults.app:app", "--no-access-log", "--log-level", "warning")
WORKERS = int(os.environ.get("FAULTS_WORKERS", "2"))


@dataclass
class Fleet:
    """One app in several processes, behind one port."""

    port: int
    workers: int
    process: Process
    directory: Path
    tasks: Counter[str] = field(default_factory=Counter[str])
    files: int = 0

    @property
    def database(self) -> Path:
        return self.directory / "database"

    @property
    def pids(self) -> list[int]:
        """The processes that answer requests."""
        return children_of(self.process.pid) if self.workers > 1 else [self.process.pid]

    def log(self) -> str:
        return (self.directory / "log").read_text()

    async def inside(self, *, patience: float = 30.0) -> list[dict[str, Any]]:
        """What each worker says of itself."""
        seen: dict[int, dict[str, Any]] = {}
        async with asyncio.timeout(patience):
            while len(seen) < self.workers or not set(seen) >= set(self.pids):
                try:
                    # One after the other: two in one worker would see each other's tasks.
                    said = json.loads((await ask(self.port, "GET", "/inside")).body)
                except Broken:
                    await asyncio.sleep(0.02)
                    continue
                seen[said["pid"]] = said
                seen = {pid: said for pid, said in seen.items() if is_alive(pid)}
        return list(seen.values())

    async def note_what_is_usual(self) -> None:
        """Remember the tasks and files of workers at rest, after everything was used once."""
        for worker in await self.inside():
            self.tasks |= Counter(worker["tasks"])
            self.files = max(self.files, worker["files"])

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


def children_of(pid: int) -> list[int]:
    """The Python processes that a process has started, without the tracker of multiprocessing."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(n) for n in listed if "resource_tracker" not in _command(int(n))]
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return "resource_tracker"  # it has just ended


@asynccontextmanager
async def fleet(
    url: str,
    *,
    workers: int = WORKERS,
    near: str = "",
    clock: float = 0.0,
    database: Path | None = None,
    command: tuple[str, ...] = UVICORN,
    options: tuple[str, ...] = (),
    waits: bool = True,
) -> AsyncIterator[Fleet]:
    """The app, started, on the store that `url` names; with the `database` of another, if given."""
    directory = Path(tempfile.mkdtemp(prefix="fleet-", dir=home()))
    (directory / "database").mkdir()
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "FAULTS_STORE": url,
        "FAULTS_DATABASE": str(database or directory / "database"),
        "FAULTS_NEAR": near,
        "FAULTS_CLOCK": str(clock),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    place = ("--port", str(port), "--workers", str(workers))
    if "gunicorn" in command:
        place = ("--bind", f"127.0.0.1:{port}", "--workers", str(workers))
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command, *place, *options),
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (home() / "pids" / str(process.pid)).touch()
    app = Fleet(port, workers, process, directory)
    try:
        if waits:
            await started(app)
        yield app
    finally:
        await _end(app)


async def started(app: Fleet) -> None:
    """Wait until every worker answers."""
    give_up = time.monotonic() + 60
    while True:
        try:
            await ask(app.port, "GET", "/inside")
            break
        except Broken:
            if app.process.returncode is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the app does not start:\n{app.log()}") from None
            await asyncio.sleep(0.05)
    for worker in await app.inside(patience=60):
        (home() / "pids" / str(worker["pid"])).touch()


async def _end(app: Fleet) -> None:
    everybody = [app.process.pid, *children_of(app.process.pid)]
    for pid in everybody:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    await app.process.wait()
    shutil.rmtree(app.directory, ignore_errors=True)
