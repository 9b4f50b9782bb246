"""Warming: what is read from lists, sitemaps and logs, and at which pace it is asked for."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cachemw.errors import ConfigurationError
from cachemw.warming import Asked, HttpAsker, absolute, read_source, warm

SITEMAP = """<?xml version="1.0"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
  <url><loc>https://shop.example/a?x=1&amp;y=2</loc></url>
  <url><loc> <![CDATA[https://shop.example/b]]> </loc></url>
  <url><loc>https://shop.example/b</loc></url>
</urlset>"""
INDEX = "<sitemapindex><sitemap><loc>https://shop.example/s1.xml</loc></sitemap></sitemapindex>"
LOG = """
1.2.3.4 - - [21/Nov/2026:15:00:00 +0000] "GET /b HTTP/1.1" 200 5 "-" "x"
INFO:     127.0.0.1:5555 - "GET /a?q=1 HTTP/1.1" 200 OK
1.2.3.4 - - [21/Nov/2026:15:00:00 +0000] "GET /a?q=1 HTTP/2.0" 304 0
1.2.3.4 - - [21/Nov/2026:15:00:00 +0000] "POST /c HTTP/1.1" 200 5
1.2.3.4 - - [21/Nov/2026:15:00:00 +0000] "GET /gone HTTP/1.1" 404 5
"""


def test_sources_are_told_by_how_they_look() -> None:
    sitemap = ("https://shop.example/a?x=1&y=2", "https://shop.example/b")
    assert read_source(SITEMAP).targets == sitemap
    assert read_source("\ufeff" + SITEMAP).targets == sitemap
    assert read_source(INDEX).sitemaps == ("https://shop.example/s1.xml",)
    assert read_source(LOG).targets == ("/a?q=1", "/b")
    assert read_source("# mine\n/a\n\n/b # why\n/a\n").targets == ("/a", "/b")


def test_targets_become_urls() -> None:
    assert absolute(["/a?x=1", "https://other/b#c"], "http://h:1/") == [
        *("http://h:1/a?x=1", "http://h:1/b")
    ]
    assert absolute(["https://h/a#b", "https://h/a"], None) == ["https://h/a"]
    with pytest.raises(ConfigurationError, match="no host"):
        absolute(["/a"], None)
    with pytest.raises(ConfigurationError, match="no place"):
        absolute(["/a"], "shop.example")


@pytest.mark.anyio
async def test_no_more_are_asked_at_once_than_was_said() -> None:
    running, most, told = 0, 0, list[int]()

    async def ask(url: str) -> Asked:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Asked(500 if url == "u7" else 200, "cachemw; fwd=uri-miss; stored")

    urls = [f"u{number}" for number in range(20)]
    warmth = await warm(urls, ask, concurrency=3, progress=told.append)
    assert (most, warmth.done, told[-1]) == (3, 20, 20)
    assert dict(warmth.counts) == {"stored": 19, "failed": 1}
    assert warmth.failures == [("u7", "status 500")]


@pytest.mark.anyio
async def test_no_faster_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def noted(delay: float) -> None:
        waits.append(delay)

    async def ask(url: str) -> Asked:
        return Asked(200, "cachemw; hit; ttl=1")

    monkeypatch.setattr(asyncio, "sleep", noted)
    await warm(["a", "b", "c"], ask, rate=0.5)
    assert [round(wait) for wait in waits] == [0, 2, 4]


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status = 302 if self.path == "/away" else 503 if self.path == "/broken" else 200
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.send_header("Location", "/a")
        self.send_header("Cache-Status", "proxy; fwd=miss")
        told = "hit; ttl=5" if self.headers["x-again"] else "fwd=uri-miss; stored"
        self.send_header("Cache-Status", f"cachemw; {told}")
        if self.path == "/close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as serving:
        serving.daemon_threads = True
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.mark.anyio
async def test_what_became_of_a_request_is_read_from_its_answer(server: str) -> None:
    asker = HttpAsker({}, 2)
    again = HttpAsker({"X-Again": "1"}, 2)
    try:
        words = [
            (await asker(server + path)).word
            for path in ("/a", "/close", "/b", "/away", "/broken", "/c")
        ]
        assert words == ["stored", "stored", "stored", "stored", "failed", "stored"]
        assert (await again(server + "/a")).word == "hit"
        assert asker.read(server + "/a") == b"ok"
        with pytest.raises(ConfigurationError, match="503"):
            asker.read(server + "/broken")
        nobody = await asker("http://127.0.0.1:1/")
        assert nobody.word == "failed"
        assert "ConnectionRefusedError" in nobody.failure
    finally:
        asker.close()
        again.close()
