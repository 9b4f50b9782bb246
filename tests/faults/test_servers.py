"""The failure matrix, on one server: away, hung, full, closed, forgetful, and what is in it foul.

The numbers are those of the table in docs/reliability.md. In every row people use the app all the
while (`people.py`), and at its end nothing they saw was wrong and nothing is left over (`row.py`).
"""

import random
from functools import partial

import pytest
import redis

from tests.faults.conftest import World
from tests.faults.row import SPAN, Seen
from tests.servers import Server, until

pytestmark = pytest.mark.anyio

SPIN = "local i = 0 while true do i = i + 1 end"


def assert_only_the_store_was_missed(seen: Seen) -> None:
    """Pages were served, all of them; what needs the store was refused, and in no other way."""
    tally = seen.tally
    assert set(tally.of("cache")) == {"200"}
    assert set(tally.of("session")) <= {"200", "503"}
    assert set(tally.of("limit")) <= {"200", "429", "503"}
    assert tally.of("session")["503"] and tally.of("limit")["503"], "the fault was not felt"


def assert_hardly_anybody_noticed(seen: Seen) -> None:
    """A deadline may be missed on a busy machine; then the answer is 503, and no other."""
    assert set(seen.tally.of("cache")) == {"200"}
    for feature in ("session", "limit"):
        ends = seen.tally.of(feature)
        assert set(ends) <= {"200", "429", "503"}, feature
        assert ends["503"] <= ends["200"] + ends["429"], feature


# --- away


async def test_2_killed(world: World) -> None:
    server = world.server
    async with world.row(
        "2", "killed (SIGKILL) amid it all, started again", loses_data=True
    ) as seen:
        await seen.during(server.kill)
        assert_only_the_store_was_missed(seen)
        await seen.normal(server.start)


# --- hung


async def test_3_frozen(world: World) -> None:
    server = world.server
    async with world.row("3a", "frozen (SIGSTOP), thawed") as seen:
        await seen.during(server.stop)
        assert_only_the_store_was_missed(seen)
        await seen.normal(server.cont)


async def test_3_asleep(world: World) -> None:
    server = world.server
    async with world.row("3b", "asleep (`DEBUG SLEEP`)") as seen:
        await seen.during(partial(_begin, server, "DEBUG", "SLEEP", str(SPAN)))
        assert_only_the_store_was_missed(seen)
        await seen.normal()


async def test_3_paused(world: World) -> None:
    server = world.server
    async with world.row("3c", "paused (`CLIENT PAUSE`)") as seen:
        await seen.during(lambda: server.ask("CLIENT", "PAUSE", int(SPAN * 1000), "ALL"))
        assert_only_the_store_was_missed(seen)
        await seen.normal()


async def test_3_connections_killed_again_and_again(world: World) -> None:
    server = world.server

    def kill_connections() -> None:
        for _ in range(10):
            server.ask("CLIENT", "KILL", "TYPE", "normal")

    async with world.row("3d", "all connections closed (`CLIENT KILL`), ten times") as seen:
        await seen.during(kill_connections)
        assert set(seen.tally.of("cache")) == {"200"}
        await seen.normal()


async def test_6_a_script_that_never_ends(world: World) -> None:
    server = world.server
    server.ask("CONFIG", "SET", "busy-reply-threshold", 200)
    async with world.row("6", "a script that never ends, then `BUSY`") as seen:
        await seen.during(partial(_begin, server, "EVAL", SPIN, "0"))
        assert_only_the_store_was_missed(seen)
        await seen.normal(lambda: server.ask("SCRIPT", "KILL"))


# --- there, but unable


async def test_7_memory_is_full(world: World) -> None:
    server = world.server
    async with world.row("7", "memory full (`maxmemory 1`, `noeviction`)") as seen:
        await seen.during(lambda: server.ask("CONFIG", "SET", "maxmemory", 1))
        assert set(seen.tally.of("cache")) == {"200"}
        assert seen.tally.of("session")["503"] and seen.tally.of("limit")["503"]
        await seen.normal(lambda: server.ask("CONFIG", "SET", "maxmemory", 0))


async def test_8_read_only(world: World) -> None:
    server = world.server
    async with world.row("8", "turned into a replica (`READONLY`)", loses_data=True) as seen:
        await seen.during(lambda: server.ask("REPLICAOF", "127.0.0.1", "1"))
        assert set(seen.tally.of("cache")) == {"200"}
        assert seen.tally.of("session")["503"] and seen.tally.of("limit")["503"]
        await seen.normal(lambda: server.ask("REPLICAOF", "NO", "ONE"))


