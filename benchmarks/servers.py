"""The processes of a run: for each subject a Redis of its own, and uvicorn with its app.

uvicorn is bound to one core, everything else (Redis, the load generator) to another. Whatever
happens, a process started here ends with the `with` block; servers listen on 127.0.0.1 only.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import redis

from benchmarks.peers import ROOT
from benchmarks.subjects import Subject
from cachemw.stores.embedded import bundled_server, find_server

Client: TypeAlias = redis.Redis

if not sys.platform.startswith("linux"):
    sys.exit("the benchmarks need Linux: they bind processes to cores and read /proc")

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 60.0


@dataclass
class Server:
    """A subject that answers."""

    subject: Subject
    port: int
    process: subprocess.Popen[bytes]
    redis: "redis.Redis"
    redis_process: subprocess.Popen[bytes]
    runs_file: Path
    others: tuple[Client, ...] = ()
    """Clients of more servers that it uses."""

    @property
    def name(self) -> str:
        return self.subject.name

    def runs(self) -> int:
        """How often handlers have run."""
        return self.runs_file.stat().st_size if self.runs_file.exists() else 0

    def cpu(self) -> float:
        return sum(_cpu(pid) for pid in (self.process.pid, *_children(self.process.pid)))

    def redis_cpu(self) -> float:
        return _cpu(self.redis_process.pid)

    def memory(self) -> int:
        """Resident bytes of the app's process."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


@contextmanager
def serving(
    subject: Subject,
    *,
    workers: int = 1,
    counting: bool = True,
    url: str = "",
    nodes: Sequence[int] = (),
    within: Sequence[str] = (),
) -> Iterator[Server | None]:
    """The subject, started; None, with a line that says why, when it does not start.

    Handlers count their runs if `counting`. With a `url` it uses the servers there, whose ports are
    `nodes`, instead of one of its own. `within` is a command that runs the server, slowly perhaps.
    """
    python = subject.python()
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, _redis(directory) as kept:
        home = Path(directory)
        port, runs = free_port(), home / "runs"
        environment = {
            **os.environ,
            "BENCH_REDIS_URL": url or f"redis://127.0.0.1:{kept[1]}/0",
            "BENCH_RUNS": str(runs) if counting else "",
            "PYTHONPATH": str(ROOT),
        }
        command = [
            *within,
            str(python),
            "-m",
            "uvicorn",
            "--factory",
            f"benchmarks.apps.{subject.factory}",
        ]
        command += ["--port", str(port), "--workers", str(workers), "--no-access-log"]
        command += ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning"]
        with (home / "log").open("wb") as log:
            process = _start(command, SERVER_CORE if workers == 1 else None, log, environment)
        try:
            if not _answers(process, port):
                tail = (home / "log").read_text(errors="replace").strip().splitlines()[-1:]
                print(f"left out: {subject.name} does not start: {tail}", file=sys.stderr)
                yield None
                return
            client = redis.Redis(port=kept[1])
            others = tuple(redis.Redis(port=node) for node in nodes)
            yield Server(subject, port, process, client, kept[0], runs, others)
            for each in (client, *others):
                each.close()
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


@contextmanager
def _redis(directory: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    # The newest there is: some peers need commands of Redis 7.4.
    program = bundled_server() or find_server()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
    command = [str(program), *options]
    process = _start(command, LOAD_CORE, subprocess.DEVNULL, dict(os.environ))
    try:
        _answers(process, port)
        yield process, port
    finally:
        process.kill()
        process.wait()


def _start(
    command: list[str], core: int | None, log: object, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    process: subprocess.Popen[bytes] = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        cwd=ROOT,  # type: ignore[call-overload]
    )
    os.sched_setaffinity(process.pid, CORES if core is None else [core])
    return process


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port


def redis_version() -> str:
    program = bundled_server() or find_server()
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return f"{program.name} {said.partition('v=')[2].partition(' ')[0]}"
