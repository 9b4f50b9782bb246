"""Every backend keeps the same promises: the shipped kit, run on all of them."""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from urllib.parse import quote

import pytest

from cachemw.scripts import Reply, Script
from cachemw.stores import MemoryStore, Store, open_store
from cachemw.stores.near import NearStore
from cachemw.testing import STORE_CHECKS, check_store
from cachemw.testing.stores import Check
from tests.servers import Cluster, Sentinels, Server
from tests.stores.conftest import Opener
from tests.stores.test_near import awake

pytestmark = pytest.mark.anyio

each_check = pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)


@each_check
async def test_memory(check: Check) -> None:
    await check(MemoryStore())


@each_check
async def test_a_server_by_its_socket(redis_url: str, opened: Opener, check: Check) -> None:
    await check(opened(redis_url))


async def test_a_server_by_its_port(server: Server, opened: Opener) -> None:
    await check_store(opened(server.url))


async def test_a_server_under_tls(tls_server: Server, opened: Opener) -> None:
    assert tls_server.tls is not None
    authority = quote(str(tls_server.tls.authority))
    await check_store(opened(f"{tls_server.url}?ssl_ca_certs={authority}"))


@pytest.mark.xdist_group("cluster")
@each_check
async def test_a_cluster(cluster: Cluster, opened: Opener, check: Check) -> None:
    await check(opened(cluster.url))


@pytest.mark.xdist_group("sentinel")
async def test_a_primary_that_sentinels_name(sentinel: Sentinels, opened: Opener) -> None:
    await check_store(opened(sentinel.url))


async def test_a_near_cache(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachemw.stores.near.WATCHED", (b"check:",))
    near = NearStore(opened(redis_url))
    await awake(near)
    await check_store(near)
    assert near.hits and near.is_awake()
    await near.aclose()


async def test_an_embedded_server() -> None:
    store = open_store("embedded://?deadline=5s")
    await store.open()
    await check_store(store)
    await store.aclose()


class Forgetful(MemoryStore):
    """Loses what is set."""

    def _read(self, key: bytes) -> bytes | None:
        return None


class Gullible(MemoryStore):
    """Hands out whatever is there."""

    def _read(self, key: bytes) -> bytes | None:
        stored = self.keyspace.get(key)
        return stored and stored[8:]


class Timeless(MemoryStore):
    """Tells scripts nothing."""

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        return super().run(replace(script, dated=False), keys, args)


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (Forgetful(), "was set and not read"),
        (Gullible(), "another key was handed out"),
        (Timeless(), "it heard"),
    ],
    ids=["forgetful", "gullible", "timeless"],
)
async def test_the_kit_finds_what_is_broken(broken: Store, found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        await check_store(broken)
