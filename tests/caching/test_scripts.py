"""Every script's Lua against its twin: the same replies, and the same keys after each step."""

import random
import re
from dataclasses import replace
from typing import Any

import pytest

from cachemw.caching.entry import Entry, EntryHeader, Refusal, Signpost, pack
from cachemw.caching.leases import KEEP, LEASE, RELEASE, RENEW, SOFTEN
from cachemw.caching.reasons import Reason
from cachemw.caching.stamps import ENSURE, PURGE
from cachemw.scripts import Script
from cachemw.stores import open_store
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio

HEADER = EntryHeader(200, (), 1, 1, 0.0, 1.0, 0.0, 0.0, True, False, (), False)
RECORD, LEASES, CENSUS = b"e:{p}", b"l:{p}", b"v:{p}"
VARIANTS = [b"e:{p}:a", b"e:{p}:b", b"e:{p}:c"]
PURGE_AT = replace(PURGE, dated=False)  # an instant of our choice
MARK, STAMPS = b"p:{s}", [b"t:{s}:x", b"t:{s}:y"]
ALL = [RECORD, LEASES, CENSUS, *VARIANTS, MARK, *STAMPS]
ENDS = re.compile(rb"\b1[0-9]{12}\b")  # an instant of today, in milliseconds


def _peek(keyspace: Any, keys: Any, args: Any) -> Any:
    raise NotImplementedError


PEEK = Script(
    "peek",
    """
    local kind = redis.call('TYPE', KEYS[1]).ok
    local ttl = redis.call('PTTL', KEYS[1])
    if kind == 'string' then return {ttl, redis.call('GET', KEYS[1])} end
    if kind == 'hash' then return {ttl, redis.call('HGETALL', KEYS[1])} end
    return {-2}
    """,
    _peek,
)


async def seen_on_server(store: Store, key: bytes) -> Any:
    seen: Any = await store.run(PEEK, [key], [])
    ttl, *content = seen
    value: Any = content[0] if content else None
    if isinstance(value, list):
        value = dict(zip(value[::2], value[1::2], strict=True))
    return view(ttl, value)


def seen_in_memory(store: MemoryStore, key: bytes) -> Any:
    space = store.keyspace
    if not space.exists(key):
        return view(-2, None)
    value = space._items[key].value
    return view(space.ttl(key), value)


def view(ttl: int, value: Any) -> Any:
    """As it is, but for instants and lifetimes, which differ by what a step took."""
    if isinstance(value, dict):
        value = {field: ENDS.sub(b"<instant>", content) for field, content in value.items()}
    return round(ttl / 20_000), value


