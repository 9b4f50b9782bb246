"""A browser for ASGI apps: it sends requests, keeps one cookie, and opens WebSockets.

    browser = Browser(app)
    answer = await browser.post("/login", {"user": 7})
    assert answer.status == 200 and browser.cookie is not None
    async with browser.websocket("/live") as socket: ...

Also `Clock`, which tests move instead of sleeping.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    scope: dict[str, Any] = field(repr=False)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        found = self.all(name)
        assert len(found) < 2, found
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def set_cookie(self) -> str | None:
        return self.header("set-cookie")


class Browser:
    def __init__(self, app: ASGIApp, *, cookie: str | None = None, user_agent: str = "") -> None:
        self.app = app
        self.cookie = cookie  # "name=value"
        self.user_agent = user_agent

    def clone(self) -> "Browser":
        """Another tab: the same cookie now, its own from here on."""
        return Browser(self.app, cookie=self.cookie, user_agent=self.user_agent)

    @property
    def session_id(self) -> bytes:
        assert self.cookie is not None
        return self.cookie.partition("=")[2].partition(".")[0].encode()

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.request("GET", path, **more)

    async def post(self, path: str, data: Any = None, **more: Any) -> Answer:
        return await self.request("POST", path, data, **more)

    async def request(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> Answer:
        scope = self._scope("http", path, headers)
        scope["method"] = method
        body = b"" if data is None else json.dumps(data).encode()
        waiting = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if waiting:
                return waiting.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        assert sent[0]["type"] == "http.response.start"
        assert [m["type"] for m in sent[1:]] == ["http.response.body"] * (len(sent) - 1)
        answer = Answer(
            sent[0]["status"],
            [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]],
            b"".join(message.get("body", b"") for message in sent[1:]),
            scope,
        )
        self._keep(answer.all("set-cookie"))
        return answer

    @asynccontextmanager
    async def websocket(self, path: str, **extra: Any) -> AsyncIterator["Socket"]:
        socket = Socket()
        scope = {**self._scope("websocket", path, None), "subprotocols": [], **extra}
        scope["scheme"] = "wss"
        socket.scope = scope
        socket.to_app.put_nowait({"type": "websocket.connect"})
        task = asyncio.create_task(self._run(scope, socket))
        try:
            first = await socket.next()
            socket.answer = first
            headers = [(n.decode(), v.decode()) for n, v in first.get("headers", ())]
            self._keep([value for name, value in headers if name == "set-cookie"])
            yield socket
            socket.to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        finally:
            await asyncio.wait_for(task, 10)

    async def _run(self, scope: dict[str, Any], socket: "Socket") -> None:
        await self.app(scope, socket.to_app.get, socket.from_app.put)

    def _scope(
        self, kind: str, path: str, headers: list[tuple[bytes, bytes]] | None
    ) -> dict[str, Any]:
        all_headers = [(b"host", b"testserver"), *(headers or [])]
        if self.cookie is not None:
            all_headers.append((b"cookie", self.cookie.encode("latin-1")))
        if self.user_agent:
            all_headers.append((b"user-agent", self.user_agent.encode()))
        return {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": all_headers,
            "client": ("127.0.0.1", 4242),
            "server": ("testserver", 443),
            "state": {},
        }

    def _keep(self, lines: list[str]) -> None:
        for line in lines:
            self.cookie = None if "Max-Age=0" in line else line.partition(";")[0]


class Socket:
    def __init__(self) -> None:
        self.to_app: asyncio.Queue[Message] = asyncio.Queue()
        self.from_app: asyncio.Queue[Message] = asyncio.Queue()
        self.answer: Message = {}
        self.scope: dict[str, Any] = {}

    async def next(self) -> Message:
        return await asyncio.wait_for(self.from_app.get(), 10)

    def say(self, data: Any) -> None:
        self.to_app.put_nowait({"type": "websocket.receive", "text": json.dumps(data)})

    async def hear(self) -> Any:
        message = await self.next()
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])
