"""A client that speaks ASGI to an app in this process, message by message.

    client = Client(app)
    response = await client.get("/x", headers={"accept": "text/html"})
    assert (response.status, response.cache) == (200, "hit")

`start` begins a request and lets a test do with it what real clients do: read slowly, leave in the
middle, be cancelled.

    asking = client.start("GET", "/stream")
    assert (await asking.head()).status == 200      # while the body has not been sent yet
    assert await asking.chunk() == b"one"
    asking.disconnect()
    response = await asking.response()              # what has come of it
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

from cachemw.messages import Headers, lines_of
from cachemw.testing.gate import Gate
from cachemw.testing.origin import GivenHeaders, raw_headers

Verdict: TypeAlias = Literal["hit", "stale", "miss", "bypass"] | None

_STALE = ("stale-while-revalidate", "soft-purged", "max-stale")


@dataclass(frozen=True, slots=True)
class Response:
    """What a client got."""

    messages: list[Message] = field(default_factory=list[Message])

    @property
    def _start(self) -> Message:
        starts = [one for one in self.messages if one["type"] == "http.response.start"]
        return starts[0] if starts else {"status": 0, "headers": ()}

    @property
    def status(self) -> int:
        """0 as long as there is none."""
        return int(self._start["status"])

    @property
    def headers(self) -> Headers:
        return tuple((bytes(name), bytes(value)) for name, value in self._start["headers"])

    def header(self, name: str) -> str | None:
        """The value of a field, all its lines together; None when it is not there."""
        lines = lines_of(self.headers, name.lower().encode())
        return b", ".join(lines).decode("latin-1") if lines else None

    @property
    def body(self) -> bytes:
        return b"".join(one.get("body", b"") for one in self.messages)

    @property
    def is_complete(self) -> bool:
        bodies = [one for one in self.messages if one["type"] == "http.response.body"]
        return bool(bodies) and not bodies[-1].get("more_body", False)

    # --- what the cache says of it

    @property
    def _told(self) -> dict[str, str]:
        """The parameters of our member of Cache-Status."""
        for member in reversed((self.header("cache-status") or "").split(",")):
            name, *parameters = (part.strip() for part in member.split(";"))
            if name == "cachemw":
                pairs = (parameter.partition("=") for parameter in parameters)
                return {"": name, **{key: value for key, _, value in pairs}}
        return {}

    @property
    def cache(self) -> Verdict:
        """What the cache did: None when it says nothing."""
        told = self._told
        if not told:
            return None
        if self.detail == "stale-if-error":
            return "stale"
        if "hit" in told:
            return "stale" if self.detail in _STALE else "hit"
        return "miss" if told.get("fwd") not in ("bypass", "method") else "bypass"

    @property
    def detail(self) -> str | None:
        """Why it did so, one of the words of `Reason`."""
        return self._told.get("detail")

    @property
    def is_stored(self) -> bool:
        return "stored" in self._told

    @property
    def is_collapsed(self) -> bool:
        return "collapsed" in self._told


class Asking:
    """A request under way."""

    def __init__(
        self, app: ASGIApp, scope: Scope, body: bytes, reads: Gate | None, hangs_up: bool
    ) -> None:
        self.scope = scope
        self.so_far = Response()
        self._body: bytes | None = body
        self._reads = reads
        self._hangs_up = hangs_up
        self._left = asyncio.Event()
        self._news = asyncio.Event()
        self._seen = 0
        self._app = app
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._app(self.scope, self._receive, self._send)
        finally:
            self._news.set()

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._left.is_set():
            if self._hangs_up:
                raise OSError("the client has left")
            return
        if self._reads is not None and message["type"] == "http.response.body":
            await self._reads.pass_through()
        self.so_far.messages.append(message)
        self._news.set()

    # --- what a test does

    async def head(self) -> Response:
        """Wait for the response to begin."""
        while not self.so_far.status and not self._task.done():
            await self._wait()
        return self.so_far

    async def chunk(self) -> bytes:
        """Wait for the next chunk of the body, and give it; empty at the end."""
        while True:
            bodies = [m for m in self.so_far.messages if m["type"] == "http.response.body"]
            if len(bodies) > self._seen:
                self._seen += 1
                return bytes(bodies[self._seen - 1].get("body", b""))
            if self._task.done():
                return b""
            await self._wait()

    async def complete(self) -> Response:
        """Wait for the last byte, though the app may still be at work in the background."""
        while not self.so_far.is_complete and not self._task.done():
            await self._wait()
        return self.so_far

    async def response(self) -> Response:
        """Wait for the app to have done with it; raises what it raises."""
        await self._task
        return self.so_far

    def disconnect(self) -> None:
        """Leave, as a browser does: the app is told when it asks."""
        self._left.set()

    async def cancel(self) -> None:
        """Cancel the request's task, as a server or a time limit does."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    @property
    def is_done(self) -> bool:
        return self._task.done()

    async def _wait(self) -> None:
        self._news.clear()
        if not self._task.done():
            await self._news.wait()


class Client:
    """Somebody who asks. `scope` is put over every request's scope."""

    def __init__(
        self, app: ASGIApp, *, host: str = "testserver", scope: Mapping[str, Any] | None = None
    ) -> None:
        self._app = app
        self._host = host
        self._scope = dict(scope or {})

    async def get(self, target: str, *, headers: GivenHeaders = ()) -> Response:
        return await self.request("GET", target, headers=headers)

    async def head(self, target: str, *, headers: GivenHeaders = ()) -> Response:
        return await self.request("HEAD", target, headers=headers)

    async def request(
        self, method: str, target: str, *, headers: GivenHeaders = (), body: bytes = b""
    ) -> Response:
        """The whole response."""
        return await self.start(method, target, headers=headers, body=body).response()

    def start(
        self,
        method: str,
        target: str,
        *,
        headers: GivenHeaders = (),
        body: bytes = b"",
        reads: Gate | None = None,
        hangs_up: bool = False,
    ) -> Asking:
        """Begin a request. With `reads`, each chunk of the body waits for that gate: a client that
        reads slowly. With `hangs_up`, sending to it after it left raises OSError, as some servers
        do."""
        scope = self._made(method, target, raw_headers(headers))
        return Asking(self._app, scope, body, reads, hangs_up)

    def _made(self, method: str, target: str, headers: Headers) -> Scope:
        path, _, query = target.partition("?")
        if not any(name == b"host" for name, _ in headers):
            headers = ((b"host", self._host.encode()), *headers)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": list(headers),
            "client": ("198.51.100.7", 4711),
            "server": (self._host, 80),
            **self._scope,
        }
