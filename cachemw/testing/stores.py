"""The store contract as a program: what `stores/base.py` promises, checked on a store of yours.

    @pytest.mark.anyio
    @pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
    async def test_contract(check):
        await check(MyStore())

or all at once, `await check_store(MyStore())`. The store must be open and may be in use; only keys
that begin with `check:` are touched. A check that fails says in words which promise is broken.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.scripts import Keyspace, Reply, Script
from cachemw.stores.base import Store, escape_pattern, together

Check = Callable[[Store], Awaitable[None]]

LONG = 60_000  # milliseconds; nothing written to last is gone before its check has ended
_LARGE = 300_000  # bytes; large enough for a connection of its own


async def check_store(store: Store) -> None:
    """Run every check; `AssertionError` says which promise is broken."""
    for check in STORE_CHECKS:
        await check(store)


# --- values


async def what_was_set_is_read(store: Store) -> None:
    for value in (b"", b"value", b"\r\n$-1\r\n*0\r\n", bytes(range(256)), b"\0"):
        key = _key(b"\r\n \0{")
        await store.set(key, value, ttl=LONG)
        _demand(await store.get(key) == value, f"{value!r} was set and not read")
        await store.set(key, b"other", ttl=LONG)
        _demand(await store.get(key) == b"other", "a second set did not replace the first")


async def many_are_read_in_the_order_asked(store: Store) -> None:
    keys = [_key() for _ in range(5)]
    await together([store.set(key, key[-4:], ttl=LONG) for key in keys[:3]])
    asked = [keys[2], keys[4], keys[0], keys[2], keys[1], keys[3]]
    expected = [key[-4:] if key in keys[:3] else None for key in asked]
    _demand(await store.get_many(asked) == expected, "values came back in another order")
    _demand(await store.get_many(()) == [], "no keys must give no values")


async def deleted_keys_are_gone_and_counted(store: Store) -> None:
    keys = [_key() for _ in range(4)]
    await together([store.set(key, b"1", ttl=LONG) for key in keys[:3]])
    _demand(await store.delete([*keys, keys[0]]) == 3, "delete counts the keys that there were")
    _demand(await store.get_many(keys) == [None] * 4, "a deleted key was read")
    _demand(await store.delete(keys) == 0, "deleting again found something")
    _demand(await store.delete(()) == 0, "deleting nothing found something")


async def large_values_come_back_whole(store: Store) -> None:
    key, small, value = _key(), _key(), secrets.token_bytes(_LARGE)
    await store.set(key, value, ttl=LONG)
    await store.set(small, b"small", ttl=LONG)
    for _ in range(3):  # before and after the store has learned that it is large
        _demand(await store.get_many((small, key)) == [b"small", value], "a large value is amiss")
    _demand(await store.delete((key,)) == 1, "a large value was not deleted")


async def a_value_under_another_key_is_nobodys(store: Store) -> None:
    mine, theirs = _key(b"{a}"), _key(b"{a}")
    await store.run(_WRITE, (mine,), (store.sealed(theirs, b"secret"),))
    for _ in range(3):
        _demand(await store.get(mine) is None, "a value sealed under another key was handed out")
    await store.set(mine, b"mine", ttl=LONG)
    _demand(await store.get(mine) == b"mine", "garbage could not be overwritten")


async def what_cannot_be_a_value_is_a_miss(store: Store) -> None:
    short, hashed, good = _key(b"{a}"), _key(b"{a}"), _key(b"{a}")
    await store.run(_WRITE, (short,), (b"x",))
    await store.run(_WRITE_HASH, (hashed,), ())
    await store.set(good, b"good", ttl=LONG)
    for _ in range(3):
        values = await store.get_many((short, hashed, good))
        _demand(values == [None, None, b"good"], f"a foreign value is no miss: {values!r}")
    await store.set(hashed, b"mine", ttl=LONG)
    _demand(await store.get(hashed) == b"mine", "a hash could not be overwritten")


async def what_a_script_seals_is_read(store: Store) -> None:
    key = _key()
    await store.run(_WRITE, (key,), (store.sealed(key, b"by a script"),))
    _demand(await store.get(key) == b"by a script", "what was `sealed` under its key was not read")


# --- expiry


async def everything_written_has_an_expiry(store: Store) -> None:
    for ttl, low, high in ((LONG, LONG - 10_000, LONG), (10**18, 10**12, 10**18)):
        key = _key()
        await store.set(key, b"1", ttl=ttl)
        left = await store.run(_TTL, (key,), ())
        _demand(isinstance(left, int) and low < left <= high, f"ttl={ttl} became {left!r}")


async def a_ttl_that_is_over_is_no_error(store: Store) -> None:
    for ttl in (1, 0, -5):
        key = _key()
        await store.set(key, b"1", ttl=ttl)
        left = await store.run(_TTL, (key,), ())
        _demand(isinstance(left, int) and left in (-2, 0, 1), f"ttl={ttl} became {left!r}")


# --- scripts


async def a_script_gets_its_keys_and_arguments(store: Store) -> None:
    key, arguments = _key(), (b"", b"\r\n\0", bytes(range(256)), b"9" * 20)
    reply = await store.run(_ECHO, (key,), arguments)
    _demand(reply == [1, *arguments], f"a script heard {reply!r} instead of its arguments")
    _demand(await store.run(_ECHO, (key,), ()) == [1], "a script without arguments heard some")


async def a_script_answers_every_kind_of_reply(store: Store) -> None:
    for word, expected in _KNOWN_REPLIES.items():
        reply = await store.run(_REPLIES, (_key(),), (word,))
        _demand(reply == expected, f"a script's reply of {expected!r} arrived as {reply!r}")


async def a_dated_script_is_told_the_time(store: Store) -> None:
    began, words = await store.time(), (b"one", b"two")
    replies = await together([store.run(_DATED, (_key(),), words) for _ in range(50)])
    heard = [reply if isinstance(reply, list) else [] for reply in replies]
    _demand(all(tuple(each[2:]) == words for each in heard), f"it heard {replies[0]!r}")
    told = [int(each[1]) for each in heard if isinstance(each[1], bytes)]
    readings = [began, *told, await store.time()]
    _demand(
        len(told) == 50 and readings == sorted(set(readings)),
        "what a script was told is no reading of `time`",
    )
    for word, expected in _KNOWN_REPLIES.items():
        reply = await store.run(_DATED_REPLIES, (_key(),), (word,))
        _demand(reply == expected, f"a dated reply of {expected!r} arrived as {reply!r}")


async def a_dated_script_that_fails_says_so(store: Store) -> None:
    key = _key()
    await store.run(_WRITE_HASH, (key,), ())
    for _ in range(2):
        try:
            await store.run(_DATED_COUNT, (key,), ())
        except StoreUnavailable as error:
            _demand(error.reason == "refused", f"WRONGTYPE in a script: {error.reason}")
        else:
            raise AssertionError("a dated script that failed gave a reply")
    store.run(_DATED_COUNT, (key,), ())  # nobody need wait for that


async def a_prepared_script_runs_each_time(store: Store) -> None:
    key = _key()
    count, echo = store.prepare(_COUNT, (key,), ()), store.prepare(_ECHO, (key,), (b"", b"\0 \r\n"))
    replies = await together([count() for _ in range(20)])
    _demand(replies == [*range(1, 21)], f"a prepared script that counts answered {replies}")
    _demand(await store.run(_COUNT, (key,), ()) == 21, "a prepared script has keys of its own")
    plain = await store.run(_ECHO, (key,), (b"", b"\0 \r\n"))
    replies = await together([echo(), echo()])
    _demand(replies == [plain, plain], f"a prepared script answered {replies}, not {plain!r}")


async def a_prepared_read_reads_each_time(store: Store) -> None:
    here, nowhere = _key(), _key()
    read = store.reader((here, nowhere))
    for number in range(3):
        value = b"%d" % number
        await store.set(here, value, ttl=LONG)
        _demand(await read() == [value, None], "a prepared read is not what `get_many` reads")


async def scripts_are_indivisible(store: Store) -> None:
    key = _key()
    replies = await together([store.run(_COUNT, (key,), ()) for _ in range(300)])
    _demand(sorted(map(str, replies)) == sorted(map(str, range(1, 301))), "a count was lost")


async def a_script_that_fails_says_so(store: Store) -> None:
    key = _key()
    await store.run(_WRITE_HASH, (key,), ())
    try:
        await store.run(_COUNT, (key,), ())
    except StoreUnavailable as error:
        _demand(error.reason == "refused", f"WRONGTYPE in a script: {error.reason}, not refused")
    else:
        raise AssertionError("a script that failed gave a reply")
    _demand(await store.run(_COUNT, (_key(),), ()) == 1, "after a failed script nothing works")


async def keys_of_different_slots_are_refused(store: Store) -> None:
    for keys in ((), (_key(b"{a}"), _key(b"{b}"))):
        try:
            store.run(_ECHO, keys, ())
        except ConfigurationError:
            continue
        raise AssertionError(f"a script was run with the keys {keys!r}")


# --- order, cancellation, time


async def verbs_start_when_they_are_called(store: Store) -> None:
    key = _key()
    written = store.set(key, b"1", ttl=LONG)
    read = store.get_many((key,))
    counted = store.run(_COUNT, (_key(),), ())
    deleted = store.delete((key,))
    _demand(await deleted == 1, "a delete overtook the set before it")
    _demand(await counted == 1, "a script did not run")
    await written
    _demand(await read in ([b"1"], [None]), "a read gave what was never written")


async def nobody_need_wait(store: Store) -> None:
    key = _key(b"{a}")
    store.set(key, b"1", ttl=LONG)
    store.delete((_key(), _key()))
    store.get_many((_key(), _key()))
    store.time()
    await store.run(_ECHO, (key,), ())  # same slot, so that it comes after the set
    _demand(await store.get(key) == b"1", "a set that nobody waited for was not carried out")


async def who_leaves_disturbs_nobody(store: Store) -> None:
    keys = [_key() for _ in range(50)]
    await together([store.set(key, key[-4:], ttl=LONG) for key in keys])

    async def read(key: bytes) -> bytes | None:
        return await store.get(key)

    tasks = [asyncio.ensure_future(read(key)) for key in keys]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    _demand(
        results[1::2] == [key[-4:] for key in keys[1::2]], "a cancelled reader disturbed another"
    )


async def time_never_repeats(store: Store) -> None:
    readings = await together([store.time() for _ in range(200)])
    _demand(readings == sorted(set(readings)), "time repeated itself, or ran backwards")
    gap = abs(store.now() - await store.time())
    _demand(gap < 5_000_000, f"now() is {gap} microseconds off time()")


# --- scan


async def a_scan_sees_what_matches_and_nothing_else(store: Store) -> None:
    base = _key()
    literal = base + b"[x]*?\\"
    keys = {base + b"%d" % number for number in range(40)} | {literal}
    await together([store.set(key, b"1", ttl=LONG) for key in keys])
    for pattern, expected in (
        (escape_pattern(base) + b"*", keys),
        (escape_pattern(base) + b"?", {base + b"%d" % number for number in range(10)}),
        (escape_pattern(base) + b"[2-4]", {base + b"2", base + b"3", base + b"4"}),
        (escape_pattern(base) + b"[^3]?", {base + b"%d" % n for n in range(10, 40) if n < 30}),
        (escape_pattern(literal), {literal}),
    ):
        found = {key async for batch in _batches(store, pattern) for key in batch}
        missing, extra = expected - found, found - expected
        _demand(not missing and not extra, f"{pattern!r}: not {missing!r}, but {extra!r}")


async def _batches(store: Store, pattern: bytes) -> AsyncIterator[list[bytes]]:
    async for batch in store.scan(pattern):
        _demand(bool(batch), "a scan handed out an empty batch")
        yield batch


STORE_CHECKS: Sequence[Check] = (
    what_was_set_is_read,
    many_are_read_in_the_order_asked,
    a_prepared_read_reads_each_time,
    deleted_keys_are_gone_and_counted,
    large_values_come_back_whole,
    a_value_under_another_key_is_nobodys,
    what_cannot_be_a_value_is_a_miss,
    what_a_script_seals_is_read,
    everything_written_has_an_expiry,
    a_ttl_that_is_over_is_no_error,
    a_script_gets_its_keys_and_arguments,
    a_script_answers_every_kind_of_reply,
    a_prepared_script_runs_each_time,
    scripts_are_indivisible,
    a_script_that_fails_says_so,
    a_dated_script_is_told_the_time,
    a_dated_script_that_fails_says_so,
    keys_of_different_slots_are_refused,
    verbs_start_when_they_are_called,
    nobody_need_wait,
    who_leaves_disturbs_nobody,
    time_never_repeats,
    a_scan_sees_what_matches_and_nothing_else,
)


def _demand(kept: bool, broken: str) -> None:
    if not kept:
        raise AssertionError(broken)


def _key(inside: bytes = b"") -> bytes:
    return b"check:" + inside + secrets.token_hex(8).encode()


# --- small scripts to check with

_KNOWN_REPLIES: dict[bytes, Reply] = {
    b"number": -7,
    b"bytes": b"a\0b",
    b"nothing": None,
    b"list": [1, [b"two", []]],
}


def _write(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    db.set(keys[0], args[0], LONG)
    return None


def _write_hash(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    db.hset(keys[0], {b"f": b"v"})
    db.expire(keys[0], LONG)
    return None


def _ttl(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    return db.ttl(keys[0])


def _echo(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    return [len(keys), *args]


def _count(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    count = int(db.get(keys[0]) or b"0") + 1
    db.set(keys[0], b"%d" % count, LONG)
    return count


def _replies(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    return _KNOWN_REPLIES[args[0]]


_WRITE = Script("check-write", f"redis.call('SET', KEYS[1], ARGV[1], 'PX', {LONG})", _write)
_WRITE_HASH = Script(
    "check-write-hash",
    f"redis.call('DEL', KEYS[1]) redis.call('HSET', KEYS[1], 'f', 'v') "
    f"redis.call('PEXPIRE', KEYS[1], {LONG})",
    _write_hash,
)
_TTL = Script("check-ttl", "return redis.call('PTTL', KEYS[1])", _ttl)
_ECHO = Script("check-echo", "return {#KEYS, unpack(ARGV)}", _echo)
_COUNT = Script(
    "check-count",
    "local count = (redis.call('GET', KEYS[1]) or 0) + 1 "
    f"redis.call('SET', KEYS[1], count, 'PX', {LONG}) return count",
    _count,
)
_REPLIES = Script(
    "check-replies",
    "return ({number = -7, bytes = 'a\\0b', list = {1, {'two', {}}}})[ARGV[1]]",
    _replies,
)
_DATED = replace(_ECHO, dated=True)
_DATED_COUNT = replace(_COUNT, dated=True)
_DATED_REPLIES = Script(
    "check-dated-replies",
    f"table.remove(ARGV, 1) {_REPLIES.lua}",
    lambda db, keys, args: _replies(db, keys, args[1:]),
    dated=True,
)
