"""What is said at start-up about a server that is not all we need."""

import re
from pathlib import Path

import pytest

import cachemw
from cachemw.stores.selfcheck import self_check
from tests.servers import Server, single
from tests.stores.conftest import Opener

pytestmark = pytest.mark.anyio

EVERYTHING = "+mget +set +unlink +evalsha +eval +scan +ping +info"
ROOT = Path(cachemw.__file__).parent
IN_SCRIPTS = "+time +get +getrange +setrange +exists +incrby +pttl +pexpire +rename +del " + (
    "+hset +hget +hmget +hgetall +hexists +hlen +hstrlen +hkeys +hrandfield +hdel "
    "+xadd +xrange +xrevrange"
)


async def findings(engine: str, opened: Opener, rights: str) -> list[str]:
    user = f"web on >secret ~cm:* {rights}"
    with single(engine, port=0, acl=[user]) as server:
        store = opened(f"redis://web:secret@127.0.0.1:{server.port}?prefix=cm:")
        return await self_check(store)


async def test_a_good_server_gives_no_reason_to_speak(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url)
    assert await self_check(store) == []
    assert [key async for batch in store.scan(b"*") for key in batch] == []


async def test_the_rights_we_ask_for_are_enough(engine: str, opened: Opener) -> None:
    assert await findings(engine, opened, f"{EVERYTHING} {IN_SCRIPTS}") == []


@pytest.mark.parametrize("missing", ["mget", "set", "unlink", "evalsha", "scan"])
async def test_a_missing_command_is_named_with_what_goes_without_it(
    engine: str, opened: Opener, missing: str
) -> None:
    found = await findings(engine, opened, f"{EVERYTHING} {IN_SCRIPTS} -{missing}")
    assert any(missing.upper() in each and f"allow +{missing}" in each for each in found), found


@pytest.mark.parametrize("missing", ["time", "pexpire", "hgetall", "incrby"])
async def test_a_command_missing_in_scripts_is_named(
    engine: str, opened: Opener, missing: str
) -> None:
    found = await findings(engine, opened, f"{EVERYTHING} {IN_SCRIPTS} -{missing}")
    assert [each for each in found if missing.upper() in each], found


async def test_a_server_that_never_forgets_is_warned_of(server: Server, opened: Opener) -> None:
    server.ask("CONFIG", "SET", "maxmemory", "100mb")
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    (found,) = await self_check(opened(server.url))
    assert "noeviction" in found and "allkeys-lru" in found


async def test_a_server_that_is_away_has_nothing_to_be_told(server: Server, opened: Opener) -> None:
    server.kill()
    assert await self_check(opened(server.url, deadline="200ms")) == []


def test_every_command_that_a_script_uses_is_tried() -> None:
    def commands(lua: str) -> set[str]:
        return set(re.findall(r"(?:call|try)\(\s*'([A-Z]+)'", lua))

    tried = commands((ROOT / "stores/lua/selfcheck.lua").read_text())
    for script in ROOT.rglob("*.lua"):
        untried = commands(script.read_text()) - tried
        assert not untried, f"{script}: {untried}"
    assert tried == {name.upper() for name in re.findall(r"\+(\w+)", IN_SCRIPTS)} | {"SET"}
