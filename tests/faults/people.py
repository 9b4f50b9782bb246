"""Everybody who uses the app at once, each checking what they get against the truth.

    reader      pages, streams, values, in any order            right version, right bytes
    member      pages of their own                              nobody else's, ever
    tab         two of them in each session, adding up          no update lost
    counted     up to the limit, then with another key          neither more nor fewer let in
    writer      changes keys and purges                         nobody sees the old one afterwards
    guest       pages that say when they were made              not older than promised
    leaver      goes away in the middle                         nobody else notices
    dawdler     reads slowly                                    gets all of it

What they cannot know is why something failed; `Tally` has what became of all requests.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.pages import QUOTA
from tests.faults.truth import Counted, Truth, fault_of_age, fault_of_limit
from tests.faults.wire import Answer, Broken, ask, asked, parse

KEYS = 6
PAUSE = 0.008  # seconds between two requests of a person: a crowd, and not a benchmark
OLDEST = 1.0 + 2.0  # a timed page while its origin is well: fresh, then served while refreshed
OLDEST_BROKEN = 1.0 + 20.0


@dataclass
class Tally:
    """What became of all requests: how many came to which end, by feature, and how long it took."""

    ends: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    worst: float = 0.0
    times: list[float] = field(default_factory=list[float])
    wrong: list[str] = field(default_factory=list[str])

    def note(self, feature: str, end: str, took: float) -> None:
        self.ends.setdefault(feature, Counter())[end] += 1
        self.worst = max(self.worst, took)
        self.times.append(took)

    def of(self, feature: str) -> Counter[str]:
        return self.ends.get(feature, Counter())

    @property
    def requests(self) -> int:
        return sum(sum(ends.values()) for ends in self.ends.values())


@dataclass
class Crowd:
    """All people, where they go, and what they know together."""

    ports: Sequence[int]
    name: str  # begins its keys, so that one crowd does not see what another did
    truth: Truth = field(default_factory=Truth)
    tally: Tally = field(default_factory=Tally)
    loses_data: bool = False  # what the server has forgotten is no fault of ours from now on
    losses: int = 0  # how often it has: what was begun before is excused
    is_broken: bool = False  # the origin of timed pages
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    _secrets: set[bytes] = field(default_factory=set[bytes])
    _number: int = 0

    @property
    def port(self) -> int:
        """One of those at which the app answers."""
        return random.choice(self.ports)

    @contextmanager
    def tallied(self) -> Iterator[Tally]:
        """A tally of what happens within the block."""
        before, self.tally = self.tally, Tally()
        try:
            yield self.tally
        finally:
            self.tally = before

    def come(self, *, readers: int = 3) -> None:
        """Let everybody in."""
        ways = [self._read] * readers + [self._be_a_member] * 2 + [self._be_counted] * 2
        ways += [self._write, self._be_a_guest, self._leave, self._dawdle]
        for way in ways:
            self._begin(way)
        self._begin(self._share_a_session)

    async def leave(self) -> None:
        """Let everybody finish what they are doing, and go."""
        self._is_over.set()
        await asyncio.gather(*self._tasks)

    def __post_init__(self) -> None:
        self._is_over = asyncio.Event()
        self.keys = [f"{self.name}.{number}" for number in range(KEYS)]

    def _begin(self, way: Callable[[random.Random], Awaitable[None]]) -> None:
        self._number += 1
        chance = random.Random(f"{self.name}/{self._number}")

        async def walk() -> None:
            await way(chance)

        self._tasks.append(asyncio.get_running_loop().create_task(walk()))

    def _is_open(self) -> bool:
        return not self._is_over.is_set()

    def _has_lost(self, losses: int) -> bool:
        return self.loses_data or self.losses != losses

    def complain(self, what: str | None) -> None:
        if what is not None:
            self.tally.wrong.append(what)

    async def ask(
        self,
        feature: str,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        *,
        accepted: tuple[int, ...] = (200,),
    ) -> Answer | None:
        """One request, noted. None unless it came to one of the `accepted` ends."""
        await asyncio.sleep(PAUSE)
        loop = asyncio.get_running_loop()
        began, tally = loop.time(), self.tally
        try:
            answer = await ask(self.port, method, target, headers)
        except Broken:
            tally.note(feature, "broken", loop.time() - began)
            return None
        tally.note(feature, str(answer.status), loop.time() - began)
        return answer if answer.status in accepted else None

    # --- who there is

    async def _read(self, chance: random.Random) -> None:
        while self._is_open():
            kind = chance.choice(["item", "item", "item", "stream", "data"])
            await self._see(kind, chance.choice([*self.keys, "large"]), "nobody")
            if chance.random() < 0.1:
                await self._see_a_secret()

    async def _see(self, kind: str, key: str, who: str) -> None:
        headers = {} if who == "nobody" else {"authorization": f"Bearer {who}"}
        answer = await self.ask("cache", "GET", f"/{kind}/{key}", headers)
        if answer is not None:
            seen = answer.began, answer.ended
            self.complain(
                self.truth.fault_of(answer.body, kind, key, who, began=seen[0], ended=seen[1])
            )

    async def _see_a_secret(self) -> None:
        answer = await self.ask("cache", "GET", "/secret")
        if answer is not None:
            if answer.body in self._secrets:
                self.complain("a secret was told twice")
            self._secrets.add(answer.body)

    async def _be_a_member(self, chance: random.Random) -> None:
        name = f"member-{self._number}-{chance.randrange(10**9)}"
        while self._is_open():
            await self._see(chance.choice(["mine", "mine", "item"]), chance.choice(self.keys), name)

    async def _be_a_guest(self, chance: random.Random) -> None:
        while self._is_open():
            most = OLDEST_BROKEN if self.is_broken else OLDEST
            answer = await self.ask("cache", "GET", f"/timed/{chance.choice(self.keys[:2])}")
            if answer is not None:
                most = OLDEST_BROKEN if self.is_broken else most
                fault = fault_of_age(answer.body, answer.began, answer.ended, most=most)
                self.complain(fault and f"timed page: {fault}")

    async def _write(self, chance: random.Random) -> None:
        clock = asyncio.get_running_loop().time
        while self._is_open():
            key = chance.choice(self.keys)
            version = self.truth.begin_write(key, clock())
            target = f"/write?key={key}&version={version}"
            if await self.ask("purge", "POST", target) is not None:
                self.truth.end_write(key, version, clock())
            await asyncio.sleep(PAUSE * chance.randrange(5, 20))

    async def _be_counted(self, chance: random.Random) -> None:
        while self._is_open():
            key, counted = f"key-{chance.randrange(10**12)}", Counted()
            losses = self.losses
            for _ in range(QUOTA + 5):
                answer = await self.ask(
                    "limit", "GET", "/closed", {"x-key": key}, accepted=(200, 429)
                )
                if answer is None:
                    counted.unsure += 1
                    if not self._is_open():
                        return
                    continue
                counted.sure += answer.status == 200
                if not self._has_lost(losses):
                    fault = fault_of_limit(counted, refused=answer.status == 429)
                    self.complain(fault and f"limit {key}: {fault}")
                if answer.status == 429 or not self._is_open():
                    break

    async def _share_a_session(self, chance: random.Random) -> None:
        """Two tabs at once, until the session is over; then another one."""
        while self._is_open():
            user, losses = f"user-{chance.randrange(10**12)}", self.losses
            answer = await self.ask("session", "POST", f"/login?user={user}")
            if answer is not None:
                tabs = [self._tab(user, answer.cookie, name, losses) for name in ("left", "right")]
                await asyncio.gather(*tabs)

    async def _tab(self, user: str, cookie: str, name: str, losses: int) -> None:
        counted = Counted()
        for number in range(60):
            way = ("POST", f"/add?tab={name}") if number % 3 else ("GET", "/session")
            answer = await self.ask("session", *way, {"cookie": cookie})
            counted.sure += number % 3 > 0 and answer is not None
            counted.unsure += number % 3 > 0 and answer is None
            if answer is None:
                if not self._is_open():
                    return
                continue
            said = json.loads(answer.body)
            lost = self._has_lost(losses)
            if said.get("user_id") != user:
                if said.get("user_id") is not None or not lost:
                    self.complain(f"the session of {user} is {said}")
                return
            fault = counted.fault_of(said.get(name, 0))
            if fault is not None and not lost:
                self.complain(f"session of {user}, {name}: {fault}")
            if fault is not None or not self._is_open():
                return

    async def _leave(self, chance: random.Random) -> None:
        """Ask, read a little or nothing, and be gone."""
        while self._is_open():
            target = (
                f"/{chance.choice(['item', 'stream', 'slow'])}/{chance.choice(self.keys)}?for=0.02"
            )
            await asyncio.sleep(PAUSE * 3)
            try:
                async with asyncio.timeout(5):
                    request = f"GET {target} HTTP/1.1\r\nhost: faults\r\n\r\n"
                    async with asked(self.port, request.encode()) as reader:
                        if chance.random() < 0.5:
                            await reader.read(chance.randrange(1, 400))
            except (OSError, TimeoutError):
                pass  # nothing was expected

    async def _dawdle(self, chance: random.Random) -> None:
        """Read a large page a bit at a time."""
        clock = asyncio.get_running_loop().time
        while self._is_open():
            began = clock()
            request = "GET /item/large HTTP/1.1\r\nhost: faults\r\nconnection: close\r\n\r\n"
            said = b""
            try:
                async with asyncio.timeout(20):
                    async with asked(self.port, request.encode()) as reader:
                        while part := await reader.read(20_000):
                            said += part
                            await asyncio.sleep(PAUSE)
                body = parse(said).body
            except (OSError, TimeoutError, Broken):
                self.tally.note("cache", "broken", 0.0)
                continue
            self.tally.note("cache", "200", 0.0)
            self.complain(
                self.truth.fault_of(body, "item", "large", "nobody", began=began, ended=clock())
            )
