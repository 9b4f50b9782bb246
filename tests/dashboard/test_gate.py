"""Who may look: this machine, or whom `auth` lets in; and nobody who only looks like it."""

from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import CachePolicy, ConfigurationError, MemoryStore, install
from cachemw.clientip import TrustedProxies
from cachemw.dashboard import dashboard
from cachemw.dashboard.gate import COOKIE, forged, not_local, secret_in, token_of
from tests.dashboard.visitors import AT, LOCAL, purge, shop, token_in, visitor


def scope(
    peer: str | None = "127.0.0.1", host: str = "localhost:8000", http: str = "1.1", **fields: str
) -> dict[str, Any]:
    headers = [(b"host", host.encode("latin-1"))]
    headers += [(k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()]
    client = None if peer is None else (peer, 1)
    return {"client": client, "headers": headers, "http_version": http}


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LocalHost.", "shop.localhost:1", "127.0.0.1", "[::1]:80"],
)
def test_this_machine_is_local(peer: str, host: str) -> None:
    assert not_local(scope(peer, host), TrustedProxies()) is None


@pytest.mark.parametrize(
    "peer", [None, "10.0.0.1", "192.168.1.9", "::2", "testclient", "", "127.1"]
)
def test_others_are_not(peer: str | None) -> None:
    assert not_local(scope(peer), TrustedProxies()) is not None


@pytest.mark.parametrize(
    "name",
    [
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
        *("x-forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip"),
        *("x-envoy-external-address", "fly-client-ip", "x-amzn-trace-id"),
    ],
)
def test_what_a_proxy_has_passed_on_is_not_local_whatever_it_says(name: str) -> None:
    assert not_local(scope(**{name: "127.0.0.1"}), TrustedProxies()) is not None


def test_a_peer_that_is_a_trusted_proxy_is_not_local() -> None:
    assert not_local(scope(), TrustedProxies.parse(["127.0.0.1"])) is not None
    assert not_local(scope("::ffff:127.0.0.1"), TrustedProxies.parse(["127.0.0.0/8"])) is not None
    assert not_local(scope(), TrustedProxies.parse(["10.0.0.0/8"])) is None


def test_http_1_0_is_how_proxies_speak() -> None:
    assert not_local(scope(http="1.0"), TrustedProxies()) is not None


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("", ":8000", "localhost:", "localhost:80:80", "localhost@evil.example", "[::1", "[::1]x"),
        *(
            "0.0.0.0",
            "10.0.0.1",
            "2130706433",
            "0x7f.1",
            "127.1",
            "evil.example#localhost",
            "[::2]",
        ),
        *("localhost evil.example", "evillocalhost", "localhost/", "\xfflocalhost", "localhost:8²"),
    ],
)
def test_a_name_that_was_bound_to_this_machine_from_outside_is_refused(host: str) -> None:
    assert "Host" in (not_local(scope(host=host), TrustedProxies()) or "")


def test_two_hosts_are_none() -> None:
    twice = scope()
    twice["headers"].append((b"host", b"localhost"))
    assert not_local(twice, TrustedProxies()) is not None


# --- in an app


def test_a_local_visitor_sees_it_and_a_stranger_does_not() -> None:
    app = shop()
    with visitor(app) as browser:
        assert browser.get("/cache/purge").status_code == 200
        assert browser.get("/cache/purge", headers={"x-forwarded-for": "::1"}).status_code == 403
        assert browser.get("/cache/purge", headers={"host": "evil.example"}).status_code == 403
    with visitor(app, client=("203.0.113.9", 1)) as browser:
        refused = browser.get("/cache/purge")
        assert refused.status_code == 403
        assert "this machine only" in refused.text
        assert browser.get("/cache/assets/x").status_code == 403
        assert browser.post("/cache/purge").status_code == 403


def test_behind_trusted_proxies_nobody_is_local() -> None:
    app = FastAPI()
    app.mount("/cache", dashboard(app))
    install(app, store=MemoryStore(), trusted_proxies=["127.0.0.1"])
    with visitor(app) as browser:
        assert browser.get("/cache/purge").status_code == 403


