"""Every step in Lua, on real servers, does what its twin does to the memory store."""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cachemw.scripts import Keyspace, Reply, Script
from cachemw.sessions.ids import index_key, mint, record_key
from cachemw.sessions.scripts import CREATE, LIST, LOAD, RENEW, REVOKE, SAVE, TAKE
from cachemw.stores import open_store
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.stores.redis import RedisStore

PLACE = b"plac"
INDEX = index_key(PLACE)
RECORDS = [record_key(mint(bytes([n]) * 36, place=PLACE)) for n in range(3)]
SUBJECTS = [b"0a" * 16, b"0b" * 16, b"-"]
HANDLES = [b"aa", b"bb", b"cc"]
HOUR = b"3600000"

records = st.sampled_from(RECORDS)
fields = st.sampled_from([b"=a", b"=b", b"=c"])
values = st.sampled_from([b"1", b"2", b'"\xc3\xa9\x00"'])
guards = st.lists(
    st.tuples(fields, st.sampled_from([b"0", b"1"]), st.sampled_from([b"", b"1", b"2"])),
    max_size=2,
)
differences = st.tuples(
    guards, st.lists(st.tuples(fields, values), max_size=3), st.lists(fields, max_size=2)
)


def spelled(difference: Any) -> list[bytes]:
    guarded, sets, dels = difference
    arguments = [b"%d" % len(guarded), *(part for guard in guarded for part in guard)]
    arguments += [b"%d" % len(sets), *(part for pair in sets for part in pair)]
    return [*arguments, *dels]


def on_one(script: Script, *arguments: Any) -> Any:
    return st.tuples(
        st.just(script),
        records.map(lambda record: (record, INDEX)),
        st.tuples(*arguments).map(lambda parts: [a for part in parts for a in part]),
    )


ms = st.sampled_from([[HOUR], [b"1800000"]])
rooms = st.sampled_from([[b"1000", b"0"], [b"6", b"0"], [b"4", b"1"]])
steps = st.one_of(
    on_one(LOAD, st.sampled_from([[b"0"], [HOUR]])),
    on_one(SAVE, ms, rooms, differences.map(spelled)),
    on_one(
        CREATE,
        ms,
        ms,
        st.sampled_from(SUBJECTS).map(lambda s: [s]),
        st.sampled_from(HANDLES).map(lambda h: [h]),
        st.sampled_from([[b"0"], [b"1"]]),
        st.sampled_from([[b"0"], [b"3"]]),
        st.sampled_from([[b""], [b"a b\xff\nc"]]),
        st.lists(st.tuples(fields, values), max_size=3).map(
            lambda pairs: [part for pair in pairs for part in pair]
        ),
    ),
    st.tuples(
        st.just(RENEW),
        st.permutations(RECORDS).map(lambda keys: (keys[0], INDEX, keys[1])),
        st.tuples(
            ms,
            st.just([b"20000", b"n" * 32]),
            st.sampled_from([[b"0"], [HOUR]]),
            st.sampled_from([[b"@next"], [b"@was"]]),
            rooms,
            differences.map(spelled),
        ).map(lambda parts: [a for part in parts for a in part]),
    ),
    on_one(
        TAKE,
        st.sampled_from([[b"0"], [b"20000"]]),
        guards.map(lambda g: spelled((g, [], []))[:-1]),
    ),
    st.tuples(
        st.just(REVOKE),
        st.just((INDEX,)),
        st.tuples(
            st.sampled_from(SUBJECTS),
            st.sampled_from([*HANDLES, b"*"]),
            st.sampled_from([b"", b"aa"]),
        ),
    ),
    st.tuples(st.just(LIST), st.just((INDEX,)), st.sampled_from(SUBJECTS).map(lambda s: (s,))),
    # somebody put a string there
    st.tuples(st.none(), st.sampled_from([INDEX, *RECORDS]), st.just(())),
)
ABOVE_ANY_SPAN = 10**12


def blurred(reply: Reply) -> Any:
    """The reply without its moments: the clocks of two stores do not agree to the millisecond."""
    if isinstance(reply, list):
        *fields, last = reply or [b""]
        if isinstance(last, bytes):
            fields.append(last)
        if reply and all(isinstance(part, bytes) for part in fields) and len(fields) % 2 == 0:
            pairs = zip(fields[::2], fields[1::2], strict=True)  # a hash has no order
            told = sorted((blurred(name), blurred(value)) for name, value in pairs)
            return told if isinstance(last, bytes) else [*told, blurred(last)]
        return [blurred(part) for part in reply]
    if isinstance(reply, int):
        return "moment" if reply > ABOVE_ANY_SPAN else reply
    if isinstance(reply, bytes):
        parts = reply.split(b" ")
        return b" ".join(b"moment" if p.isdigit() and len(p) > 12 else p for p in parts)
    return reply


async def both(store: Store, story: Any) -> None:
    """The same steps on a server and in memory: the same answers."""
    memory = MemoryStore()
    await store.delete([INDEX, *RECORDS])
    for script, keys, arguments in story:
        if script is None:
            for each in (store, memory):
                await each.set(keys, b"a string", ttl=60_000)
            continue
        answers = [blurred(await each.run(script, keys, arguments)) for each in (store, memory)]
        if script is LIST:
            answers = [[answer[0], sorted(answer[1:])] for answer in answers]
        assert answers[0] == answers[1], (script.name, keys, arguments)


