"""Requests that no polite client sends, byte by byte, and what the next visitor gets after them.

The route `/reflect/…` says all that it sees of a request. Whatever an attacker can make it say to
others is a way to poison a page.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests import servers
from tests.faults.fleet import Fleet, fleet
from tests.faults.pages import Page
from tests.faults.wire import Answer, Broken, ask, ask_raw
from tests.servers import VALKEY, Server

pytestmark = pytest.mark.anyio
EVIL = "evil.example"


@pytest.fixture(scope="module")
def _server() -> Iterator[Server]:
    with servers.single(VALKEY, port=0) as server:
        yield server


@pytest.fixture(scope="module")
async def app(_server: Server) -> AsyncIterator[Fleet]:
    async with fleet(_server.url + "?deadline=2s", workers=1) as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(_server: Server) -> None:
    _server.ask("FLUSHALL")


async def attack(app: Fleet, *lines: str, body: bytes = b"") -> Answer | None:
    """Send these lines as they are; what comes of it, if anything does."""
    head = "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1")
    try:
        return await ask_raw(app.port, head + body)
    except Broken:
        return None


async def kept(app: Fleet, target: str) -> Answer:
    """What a visitor gets, from the cache."""
    for _ in range(3):
        answer = await ask(app.port, "GET", target)
    assert "hit" in answer.header("cache-status")
    return answer


# --- poisoning


@pytest.mark.parametrize(
    "field",
    [
        f"x-forwarded-host: {EVIL}",
        f"x-host: {EVIL}",
        f"forwarded: host={EVIL};proto=https",
        "x-forwarded-proto: evil.example",
        f"x-original-url: /{EVIL}",
        f"x-rewrite-url: /{EVIL}",
        f"x-forwarded-prefix: /{EVIL}",
        f"x_forwarded_host: {EVIL}",
        f"x-http-method-override: {EVIL}",
        f"x-forwarded-for: {EVIL}",
        f"x-forwarded-user: {EVIL}",
        f"authorization: Bearer {EVIL}",
        f"cookie: id={EVIL}",
        f"range: bytes=0-3, {EVIL}",
        f"if-none-match: {EVIL}",
    ],
)
async def test_no_field_that_the_key_does_not_cover_reaches_others(app: Fleet, field: str) -> None:
    await attack(app, "GET /reflect/page HTTP/1.1", "host: faults", field)
    assert EVIL.encode() not in (await kept(app, "/reflect/page")).body


async def test_no_body_of_a_get_reaches_others(app: Fleet) -> None:
    lines = ("GET /reflect/page HTTP/1.1", "host: faults", "content-length: 12")
    await attack(app, *lines, body=EVIL.encode())
    assert EVIL.encode() not in (await kept(app, "/reflect/page")).body


@pytest.mark.parametrize(
    "lines",
    [
        (f"GET http://{EVIL}/reflect/page HTTP/1.1", "host: faults"),
        ("GET /reflect/page HTTP/1.1", "host: faults", f"host: {EVIL}"),
        ("GET /reflect/page HTTP/1.1", f"host: faults@{EVIL}"),
        (f"GET //{EVIL}/reflect/page HTTP/1.1", "host: faults"),
        ("GET /reflect/page HTTP/1.1", f"host: faults,{EVIL}"),
        (f"GET /reflect/page#{EVIL} HTTP/1.1", "host: faults"),
    ],
    ids=lambda lines: " ".join(lines),
)
async def test_no_host_reaches_others(app: Fleet, lines: tuple[str, ...]) -> None:
    await attack(app, *lines)
    assert EVIL.encode() not in (await kept(app, "/reflect/page")).body


# --- deception and confusion


@pytest.mark.parametrize(
    "target",
    ["/session/x.css", "/session;x.css", "/session%2fx.css", "/session?x.css", "/session%00.css",
     "/session/%2e%2e/item/x.css", "/item/../session", "/item/%2e%2e/session", "//session"],
)  # fmt: skip
async def test_a_path_that_looks_public_gives_away_nobodys_session(app: Fleet, target: str) -> None:
    login = await ask(app.port, "POST", "/login?user=anna-the-victim")
    for _ in range(2):
        await attack(app, f"GET {target} HTTP/1.1", "host: faults", f"cookie: {login.cookie}")
    answer = await attack(app, f"GET {target} HTTP/1.1", "host: faults")
    assert answer is None or b"anna-the-victim" not in answer.body


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/b", "a%2Fb"), ("a?x=1&y=2", "a?x=1%26y=2"), ("a", "A"),
        ("a;b", "a%3Bb"), ("a", "a%00"), ("a", "a/"), ("a?x", "a?x="), ("a?x=1&x=2", "a?x=2&x=1"),
        ("a?x=%C3%A9", "a?x=%c3%a9x"), ("a+b", "a%20b"), ("a//b", "a/b"),
    ],
)  # fmt: skip
async def test_no_two_spellings_are_taken_for_each_other(app: Fleet, one: str, other: str) -> None:
    """The page says its raw path, so that a page of another path would show."""
    for spelling in (one, other):
        path, _, query = spelling.partition("?")
        answer = await kept(app, f"/reflect/{spelling}")
        assert f"raw path b'/reflect/{path}'".encode() in answer.body
        if query:
            assert sorted(query.split("&")) == sorted(_query(answer.body).split("&"))


@pytest.mark.parametrize("spelling", ["%61bc", "a%62c", "%61%62%63"])
async def test_a_spelling_that_means_the_same_leaves_no_trace(app: Fleet, spelling: str) -> None:
    """RFC 3986, 6.2.2: they are one resource. How it was spelled is nobody else's business."""
    await kept(app, f"/reflect/{spelling}")
    assert b"raw path b'/reflect/abc'" in (await ask(app.port, "GET", "/reflect/abc")).body


