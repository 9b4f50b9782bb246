"""In memory and on a server, any history of verbs and clock moves comes to the same."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Keyspace, Reply, Script, WrongType
from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import from_url
from cachemw.testing import Twins, check_script
from tests.stores.conftest import Opener

KEYS = [b"{k}a", b"{k}b", b"{k}c"]
keys = st.sampled_from(KEYS)
names = st.sampled_from([b"f", b"g", b"h"])
contents = st.binary(max_size=4)
lives = st.integers(20, 600).map(lambda s: s * 1000)  # far apart from what a step takes

LUA = {
    "get": "return redis.call('GET', KEYS[1])",
    "set": "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])",
    "replace": "redis.call('SET', KEYS[1], ARGV[1], 'XX', 'KEEPTTL')",
    "delete": "return redis.call('DEL', KEYS[1])",
    "exists": "return redis.call('EXISTS', KEYS[1])",
    "expire": "return redis.call('PEXPIRE', KEYS[1], ARGV[1])",
    "hget": "return redis.call('HGET', KEYS[1], ARGV[1])",
    "hset": "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) redis.call('PEXPIRE', KEYS[1], ARGV[3])",
    "hset_more": "if redis.call('EXISTS', KEYS[1]) == 1 then "
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]) end",
    "hdel": "return redis.call('HDEL', KEYS[1], unpack(ARGV))",
    "hlen": "return redis.call('HLEN', KEYS[1])",
    "forgiving": "local v = redis.pcall('GET', KEYS[1]) "
    "if type(v) == 'table' then return 'other' end return v",
}


def _hset(db: Keyspace, key: bytes, *args: bytes) -> Reply:
    db.hset(key, {args[0]: args[1]})
    db.expire(key, int(args[2]))
    return None


def _hset_more(db: Keyspace, key: bytes, *args: bytes) -> Reply:
    if db.exists(key):
        db.hset(key, {args[0]: args[1], args[2]: args[3]})
    return None


def _forgiving(db: Keyspace, key: bytes) -> Reply:
    try:
        return db.get(key)
    except WrongType:
        return b"other"


TWINS: dict[str, Any] = {
    "get": lambda db, key: db.get(key),
    "set": lambda db, key, value, ttl: db.set(key, value, int(ttl)),
    "replace": lambda db, key, value: db.replace(key, value),
    "delete": lambda db, key: db.delete(key),
    "exists": lambda db, key: int(db.exists(key)),
    "expire": lambda db, key, ttl: int(db.expire(key, int(ttl))),
    "hget": lambda db, key, field: db.hget(key, field),
    "hset": _hset,
    "hset_more": _hset_more,
    "hdel": lambda db, key, *fields: db.hdel(key, fields),
    "hlen": lambda db, key: db.hlen(key),
    "forgiving": _forgiving,
}


def _script(name: str) -> Script:
    twin = TWINS[name]
    return Script(name, LUA[name], lambda db, keys, args: twin(db, keys[0], *args))


SCRIPTS = {name: _script(name) for name in LUA}
URL = ""


@pytest.fixture(autouse=True)
def _url(redis_url: str) -> None:
    global URL
    URL = redis_url


class Histories(RuleBasedStateMachine):
    """Every rule does the same to both stores and demands the same answer from both."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.server = RedisStore(from_url(URL), prefix="", deadline="10s")
        self.twins = Twins(self.server, KEYS)

    @initialize()
    def begin(self) -> None:
        self.runner.run(self._forget())

    def teardown(self) -> None:
        self.runner.run(self.server.aclose())
        self.runner.close()

    async def _on_both(self, verb: str, *args: Any, **options: Any) -> None:
        results: list[object] = []
        for store in (self.twins.memory, self.server):
            try:
                results.append(await getattr(store, verb)(*args, **options))
            except StoreUnavailable as error:
                results.append(error.reason)
        assert results[0] == results[1], f"{verb}{args}: {results}"

    async def _forget(self) -> None:
        await self.server.delete(KEYS)

    async def _delete(self, chosen: list[bytes]) -> None:
        await self._on_both("delete", chosen)

    async def _scan(self, pattern: bytes) -> None:
        found = [
            {key async for batch in store.scan(pattern) for key in batch}
            for store in (self.twins.memory, self.server)
        ]
        assert found[0] == found[1], f"scan {pattern!r}: {found}"

    @rule(key=keys, value=contents, ttl=lives)
    def set(self, key: bytes, value: bytes, ttl: int) -> None:
        self.runner.run(self._on_both("set", key, value, ttl=ttl))

    @rule(chosen=st.lists(keys, max_size=5))
    def get_many(self, chosen: list[bytes]) -> None:
        self.runner.run(self._on_both("get_many", chosen))

    @rule(chosen=st.lists(keys, max_size=4))
    def delete(self, chosen: list[bytes]) -> None:
        self.runner.run(self._delete(chosen))

    @rule(pattern=st.sampled_from([b"*", b"{k}?", b"*[ab]", b"{k}[^a]", b"{k}c", b"x*"]))
    def scan(self, pattern: bytes) -> None:
        self.runner.run(self._scan(pattern))

    def _script(self, name: str, key: bytes, *args: bytes) -> None:
        self.runner.run(self.twins.run(SCRIPTS[name], (key,), args))

    @rule(name=st.sampled_from(["get", "delete", "exists", "hlen", "forgiving"]), key=keys)
    def script(self, name: str, key: bytes) -> None:
        self._script(name, key)

    @rule(key=keys, value=contents, ttl=lives)
    def script_set(self, key: bytes, value: bytes, ttl: int) -> None:
        self._script("set", key, value, b"%d" % ttl)

    @rule(key=keys, value=contents)
    def script_replace(self, key: bytes, value: bytes) -> None:
        self._script("replace", key, value)

    @rule(key=keys, ttl=st.one_of(lives, st.integers(-2, 0)))
    def script_expire(self, key: bytes, ttl: int) -> None:
        self._script("expire", key, b"%d" % ttl)

    @rule(key=keys, field=names)
    def script_hget(self, key: bytes, field: bytes) -> None:
        self._script("hget", key, field)

    @rule(key=keys, field=names, value=contents, ttl=lives)
    def script_hset(self, key: bytes, field: bytes, value: bytes, ttl: int) -> None:
        self._script("hset", key, field, value, b"%d" % ttl)

    @rule(key=keys, first=names, second=names, value=contents)
    def script_hset_more(self, key: bytes, first: bytes, second: bytes, value: bytes) -> None:
        self._script("hset_more", key, first, value, second, b"2")

    @rule(key=keys, fields=st.lists(names, min_size=1, max_size=4))
    def script_hdel(self, key: bytes, fields: list[bytes]) -> None:
        self._script("hdel", key, *fields)

    @rule(milliseconds=st.integers(1, 30).map(lambda s: s * 10_000))
    def time_passes(self, milliseconds: int) -> None:
        self.runner.run(self.twins.advance(milliseconds))

    @invariant()
    def both_hold_the_same(self) -> None:
        self.runner.run(self.twins.compare("all that"))


def test_any_history_comes_to_the_same() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.anyio
async def test_the_harness_finds_a_twin_that_differs(opened: Opener, redis_url: str) -> None:
    store = opened(redis_url, prefix="")
    forgetful = Script("set", LUA["set"], lambda db, keys, args: None)
    liar = Script("hlen", LUA["hlen"], lambda db, keys, args: 7)
    lasting = Script(
        "set", LUA["set"], lambda db, keys, args: db.set(keys[0], args[0], 2 * int(args[1]))
    )
    for script in (forgetful, liar, lasting):
        with pytest.raises(AssertionError, match="twin .* Lua"):
            await check_script(store, script, [((b"{k}a",), (b"v", b"60000"))])


@pytest.mark.anyio
async def test_the_harness_lets_time_pass_on_both(opened: Opener, redis_url: str) -> None:
    twins = Twins(opened(redis_url, prefix=""), [b"k"])
    await twins.run(SCRIPTS["set"], (b"k",), (b"v", b"60000"))
    await twins.advance(30_000)
    assert await twins.run(SCRIPTS["exists"], (b"k",), ()) == 1
    await twins.advance(30_000)
    assert await twins.run(SCRIPTS["exists"], (b"k",), ()) == 0
