"""Purge orders over HTTP: what a good one does, and what all others do not."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from cachemw import Cache, CachePolicy, install
from cachemw.caching.endpoint import LONGEST, MOST, ONCE, PurgeEndpoint
from cachemw.caching.signing import Signature, Verdict, judge, signed
from cachemw.errors import ConfigurationError
from cachemw.stores import open_store
from cachemw.stores.memory import MemoryStore
from cachemw.testing import Twins
from cachemw.testing.client import Client, Response
from cachemw.testing.clock import FakeClock
from tests.stores.conftest import opened as opened

pytestmark = pytest.mark.anyio

OLD, NEW = "o" * 32, "n" * 40
KEYS = {"old": OLD, "new": NEW}


class Shop:
    """A cache with something in it, and its endpoint."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.cache = Cache(self.store)
        self.endpoint = PurgeEndpoint(self.cache, keys=KEYS)
        self.client = Client(self.endpoint)
        self._numbers = iter(range(10**9))

    async def fill(self) -> "Shop":
        await self.cache.set("user:1", 1, "1h", tags=["users"])
        await self.cache.set("user:2", 2, "1h", namespace="staff")
        return self

    async def there(self) -> set[str]:
        return set(await self.cache.get_many(["user:1", "user:2"]))

    def sign(self, body: bytes, secret: str = OLD, key: str = "old", **change: Any) -> str:
        given: dict[str, Any] = {
            "time": int(self.clock()),
            "nonce": f"nonce-of-order-{next(self._numbers):08}",
        }
        return signed(key, secret, body, **{**given, **change}).to_header()

    async def send(
        self, order: Mapping[str, object] | bytes, authorization: str | None = None
    ) -> Response:
        body = order if isinstance(order, bytes) else json.dumps(order).encode()
        said = self.sign(body) if authorization is None else authorization
        headers = {"authorization": said} if said else {}
        return await self.client.request("POST", "/", headers=headers, body=body)


@pytest.fixture
async def shop(anyio_backend: str) -> Shop:
    return await Shop().fill()


ALL = {"user:1", "user:2"}
ORDER = {"tags": ["users"]}
BODY = json.dumps(ORDER).encode()


@pytest.mark.parametrize(
    ("order", "gone", "found"),
    [
        ({"tags": ["users"]}, {"user:1"}, 0),
        ({"namespaces": ["staff"]}, {"user:2"}, 0),
        ({"keys": ["user:1", "user:2", "user:3"]}, ALL, 2),
        ({"tags": ["users"], "keys": ["user:2"]}, ALL, 1),
        ({"keys": ["user:1"], "soft": True}, {"user:1"}, 1),
        ({"urls": ["/about", "https://shop.example/about"], "routes": ["/about"]}, set(), 0),
    ],
)
async def test_a_good_order_is_carried_out(
    shop: Shop, order: dict[str, object], gone: set[str], found: int
) -> None:
    answer = await shop.send(order)
    assert answer.status == 200
    assert json.loads(answer.body)["found"] == found
    assert answer.header("cache-control") == "no-store"
    assert await shop.there() == ALL - gone


async def test_a_url_is_purged_with_its_page() -> None:
    app = Starlette()

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    handle = install(app, store=MemoryStore(), cache={"/{path:path}": CachePolicy(ttl="1h")})
    app.mount("/page", page)
    app.add_route("/purge", PurgeEndpoint(handle.cache, keys=KEYS))  # type: ignore[arg-type]
    client = Client(app)
    await client.get("/page/1")
    assert (await client.get("/page/1")).cache == "hit"
    body = b'{"urls": ["/page/1"]}'
    now = handle.store.now() // 1_000_000
    said = signed("new", NEW, body, time=now, nonce="a-nonce-of-a-kind").to_header()
    answer = await client.request("POST", "/purge", headers={"authorization": said}, body=body)
    assert json.loads(answer.body) == {"purged": 1, "found": 1, "soft": False}
    assert (await client.get("/page/1")).cache == "miss"


# --- keys


async def test_two_keys_are_good_at_the_same_time(shop: Shop) -> None:
    assert (await shop.send(BODY, shop.sign(BODY, NEW, "new"))).status == 200
    assert (await shop.send(BODY, shop.sign(BODY, OLD, "old"))).status == 200


