"""What the tests of the dashboard look at: a small shop, and visitors who come in various ways."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from cachemw import CachePolicy, MemoryStore, install
from cachemw.dashboard import dashboard
from cachemw.stores.base import Store

LOCAL = ("127.0.0.1", 50_000)
AT = "http://localhost:8000"


def shop(store: Store | None = None, **options: Any) -> FastAPI:
    """An app with a cached route and a dashboard at /cache."""
    app = FastAPI()

    @app.get("/products/{id}")
    async def product(id: str) -> dict[str, str]:
        return {"id": id}

    app.mount("/cache", dashboard(app, **options))
    policy = CachePolicy(ttl="5m", tags=["product:{id}"], credentials="strip")
    install(app, store=store or MemoryStore(), cache={"/products/{id}": policy})
    return app


@contextmanager
def visitor(app: Any, *, client: tuple[str, int] = LOCAL, at: str = AT) -> Iterator[TestClient]:
    """Somebody who comes from an address to an address."""
    with TestClient(app, client=client, base_url=at, follow_redirects=False) as browser:
        yield browser


def token_in(page: Response) -> str:
    found = re.search(r'name="token" value="([0-9a-f]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def purge(
    browser: TestClient,
    kind: str = "tag",
    what: str = "product:3",
    *,
    headers: dict[str, str] | None = None,
    **fields: str,
) -> Response:
    """What a browser does when somebody opens the purge page and presses the button."""
    token = token_in(browser.get("/cache/purge"))
    form = {"kind": kind, "what": what, "token": token, **fields}
    said = {"origin": AT, "sec-fetch-site": "same-origin"} if headers is None else headers
    return browser.post("/cache/purge", data=form, headers=said)


class Elements(HTMLParser):
    """The tags and attributes of a page, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]
