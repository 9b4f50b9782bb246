"""A shop with something in its cache, on a real server."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cachemw import open_store
from cachemw.testing.client import Client
from tests.cli.terminal import Ended, on_terminal, piped
from tests.inspection.shop import shop as make_shop
from tests.servers import VALKEY, Server, single

HOSTILE = "/products/evil?q=[red]\x1b]0;owned\x07\u202e"


@dataclass(frozen=True, slots=True)
class Shop:
    """Where it keeps what it keeps, and the command, pointed there."""

    server: Server

    @property
    def url(self) -> str:
        return self.server.url

    def piped(self, *arguments: str, **more: str) -> Ended:
        return piped(*arguments, CACHEMW_STORE=self.url, SHOP_STORE=self.url, **more)

    def on_terminal(
        self, *arguments: str, columns: int = 80, typed: str = "", until: str = ""
    ) -> Ended:
        env = {"CACHEMW_STORE": self.url, "SHOP_STORE": self.url}
        return on_terminal(*arguments, columns=columns, typed=typed, until=until, **env)


async def fill(url: str) -> None:
    store = open_store(url + "?deadline=5s")
    app = make_shop(store)
    client = Client(app)
    for target in ("/about", "/products/3?b=1&a=2", "/products/4", "/feed"):
        await client.get(target, headers={"accept-language": "de"})
    cache = app.state.cachemw.cache
    await cache.set_many({f"user:{n}": {"name": "Ada"} for n in range(3)}, "5m", tags=["users"])
    await cache.purge(tags=["product:4"])
    await store.aclose()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with single(VALKEY) as server:
        asyncio.run(fill(server.url))
        yield Shop(server)