@pytest.mark.parametrize(
    "keys", [{}, {"a": "short"}, {"a b": OLD}, {"": OLD}, {"a" * 65: OLD}], ids=str
)
async def test_keys_that_cannot_be_meant_are_refused_at_the_start(keys: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        PurgeEndpoint(Cache(MemoryStore()), keys=keys)


@pytest.mark.parametrize("window", ["0s", "2h"])
async def test_a_window_has_its_bounds(window: str) -> None:
    with pytest.raises(ConfigurationError, match="window"):
        PurgeEndpoint(Cache(MemoryStore()), keys=KEYS, window=window)


# --- forgeries


def forged(shop: Shop) -> dict[str, str]:
    good = shop.sign(BODY)
    plain = Signature.from_header(good)
    assert plain is not None
    flipped = good[:-1] + ("0" if good[-1] != "0" else "1")
    other = f"time={plain.time + 1},"
    return {
        "another body's": shop.sign(BODY + b" "),
        "another key's id": good.replace("key=old", "key=new"),
        "an unknown key's": shop.sign(BODY, OLD, "nobody"),
        "another secret's": shop.sign(BODY, "x" * 32),
        "the secret of nobody": shop.sign(BODY, "\0" * 32, "nobody"),
        "a flipped digit": flipped,
        "another time": good.replace(f"time={plain.time},", other),
        "another nonce": good.replace("nonce-of-order", "nonce-of-0rder"),
    }


@pytest.mark.parametrize("kind", list(forged(Shop())))
async def test_a_forgery_does_nothing_and_is_told_nothing(shop: Shop, kind: str) -> None:
    answer = await shop.send(BODY, forged(shop)[kind])
    assert (answer.status, json.loads(answer.body)) == (
        *(401, {"error": "the signature is not good"}),
    )
    assert answer.header("www-authenticate") == "Cachemw-HMAC-SHA256"
    assert await shop.there() == ALL


@pytest.mark.parametrize(
    "header",
    [
        *("", "Bearer x", "Cachemw-HMAC-SHA256", "Cachemw-HMAC-SHA256 key=old"),
        "Cachemw-HMAC-SHA256 key=old, time=-5, nonce=" + "n" * 16 + ", mac=" + "0" * 64,
        "Cachemw-HMAC-SHA256 key=old, time=١, nonce=" + "n" * 16 + ", mac=" + "0" * 64,
        "Cachemw-HMAC-SHA256 key=old, time=1, nonce=short, mac=" + "0" * 64,
        "Cachemw-HMAC-SHA256 key=old, time=1, nonce=" + "n" * 16 + ", mac=" + "0" * 63,
        "Cachemw-HMAC-SHA256 key=old, time=1, nonce=" + "n" * 16 + ", mac=" + "0" * 64 + "\n",
        "Cachemw-HMAC-SHA256 key=old, time=" + "9" * 5000 + ", nonce=x, mac=y",
    ],
)
async def test_what_is_no_signature_is_refused_unread(shop: Shop, header: str) -> None:
    reads = 0

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": BODY}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    raw = header.encode("utf-8")
    scope = {"type": "http", "method": "POST", "headers": [(b"authorization", raw)]}
    await shop.endpoint(scope, receive, send)
    assert (sent[0]["status"], reads) == (401, 0)


async def test_two_signatures_are_none(shop: Shop) -> None:
    lines = [("authorization", shop.sign(BODY))] * 2
    answer = await shop.client.request("POST", "/", headers=lines, body=BODY)
    assert answer.status == 401
    assert await shop.there() == ALL


async def test_nobody_without_a_secret_reaches_the_store(shop: Shop) -> None:
    before = len(shop.store.keyspace)
    for header in (*forged(shop).values(), ""):
        await shop.send(BODY, header or "none")
    assert len(shop.store.keyspace) == before


# --- time and repetition


@pytest.mark.parametrize(("off", "status"), [(-60, 200), (-61, 401), (60, 200), (61, 401)])
async def test_an_order_is_good_for_a_while(shop: Shop, off: int, status: int) -> None:
    said = shop.sign(BODY, time=int(shop.clock()) + off)
    assert (await shop.send(BODY, said)).status == status
    assert ("user:1" in await shop.there()) is (status == 401)


async def test_an_order_is_good_once_as_long_as_it_is_good_at_all(shop: Shop) -> None:
    ahead = int(shop.clock()) + 60  # by a clock that is a minute fast
    said = shop.sign(BODY, time=ahead)
    assert (await shop.send(BODY, said)).status == 200
    await shop.cache.set("user:1", "new", "1h", tags=["users"])
    for _ in range(6):
        assert (await shop.send(BODY, said)).status == 409
        shop.clock.advance(23)
        if shop.clock() > ahead + 60:
            break
    assert (await shop.send(BODY, said)).status == 401
    assert "user:1" in await shop.there()


async def test_of_two_at_the_same_moment_one_is_carried_out(shop: Shop) -> None:
    said = shop.sign(BODY)
    answers = await asyncio.gather(*(shop.send(BODY, said) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]


async def test_another_key_with_the_same_nonce_is_another_order(shop: Shop) -> None:
    nonce = "the-same-nonce-for-both"
    assert (await shop.send(BODY, shop.sign(BODY, nonce=nonce))).status == 200
    assert (await shop.send(BODY, shop.sign(BODY, NEW, "new", nonce=nonce))).status == 200


async def test_lua_and_twin_agree_about_the_first(valkey_url: str, opened: Any) -> None:
    twins = Twins(opened(valkey_url, prefix=""), [b"pn:{a}", b"pn:{b}"])
    for key in (b"pn:{a}", b"pn:{a}", b"pn:{b}", b"pn:{a}"):
        await twins.run(ONCE, [key], [b"60000"])
    await twins.advance(60_000)
    assert await twins.run(ONCE, [b"pn:{a}"], [b"60000"]) == 1


# --- orders that are none


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"{}", b'{"tags": "users"}', b'{"tags": [5]}'),
        *(b'{"tags": ["users"], "pattern": "*"}', b'{"tags": []}', b'{"tags": ["users", ""]}'),
        *(b'{"tags": ["users"], "urls": ["about"]}', b'{"soft": true}', b"\xff\xfe"),
        json.dumps({"tags": ["users"] * (MOST + 1)}).encode(),
        b"[" * 5000,
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_what_is_no_order_does_nothing(shop: Shop, body: bytes) -> None:
    answer = await shop.send(body)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]
    assert await shop.there() == ALL


