"""Every step in Lua, on real servers, does what its twin does to the memory store."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cachemw.scripts import Reply, Script
from cachemw.sessions.ids import index_key, mint, record_key
from cachemw.sessions.scripts import CREATE, LIST, LOAD, RENEW, REVOKE, SAVE, STEPS, TAKE
from cachemw.stores import open_store
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore

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
steps = st.one_of(
    on_one(LOAD, st.sampled_from([[b"0"], [HOUR]])),
    on_one(SAVE, ms, differences.map(spelled)),
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
            differences.map(spelled),
        ).map(lambda parts: [a for part in parts for a in part]),
    ),
    on_one(TAKE, guards.map(lambda g: spelled((g, [], []))[:-1])),
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
        if reply and all(isinstance(part, bytes) for part in reply) and len(reply) % 2 == 0:
            pairs = zip(reply[::2], reply[1::2], strict=True)  # a hash has no order
            return sorted((blurred(name), blurred(value)) for name, value in pairs)
        return [blurred(part) for part in reply]
    if isinstance(reply, int):
        return "moment" if reply > ABOVE_ANY_SPAN else reply
    if isinstance(reply, bytes):
        parts = reply.split(b" ")
        return b" ".join(b"moment" if p.isdigit() and int(p) > ABOVE_ANY_SPAN else p for p in parts)
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


def test_lua_and_twins_agree(redis_url: str) -> None:
    with asyncio.Runner() as runner:
        store = open_store(redis_url + "?deadline=5s")
        runner.run(store.open())

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(steps, min_size=1, max_size=14))
        @example([CREATED, (LOAD, (RECORDS[0], INDEX), [HOUR]), (LIST, (INDEX,), (SUBJECTS[0],))])
        @example([CREATED, (None, INDEX, ()), (LOAD, (RECORDS[0], INDEX), [HOUR])])
        def agree(story: Any) -> None:
            runner.run(both(store, story))

        agree()
        runner.run(store.aclose())


def test_every_step_says_why_it_is_one() -> None:
    for script in STEPS:
        assert script.lua.startswith("--"), script.name
        assert "step" in script.lua, script.name
