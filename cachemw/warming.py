"""Asking for pages before clients do: what to ask for, and asking at a bearable pace.

    a list          one URL or path a line, `#` begins a comment
    a sitemap       the <loc> of each page; a sitemap of sitemaps names others
    an access log   common, combined, or uvicorn's: what was asked for most comes first

What is asked for is plain GETs; whether they are cached is the policies' affair, and what became of
each is read from Cache-Status.
"""

import asyncio
import html
import http.client
import re
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

from cachemw.errors import ConfigurationError

LONGEST = 64 * 1024 * 1024  # bytes of an answer that is read to its end
TIMEOUT = 30.0  # seconds
_LOC = re.compile(r"<loc>\s*(?:<!\[CDATA\[)?\s*(.*?)\s*(?:\]\]>)?\s*</loc>", re.DOTALL)
_LOGGED = re.compile(r'"(?:GET|HEAD) (\S+) HTTP/[\d.]+" (\d{3})')
_KEPT = ("200", "203", "304")  # statuses of a log whose pages are worth asking for again


@dataclass(frozen=True, slots=True)
class Source:
    """What there is to be asked for."""

    targets: tuple[str, ...]
    """Paths or URLs, each once, the most wanted first."""
    sitemaps: tuple[str, ...] = ()
    """Further sitemaps that this one names."""


def read_source(text: str) -> Source:
    """What a list, a sitemap or an access log names; it is told by how it looks."""
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        found = tuple(dict.fromkeys(html.unescape(loc) for loc in _LOC.findall(text)))
        return Source((), found) if "<sitemapindex" in text else Source(found)
    logged = Counter(path for path, status in _LOGGED.findall(text) if status in _KEPT)
    if logged:
        return Source(tuple(path for path, _ in logged.most_common()))
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    return Source(tuple(dict.fromkeys(line for line in lines if line and line[0] != "#")))


def absolute(targets: Iterable[str], base: str | None) -> list[str]:
    """URLs to ask for. With a `base`, all are asked for there, whatever host they name."""
    origin = urlsplit(base or "")
    if base is not None and (origin.scheme not in ("http", "https") or not origin.netloc):
        raise ConfigurationError(
            f"{base!r} is no place to ask: write it like http://127.0.0.1:8000"
        )
    urls: list[str] = []
    for target in targets:
        parts = urlsplit(target)
        if base is not None:
            path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
            urls.append(urljoin(base, path))
        elif parts.scheme in ("http", "https") and parts.netloc:
            urls.append(parts._replace(fragment="").geturl())
        else:
            raise ConfigurationError(f"{target!r} has no host: say which with a base URL")
    return list(dict.fromkeys(urls))


# --- asking


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one request."""

    status: int = 0
    cache: str = ""
    """Our member of Cache-Status; empty when there is none."""
    failure: str = ""

    @property
    def word(self) -> str:
        """`stored`, `hit`, `uncached` (answered and not kept), or `failed`."""
        if self.failure or self.status >= 500:
            return "failed"
        if "; hit" in self.cache:
            return "hit"
        return "stored" if "; stored" in self.cache else "uncached"


Ask: TypeAlias = Callable[[str], Awaitable[Asked]]


@dataclass(slots=True)
class Warmth:
    """What became of all of them."""

    counts: Counter[str] = field(default_factory=Counter[str])
    failures: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def done(self) -> int:
        return sum(self.counts.values())


async def warm(
    urls: Sequence[str],
    ask: Ask,
    *,
    concurrency: int = 4,
    rate: float | None = None,
    progress: Callable[[int], object] | None = None,
) -> Warmth:
    """Ask for each of `urls`, at most `concurrency` at once and `rate` a second."""
    warmth, waiting = Warmth(), iter(enumerate(urls))
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def work() -> None:
        for number, url in waiting:
            if rate is not None:
                await asyncio.sleep(began + number / rate - loop.time())
            asked = await ask(url)
            warmth.counts[asked.word] += 1
            if asked.word == "failed":
                warmth.failures.append((url, asked.failure or f"status {asked.status}"))
            if progress is not None:
                progress(warmth.done)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(max(1, concurrency)):
            tasks.create_task(work())
    return warmth


class HttpAsker:
    """Asks over HTTP, in threads, each with connections that stay open. Follows no redirects."""

    def __init__(self, headers: Mapping[str, str], concurrency: int) -> None:
        self._headers = {"User-Agent": "cachemw-warm", "Accept": "*/*", **headers}
        self._threads = ThreadPoolExecutor(max_workers=max(1, concurrency))
        self._opened: list[http.client.HTTPConnection] = []
        self._own = _OfThread(self._opened)

    async def __call__(self, url: str) -> Asked:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.ask, url)

    def ask(self, url: str) -> Asked:
        """What becomes of a GET; a connection that was closed meanwhile is opened again."""
        try:
            status, headers, _ = self._get(url)
        except (OSError, http.client.HTTPException) as error:
            return Asked(failure=f"{type(error).__name__}: {error}")
        return Asked(status, headers)

    def read(self, url: str) -> bytes:
        """The body of a page, such as a sitemap; `ConfigurationError` when there is none."""
        try:
            status, _, body = self._get(url)
        except (OSError, http.client.HTTPException) as error:
            raise ConfigurationError(f"{url} cannot be read: {error}") from error
        if status != 200:
            raise ConfigurationError(f"{url} cannot be read: status {status}")
        return body

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._opened:
            connection.close()

    def _get(self, url: str) -> tuple[int, str, bytes]:
        parts = urlsplit(url)
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        for is_last in (False, True):
            connection = self._own.connection(parts.scheme, parts.netloc)
            try:
                connection.request("GET", target, headers=self._headers)
                answer = connection.getresponse()
                body = answer.read(LONGEST)
                told = [v for v in answer.headers.get_all("cache-status", []) if "cachemw" in v]
                if not answer.isclosed():
                    connection.close()
                return answer.status, ",".join(told), body
            except (OSError, http.client.HTTPException):
                connection.close()
                if is_last:
                    raise
        raise AssertionError("the last attempt returns or raises")


class _OfThread(threading.local):
    """The connections of one thread."""

    def __init__(self, opened: list[http.client.HTTPConnection]) -> None:
        self.connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self.opened = opened

    def connection(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        found = self.connections.get((scheme, netloc))
        if found is None:
            if scheme == "https":
                context = ssl.create_default_context()
                found = http.client.HTTPSConnection(netloc, timeout=TIMEOUT, context=context)
            else:
                found = http.client.HTTPConnection(netloc, timeout=TIMEOUT)
            self.connections[scheme, netloc] = found
            self.opened.append(found)
        return found