def _query(body: bytes) -> str:
    url = next(line for line in body.decode().splitlines() if line.startswith("url "))
    return url.partition("?")[2]


async def test_a_second_session_cookie_is_nobodys_session(app: Fleet) -> None:
    """Cookie tossing: a neighbour's subdomain plants a cookie of its own before ours."""
    planted = (await ask(app.port, "POST", "/login?user=attacker")).cookie
    own = (await ask(app.port, "POST", "/login?user=victim")).cookie
    for value in (f"{planted}; {own}", f"{own}; {planted}"):
        answer = await ask(app.port, "GET", "/session", {"cookie": value})
        assert b"attacker" not in answer.body and b"victim" not in answer.body


async def test_an_id_that_a_client_made_up_is_not_adopted(app: Fleet) -> None:
    made_up = "__Host-id=" + "A" * 44
    login = await ask(app.port, "POST", "/login?user=victim", {"cookie": made_up})
    assert login.cookie and login.cookie != made_up
    assert b"victim" not in (await ask(app.port, "GET", "/session", {"cookie": made_up})).body


# --- floods and abuse


@pytest.mark.parametrize(
    "fields",
    [
        ["x: " + "a" * 200_000],
        [f"x-{number}: 1" for number in range(3000)],
        ["x: " + chr(0)],
        ["x\r\ny: 1"],
        ["cookie: " + "; ".join(f"c{number}=1" for number in range(3000))],
        ["accept: " + ",".join(["a/b;q=0.1"] * 5000)],
        ["cache-control: " + ",".join(["max-age=1"] * 5000)],
        ["if-none-match: " + ",".join(['"x"'] * 5000)],
    ],
    ids=["long", "many", "nul", "folded", "cookies", "accept", "cache-control", "etags"],
)  # fmt: skip
async def test_what_a_flood_provokes_is_not_kept(app: Fleet, fields: list[str]) -> None:
    answer = await attack(app, "GET /reflect/page HTTP/1.1", "host: faults", *fields)
    assert answer is None or answer.status < 500
    assert (await kept(app, "/reflect/page")).status == 200


@pytest.mark.parametrize(
    "value",
    [
        "bytes=" + ",".join(["0-"] * 1000),
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 600, 2)),
        "bytes=99999999999999999999-", "bytes=-0", "bytes=-99999999999999999999", "bytes=5-2",
        "bytes=0-0,-1", "bytes=١-٢", "octets=0-1", "bytes=0-1,", "bytes= 0 - 1", "bytes=1e3-",
    ],
    ids=lambda value: value[:24],
)  # fmt: skip
async def test_ranges_never_give_more_than_the_whole(app: Fleet, value: str) -> None:
    whole = await kept(app, "/item/ranged")
    field = f"range: {value.encode().decode('latin-1')}"
    answer = await attack(app, "GET /item/ranged HTTP/1.1", "host: faults", field)
    assert answer is not None and answer.status in (200, 206, 400, 416)
    assert len(answer.body) <= 2 * len(whole.body)
    assert (await kept(app, "/item/ranged")).body == whole.body


@pytest.mark.parametrize("method", ["PURGE", "BAN", "REFRESH", "TRACE", "FOO", "DELETE", "PUT"])
async def test_no_method_changes_what_is_kept_unless_a_route_does(app: Fleet, method: str) -> None:
    before = await kept(app, "/item/steady")
    answer = await attack(app, f"{method} /item/steady HTTP/1.1", "host: faults")
    assert answer is None or answer.status in (400, 405, 501)
    after = await ask(app.port, "GET", "/item/steady")
    assert after.body == before.body and "hit" in after.header("cache-status")


@pytest.mark.parametrize(
    "path", ["/cachemw", "/dashboard", "/metrics", "/admin", "/_cache", "/purge", "/stats"]
)
async def test_there_is_no_admin_surface_that_nobody_mounted(app: Fleet, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert (await ask(app.port, method, path)).status == 404


# --- smuggling

_PREFIX = "GET /reflect/smuggled HTTP/1.1\r\nhost: evil.example\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        ["content-length: 4", "transfer-encoding: chunked"],
        ["transfer-encoding: chunked", "transfer-encoding: identity"],
        ["transfer-encoding: xchunked"],
        ["transfer-encoding : chunked"],
        ["transfer-encoding:\x0bchunked"],
        ["content-length: 0", f"content-length: {len(_PREFIX)}"],
        ["content-length: +4"],
        ["content-length: 4,4"],
        ["content-length: -1"],
        [" content-length: 4"],
    ],
    ids=str,
)
async def test_what_is_smuggled_in_changes_no_page(app: Fleet, framing: list[str]) -> None:
    """Whatever the server makes of it: no other page is kept under the victim's URL."""
    body = b"0\r\n\r\n" + _PREFIX.encode()
    for method in ("GET", "POST"):
        await attack(app, f"{method} /reflect/page HTTP/1.1", "host: faults", *framing, body=body)
    answer = await kept(app, "/reflect/page")
    assert b"smuggled" not in answer.body and b"evil" not in answer.body


async def test_a_member_gets_their_own_page_after_all_that(app: Fleet) -> None:
    for name in ("anna", "bob", "anna"):
        answer = await ask(app.port, "GET", "/mine/x", {"authorization": f"Bearer {name}"})
        assert answer.body == Page("mine", "x", 0, name).to_bytes()
