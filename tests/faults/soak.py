"""Everybody uses the app for as long as you say, while one fault after another befalls it.

    python3 run.py soak --minutes 20 [--seed 1] [--workers 2] [--picture soak.svg]

The people and the truth are those of the rows (`people.py`, `truth.py`); which fault comes when is
drawn from the seed. At the end there is a verdict and a picture. The exit status is the verdict's.
"""

import argparse
import asyncio
import logging
import os
import random
import signal
import statistics
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis
from anyio import to_thread

from cachemw.testing import FaultProxy
from tests import servers
from tests.faults.fleet import Fleet, fleet
from tests.faults.people import Crowd, Tally
from tests.faults.picture import draw
from tests.faults.row import Seen, warm
from tests.faults.table import Line
from tests.faults.wire import Broken, ask
from tests.servers import VALKEY, Server

FINE = ("200", "429")
EXCUSED = 3.0  # seconds after the death of a worker in which its clients have lost it
ROOM = 12 << 20  # bytes that a worker may have grown by between the first third and the last


@dataclass
class Second:
    """What happened within one second."""

    at: float
    fine: int = 0
    refused: int = 0
    broken: int = 0
    other: int = 0
    worst: float = 0.0
    memory: int = 0


@dataclass
class Story:
    """All that happened."""

    seconds: list[Second] = field(default_factory=list[Second])
    faults: list[tuple[float, float, str]] = field(default_factory=list[tuple[float, float, str]])
    wrong: list[str] = field(default_factory=list[str])
    deaths: list[float] = field(default_factory=list[float])
    left: list[str] = field(default_factory=list[str])

    def note(self, at: float, tally: Tally, memory: int) -> None:
        second = Second(at, worst=tally.worst, memory=memory)
        for ends in tally.ends.values():
            for end, number in ends.items():
                second.fine += number if end in FINE else 0
                second.refused += number if end == "503" else 0
                second.broken += number if end == "broken" else 0
                second.other += number if end not in (*FINE, "503", "broken") else 0
        self.seconds.append(second)
        self.wrong += tally.wrong

    @property
    def growth(self) -> int:
        """By how many bytes the largest worker grew from the first third to the last."""
        sizes = [second.memory for second in self.seconds if second.memory]
        third = len(sizes) // 3
        if not third:
            return 0
        return int(statistics.median(sizes[-third:]) - statistics.median(sizes[third : 2 * third]))

    def faults_found(self) -> list[str]:
        """Everything that must not be; empty is the verdict that all is well."""
        found = [f"wrong: {what}" for what in self.wrong]
        found += [f"left over: {what}" for what in self.left]
        for second in self.seconds:
            near = any(death - 1 <= second.at <= death + EXCUSED for death in self.deaths)
            if second.other:
                found.append(f"{second.other} answers with another status at {second.at:.0f} s")
            if second.broken and not near:
                found.append(f"{second.broken} broken answers at {second.at:.0f} s")
        if self.growth > ROOM:
            found.append(f"memory grew by {self.growth / 1e6:.1f} MB")
        return found


