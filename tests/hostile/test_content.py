"""A store whose content cannot be trusted: whatever is found in it, answers are right.

Every key of an app's life is replaced in turn by something hostile, and everybody asks again. What
cannot be defended here is said in docs/security.md: who can write to Redis can write a page.
"""

import random
import zlib
from collections.abc import Callable

import msgspec
import pytest

from cachemw.caching.cache import Cache
from cachemw.caching.entry import VERSION, EntryHeader
from cachemw.ratelimit.identity import Identity
from cachemw.ratelimit.rule import RateLimit
from cachemw.scripts import WrongType
from cachemw.sessions.sessions import Sessions
from cachemw.stores import MemoryStore
from cachemw.stores.base import seal
from cachemw.testing.clock import FakeClock
from tests.caching.caches import FRESH, cached
from tests.sessions.apps import session_app
from tests.sessions.browser import Browser

pytestmark = pytest.mark.anyio

SEAL = len(seal(b"", b""))
LIVES = 600_000
Spoil = Callable[[bytes, bytes, random.Random], bytes]
"""What stands under a key from now on: of the key, of what stood there, by chance."""


def bomb(key: bytes, value: bytes, chance: random.Random) -> bytes:
    """An entry of a few KB whose body wants to be more than it may."""
    body = _BOMB
    header = len(body).to_bytes(4, "big") + msgspec.msgpack.encode(_HEADER)
    fixed = bytes((VERSION,)) + b"E\2" + len(header).to_bytes(4, "big")
    return seal(key, fixed + header + body)


def deep(key: bytes, value: bytes, chance: random.Random) -> bytes:
    """MessagePack that is nested a hundred thousand times."""
    header = bytes(4) + b"\x91" * 100_000
    return seal(key, bytes((VERSION,)) + b"E\0" + len(header).to_bytes(4, "big") + header)


_BOMB = zlib.compress(bytes(2 << 20), 9)
_HEADER = EntryHeader(200, (), 0, 0, 0, 60, 0, 0, False, False, (), True)
SPOILS: dict[str, Spoil] = {
    "empty": lambda key, value, chance: b"",
    "cut": lambda key, value, chance: value[: chance.randrange(len(value) or 1)],
    "grown": lambda key, value, chance: value + chance.randbytes(7),
    "mark": lambda key, value, chance: bytes([value[0] ^ 1]) + value[1:] if value else b"x",
    "newer": lambda key, value, chance: value[:SEAL] + b"\xff" + value[SEAL + 1 :],
    "older": lambda key, value, chance: value[:SEAL] + b"\0" + value[SEAL + 1 :],
    "random": lambda key, value, chance: chance.randbytes(64),
    "random under the mark": lambda key, value, chance: seal(key, chance.randbytes(64)),
    "length": lambda key, value, chance: value[: SEAL + 3] + b"\xff" * 4 + value[SEAL + 7 :],
    "pickle": lambda key, value, chance: seal(key, b"cos\nsystem\n(S'false'\ntR."),
    "bomb": bomb,
    "deep": deep,
}


def keys_of(store: MemoryStore) -> list[bytes]:
    return [bytes(key) for key in store.keyspace.matching(b"*")]


def spoil(store: MemoryStore, key: bytes, how: Spoil, chance: random.Random) -> None:
    """Put something else under a key; a hash loses each of its fields to something else."""
    space = store.keyspace
    try:
        value = space.get(key)
    except WrongType:
        fields = space.hgetall(key)
        space.hset(key, {name: how(key, old, chance) for name, old in fields.items()})
        return
    if value is not None:
        space.set(key, how(key, value, chance), LIVES)


def retype(store: MemoryStore, key: bytes) -> None:
    """A hash where a string was, and the other way round."""
    space = store.keyspace
    try:
        space.get(key)
        space.delete(key)
        space.hset(key, {b"not": b"ours"})
    except WrongType:
        space.set(key, b"not ours", LIVES)
    space.expire(key, LIVES)


@pytest.fixture(autouse=True)
def _small_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cachemw.caching.compression.MOST", 1 << 20)