CREATED = (CREATE, (RECORDS[0], INDEX), [HOUR, HOUR, SUBJECTS[0], b"aa", b"1", b"1", b"x"])

GREW = (SAVE, (RECORDS[0], INDEX), [HOUR, b"6", b"0", b"0", b"2", b"=a", b"1", b"=b", b"1"])
FULL = (SAVE, (RECORDS[0], INDEX), [HOUR, b"6", b"0", b"0", b"1", b"=c", b"1"])
MOVED = (
    RENEW,
    (RECORDS[0], INDEX, RECORDS[1]),
    [HOUR, b"20000", b"n" * 32, b"0", b"@was", b"6", b"0", b"0", b"0"],
)
LED_ON = (*MOVED[:2], [*MOVED[2][:4], b"@next", *MOVED[2][5:]])
ENDED = (TAKE, (RECORDS[0], INDEX), [b"20000", b"0"])


@pytest.mark.anyio
async def test_a_step_says_which_way_it_was_led() -> None:
    memory = MemoryStore()
    answers = [await memory.run(*step) for step in (CREATED, GREW, FULL, MOVED, GREW)]
    answers.append(await memory.run(LOAD, (RECORDS[0], INDEX), [HOUR]))
    assert answers[2] == [b"large", 9]
    assert answers[4] == [b"rotated", b"n" * 32]
    assert answers[5] == [b"replaced", b""]


@pytest.mark.anyio
async def test_a_load_moves_the_idle_limit_up_to_the_deadline(redis_url: str) -> None:
    store = RedisStore(redis.asyncio.from_url(redis_url), prefix="", deadline="5s")

    async def left_after(idle: bytes) -> int:
        reply = await store.run(LOAD, (RECORDS[0], INDEX), [idle])
        assert isinstance(reply, list) and isinstance(reply[-1], int)
        (left,) = await store.ask("PTTL", RECORDS[0])
        return int(left)

    await store.run(CREATE, (RECORDS[0], INDEX), [b"60000", *CREATED[2][1:]])
    assert 0 < await left_after(b"0") <= 60_000
    assert 60_000 < await left_after(b"1800000") <= 1_800_000
    assert 1_800_000 < await left_after(b"7200000") <= 3_600_000
    await store.aclose()


def _tamper(db: Keyspace, keys: Any, args: Any) -> Reply:
    db.hset(keys[0], {args[0]: args[1]})
    db.expire(keys[0], 60_000)
    return 1


TAMPER = Script(
    "tamper",
    """
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    redis.call('PEXPIRE', KEYS[1], 60000)
    return 1
    """,
    _tamper,
)


@pytest.mark.anyio
@pytest.mark.parametrize("width", [14, 15, 5000])
@pytest.mark.parametrize("place", range(4))
async def test_numbers_of_any_width_read_the_same(redis_url: str, width: int, place: int) -> None:
    meta, entry = [b"1"] * 4, [b"1"] * 3
    meta[1] = entry[2] = b"9" * 14  # till then
    meta[place] = b"9" * width
    entry[place % 3] = b"9" * width
    field = SUBJECTS[0] + b":bb"
    story = [
        CREATED,
        (TAMPER, (RECORDS[0],), [b"@", b" ".join([b"1", *meta, b"- aa"])]),
        (LOAD, (RECORDS[0], INDEX), [HOUR]),
        (TAMPER, (INDEX,), [field, b" ".join([*entry, b"device"])]),
        (TAMPER, (RECORDS[1],), [b"@", b"1 1 %b 1 1 %b bb" % (b"9" * 14, SUBJECTS[0])]),
        (LOAD, (RECORDS[1], INDEX), [HOUR]),
        (LIST, (INDEX,), SUBJECTS[:1]),
        (RENEW, (RECORDS[1], INDEX, RECORDS[2]), MOVED[2]),
        (CREATE, (RECORDS[0], INDEX), [*CREATED[2][:3], b"cc", *CREATED[2][4:]]),
        (LIST, (INDEX,), SUBJECTS[:1]),
    ]
    store = open_store(redis_url + "?deadline=5s")
    await store.open()
    try:
        await both(store, story)
    finally:
        await store.aclose()


def test_lua_and_twins_agree(redis_url: str) -> None:
    with asyncio.Runner() as runner:
        store = open_store(redis_url + "?deadline=5s")
        runner.run(store.open())

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(steps, min_size=1, max_size=14))
        @example([CREATED, (LOAD, (RECORDS[0], INDEX), [HOUR]), (LIST, (INDEX,), (SUBJECTS[0],))])
        @example([CREATED, GREW, FULL, MOVED, (SAVE, (RECORDS[0], INDEX), GREW[2])])
        @example([CREATED, MOVED, (LOAD, (RECORDS[0], INDEX), [HOUR])])
        @example([CREATED, LED_ON, (LOAD, (RECORDS[0], INDEX), [HOUR])])
        @example([CREATED, ENDED, (LOAD, (RECORDS[0], INDEX), [HOUR])])
        @example([CREATED, (None, INDEX, ()), (LOAD, (RECORDS[0], INDEX), [HOUR])])
        def agree(story: Any) -> None:
            runner.run(both(store, story))

        agree()
        runner.run(store.aclose())


def test_every_step_says_why_it_is_one() -> None:
    for script in (LOAD, SAVE, CREATE, RENEW, TAKE, REVOKE, LIST):
        assert script.lua.startswith("--"), script.name
        assert "step" in script.lua, script.name
