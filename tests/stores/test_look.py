"""Looking at keys: the same on every store, in one trip, and of nobody's else."""

import pytest

from cachemw.stores import open_store
from cachemw.stores.look import LOOK, look
from cachemw.testing import Twins
from tests.servers import single
from tests.stores.conftest import Opener

pytestmark = pytest.mark.anyio


def without_memory(reply: object) -> object:
    """As it is, but for what a key costs and how long it still lives."""
    return [*reply[:1], *reply[2:3], *reply[4:]] if isinstance(reply, list) else reply


async def test_lua_and_twin_see_the_same(redis_url: str, opened: Opener) -> None:
    server = opened(redis_url, prefix="")
    twins = Twins(server, [b"{a}s", b"{a}none"])
    for store in (twins.memory, server):
        await store.set(b"{a}s", b"hello", ttl=60_000)
    for most in (b"0", b"3", b"1000"):
        await twins.run(LOOK, [b"{a}s"], [most], view=without_memory)
        await twins.run(LOOK, [b"{a}none"], [most], view=without_memory)


@pytest.mark.parametrize("where", ["server", "memory"])
async def test_a_key_is_seen_as_it_is(redis_url: str, opened: Opener, where: str) -> None:
    store = opened(redis_url) if where == "server" else open_store("memory://")
    await store.set(b"a", b"x" * 100, ttl=60_000)
    (sight,) = await look(store, [b"a", b"none"], most=12)
    assert (sight.key, sight.kind, sight.length) == (b"a", "string", 108)
    assert 0 < sight.lives <= 60_000
    assert sight.value(store) == b"xxxx"
    assert (sight.memory > 108) is (where == "server")


async def test_a_foreign_value_is_seen_and_not_believed(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url)
    await store.ask("SET", "cmw:stray", "0123456789")
    await store.ask("HSET", "cmw:wide", "f", "v")
    stray, wide = await look(store, [b"stray", b"wide"], most=100)
    assert (stray.lives, stray.value(store)) == (-1, None)
    assert (wide.kind, wide.length, wide.value(store)) == ("hash", 1, None)


async def test_what_may_not_be_asked_is_left_out(engine: str, opened: Opener) -> None:
    user = "web on >secret ~cm:* +eval +evalsha +pttl +getrange +set"
    with single(engine, port=0, acl=[user]) as server:
        store = opened(f"redis://web:secret@127.0.0.1:{server.port}?prefix=cm:")
        await store.set(b"a", b"hello", ttl=60_000)
        (sight,) = await look(store, [b"a"], most=100)
    assert (sight.kind, sight.memory, sight.value(store)) == ("string", 0, b"hello")