def steps(chance: random.Random, store: Store) -> list[tuple[Script, list[bytes], list[bytes]]]:
    """A history that might happen, and some that should not."""
    lives, tokens = b"%d" % chance.choice([100_000, 900_000]), [b"t1", b"t2"]
    names = [b"-", b"a", b"b", b"c"]
    made: list[tuple[Script, list[bytes], list[bytes]]] = []
    for _ in range(30):
        name, token = chance.choice(names), chance.choice(tokens)
        generation = chance.choice([b"GENERAT1", b"GENERAT2"])
        fields = chance.choice([(b"accept",), (b"accept", b"cookie")])
        sealed = store.sealed(RECORD, pack(Entry(HEADER, b"body")))
        signpost = store.sealed(RECORD, pack(Signpost(fields, generation)))
        place = chance.randrange(3)
        entry = Entry(HEADER, b"variant", generation=generation)
        variant = store.sealed(VARIANTS[place], pack(entry))
        instant = b"%d" % chance.randrange(10**15, 10**15 + 50)
        seals = [store.sealed(stamp, b"") for stamp in STAMPS]
        refusal = store.sealed(RECORD, pack(Refusal(Reason.PRIVATE)))
        garbage = chance.choice([b"", b"x", b"?x", b"12 34", sealed[:12], signpost[:24]])
        options = [
            (LEASE, [LEASES], [name, token, lives]),
            (LEASE, [LEASES, RECORD], [name, token, lives]),
            (LEASE, [LEASES, RECORD, VARIANTS[place]], [name, token, lives]),
            (RENEW, [LEASES], [name, token, lives]),
            (KEEP, [RECORD, LEASES], [name, token, lives, sealed]),
            (
                KEEP,
                [RECORD, LEASES, VARIANTS[place], CENSUS],
                [name, token, lives, signpost, names[place + 1], variant, b"2"],
            ),
            (RELEASE, [RECORD, LEASES], [name, token, chance.choice([b"", refusal]), lives]),
            (SOFTEN, [RECORD, LEASES], [instant]),
            (ENSURE, [MARK, *STAMPS], [instant, lives, lives, token, *seals]),
            (
                PURGE_AT,
                [MARK, *STAMPS],
                [instant, chance.choice([b"0", b"1"]), lives, lives, *seals],
            ),
            (PUT, [chance.choice(ALL)], [garbage, lives]),
            (PUT_HASH, [chance.choice(ALL)], [b"f", chance.choice([b"1", b"junk"]), lives]),
            (FORGET, [chance.choice(ALL)], []),
        ]
        weights = [3, 2, 2, 2, 3, 6, 2, 3, 4, 4, 1, 0.5, 1]
        made += chance.choices(options, weights)
    return made


def _put(space: Any, keys: Any, args: Any) -> int:
    space.set(keys[0], args[0], int(args[1]))
    return 1


def _put_hash(space: Any, keys: Any, args: Any) -> int:
    space.delete(keys[0])
    space.hset(keys[0], {args[0]: args[1]})
    space.expire(keys[0], int(args[2]))
    return 1


def _forget(space: Any, keys: Any, args: Any) -> int:
    return int(space.delete(keys[0]))


PUT = Script("put", "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1", _put)
PUT_HASH = Script(
    "put_hash",
    "redis.call('DEL', KEYS[1]) redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) "
    "redis.call('PEXPIRE', KEYS[1], ARGV[3]) return 1",
    _put_hash,
)
FORGET = Script("forget", "return redis.call('DEL', KEYS[1])", _forget)


@pytest.mark.parametrize("seed", range(40))
async def test_lua_and_twin_live_through_the_same_history(seed: int, redis_url: str) -> None:
    memory = MemoryStore()
    server = open_store(redis_url + ("&" if "?" in redis_url else "?") + "prefix=&deadline=5s")
    for script, keys, args in steps(random.Random(seed), server):
        here = await memory.run(script, keys, args)
        there = await server.run(script, keys, args)
        assert here == there, (script.name, keys, args)
        for key in ALL:
            twin, lua = seen_in_memory(memory, key), await seen_on_server(server, key)
            assert twin == lua, (script.name, keys, args, key)
    await server.aclose()


async def test_what_somebody_else_has_counted_keeps_no_variant_out(redis_url: str) -> None:
    server = open_store(redis_url + ("&" if "?" in redis_url else "?") + "prefix=&deadline=5s")
    for store in (MemoryStore(), server):
        signpost = store.sealed(RECORD, pack(Signpost((b"accept",), b"GENERAT1")))
        for number, name in enumerate((b"a", b"b")):
            made = Entry(HEADER, b"variant", generation=b"GENERAT1")
            variant = store.sealed(VARIANTS[number], pack(made))
            keys = [RECORD, LEASES, VARIANTS[number], CENSUS]
            await store.run(LEASE, [LEASES], [b"-", b"t", b"90000"])
            args = [b"-", b"t", b"90000", signpost, name, variant, b"1"]
            assert await store.run(KEEP, keys, args) == 1
            await store.run(PUT_HASH, [CENSUS], [b"f", b"junk", b"90000"])
    await server.aclose()
