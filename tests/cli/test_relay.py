"""`cachemw relay` as a process: killed and started again, asked wrongly, interrupted."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Any

import anyio.to_thread
import pytest

from cachemw.caching.cache import Cache
from cachemw.cli import main
from cachemw.stores import open_store
from tests import servers
from tests.cli.terminal import CACHEMW
from tests.servers import VALKEY, Server

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def eu() -> Iterator[Server]:
    with servers.single(VALKEY, port=0) as server:
        yield server


@pytest.fixture
def us() -> Iterator[Server]:
    with servers.single(VALKEY, port=0) as server:
        yield server


@pytest.fixture
async def caches(eu: Server, us: Server, anyio_backend: str) -> AsyncIterator[tuple[Cache, Cache]]:
    async with AsyncExitStack() as at_the_end:
        stores = [open_store(server.url + "?deadline=2s") for server in (eu, us)]
        for store in stores:
            at_the_end.push_async_callback(store.aclose)
        here, there = (
            Cache(store, region=name) for name, store in zip(("eu", "us"), stores, strict=True)
        )
        yield here, there


@pytest.fixture
def run() -> Iterator[Run]:
    """`run("relay", ...)`: the command as a process, which ends with the test."""
    with ExitStack() as at_the_end:

        def start(*arguments: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [*CACHEMW, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            at_the_end.enter_context(process)
            at_the_end.callback(process.kill)
            return process

        yield start


def between(eu: Server, us: Server) -> list[str]:
    return ["relay", "--from", eu.url, "--to", us.url, "--region", "eu"]


async def told(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next thing it says."""
    assert process.stdout is not None
    line = await anyio.to_thread.run_sync(process.stdout.readline)
    said: dict[str, Any] = json.loads(line)
    return said


async def end_of(process: "subprocess.Popen[str]") -> tuple[int, list[dict[str, Any]], str]:
    """Its exit code, what it said, and what it complained of."""
    out, err = await anyio.to_thread.run_sync(partial(process.communicate, timeout=30))
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_relay_that_is_killed_again_and_again_loses_nothing(
    eu: Server, us: Server, caches: tuple[Cache, Cache], run: Run
) -> None:
    here, there = caches
    assert (await end_of(run(*between(eu, us), "--once")))[0] == 0
    keys = [f"user:{number}" for number in range(400)]
    await there.set_many(dict.fromkeys([*keys, "bystander"], "us"), "1h")
    waiting, said = iter(keys), []
    for _ in range(3):
        process = run(*between(eu, us))
        for key in (next(waiting) for _ in range(50)):
            await here.purge(key=key)
        said.append(await told(process))  # it is at work
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_purge, here, [next(waiting) for _ in range(40)])
            process.kill()
        await _purge(here, [next(waiting) for _ in range(10)])
    await _purge(here, list(waiting))
    code, rest, _ = await end_of(run(*between(eu, us), "--once"))
    assert code == 0
    assert not any("gap" in one for one in (*said, *rest))
    assert rest[0]["notes"] > 0
    assert await there.get_many([*keys, "bystander"]) == {"bystander": "us"}


async def _purge(cache: Cache, keys: list[str]) -> None:
    for key in keys:
        await cache.purge(key=key)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_target_that_was_away_is_told_when_it_is_back(
    eu: Server, us: Server, caches: tuple[Cache, Cache], run: Run
) -> None:
    here, there = caches
    process = run(*between(eu, us))
    assert (await told(process))["gap"] == "no position is remembered"
    await there.set_many(dict.fromkeys(["user:1", "bystander"], "us"), "1h")
    us.stop()
    await here.purge(key="user:1")
    assert process.stderr is not None
    while "waiting: " not in await anyio.to_thread.run_sync(process.stderr.readline):
        pass
    us.cont()
    said = await told(process)
    assert (said["region"], said["notes"]) == ("eu", 1)
    assert said["lag_ms"] > 0
    assert await there.get_many(["user:1", "bystander"]) == {"bystander": "us"}
    process.send_signal(signal.SIGINT)
    code, _, complaints = await end_of(process)
    assert code == 130
    assert "both stores answer again" in complaints
    assert "Traceback" not in complaints


# --- in this process: how it ends


def ends(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, what was said, and what was complained of."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return ended.value.code, out, err  # type: ignore[return-value]


def test_once_ends_when_a_store_is_away(
    eu: Server, us: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    us.kill()
    code, said, complaints = ends(capsys, *between(eu, us), "--once")
    assert (code, said) == (1, "")
    assert "cachemw: " in complaints


def test_two_that_are_mixed_up_are_named(
    eu: Server, us: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed_up = ["relay", "--from", eu.url, "--to", us.url, "--region", "us", "--once"]
    assert ends(capsys, *mixed_up)[0] == 0
    asyncio.run(_purge_once(eu))
    code, said, complaints = ends(capsys, *mixed_up)
    assert (code, json.loads(said)["notes"]) == (0, 1)
    assert "written by region 'eu', not 'us'" in complaints


async def _purge_once(server: Server) -> None:
    store = open_store(server.url + "?deadline=2s")
    await Cache(store, region="eu").purge(key="user:1")
    await store.aclose()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["relay"], "--from"),
        (["relay", "--from", "memory://"], "--to"),
        (["relay", "--from", "memory://", "--to", "memory://", "--region", ""], "no name"),
        (["relay", "--from", "reddis://h", "--to", "memory://", "--region", "eu"], "redis"),
        (["rely"], "rely"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, complaints = ends(capsys, *arguments)
    assert (code, said) == (2, "")
    assert complaint in complaints


@pytest.mark.parametrize("arguments", [["--help"], ["relay", "--help"]])
def test_help_is_no_failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = ends(capsys, *arguments)
    assert code == 0
    assert "Carry the purges of one region" in said
