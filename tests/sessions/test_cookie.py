"""The cookie: what is accepted from a client, and what may be configured at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.errors import ConfigurationError
from cachemw.sessions.cookie import Absent, Presented, Refused
from cachemw.sessions.headers import marked
from cachemw.sessions.ids import (
    ENTROPY,
    NONCE,
    index_key,
    is_well_formed,
    mint,
    place_of,
    record_key,
    successor,
)
from cachemw.sessions.options import Settings
from cachemw.stores.base import hash_tag
from tests.sessions.world import World

ID = mint(b"\x07" * ENTROPY)
LINE = b"__Host-id=" + ID
rules = Settings().cookie_rules()


@pytest.mark.parametrize(
    ("lines", "reading"),
    [
        ([], Absent()),
        ([b""], Absent()),
        ([b"other=1; __Host-idx=" + ID + b"; x__Host-id=" + ID], Absent()),
        ([b"__host-id=" + ID], Absent()),
        ([LINE], Presented(ID)),
        ([b"a=b;" + LINE + b" ; c"], Presented(ID)),
        ([b"a=b", LINE], Presented(ID)),
        ([LINE, LINE], Refused("duplicate-cookie")),
        ([LINE + b"; " + LINE], Refused("duplicate-cookie")),
        ([b"__Host-id="], Refused("malformed-id")),
        ([LINE + b"A"], Refused("malformed-id")),
        ([LINE + b"\n"], Presented(ID)),
        ([LINE[:-1] + b"+"], Refused("malformed-id")),
        ([b'__Host-id="' + ID + b'"'], Refused("malformed-id")),
    ],
)
def test_reading(lines: list[bytes], reading: Any) -> None:
    headers = [(b"host", b"x"), *((b"cookie", line) for line in lines)]
    assert rules.read(headers) == reading


@given(st.binary(max_size=200))
def test_anything_may_come(junk: bytes) -> None:
    reading = rules.read([(b"cookie", b"__Host-id=" + junk)])
    assert not isinstance(reading, Presented) or is_well_formed(reading.session_id)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"cookie": "__Host-a", "domain": "example.com"}, "no domain"),
        ({"cookie": "__Host-a", "path": "/app"}, "path='/'"),
        ({"cookie": "__host-a", "secure": False}, "secure=True"),
        ({"cookie": "__Secure-a", "secure": False}, "secure=True"),
        ({"cookie": "a b"}, "no cookie name"),
        ({"cookie": "a" * 4096}, "4096"),
        ({"same_site": "none", "secure": False}, "secure=True"),
        ({"partitioned": True, "secure": False}, "secure=True"),
        ({"path": "app"}, "slash"),
        ({"path": "/; HttpOnly"}, "semicolon"),
        ({"domain": "a\r\nb"}, "no domain"),
        ({"same_site": "sometimes"}, "same_site"),
        ({"idle": "0s"}, "idle"),
        ({"idle": "2h", "absolute": "1h"}, "absolute"),
        ({"renew": "10s", "grace": "30s"}, "twice the grace"),
        ({"websocket_check": "1m"}, "shorter than grace"),
        ({"secrets": ["short"]}, "16 characters"),
        ({"encryption_keys": ["short"]}, "32 bytes"),
        ({"max_sessions": 0}, "max_sessions"),
        ({"max_bytes": "much"}, "max_bytes"),
        ({"idle": "soon"}, "duration"),
        ({"idel": "1h"}, "idel"),
    ],
)
def test_what_cannot_work_is_refused_at_once(options: Any, problem: str) -> None:
    from cachemw.sessions.sessions import Sessions

    with pytest.raises(ConfigurationError, match=problem):
        Sessions(**options)


def test_names_follow_the_strictest_prefix() -> None:
    def name(**options: Any) -> str:
        return Settings.checked(options).cookie_rules().name  # type: ignore[arg-type]

    assert name() == "__Host-id"
    assert name(domain="example.com") == name(path="/app") == "__Secure-id"
    assert name(secure=False) == "id"
    assert name(cookie="mine") == "mine"


def test_secrets_do_not_show() -> None:
    settings = Settings.checked({"secrets": ["a secret of sixteen"], "encryption_keys": ["k" * 44]})
    assert "sixteen" not in repr(settings) + repr(settings.cookie_rules())
    assert "kkkk" not in repr(settings)


@given(st.binary(min_size=ENTROPY, max_size=ENTROPY), st.binary(min_size=NONCE, max_size=NONCE))
def test_an_id_and_its_successor_share_a_slot_and_nothing_else(seed: bytes, nonce: bytes) -> None:
    first = mint(seed)
    second = successor(first, nonce)
    assert is_well_formed(first)
    assert is_well_formed(second)
    assert first != second
    tags = {hash_tag(record_key(first)), hash_tag(record_key(second))}
    assert tags == {hash_tag(index_key(place_of(first)))}
    assert record_key(first) != record_key(second)


@pytest.mark.anyio
async def test_no_two_ids_share_more_than_their_place() -> None:
    """Of one subject's sessions 44 characters of six bits are each id's own."""
    world = World()
    given = [(await world.logged_in(7)).session_id for _ in range(200)]
    assert len({place_of(each) for each in given}) == 1
    secrets = [each.removeprefix(place_of(each)) for each in given]
    assert {len(secret) * 6 for secret in secrets} == {264}
    for at in range(44):
        assert len({secret[at] for secret in secrets}) > 32, f"character {at} hardly varies"


@pytest.mark.parametrize(
    ("before", "cookie", "after"),
    [
        ({}, None, {"vary": "Cookie", "cache-control": "private, no-store"}),
        (
            {"vary": "accept"},
            None,
            {"vary": "accept, Cookie", "cache-control": "private, no-store"},
        ),
        ({"vary": "COOKIE"}, None, {"vary": "COOKIE", "cache-control": "private, no-store"}),
        ({"vary": "*"}, None, {"vary": "*", "cache-control": "private, no-store"}),
        (
            {"cache-control": "public, max-age=60"},
            None,
            {"cache-control": "private, no-store", "vary": "Cookie"},
        ),
        (
            {"cache-control": "private, max-age=60"},
            None,
            {"cache-control": "private, max-age=60", "vary": "Cookie"},
        ),
        (
            {"cache-control": "private, max-age=60"},
            "x",
            {"cache-control": "private, no-store", "vary": "Cookie", "set-cookie": "x"},
        ),
        (
            {"cache-control": "No-Store"},
            "x",
            {"cache-control": "No-Store", "vary": "Cookie", "set-cookie": "x"},
        ),
    ],
)
def test_marks(before: dict[str, str], cookie: str | None, after: dict[str, str]) -> None:
    headers = tuple((name.encode(), value.encode()) for name, value in before.items())
    line = (b"set-cookie", cookie.encode()) if cookie else None
    result = marked(headers, used=True, cookie=line)
    assert {name.decode(): value.decode() for name, value in result} == after
    assert len(result) == len(after)
    assert marked(headers, used=False, cookie=None) == headers