def test_auth_decides_alone() -> None:
    def may(request: Request) -> bool:
        return request.headers.get("x-admin") == "yes"

    with visitor(shop(auth=may), client=("203.0.113.9", 1), at="https://a.example") as browser:
        assert browser.get("/cache/purge", headers={"x-admin": "yes"}).status_code == 200
        assert browser.get("/cache/purge").status_code == 403
    with visitor(shop(auth=may)) as browser:
        assert browser.get("/cache/purge").status_code == 403  # local, and yet not let in


@pytest.mark.parametrize("answer", [False, None, "", 0, 1, [], object()])
def test_only_true_or_a_name_lets_in(answer: Any) -> None:
    with visitor(shop(auth=lambda request: answer)) as browser:
        assert browser.get("/cache/purge").status_code == 403


def test_auth_may_wait_and_may_ask_for_a_password() -> None:
    async def asks(request: Request) -> str:
        if "authorization" not in request.headers:
            raise HTTPException(401, headers={"www-authenticate": "Basic"})
        return "ann"

    with visitor(shop(auth=asks)) as browser:
        asked = browser.get("/cache/purge")
        assert asked.status_code == 401
        assert asked.headers["www-authenticate"] == "Basic"
        assert browser.get("/cache/purge", headers={"authorization": "x"}).status_code == 200


def test_what_cannot_decide_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="must be a function"):
        dashboard(MemoryStore(), auth="secret")  # type: ignore[arg-type]


# --- what changes something


def test_a_purge_from_the_page_is_carried_out_and_leads_to_a_page_to_reload() -> None:
    with visitor(shop(allow_purge=True)) as browser:
        browser.get("/products/3")
        assert "hit" in browser.get("/products/3").headers["cache-status"]
        answer = purge(browser)
        assert answer.status_code == 303
        after = browser.get(answer.headers["location"])
        assert "product:3" in after.text
        assert "this machine" in after.text  # who: in the log
        assert "purged" in browser.get("/products/3").headers["cache-status"]


def test_it_reads_only_unless_allowed() -> None:
    with visitor(shop()) as browser:
        page = browser.get("/cache/purge")
        assert 'name="token"' not in page.text
        assert "set-cookie" not in page.headers
        form = {"kind": "tag", "what": "x"}
        assert browser.post("/cache/purge", data=form, headers={"origin": AT}).status_code == 403
        secret = "s" * 43  # of one's own making, with the token that goes with it
        browser.cookies.set(COOKIE, secret)
        form["token"] = token_of(secret)
        answer = browser.post("/cache/purge", data=form, headers={"origin": AT})
        assert answer.status_code == 403
        assert "allow_purge" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:8001"},
        {"origin": "http://localhost"},
        {"sec-fetch-site": "cross-site", "origin": AT},
        {"sec-fetch-site": "same-site", "origin": AT},
        {"sec-fetch-site": "none", "origin": AT},
        {"referer": AT + "/cache/purge"},
    ],
)
def test_a_form_of_another_site_is_refused(headers: dict[str, str]) -> None:
    with visitor(shop(allow_purge=True)) as browser:
        browser.get("/products/3")
        assert purge(browser, headers=headers).status_code == 403
        assert "hit" in browser.get("/products/3").headers["cache-status"]


@pytest.mark.parametrize("headers", [{"origin": AT}, {"sec-fetch-site": "same-origin"}])
def test_one_word_of_the_browser_is_enough(headers: dict[str, str]) -> None:
    with visitor(shop(allow_purge=True)) as browser:
        assert purge(browser, headers=headers).status_code == 303


@pytest.mark.parametrize("token", ["", "x", "é", "0" * 64])
def test_a_token_that_is_not_of_this_cookie_is_refused(token: str) -> None:
    with visitor(shop(allow_purge=True)) as browser:
        assert purge(browser, token=token).status_code == 403