class Soak:
    """A server, an app, its people, and what is done to them."""

    def __init__(self, app: Fleet, server: Server, proxy: FaultProxy, crowd: Crowd) -> None:
        self.app, self.server, self.proxy, self.crowd = app, server, proxy, crowd
        self.story = Story()
        self.began = asyncio.get_running_loop().time()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    async def run(self, minutes: float, chance: random.Random) -> None:
        watching = asyncio.create_task(self._watch())
        faults = self._faults(chance)
        while self.now < minutes * 60:
            await asyncio.sleep(chance.uniform(0.5, 3))
            if not faults:
                faults = self._faults(chance)
            name, befall = faults.pop()
            print(f"{self.now:7.1f} s  {name}", flush=True)
            began = self.now
            await befall(chance.uniform(0.3, 2.5))
            self.story.faults.append((began, self.now, name))
        await asyncio.sleep(2)  # seconds of peace, for the picture
        watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            tally, self.crowd.tally = self.crowd.tally, Tally()
            self.story.note(self.now, tally, max(map(_memory, self.app.pids), default=0))

    # --- what may befall them

    def _faults(
        self, chance: random.Random
    ) -> list[tuple[str, Callable[[float], Awaitable[None]]]]:
        faults: list[tuple[str, Callable[[float], Awaitable[None]]]] = [
            ("frozen", self._freeze),
            ("killed", self._kill),
            ("paused", self._pause),
            ("connections killed", self._cut),
            ("everything forgotten", self._forget),
            ("memory full", partial(self._configure, "maxmemory", "1", "0")),
            ("read-only", self._read_only),
            ("slow", self._slow),
            ("replies spoiled", self._spoil),
            ("replies held", self._hold),
            ("a worker killed", self._kill_worker),
            ("clients leave", self._leave),
            ("loop blocked", self._block),
            ("keys of another type", self._replace),
        ]
        chance.shuffle(faults)
        return faults

    async def _ask(self, *command: str | int) -> None:
        await to_thread.run_sync(lambda: self.server.ask(*command))

    async def _freeze(self, span: float) -> None:
        await to_thread.run_sync(self.server.stop)
        await asyncio.sleep(span)
        self.server.cont()

    async def _kill(self, span: float) -> None:
        self.crowd.losses += 1
        await to_thread.run_sync(self.server.kill)
        await asyncio.sleep(span)
        await to_thread.run_sync(self.server.start)
        self.crowd.losses += 1

    async def _pause(self, span: float) -> None:
        await self._ask("CLIENT", "PAUSE", int(span * 1000), "ALL")
        await asyncio.sleep(span)

    async def _cut(self, span: float) -> None:
        for _ in range(5):
            await self._ask("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(span / 5)

    async def _forget(self, span: float) -> None:
        self.crowd.losses += 1
        await self._ask("FLUSHALL")
        await self._ask("SCRIPT", "FLUSH")
        self.crowd.losses += 1

    async def _replace(self, span: float) -> None:
        def replace() -> None:
            with redis.Redis(port=self.server.port) as client:
                for key in client.scan_iter(count=1000):
                    client.pipeline().delete(key).lpush(key, "not ours").expire(key, 60).execute()

        self.crowd.losses += 1
        await to_thread.run_sync(replace)
        await asyncio.sleep(span)
        await self._ask("FLUSHALL")
        self.crowd.losses += 1

    async def _configure(self, option: str, value: str, usual: str, span: float) -> None:
        await self._ask("CONFIG", "SET", option, value)
        await asyncio.sleep(span)
        await self._ask("CONFIG", "SET", option, usual)

    async def _read_only(self, span: float) -> None:
        await self._ask("REPLICAOF", "127.0.0.1", 1)
        await asyncio.sleep(span)
        await self._ask("REPLICAOF", "NO", "ONE")

    async def _slow(self, span: float) -> None:
        self.proxy.delay(0.02 + span / 10)
        await asyncio.sleep(span)
        self.proxy.delay(0)

    async def _spoil(self, span: float) -> None:
        proxy = self.proxy
        for _ in range(int(span * 10)):
            proxy.drop_next_reply()
            proxy.duplicate_next_reply()
            proxy.swap_next_replies()
            proxy.reset_after(60)
            await asyncio.sleep(0.1)

    async def _hold(self, span: float) -> None:
        self.proxy.hold()
        await asyncio.sleep(span)
        self.proxy.cut()
        self.proxy.release()

    async def _kill_worker(self, span: float) -> None:
        self.story.deaths.append(self.now)
        os.kill(self.app.pids[0], signal.SIGKILL)
        await asyncio.sleep(span)
        self.story.deaths.append(self.now)

    async def _leave(self, span: float) -> None:
        async def leave(number: int) -> None:
            with_patience = asyncio.wait_for(
                ask(self.app.port, "GET", f"/slow/leaving-{number % 5}?for=0.1"), 0.03
            )
            await asyncio.gather(with_patience, return_exceptions=True)

        for _ in range(3):
            await asyncio.gather(*map(leave, range(30)))

    async def _block(self, span: float) -> None:
        blocks = [ask(self.app.port, "GET", f"/block?for={span / 3}") for _ in range(3)]
        await asyncio.gather(*blocks, return_exceptions=True)


def _memory(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0  # it has just ended
    return pages * os.sysconf("SC_PAGE_SIZE")


async def soak(minutes: float, seed: int, workers: int, picture: Path) -> int:
    with servers.single(VALKEY, port=0) as server:
        async with FaultProxy(server.url) as proxy, fleet(proxy.url, workers=workers) as app:
            await warm(app)
            crowd = Crowd([app.port], f"soak{seed}")
            this = Soak(app, server, proxy, crowd)
            crowd.come()
            await this.run(minutes, random.Random(seed))
            await crowd.leave()
            story = this.story
            story.note(this.now, crowd.tally, 0)
            seen = Seen(app, crowd, [server], Line("soak", "soak"))
            try:
                await seen.normal()
            except (TimeoutError, Broken) as error:
                story.left.append(f"it does not work again: {error!r}")
            story.left += await seen.leaks()
    return tell(story, minutes, seed, picture)


def tell(story: Story, minutes: float, seed: int, picture: Path) -> int:
    """The verdict in words and as a picture; 0 when all is well."""
    found = story.faults_found()
    total = sum(s.fine + s.refused + s.broken + s.other for s in story.seconds)
    refused = sum(second.refused for second in story.seconds)
    print(f"\n{total} requests in {minutes:g} minutes, seed {seed}; {len(story.faults)} faults")
    print(
        f"{len(story.wrong)} wrong answers; {refused} refused; worst "
        f"{max((s.worst for s in story.seconds), default=0) * 1000:.0f} ms; "
        f"memory grew by {story.growth / 1e6:.1f} MB"
    )
    for fault in found[:30]:
        print("  -", fault)
    verdict = "all is well" if not found else f"{len(found)} things are wrong"
    print("verdict:", verdict)
    picture.write_text(draw(story, f"{minutes:g} minutes, seed {seed}: {verdict}"), "utf-8")
    print("picture:", picture)
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--picture", type=Path, default=Path("soak.svg"))
    given = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it would tell of each broken connection
    return asyncio.run(soak(given.minutes, given.seed, given.workers, given.picture))


if __name__ == "__main__":
    sys.exit(main())
