"""`limits` and `sessions`: who is counted, who is logged in, and ending both."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cachemw import RateLimit, Sessions, install, open_store
from cachemw.cli.tell import counted
from cachemw.inspection.counters import busiest, digest_of, forget
from cachemw.stores.memory import MemoryStore
from cachemw.testing.client import Client
from tests.cli.conftest import Shop
from tests.cli.test_looking import objects


async def login(request: Request) -> Response:
    request.session["user_id"] = request.path_params["user"]
    return PlainTextResponse("in")


async def page(request: Request) -> Response:
    return PlainTextResponse("page")


async def visits(url: str) -> None:
    store = open_store(url + "?deadline=5s")
    app = Starlette(routes=[Route("/login/{user}", login), Route("/page", page)])
    limit = RateLimit("5/hour", name="pages", block="1h")
    install(app, store=store, sessions=Sessions(secure=False), limits={"/page": limit})
    client = Client(app)
    for user in ("ada", "ada", "bob"):
        await client.get(f"/login/{user}", headers={"user-agent": "browser"})
    for _ in range(3):
        await client.get("/page")
    other = Client(app, scope={"client": ("203.0.113.7", 1)})
    for _ in range(6):
        await other.get("/page")
    await store.aclose()


@pytest.fixture
def visited(shop: Shop) -> Shop:
    asyncio.run(visits(shop.url))
    return shop


def test_one_of_something_is_no_plural() -> None:
    said = [counted(number, "worker") for number in (0, 1, 1200)]
    assert said == ["0 workers", "1 worker", "1,200 workers"]


def test_blocks_and_the_largest_counts_come_first(visited: Shop) -> None:
    told = objects(visited.piped("limits", "top", "--json"))
    assert [(one["count"], one["window"], one["rule"]) for one in told] == [
        *((1, 0.0, "pages"), (5, 3600.0, "pages"), (3, 3600.0, "pages"))
    ]
    assert told[0]["client"] == told[1]["client"] == digest_of("203.0.113.7")
    assert "blocked" in visited.on_terminal("limits", "top", columns=120).out


@pytest.mark.parametrize("how", ["address", "digest"])
def test_a_client_begins_anew(visited: Shop, how: str) -> None:
    client = "203.0.113.7" if how == "address" else digest_of("203.0.113.7")
    assert visited.piped("limits", "reset", client, "--rule", "other").out == "forgotten\t0\n"
    assert visited.piped("limits", "reset", client).out == "forgotten\t2\n"
    assert visited.piped("limits", "reset", client, "--fail-empty").code == 3
    assert len(objects(visited.piped("limits", "top", "--json"))) == 1


@pytest.mark.anyio
async def test_only_what_limits_write_is_listed_and_forgotten() -> None:
    store, tag = MemoryStore(), digest_of("203.0.113.7")
    name = b"rl:{%b}:" % tag.encode()
    for key in (name + b"x:y:f60000", name + b"junk", b"rl:{short}:x:f1"):
        store.keyspace.set(key, b"7", 60_000)
    store.keyspace.set(name + b"z:s60000", b"4 9", 60_000)
    store.keyspace.set(name + b"w:f60000", b"no number", 60_000)
    assert [(one.rule, one.count) for one in await busiest(store)] == [("x:y", 7), ("z", 4)]
    assert await forget(store, tag) == 3
    assert [key async for batch in store.scan(b"*") for key in batch] == [
        *(name + b"junk", b"rl:{short}:x:f1")
    ]


def test_identities_of_other_kinds_are_not_the_address(visited: Shop) -> None:
    assert digest_of("203.0.113.7", "header:x-api-key") != digest_of("203.0.113.7")
    assert digest_of("2001:db8::1") == digest_of("2001:db8::2")  # one /64
    ended = visited.piped("limits", "reset", "203.0.113.7", "--by", "header:x-api-key")
    assert ended.out == "forgotten\t0\n"


def test_sessions_are_counted_listed_and_ended(visited: Shop) -> None:
    assert visited.piped("sessions", "count").out == "sessions\t3\n"
    assert visited.piped("sessions", "count", "ada").out == "sessions\t2\n"
    first, _ = objects(visited.piped("sessions", "list", "ada", "--json"))
    assert first["device"] == "browser"
    handle = str(first["handle"])
    assert visited.piped("sessions", "revoke", "ada", "--handle", handle).code == 2
    ended = visited.piped("sessions", "revoke", "ada", "--handle", handle, "-y")
    assert ended.out == "ended\t1\n"
    assert visited.piped("sessions", "revoke", "ada", "--handle", handle, "-y").code == 1
    assert visited.on_terminal("sessions", "revoke", "ada", typed="n\n").code == 1
    assert visited.on_terminal("sessions", "revoke", "ada", typed="y\n").code == 0
    assert visited.piped("sessions", "count", "ada").out == "sessions\t0\n"
    assert visited.piped("sessions", "count", "bob").out == "sessions\t1\n"
    assert visited.piped("sessions", "revoke", "--everyone", "--yes").code == 0
    assert visited.piped("sessions", "count", "bob").out == "sessions\t0\n"
    assert visited.piped("sessions", "revoke").code == 2
    assert visited.piped("sessions", "revoke", "ada", "--everyone").code == 2