async def test_an_order_that_is_too_long_is_not_read_to_its_end(shop: Shop) -> None:
    body = json.dumps({"tags": ["x" * LONGEST]}).encode()
    assert (await shop.send(body)).status == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_only_a_post_is_an_order(shop: Shop, method: str) -> None:
    said = {"authorization": shop.sign(BODY)}
    answer = await shop.client.request(method, "/", headers=said, body=BODY)
    assert (answer.status, answer.header("allow")) == (405, "POST")
    assert await shop.there() == ALL


async def test_who_leaves_in_the_middle_has_ordered_nothing(shop: Shop) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": BODY[:5], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there")

    headers = [(b"authorization", shop.sign(BODY[:5]).encode())]
    await shop.endpoint({"type": "http", "method": "POST", "headers": headers}, receive, send)
    assert await shop.there() == ALL


async def test_without_the_store_it_says_so() -> None:
    endpoint = PurgeEndpoint(Cache(open_store("redis://127.0.0.1:1?deadline=1s")), keys=KEYS)
    now = endpoint._cache.store.now() // 1_000_000
    said = signed("old", OLD, BODY, time=now, nonce="n" * 16).to_header()
    headers = {"authorization": said}
    answer = await Client(endpoint).request("POST", "/", headers=headers, body=BODY)
    assert (answer.status, answer.header("retry-after")) == (503, "1")
    await endpoint._cache.store.aclose()


async def test_no_policy_makes_it_a_cached_page() -> None:
    everything = CachePolicy(ttl="1h", force=True, methods=["GET", "POST"], credentials="strip")
    app = Starlette()
    handle = install(app, store=MemoryStore(), cache={"/{path:path}": everything})
    app.add_route("/purge", PurgeEndpoint(handle.cache, keys=KEYS))  # type: ignore[arg-type]
    client = Client(app)
    for number, status in ((1, 200), (1, 409), (2, 200)):
        now = handle.store.now() // 1_000_000
        said = signed("old", OLD, BODY, time=now, nonce=f"nonce-of-order-{number}").to_header()
        headers = {"authorization": said}
        assert (await client.request("POST", "/purge", headers=headers, body=BODY)).status == status


# --- the signature itself


def test_a_signature_is_spelt_in_one_way() -> None:
    good = signed("old", OLD, BODY, time=5, nonce="n" * 16)
    assert Signature.from_header(good.to_header()) == good
    for spelling in (good.to_header() + " ", good.to_header().replace(", ", ","), ""):
        assert Signature.from_header(spelling) is None


def test_parts_do_not_run_together() -> None:
    macs = {
        signed(key, OLD, body, time=time, nonce=nonce).mac
        for key, time, nonce, body in (
            *(("a", 1, "n" * 17, b"x"), ("a", 1, "n" * 16, b"nx"), ("a1", 1, "n" * 16, b"x")),
            *(("a", 11, "n" * 16, b"x"), ("a", 1, "1" + "n" * 16, b"x")),
        )
    }
    assert len(macs) == 5


def test_the_documented_recipe_gives_the_same_mac() -> None:
    import hashlib
    import hmac

    parts = [b"cachemw purge order, version 1", b"cms", b"1765000000", b"0dAfN3k_T9w2Lq8s", BODY]
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    mac = hmac.new(OLD.encode(), framed, hashlib.sha256).hexdigest()
    given = signed("cms", OLD, BODY, time=1765000000, nonce="0dAfN3k_T9w2Lq8s")
    assert given.mac == mac
    verdict = judge(given, {"cms": OLD}, BODY, now=1765000001.5, window=60)
    assert verdict is Verdict.GOOD