def test_without_the_cookie_a_token_is_worth_nothing() -> None:
    with visitor(shop(allow_purge=True)) as browser:
        token = token_in(browser.get("/cache/purge"))
        browser.cookies.clear()
        form = {"kind": "tag", "what": "x", "token": token}
        assert browser.post("/cache/purge", data=form, headers={"origin": AT}).status_code == 403


def test_tokens_fit_their_cookie_and_no_other() -> None:
    headers = ((b"sec-fetch-site", b"same-origin"),)
    ours, theirs = "a" * 43, "b" * 43
    assert forged(headers, ours, token_of(ours)) is None
    assert forged(headers, ours, token_of(theirs)) is not None
    assert forged(headers, None, token_of(ours)) is not None
    assert secret_in({"cachemw_dashboard": "short"}) is None


def test_the_cookie_goes_to_the_dashboard_alone() -> None:
    with visitor(shop(allow_purge=True)) as browser:
        cookie = browser.get("/cache/purge").headers["set-cookie"]
        assert "Path=/cache;" in cookie
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert "Secure" not in cookie  # this is http
        browser.get("/products/3")
        assert "hit" in browser.get("/products/3").headers["cache-status"]
    with visitor(shop(allow_purge=True), at="https://localhost") as browser:
        assert "Secure" in browser.get("/cache/purge").headers["set-cookie"]


def test_a_form_that_is_too_large_or_strange_is_refused() -> None:
    with visitor(shop(allow_purge=True)) as browser:
        token_in(browser.get("/cache/purge"))
        said = {"origin": AT, "content-type": "application/x-www-form-urlencoded"}
        for body in (b"a=" + b"x" * 100_000, b"&".join([b"a=1"] * 1000), b"\xff\xfe%zz=1", b""):
            assert browser.post("/cache/purge", content=body, headers=said).status_code == 403


# --- never cached, whatever policies say


def greedy(app: Any) -> None:
    """A policy that keeps everything, for everybody."""
    policy = CachePolicy(ttl="1h", force=True, credentials="strip")
    install(app, store=MemoryStore(), default=policy)


def test_a_policy_for_everything_keeps_no_page_of_it() -> None:
    app = FastAPI()
    app.mount("/cache", dashboard(app, allow_purge=True))
    greedy(app)
    with visitor(app) as browser:
        for _ in range(2):
            seen = browser.get("/cache/purge")
            assert seen.headers["cache-control"] == "no-store"
            assert "cache-status" not in seen.headers
        stranger = browser.get("/cache/purge", headers={"x-forwarded-for": "203.0.113.9"})
        assert stranger.status_code == 403


class Wrapped:
    """Hides from the middleware what is mounted."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def test_wrapped_in_something_it_is_not_kept_either() -> None:
    app = Starlette()
    app.mount("/cache", Wrapped(dashboard(app, auth=lambda request: "ann")))
    greedy(app)
    with visitor(app) as browser:
        for _ in range(2):
            seen = browser.get("/cache/purge")
            assert seen.status_code == 200
            assert "stored" not in seen.headers["cache-status"]
            assert "hit" not in seen.headers["cache-status"]


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"])
def test_where_a_fill_hides_who_asks_nobody_is_local(name: str) -> None:
    app = Starlette()
    app.mount("/cache", Wrapped(dashboard(app)))
    greedy(app)
    with visitor(app) as browser:
        seen = browser.get("/cache/purge", headers={name: "localhost"})
        assert seen.status_code == 403
        assert "covers the dashboard" in browser.get("/cache/purge").text


def test_it_stands_alone_as_well() -> None:
    with visitor(dashboard(MemoryStore())) as browser:
        page = browser.get("/purge")
        assert page.status_code == 200
        assert 'action="/purge"' in page.text
    with visitor(dashboard(MemoryStore()), client=LOCAL, at="http://evil.example") as browser:
        assert browser.get("/purge").status_code == 403
