"""Scenarios as data, and the stage on which they are played.

A scenario is a policy and a row of requests. Each request says what the app would answer if it were
asked, how the clock moved before, and what the client must see: the words of Cache-Status, which of
the app's runs it got, status and fields. The stage is the whole `CacheMiddleware`, with a store in
memory and a clock that only the scenario moves; nothing of it is replaced.

    Scenario("9111 §5.2.2.5", "no-store is not stored", [
        get(app=says("Cache-Control: no-store"), told="fwd=uri-miss detail=no-store"),
        get(app=says(), told="fwd=uri-miss ..."),
    ])
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from cachemw.caching.marks import CacheContext
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.stores.memory import MemoryStore
from cachemw.testing import FakeClock

START = FakeClock().now
Handler = Callable[[CacheContext], None]


def at(seconds: float) -> str:
    """A date, counted from the start of the scenario."""
    return formatdate(START + seconds, usegmt=True)


@dataclass(frozen=True)
class Says:
    """What the app answers."""

    status: int
    headers: tuple[str, ...]
    body: bytes | None
    """None: its runs, counted."""
    handler: Handler | None
    fails: bool = False


def says(
    *headers: str, status: int = 200, body: bytes | None = None, handler: Handler | None = None
) -> Says:
    return Says(status, headers, body, handler)


FAILS = Says(0, (), None, None, fails=True)


@dataclass(frozen=True)
class Step:
    """One request, and what must become of it."""

    method: str
    headers: tuple[str, ...]
    app: Says | None
    """None: the app must not be asked at all."""
    told: str | None
    """Cache-Status without fwd-status and ttl; None: no such field."""
    path: str = "/x"
    after: float = 0.0
    body: bytes = b""
    status: int = 200
    run: int | None = None
    """The run of the app whose body the client gets; None: no body, or not looked at."""
    text: bytes | None = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    saw: tuple[str, ...] | None = None
    """Fields that the app saw; `!name` for one that it must not see."""
    ttl: int | None = None
    answered: int | None = None
    """What the app has answered, as Cache-Status tells it."""
    host: str = "shop.example"
    again: Says | None = None
    """What the app answers when it is asked a second time for the same request."""
    meanwhile: bool = False
    """The app is asked in the background, when the client has its answer."""


def request(
    method: str, *headers: str, app: Says | None = None, told: str | None, **more: Any
) -> Step:
    return Step(method, headers, app, told, **more)


def get(*headers: str, app: Says | None = None, told: str | None, **more: Any) -> Step:
    return Step("GET", headers, app, told, **more)


@dataclass(frozen=True)
class Scenario:
    about: str
    """The document and the section: `"9111 §4.2"`."""
    title: str
    steps: Sequence[Step]
    policy: CachePolicy = field(default_factory=lambda: policy())

    def __str__(self) -> str:
        return f"{self.about} {self.title}"


def policy(**options: Any) -> CachePolicy:
    """A policy without jitter; that of the origin's headers, unless it says more."""
    return CachePolicy(**{"jitter": 0, **options})


