"""Real workers, real servers: one run for the fleet, and nobody who waits for the dead."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.caching.caches import FRESH, cached
from tests.servers import Cluster, free_ports, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@asynccontextmanager
async def fleet(url: str, runs: Path, workers: int) -> AsyncIterator[list[int]]:
    """So many single workers, each at a port of its own, that share a store."""
    ports = free_ports(workers)
    environment = {**os.environ, "FLEET_STORE": url, "FLEET_RUNS": str(runs)}
    command = (sys.executable, "-m", "uvicorn", "tests.caching.fleet_app:app", "--log-level")
    started: list[Process] = []
    try:
        for port in ports:
            options = ("warning", "--port", str(port))
            process = await asyncio.create_subprocess_exec(
                *command, *options, env=environment, stdout=DEVNULL
            )
            started.append(process)
        async with httpx2.AsyncClient() as client:
            for port in ports:
                while True:
                    try:
                        await client.get(f"http://127.0.0.1:{port}/who")
                        break
                    except httpx2.TransportError:
                        await asyncio.sleep(0.05)  # it is still starting
        yield ports
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


def runs_in(runs: Path) -> list[bytes]:
    return runs.read_bytes().split() if runs.exists() else []


async def until_runs(runs: Path, number: int) -> None:
    """Other processes are watched from outside."""
    await asyncio.to_thread(until, lambda: len(runs_in(runs)) >= number, f"{number} runs")


async def ask(client: httpx2.AsyncClient, port: int, query: str = "") -> httpx2.Response:
    headers = {"host": "fleet"}  # it is part of the key
    return await client.get(f"http://127.0.0.1:{port}/slow{query}", headers=headers, timeout=60)


def is_hit(answer: httpx2.Response) -> bool:
    return "; hit" in answer.headers["cache-status"]


async def test_a_thousand_cold_requests_on_four_workers_are_one_run(
    redis_url: str, tmp_path: Path
) -> None:
    runs, limits = tmp_path / "runs", httpx2.Limits(max_connections=None)
    async with (
        fleet(redis_url + "?deadline=2s", runs, 4) as ports,
        httpx2.AsyncClient(limits=limits) as client,
    ):
        answers = await asyncio.gather(*(ask(client, ports[i % 4]) for i in range(1000)))
    assert {answer.status_code for answer in answers} == {200}
    ran = {answer.text: answer.headers["cache-status"] for answer in answers if not is_hit(answer)}
    assert len({answer.text for answer in answers}) == 1, ran
    assert len(runs_in(runs)) == 1


async def test_when_the_holder_of_a_lease_is_killed_the_others_go_on(
    valkey_url: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    async with fleet(valkey_url, runs, 2) as (first, second), httpx2.AsyncClient() as client:
        dying = asyncio.create_task(ask(client, first, "?for=60"))
        await until_runs(runs, 1)
        # It holds the lease for the key and sleeps. The other one waits for it.
        waiting = asyncio.create_task(ask(client, second, "?for=60"))
        await asyncio.sleep(0.1)
        assert len(runs_in(runs)) == 1
        os.kill(int(runs_in(runs)[0]), signal.SIGKILL)
        await until_runs(runs, 2)  # the lease ends after six seconds
        for task in (dying, waiting):
            task.cancel()
        await asyncio.gather(dying, waiting, return_exceptions=True)


# --- the essentials, on every kind of server


async def essentials(url: str) -> None:
    from cachemw.stores import open_store

    joined = "&" if "?" in url else "?"
    cache = cached(
        store=open_store(f"{url}{joined}deadline=2s"), tags=["shop"], stale_while_revalidate="1m"
    )
    try:
        cache.origin.answers("1", headers={**FRESH, "vary": "accept"})
        askings = [cache.start("GET", "/", headers={"accept": "a/a"}) for _ in range(20)]
        for asking in askings:
            assert (await asking.response()).body == b"1"
        assert cache.origin.called_once()
        assert (await cache.get("/", headers={"accept": "a/a"})).cache == "hit"
        assert (await cache.get("/", headers={"accept": "b/b"})).cache == "miss"
        assert (await cache.get("/", headers={"accept": "b/b"})).cache == "hit"
        cache.origin.answers("2", headers={**FRESH, "vary": "accept"})
        await cache.keeper.purge_tags([b"shop"], soft=True)
        assert (await cache.get("/", headers={"accept": "a/a"})).cache == "stale"
        await cache.settle()
        assert (await cache.get("/", headers={"accept": "a/a"})).body == b"2"
        cache.origin.answers("3", headers={**FRESH, "vary": "accept"})
        await cache.keeper.purge_tags([b"shop"])
        response = await cache.get("/", headers={"accept": "a/a"})
        assert (response.body, response.cache) == (b"3", "miss")
        assert (await cache.get("/", headers={"accept": "a/a"})).cache == "hit"
        cache.origin.answers("changed", status=204)
        await cache.client.request("PUT", "/")
        cache.origin.answers("4", headers=FRESH)
        assert (await cache.get("/", headers={"accept": "a/a"})).body == b"4"
    finally:
        await cache.middleware.store.aclose()


async def test_the_essentials_on_one_server(redis_url: str) -> None:
    await essentials(redis_url)


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_the_essentials_in_a_cluster(cluster: Cluster) -> None:
    await essentials(cluster.url)


async def test_a_worker_that_is_told_to_end_ends_its_refreshes_and_lets_go_of_the_store(
    valkey_url: str, tmp_path: Path
) -> None:
    notes, (port,) = tmp_path / "notes", free_ports(1)
    environment = {**os.environ, "DRAIN_STORE": valkey_url, "DRAIN_NOTES": str(notes)}
    command = (sys.executable, "-m", "uvicorn", "tests.caching.draining_app:app", "--port")
    process = await asyncio.create_subprocess_exec(
        *command, str(port), "--log-level", "warning", env=environment
    )

    def said() -> list[str]:
        return notes.read_text().splitlines() if notes.exists() else []

    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while True:
                try:
                    first = await client.get("/")
                    break
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)  # it is still starting
            while "refresh began" not in said():
                assert (await client.get("/")).text == "run 1"  # until its time is over
        assert first.text == "run 1"
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert code in (0, -signal.SIGTERM)  # uvicorn raises the signal again when it is done
    lines = said()
    assert lines.index("refresh ended") < lines.index("app ends") < lines.index("store closed")
    (left,) = (line for line in lines if line.startswith("left:"))
    assert "cachemw" not in left and "Lane" not in left and "Fill" not in left
