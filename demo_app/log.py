"""What happened just now, for everybody who looks at the page: a bounded log and its readers.

`Watch` stands outside of everything and writes a line for each answer; the shop writes one for each
query, so that a hit is seen as an answer without a query. Only this process's lines are here.
"""

import asyncio
import itertools
import json
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT = 60  # lines that somebody who comes later still sees
QUEUED = 500  # lines that wait for a slow reader, who misses what is beyond
UNSEEN = ("/backstage", "/health", "/static", "/favicon", "/_cachemw", "/metrics")


class Log:
    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lines: deque[dict[str, object]] = deque(maxlen=KEPT)
        self._readers: set[asyncio.Queue[dict[str, object]]] = set()

    def add(self, kind: str, **said: object) -> None:
        line: dict[str, object] = {"n": next(self._numbers), "kind": kind, **said}
        self._lines.append(line)
        for reader in self._readers:
            if not reader.full():
                reader.put_nowait(line)

    def query(self, sql: str, seconds: float) -> None:
        self.add("query", text=sql, ms=round(seconds * 1000, 1))

    async def follow(self) -> AsyncIterator[str]:
        """What is kept, then what comes, as server-sent events; a comment now and then."""
        queue: asyncio.Queue[dict[str, object]] = asyncio.Queue(QUEUED)
        for line in self._lines:
            queue.put_nowait(line)
        self._readers.add(queue)
        try:
            while True:
                try:
                    line = await asyncio.wait_for(queue.get(), 15)
                except TimeoutError:
                    yield ": still here\n\n"
                else:
                    yield f"data: {json.dumps(line)}\n\n"
        finally:
            self._readers.discard(queue)


class Watch:
    """The outermost middleware: one line for each answer that leaves the app."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNSEEN) or scope["path"] == "/":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status, headers = 0, Headers()

        async def noting(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], Headers(raw=message["headers"])
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            query = scope["query_string"].decode("latin-1")
            self.log.add(
                "answer",
                method=scope["method"],
                url=scope["path"] + (f"?{query}" if query else ""),
                status=status,
                outcome=outcome(status, headers),
                text=headers.get("cache-status", headers.get("ratelimit", "")),
                ms=round((time.perf_counter() - started) * 1000, 1),
            )


class LogHandler(logging.Handler):
    """Puts what the package itself says into the page's log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.add("said", text=record.getMessage())


def outcome(status: int, headers: Mapping[str, str]) -> str:
    """One word for what the cache did: hit, stale, miss, collapsed, bypass; else what it was."""
    said = headers.get("cache-status", "")
    if status == 429:
        return "limited"
    if "; hit" in said:
        return "stale" if re.search(r"ttl=-|soft-purged", said) else "hit"
    if "; collapsed" in said:
        return "collapsed"
    if "fwd=bypass" in said or "fwd=method" in said:
        return "bypass"
    if "fwd=" in said:
        return "miss"
    return "answer" if status < 500 else "error"
