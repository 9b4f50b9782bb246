"""Who is counted: addresses, keys, subjects, and those who cannot be told."""

from typing import cast
from uuid import UUID

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.identity import Identity, header, subject
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware
from cachemw.ratelimit.rule import RateLimit
from cachemw.stores.memory import MemoryStore
from tests.ratelimit.apps import Client, Clock, answer, app_with

pytestmark = pytest.mark.anyio


async def test_addresses_are_counted_apart(limiter: Limiter) -> None:
    app = app_with(limiter, {"/x": RateLimit("1/minute")})
    assert await Client(app, "203.0.113.1").statuses("/x", 2) == [200, 429]
    assert await Client(app, "203.0.113.2").statuses("/x", 2) == [200, 429]


async def test_one_ipv6_network_is_one_client(limiter: Limiter) -> None:
    app = app_with(limiter, {"/x": RateLimit("1/minute")})
    assert await Client(app, "2001:db8::1").statuses("/x", 1) == [200]
    assert await Client(app, "2001:db8::2%eth0").statuses("/x", 1) == [429]
    assert await Client(app, "2001:db8:0:1::1").statuses("/x", 1) == [200]


async def test_a_forged_header_is_not_believed(limiter: Limiter) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/minute")}))
    codes = [
        (await client.get("/x", x_forwarded_for=f"198.51.100.{n}")).status_code for n in range(3)
    ]
    assert codes == [200, 429, 429]


async def test_behind_a_trusted_proxy_the_rightmost_untrusted_hop_counts() -> None:
    app = Starlette(
        routes=[Route("/x", answer)],
        middleware=[
            Middleware(
                RateLimitMiddleware,
                store=MemoryStore(),
                routes={"/x": RateLimit("1/minute")},
                trusted_proxies=["203.0.113.0/24"],
            )
        ],
    )
    client = Client(app)
    lies = ["6.6.6.6, 198.51.100.1", "7.7.7.7, 198.51.100.1", "x" * 100_000 + ", 198.51.100.1"]
    codes = [(await client.get("/x", x_forwarded_for=lie)).status_code for lie in lies]
    assert codes == [200, 429, 429]
    assert (await client.get("/x", x_forwarded_for="198.51.100.2")).status_code == 200


async def test_a_client_without_an_address_is_refused_and_not_lumped_together(
    limiter: Limiter, caplog: pytest.LogCaptureFixture
) -> None:
    refused = await Client(app_with(limiter, {"/x": RateLimit("9/minute")}), None).get("/x")
    assert refused.status_code == 403
    assert refused.headers["cache-control"] == "no-store"
    assert "counted" in refused.json()["detail"]
    assert "trusted_proxies=['unix']" in caplog.text


async def test_unknown_clients_may_be_let_through_or_counted_together(limiter: Limiter) -> None:
    rules = {
        "/exempt": RateLimit("1/minute", unknown="exempt"),
        "/shared": RateLimit("1/minute", unknown="shared"),
    }
    client = Client(app_with(limiter, rules), None)
    assert await client.statuses("/exempt", 2) == [200, 200]
    assert await client.statuses("/shared", 2) == [200, 429]


async def test_who_sends_no_key_is_counted_by_address(limiter: Limiter) -> None:
    app = app_with(limiter, {"/x": RateLimit("1/minute", by=header("X-API-Key"))})
    one, two = Client(app, "203.0.113.1"), Client(app, "203.0.113.2")
    assert await one.statuses("/x", 2) == [200, 429]
    assert await two.statuses("/x", 1) == [200]
    assert (await two.get("/x", x_api_key="")).status_code == 429
    assert (await two.get("/x", x_api_key="203.0.113.1")).status_code == 200


@pytest.mark.parametrize("key", ["k" * 30_000, "{}", "a:b", "%0d%0a", "é", "rl:{x}:\x00"])
async def test_whatever_the_identity_the_key_is_short_and_plain(clock: Clock, key: str) -> None:
    store = MemoryStore(clock=clock)
    rule = RateLimit("1/minute", name="x", by=lambda request: key)
    client = Client(app_with(Limiter(store), {"/x": rule}))

    assert await client.statuses("/x", 2) == [200, 429]

    keys = [stored async for batch in store.scan(b"*") for stored in batch]
    assert len(keys) == 1
    assert len(keys[0]) < 64
    assert keys[0].startswith(b"rl:{")
    assert keys[0].isascii()


async def test_what_an_identity_may_be(limiter: Limiter) -> None:
    answers: list[object] = [7, b"7", "seven", UUID(int=7), Identity("mine", "7"), 7.5, object()]

    def by(request: HTTPConnection) -> str:
        return cast(str, answers[int(request.headers["n"])])

    rule = RateLimit("1/minute", name="x", by=by)
    client = Client(app_with(limiter, {"/x": rule}))
    codes = [(await client.get("/x", n=str(n))).status_code for n in range(len(answers))]
    assert codes == [200, 429, 200, 200, 200, 500, 500]


async def test_an_identity_that_raises_is_an_error_and_admits_nobody(limiter: Limiter) -> None:
    async def broken(request: HTTPConnection) -> str:
        raise LookupError("the directory is down")

    client = Client(app_with(limiter, {"/x": RateLimit("1/minute", by=broken)}))
    assert (await client.get("/x")).status_code == 500


async def test_by_the_subject_of_a_session_that_is_outside(limiter: Limiter) -> None:
    class Session:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["session"] = {"user_id": 7} if scope["query_string"] == b"in" else {}
            await self.app(scope, receive, send)

    rule = RateLimit("1/minute", name="mine", by=subject)
    app = Starlette(
        routes=[Route("/x", answer)],
        middleware=[
            Middleware(Session),
            Middleware(RateLimitMiddleware, store=limiter, routes={"/x": rule}),
        ],
    )
    one, two = Client(app, "203.0.113.1"), Client(app, "203.0.113.2")
    assert await one.statuses("/x?in", 1) == [200]
    assert await two.statuses("/x?in", 1) == [429]
    assert await two.statuses("/x", 2) == [200, 429]
    assert not (await rule.peek(7)).standings[0].remaining


async def test_by_the_subject_where_there_is_no_session_is_an_error(limiter: Limiter) -> None:
    client = Client(app_with(limiter, {"/x": RateLimit("1/minute", by=subject)}))
    assert (await client.get("/x")).status_code == 500


def test_by_the_subject_where_there_can_be_no_session_the_app_does_not_start(
    limiter: Limiter,
) -> None:
    app = app_with(limiter, {"/x": RateLimit("1/minute", by=subject)})
    with pytest.raises(ConfigurationError, match="no session yet"), TestClient(app):
        pass


def test_a_header_that_is_sent_twice_is_its_first_line() -> None:
    """As frameworks read it: otherwise each second line would begin a new count."""
    lines = [(b"x-api-key", b"good"), (b"x-api-key", b"junk")]
    connection = HTTPConnection({"type": "http", "headers": lines})
    assert header("x-api-key")(connection) == connection.headers["x-api-key"] == "good"


def test_a_lone_surrogate_is_an_identity_too() -> None:
    tags = {Identity("by", value).tag for value in ("\ud800", "\udc80", "x")}
    assert len(tags) == 3
