"""What happened just now, for everybody who looks at the page: a bounded log in SQLite.

`Watch` stands outside of everything and writes a line for each answer; the shop writes one for each
query, so that a hit is seen as an answer without a query. Workers that share a file share the log.
"""

import asyncio
import json
import logging
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT = 200  # lines; who reads more slowly than they come misses some
PACE = 0.1  # seconds between two looks for new lines
UNSEEN = ("/backstage", "/health", "/static", "/favicon", "/_cachemw", "/metrics")


class Log:
    """The lines of this process; with a file, of all processes that write to it."""

    def __init__(self, path: str | None = None) -> None:
        self.is_closed = False  # who follows it then is at its end
        self._database = sqlite3.connect(
            path or ":memory:", isolation_level=None, timeout=5, check_same_thread=False
        )
        self._database.execute("PRAGMA journal_mode=WAL")  # a reader keeps no writer waiting
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS line (n INTEGER PRIMARY KEY AUTOINCREMENT, said TEXT)"
        )

    def close(self) -> None:
        self.is_closed = True
        self._database.close()

    def add(self, kind: str, **said: object) -> None:
        line = json.dumps({"kind": kind, **said})
        written = self._database.execute("INSERT INTO line (said) VALUES (?)", (line,))
        self._database.execute("DELETE FROM line WHERE n <= ?", ((written.lastrowid or 0) - KEPT,))

    def query(self, sql: str, seconds: float) -> None:
        self.add("query", text=sql, ms=round(seconds * 1000, 1))

    def since(self, number: int) -> list[tuple[int, str]]:
        return self._database.execute(
            "SELECT n, said FROM line WHERE n > ? ORDER BY n", (number,)
        ).fetchall()

    async def follow(self) -> AsyncIterator[str]:
        """What is kept, then what comes, as server-sent events; a comment now and then."""
        latest, idle = 0, 0.0
        while not self.is_closed:
            lines = self.since(latest)
            for latest, said in lines:
                yield f"id: {latest}\ndata: {said}\n\n"
            idle = 0.0 if lines else idle + PACE
            if idle > 15:
                yield ": still here\n\n"
                idle = 0.0
            await asyncio.sleep(PACE)


class Watch:
    """The outermost middleware: one line for each answer that leaves the app."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            with hearing(self.log):
                await self.app(scope, receive, send)
            return
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


@contextmanager
def hearing(log: Log) -> Iterator[None]:
    """What the package itself says is in the log, too, for as long as the app lives."""
    logger, handler = logging.getLogger("cachemw"), LogHandler(log)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class LogHandler(logging.Handler):
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
    if "stale-if-error" in said:
        return "stale"
    if "; hit" in said:
        return "stale" if re.search(r"ttl=-|soft-purged", said) else "hit"
    if "; collapsed" in said:
        return "collapsed"
    if "fwd=bypass" in said or "fwd=method" in said:
        return "bypass"
    if "fwd=" in said:
        return "miss"
    return "answer" if status < 500 else "error"