async def test_11_loading(world: World) -> None:
    server = world.server
    usual = server.options

    def load() -> None:
        server.ask("DEBUG", "POPULATE", 3000, "filler", 1000)
        server.ask("SAVE")
        server.kill()
        server.options = [
            *(*usual, "--dbfilename", "dump.rdb", "--key-load-delay", "500"),
            *("--loading-process-events-interval-bytes", "1024"),
        ]
        server.launch()

    def loaded() -> None:
        until(lambda: server.info("persistence").get("loading") == "0", "the server to have loaded")
        server.options = usual
        for key in server.ask("KEYS", "filler:*"):
            server.ask("DEL", key)  # they are this test's, and have no end

    async with world.row("11", "restarted, loads its data (`LOADING`)", loses_data=True) as seen:
        await seen.during(load)
        assert_only_the_store_was_missed(seen)
        await seen.normal(loaded)


async def test_15_another_password(world: World) -> None:
    server = world.server

    def lock() -> None:
        server.ask("CONFIG", "SET", "requirepass", "new")
        server.password = "new"
        server.ask("CLIENT", "KILL", "TYPE", "normal")

    def unlock() -> None:
        server.ask("CONFIG", "SET", "requirepass", "")
        server.password = ""

    async with world.row("15", "the password was changed (`NOAUTH`)") as seen:
        await seen.during(lock)
        assert_only_the_store_was_missed(seen)
        await seen.normal(unlock)


async def test_16_commands_forbidden(world: World) -> None:
    server = world.server
    async with world.row("16", "scripts forbidden by ACL (`NOPERM`)") as seen:
        await seen.during(lambda: server.ask("ACL", "SETUSER", "default", "-evalsha", "-eval"))
        assert set(seen.tally.of("cache")) == {"200"}
        assert seen.tally.of("session")["503"] and seen.tally.of("limit")["503"]
        await seen.normal(lambda: server.ask("ACL", "SETUSER", "default", "+@all"))


async def test_17_no_more_clients(world: World) -> None:
    server = world.server

    inside = redis.Redis(port=server.port)  # whoever is in can still let others in

    def shut() -> None:
        inside.config_set("maxclients", 1)
        inside.client_kill_filter(_type="normal", skipme=True)

    async with world.row("17", "no room for more clients (`maxclients 1`)") as seen:
        await seen.during(shut)
        assert_only_the_store_was_missed(seen)
        await seen.normal(lambda: inside.config_set("maxclients", 10000))
        inside.close()


# --- forgetful, and foul


async def test_18_evicting_all_the_time(world: World) -> None:
    server = world.server
    memory = int(server.info("memory")["used_memory"])

    def squeeze() -> None:
        server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        server.ask("CONFIG", "SET", "maxmemory", memory + 300_000)

    def ease() -> None:
        server.ask("CONFIG", "SET", "maxmemory", 0)
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")

    async with world.row("18", "evicts keys at random (`allkeys-random`)", loses_data=True) as seen:
        await seen.during(squeeze)
        assert_hardly_anybody_noticed(seen)
        await seen.normal(ease)


async def test_20_every_value_is_garbage(world: World) -> None:
    server = world.server
    chance = random.Random(20)

    def spoil() -> None:
        with redis.Redis(port=server.port) as client:
            keys = [key for key in client.scan_iter() if client.type(key) == b"string"]
            values = [client.get(key) or b"" for key in keys]
            chance.shuffle(values)  # each is right, for another key
            for key, value in zip(keys, values, strict=True):
                own = client.get(key) or b""
                spoiled = chance.choice(
                    [
                        value,
                        own[: chance.randrange(len(own) + 1)] if len(own) > 1 else b"",
                        own[:8] + b"\xff" + own[9:],  # another version, under the right mark
                        own + own,
                        chance.randbytes(len(own)),
                    ]
                )
                client.set(key, spoiled, keepttl=True)

    async with world.row(
        "20", "every value cut, grown, random, or another's", loses_data=True
    ) as seen:
        for _ in range(3):
            await seen.during(spoil, span=SPAN / 3)
        await seen.normal(lambda: server.ask("FLUSHALL"))


async def test_21_every_key_is_of_another_type(world: World) -> None:
    server = world.server

    def replace() -> None:
        with redis.Redis(port=server.port) as client:
            for key in client.scan_iter():
                client.pipeline().delete(key).lpush(key, "not", "ours").expire(key, 60).execute()

    async with world.row(
        "21", "every key replaced by a list (`WRONGTYPE`)", loses_data=True
    ) as seen:
        await seen.during(replace)
        assert set(seen.tally.of("cache")) == {"200"}
        await seen.normal(lambda: server.ask("FLUSHALL"))


async def test_22_everything_forgotten(world: World) -> None:
    server = world.server

    def forget() -> None:
        server.ask("FLUSHALL")
        server.ask("SCRIPT", "FLUSH")

    async with world.row(
        "22", "everything forgotten (`FLUSHALL`, `SCRIPT FLUSH`)", loses_data=True
    ) as seen:
        await seen.during(forget)
        assert_hardly_anybody_noticed(seen)
        await seen.normal()


# --- helpers


def _begin(server: Server, *command: str) -> None:
    """Send a command whose reply will take long, and do not wait for it."""
    connection = redis.Connection(port=server.port, protocol=2)
    connection.send_command(*command)
    _begun.append(connection)  # as long as the server works on it


_begun: list[redis.Connection] = []