@dataclass
class Seen:
    """What a client got."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]


class Stage:
    """The middleware around an app that says what the scenario has it say."""

    def __init__(self, policy: CachePolicy) -> None:
        self.clock = FakeClock()
        self.cache = CacheMiddleware(
            self._app, store=MemoryStore(clock=self.clock), routes={"/{rest:path}": policy}
        )
        self.runs = 0
        self.next: Says | None = None
        self.then: Says | None = None
        self.saw: list[tuple[str, str]] = []

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.runs += 1
        self.saw = _text(scope["headers"])
        answer, self.next, self.then = self.next, self.then, None
        assert answer is not None, "the app was asked"
        if answer.fails:
            raise ConnectionError("the app fails")
        if answer.handler is not None:
            from starlette.requests import Request

            answer.handler(CacheContext.of(Request(scope)))
        body = b"run %d" % self.runs if answer.body is None else answer.body
        headers = [_pair(line) for line in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def ask(self, step: Step) -> Seen:
        self.next, self.then = step.app, step.again
        seen = Seen()
        body: list[Message] = [{"type": "http.request", "body": step.body, "more_body": False}]

        async def receive() -> Message:
            if body:
                return body.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                assert seen.status == 0, "a second head"
                seen.status, seen.headers = message["status"], _text(message["headers"])
            else:
                seen.body += message.get("body", b"")

        path, _, query = step.path.partition("?")
        host = [] if any(line.lower().startswith("host:") for line in step.headers) else [step.host]
        headers = [(b"host", name.encode()) for name in host]
        scope = {
            **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1"},
            **{"method": step.method, "scheme": "http", "path": path, "raw_path": path.encode()},
            **{"query_string": query.encode(), "client": ("192.0.2.1", 1), "root_path": ""},
            "headers": headers + [_pair(line) for line in step.headers],
        }
        await self.cache(scope, receive, send)
        await self.settle()
        return seen

    async def settle(self) -> None:
        """Let what goes on in the background come to its end. It waits for nothing but its turn."""
        for _ in range(60):
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self.cache.engine.flights.drain(1.0)
        await self.cache.store.aclose()


def _pair(line: str) -> tuple[bytes, bytes]:
    name, _, value = line.partition(":")
    return name.strip().lower().encode(), value.strip().encode("latin-1")


def _text(headers: Any) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode("latin-1")) for name, value in headers]


async def play(scenario: Scenario) -> None:
    """Play it to its end; an AssertionError says at which request what was wrong."""
    stage = Stage(scenario.policy)
    try:
        for number, step in enumerate(scenario.steps, start=1):
            stage.clock.advance(step.after)
            runs = stage.runs
            try:
                seen = await stage.ask(step)
                _check(step, seen, stage, asked=stage.runs - runs)
            except AssertionError as error:
                raise AssertionError(f"{scenario}, request {number}: {error}") from error
    finally:
        await stage.close()


def _check(step: Step, seen: Seen, stage: Stage, *, asked: int) -> None:
    lines = seen.all("cache-status")
    told, ttl = _told(lines[0]) if lines else (None, None)
    assert len(lines) <= 1, f"Cache-Status came {len(lines)} times"
    assert told == step.told, f"Cache-Status is {told!r} ({lines}), not {step.told!r}"
    times = (step.app is not None) + (step.again is not None)
    assert asked == times, f"the app was asked {asked} times, not {times}"
    assert seen.status == step.status, f"status {seen.status}, not {step.status}"
    run = stage.runs if step.run is None and step.app and not step.meanwhile else step.run
    wants_body = step.text is None and seen.status not in (204, 206, 304, 416, 504)
    if wants_body and step.method != "HEAD" and run is not None and not _own_body(step):
        assert seen.body == b"run %d" % run, f"the body is {seen.body!r}, not that of run {run}"
    if step.text is not None:
        assert seen.body == step.text, f"the body is {seen.body!r}, not {step.text!r}"
    if step.method == "HEAD" or seen.status in (204, 304):
        assert seen.body == b"", "there is a body"
    if step.answered is not None:
        assert f"fwd-status={step.answered}" in lines[0], f"Cache-Status is {lines}"
    if step.ttl is not None:
        assert ttl == step.ttl, f"ttl is {ttl}, not {step.ttl}"
    for line in step.has:
        name, _, value = line.partition(": ")
        assert value in seen.all(name), f"{name} is {seen.all(name)}, not {value!r}"
    for name in step.lacks:
        assert not seen.all(name), f"{name} is there: {seen.all(name)}"
    for line in step.saw or ():
        name, _, value = line.removeprefix("!").lower().partition(": ")
        values = [given.lower() for key, given in stage.saw if key == name]
        is_there = bool(values) if line.startswith("!") else value in values
        assert is_there != line.startswith("!"), f"the app saw {name}: {values}"


def _own_body(step: Step) -> bool:
    return step.app is not None and step.app.body is not None


def _told(line: str) -> tuple[str, int | None]:
    name, *parameters = line.split("; ")
    assert name == "cachemw"
    ttl = [int(p.removeprefix("ttl=")) for p in parameters if p.startswith("ttl=")]
    plain = [p for p in parameters if not p.startswith(("ttl=", "fwd-status="))]
    return " ".join(plain), ttl[0] if ttl else None
