"""One-time tokens: once, hashed at rest, and few guesses."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.stores import open_store
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from cachemw.testing import FakeClock
from cachemw.tokens import Tokens
from tests.servers import Server

pytestmark = pytest.mark.anyio


class Invitation(BaseModel):
    team: int


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = open_store(f"{redis_url}?deadline=5s")
    yield store
    await store.aclose()


def with_other_secret(token: str) -> str:
    raw = urlsafe_b64decode(token + "=")
    return urlsafe_b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()


async def test_a_token_works_once(store: Store) -> None:
    tokens = Tokens(store, purpose="verify")
    token = await tokens.issue("ada@example.org")
    results = await asyncio.gather(*(tokens.consume(token) for _ in range(20)))
    assert sorted(results, key=str) == [*[None] * 19, "ada@example.org"]
    assert len(urlsafe_b64decode(token + "=")) == 56  # 32 of them are the secret


async def test_it_hands_out_what_it_was_issued_with(store: Store) -> None:
    tokens = Tokens(store, purpose="invite", type=Invitation)
    token = await tokens.issue("ada", Invitation(team=7))
    assert await tokens.consume(f" {token}\n", subject="ada") == Invitation(team=7)
    token = await tokens.issue("ada", Invitation(team=7))
    assert await tokens.consume(token, subject="eve") is None
    assert await tokens.consume(token) == Invitation(team=7)


async def test_a_new_token_voids_the_old_one_and_other_purposes_stand(store: Store) -> None:
    verify, reset = Tokens(store, purpose="verify"), Tokens(store, purpose="reset")
    old, other = await verify.issue("ada"), await reset.issue("ada")
    new = await verify.issue("ada")
    assert await verify.consume(old) is None
    assert await verify.consume(other) is None
    assert await reset.consume(new) is None
    assert await verify.consume(new) == "ada"
    assert await reset.revoke("ada")
    assert not await reset.revoke("ada")
    assert await reset.consume(other) is None


async def test_guesses_with_the_locator_are_bounded(store: Store) -> None:
    tokens = Tokens(store, purpose="reset", max_attempts=3)
    token = await tokens.issue("ada")
    wrong = with_other_secret(token)
    assert await asyncio.gather(*(tokens.consume(wrong) for _ in range(2))) == [None, None]
    assert await tokens.consume(token) == "ada"
    token = await tokens.issue("ada")
    for _ in range(3):
        assert await tokens.consume(with_other_secret(token)) is None
    assert await tokens.consume(token) is None


async def test_nobody_voids_a_token_that_he_has_never_seen(store: Store) -> None:
    tokens = Tokens(store, purpose="reset", max_attempts=1)
    forged = await Tokens(MemoryStore(), purpose="reset").issue("ada")  # who, but not which
    token = await tokens.issue("ada")
    for _ in range(10):
        assert await tokens.consume(forged) is None
    assert await tokens.consume(token) == "ada"


async def test_codes(store: Store) -> None:
    codes = Tokens(store, purpose="login", digits=6, max_attempts=5)
    code = await codes.issue("ada")
    assert len(code) == 6
    assert code.isdigit()
    wrong = f"{(int(code) + 1) % 10**6:06}"
    results = await asyncio.gather(*(codes.consume(wrong, subject="ada") for _ in range(5)))
    assert results == [None] * 5
    assert await codes.consume(code, subject="ada") is None  # too many guesses
    code = await codes.issue("ada")
    assert await codes.consume(code, subject="eve") is None
    assert await codes.consume(code, subject="ada") == "ada"
    with pytest.raises(ConfigurationError, match="subject"):
        await codes.consume(code)


async def test_what_is_no_token_is_none(store: Store) -> None:
    tokens, codes = Tokens(store, purpose="a"), Tokens(store, purpose="a", digits=6)
    for text in ("", "x", "é", "=" * 76, "A" * 75, "A" * 10_000, "\0"):
        assert await tokens.consume(text) is None
        assert await codes.consume(text, subject="ada") is None
    assert await codes.consume("١٢٣٤٥٦", subject="ada") is None  # digits, but not these


async def test_a_token_ends() -> None:
    clock = FakeClock()
    tokens = Tokens(MemoryStore(clock=clock), purpose="verify", ttl="1h")
    token = await tokens.issue("ada")
    clock.advance("59m")
    assert await tokens.consume(with_other_secret(token)) is None  # and does not live longer for it
    clock.advance("1m")
    assert await tokens.consume(token) is None


async def test_at_rest_there_are_only_digests(server: Server) -> None:
    store = open_store(server.url)
    tokens = Tokens(store, purpose="verify")
    secret = urlsafe_b64decode(await tokens.issue("ada@example.org", "team 7") + "=")[24:]
    code = await Tokens(store, purpose="login", digits=8).issue("ada@example.org", "team 8")
    await store.aclose()
    kept = [key for key in server.ask("KEYS", "*") if server.ask("TYPE", key) == "hash"]
    assert len(kept) == 2
    for key in kept:
        values = b"".join(raw_values(server, key))
        assert secret not in values
        assert code.encode() not in values
        assert "ada" not in key


def raw_values(server: Server, key: str) -> list[bytes]:
    script = (
        "local found, hex = redis.call('HVALS', KEYS[1]), {} "
        "for i, value in ipairs(found) do "
        "hex[i] = string.gsub(value, '.', function(c) return string.format('%02x', c:byte()) end) "
        "end return hex"
    )
    return [bytes.fromhex(text) for text in server.ask("EVAL", script, 1, key)]


async def test_without_the_store_nobody_knows() -> None:
    store = MemoryStore()
    tokens = Tokens(store, purpose="verify")
    token = await tokens.issue("ada")
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await tokens.consume(token)
    with pytest.raises(StoreUnavailable):
        await tokens.issue("ada")


@pytest.mark.parametrize("options", [{"digits": 4}, {"max_attempts": 0}, {"ttl": 0}])
def test_options_that_protect_nothing_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        Tokens(MemoryStore(), purpose="x", **options)