WAYS = [*(pytest.param(how, id=name) for name, how in SPOILS.items())]
WAYS.append(pytest.param(None, id="another type"))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("vary", [{}, {"vary": "accept"}], ids=["plain", "varies"])
async def test_pages(how: Spoil | None, vary: dict[str, str]) -> None:
    chance, clock = random.Random(1), FakeClock()
    store = MemoryStore(clock=clock)
    cache = cached(
        store=store,
        clock=clock,
        tags=["shop"],
        jitter=0,
        compress=True,
        lease_wait="0s",
        stale_while_revalidate="1m",
    )
    cache.origin.answers("the page " * 300, headers={**FRESH, **vary})
    for number in range(len(await _filled(cache, store))):
        key = (await _filled(cache, store))[number % len(keys_of(store))]
        spoil(store, key, how, chance) if how else retype(store, key)
        for _ in range(2):
            answer = await cache.get("/", headers={"accept": "a/a"})
            assert (answer.status, answer.body) == (200, b"the page " * 300), key
    await cache.settle()
    cache.keeper.owed.forget()


async def _filled(cache: object, store: MemoryStore) -> list[bytes]:
    for key in keys_of(store):
        store.keyspace.delete(key)
    for _ in range(3):
        await cache.get("/", headers={"accept": "a/a"})  # type: ignore[attr-defined]
    return keys_of(store)


@pytest.mark.parametrize("how", WAYS)
async def test_values(how: Spoil | None) -> None:
    chance, store = random.Random(2), MemoryStore()
    cache = Cache(store)

    async def load() -> str:
        return "v"

    for _ in range(8):
        assert await cache.get_or_set("k", load, "1m", tags=["t"]) == "v"
        for key in keys_of(store):
            spoil(store, key, how, chance) if how else retype(store, key)
            assert await cache.get_or_set("k", load, "1m", tags=["t"]) == "v"
    await cache.aclose()


@pytest.mark.parametrize("how", WAYS)
async def test_sessions(how: Spoil | None) -> None:
    """Nobody is anybody else, and nothing but a session is lost."""
    chance, store = random.Random(3), MemoryStore()
    browser = Browser(session_app(Sessions(store=store, renew=None)))
    for _ in range(3):
        await browser.post("/update", {"user_id": 7})
        for key in keys_of(store):
            spoil(store, key, how, chance) if how else retype(store, key)
        answer = await browser.get("/view")
        assert answer.status in (200, 503)
        if answer.status == 200:
            assert answer.json()["session"].get("user_id") in (None, 7)
        for key in keys_of(store):
            store.keyspace.delete(key)
        browser.cookie = None


@pytest.mark.parametrize("how", WAYS)
async def test_limits(how: Spoil | None) -> None:
    """A window that cannot be read begins again, or is an outage: never an error of the app."""
    chance, store = random.Random(4), MemoryStore()
    rule = RateLimit("5/day", name="r", on_outage="closed").bind(store)
    who = Identity("ip", "somebody")
    for _ in range(4):
        await rule.hit(who)
        for key in keys_of(store):
            spoil(store, key, how, chance) if how else retype(store, key)
        await rule.hit(who)
        for key in keys_of(store):
            store.keyspace.delete(key)


async def test_what_was_purged_does_not_come_back_from_a_backup() -> None:
    """Whoever puts old bytes back under their own key: they are older than the purge."""
    store = MemoryStore()
    cache = cached(store=store, tags=["shop"], jitter=0)
    cache.origin.answers("old", headers=FRESH)
    await cache.get("/")
    entries = [key for key in keys_of(store) if key.startswith(b"e:")]
    saved = {key: store.keyspace.get(key) for key in entries}
    await cache.keeper.purge_tags([b"shop"])
    cache.origin.answers("new", headers=FRESH)
    for key, value in saved.items():
        store.keyspace.set(key, value or b"", LIVES)
    assert (await cache.get("/")).body == b"new"


async def test_a_page_under_the_key_of_another_is_a_miss() -> None:
    store = MemoryStore()
    cache = cached(store=store)
    for path in ("/a", "/b"):
        cache.origin.answers(path, headers=FRESH, path=path)
        await cache.get(path)
    one, other = (key for key in keys_of(store) if key.startswith(b"e:"))
    values = [store.keyspace.get(key) or b"" for key in (other, one)]
    for key, value in zip((one, other), values, strict=True):
        store.keyspace.set(key, value, LIVES)
    assert [(await cache.get(path)).body for path in ("/a", "/b")] == [b"/a", b"/b"]


def test_the_hostile_entries_are_such_as_would_be_read() -> None:
    """Else these tests would try nothing: their marks and their fixed parts are right."""
    for make in (bomb, deep):
        made = make(b"k", b"", random.Random(0))
        assert made[:SEAL] == seal(b"k", b"") and made[SEAL : SEAL + 2] == b"\2E"
