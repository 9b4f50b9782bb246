"""What a browser sees of sessions, over the memory store and a clock that is moved by hand."""

import asyncio
from collections import OrderedDict
from enum import Enum, IntEnum
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from cachemw.errors import ConfigurationError
from cachemw.scopekeys import SESSION_USED
from cachemw.sessions import ids
from cachemw.sessions.errors import SessionTooLarge
from cachemw.sessions.guards import save_session
from cachemw.sessions.sessions import Sessions
from tests.sessions.apps import Gate, session_app
from tests.sessions.browser import Browser
from tests.sessions.world import World, session_of

pytestmark = pytest.mark.anyio


class Colour(str, Enum):  # noqa: UP042 - as apps of Python 3.10 have them
    RED = "red"


class Number(IntEnum):
    ONE = 1


# --- beginning


async def test_a_visitor_who_only_looks_gets_no_session() -> None:
    world = World()
    answer = await world.browser().get("/view")
    assert answer.json() == {"session": {}}
    assert answer.set_cookie is None
    assert world.stored_keys() == []


async def test_something_written_begins_a_session() -> None:
    world = World()
    browser = world.browser()
    answer = await browser.post("/update", {"colour": "blue"})
    assert answer.set_cookie is not None
    assert answer.set_cookie.startswith("__Host-id=")
    for attribute in ("Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Lax", "Secure"):
        assert f"; {attribute}" in answer.set_cookie
    assert await session_of(browser) == {"colour": "blue"}
    assert world.kinds == ["created"]


async def test_the_store_never_learns_an_id() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": "ada@example.com"})
    fields = [world.store.keyspace.hgetall(key) for key in world.stored_keys()]
    everything = b" ".join(world.stored_keys()) + repr(fields).encode()
    assert browser.session_id not in everything
    assert browser.session_id[ids.PLACE_LENGTH :] not in everything
    assert everything.count(b"ada@example.com") == 1  # the app's own value, and nothing derived


async def test_the_cookie_is_set_once() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    assert (await browser.post("/update", {"a": 2})).set_cookie is None
    assert (await browser.get("/view")).set_cookie is None
    assert await session_of(browser) == {"a": 2}


async def test_a_session_that_was_used_is_nobody_elses_to_keep() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    used = await browser.get("/view")
    assert used.header("vary") == "Cookie"
    assert used.header("cache-control") == "private, no-store"
    assert used.scope[SESSION_USED] is True
    unused = await browser.get("/")
    assert unused.header("vary") is None
    assert unused.header("cache-control") is None
    assert SESSION_USED not in unused.scope


async def test_a_mounted_app_has_the_same_session() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    assert (await browser.get("/mounted/view")).json() == {"session": {"a": 1}}


# --- ids that are not ours


@pytest.mark.parametrize(
    ("cookie", "kind"),
    [
        ("__Host-id=" + "A" * 48, "unknown-id"),
        ("__Host-id=short", "malformed-id"),
        ("__Host-id=" + "A" * 8192, "malformed-id"),
        ("__Host-id=" + "é" * 48, "malformed-id"),
        ('__Host-id="' + "A" * 48 + '"', "malformed-id"),
        ("__Host-id=" + "A" * 48 + "; __Host-id=" + "A" * 48, "duplicate-cookie"),
    ],
)
async def test_an_id_we_did_not_give_is_never_adopted(cookie: str, kind: str) -> None:
    world = World()
    browser = world.browser(cookie)
    answer = await browser.post("/update", {"a": 1})
    assert answer.status == 200
    assert world.kinds == [kind, "created"]
    assert browser.cookie is not None
    assert browser.cookie not in cookie


async def test_an_unknown_cookie_is_left_alone() -> None:
    """Removing it could undo the login that a parallel request is just being answered with."""
    world = World()
    answer = await world.browser("__Host-id=" + "A" * 48).get("/view")
    assert answer.set_cookie is None


# --- changes


async def test_nested_changes_are_noticed() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"nested": {"x": 1}, "list": [1]})
    await browser.post("/nested", {"y": 2})
    await browser.post("/append", 2)
    assert await session_of(browser) == {"nested": {"x": 1, "y": 2}, "list": [1, 2]}


async def laced(browser: Browser, gate: Gate, data: Any, meanwhile: Any) -> Any:
    """A request that has loaded its session waits at the gate while something else happens."""
    slow = asyncio.create_task(browser.post("/slow", data))
    await gate.reached_by(slow)
    await meanwhile
    gate.open.set()
    return await slow


async def test_concurrent_requests_that_change_different_keys_both_survive() -> None:
    gate = Gate(lambda request, data: request.session.update(data))
    world = World({"slow": gate.handle})
    browser = world.browser()
    await browser.post("/update", {"a": 0, "b": 0, "c": 0})
    await laced(browser.clone(), gate, {"a": 1}, browser.post("/update", {"b": 2, "new": 3}))
    assert await session_of(browser) == {"a": 1, "b": 2, "c": 0, "new": 3}


async def test_forgetting_the_last_key_one_knows_loses_nothing_of_others() -> None:
    gate = Gate(lambda request, data: request.session.pop("a") and None)
    world = World({"slow": gate.handle})
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    await laced(browser.clone(), gate, {}, browser.post("/update", {"b": 2}))
    assert await session_of(browser) == {"b": 2}


async def test_a_save_does_not_bring_back_what_logout_destroyed() -> None:
    gate = Gate(lambda request, data: request.session.update(data))
    world = World({"slow": gate.handle})
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    other_tab = browser.clone()
    answer = await laced(other_tab, gate, {"a": 1}, browser.post("/logout", {}))
    assert answer.status == 200
    assert answer.set_cookie is None
    assert world.stored_keys() == []
    assert await session_of(other_tab) == {}
    assert "refused-save" in world.kinds


async def test_a_guarded_key_that_another_request_changed_is_a_conflict() -> None:
    def buy(request: Request, data: Any) -> None:
        request.session["stock"] -= data

    gate = Gate(buy)
    world = World({"slow": gate.handle}, guarded=["stock"])
    browser = world.browser()
    await browser.post("/update", {"stock": 5, "other": 1})
    answer = await laced(browser.clone(), gate, 1, browser.post("/update", {"stock": 3}))
    assert answer.status == 409
    assert await session_of(browser) == {"stock": 3, "other": 1}
    assert world.kinds[-1] == "conflict"


async def test_a_guard_does_not_mind_changes_of_other_keys() -> None:
    gate = Gate(lambda request, data: request.session.update(stock=4))
    world = World({"slow": gate.handle}, guarded=["stock"])
    browser = world.browser()
    await browser.post("/update", {"stock": 5})
    await laced(browser.clone(), gate, 1, browser.post("/update", {"other": 3}))
    assert await session_of(browser) == {"stock": 4, "other": 3}


async def test_a_failed_response_keeps_nothing() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    answer = await browser.post("/fail", {"a": 2, "user_id": 7})
    assert answer.status == 503
    assert answer.set_cookie is None
    assert await session_of(browser) == {"a": 1}


async def test_logout_happens_even_when_the_app_fails_after_it() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    with pytest.raises(ZeroDivisionError):
        await browser.post("/crash")
    assert await session_of(browser) == {}


# --- logging in and out


async def test_login_gives_a_new_id_and_kills_the_old_one() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"cart": [1]})
    before = browser.clone()
    answer = await browser.post("/update", {"user_id": 7})
    assert answer.set_cookie is not None
    assert browser.cookie != before.cookie
    assert await session_of(browser) == {"cart": [1], "user_id": 7}
    assert await session_of(before) == {}
    assert world.kinds == ["created", "login", "replaced"]


@pytest.mark.parametrize("act", ["login", "another login", "destroy and login", "rotate"])
async def test_what_comes_late_with_the_old_cookie_leaves_the_new_one_alone(act: str) -> None:
    """Else its own anonymous cookie would log the browser out."""
    world = World()
    browser = world.browser()
    await browser.post("/update", {"cart": [1], **({"user_id": 6} if act != "login" else {})})
    late = browser.clone()
    match act:
        case "rotate":
            await browser.post("/rotate")
        case "destroy and login":
            await browser.post("/logout", {"user_id": 7})
        case _:
            await browser.post("/update", {"user_id": 7})
    world.events.clear()

    answer = await late.post("/append", 2)

    assert answer.set_cookie is None
    assert world.kinds == ["replaced", "refused-save"]
    assert (await late.post("/update", {"user_id": 8})).set_cookie is not None


async def test_the_sign_of_a_login_stays_for_a_moment_only() -> None:
    world = World(grace="30s")
    browser = world.browser()
    await browser.post("/update", {"cart": [1]})
    late = browser.clone()
    await browser.post("/update", {"user_id": 7})
    world.clock.advance(31)
    assert (await late.post("/update", {"cart": [2]})).set_cookie is not None


async def test_after_a_logout_a_visitor_may_begin_again_at_once() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    late = browser.clone()
    await browser.post("/logout", {})
    assert (await late.post("/update", {"cart": [2]})).set_cookie is not None


async def test_what_others_wrote_before_the_login_is_in_the_new_session() -> None:
    gate = Gate(lambda request, data: request.session.update(data))
    world = World({"slow": gate.handle})
    browser = world.browser()
    await browser.post("/update", {"cart": [1]})
    tab = browser.clone()
    await laced(tab, gate, {"user_id": 7}, browser.post("/update", {"colour": "red"}))
    assert await session_of(tab) == {"cart": [1], "colour": "red", "user_id": 7}


async def test_a_login_in_a_session_that_just_ended_takes_nothing_of_it_along() -> None:
    gate = Gate(lambda request, data: request.session.update(data))
    world = World({"slow": gate.handle})
    browser = world.browser()
    await browser.post("/update", {"secret": 1})
    tab = browser.clone()
    await laced(tab, gate, {"user_id": 7}, browser.post("/logout", {}))
    assert await session_of(tab) == {"user_id": 7}


async def test_a_request_that_names_another_user_by_half_fails_and_leaves_the_first_one() -> None:
    world = World(subject=lambda session: f"{session.get('tenant')}:{session.get('user')}")
    browser = world.browser()
    await browser.post("/update", {"tenant": "a", "user": 7})
    with pytest.raises(ConfigurationError, match="assign every key"):
        await browser.post("/update", {"tenant": "b"})
    assert await session_of(browser) == {"tenant": "a", "user": 7}
    await browser.post("/update", {"tenant": "b", "user": 7})
    assert await session_of(browser) == {"tenant": "b", "user": 7}


@pytest.mark.parametrize("how", ["destroy", "nobody", "somebody else"])
@pytest.mark.parametrize("lost_by", ["time", "rotations"])
async def test_a_late_logout_ends_the_session_whatever_its_id_is_by_now(
    lost_by: str, how: str
) -> None:
    def leave(request: Any, data: Any) -> None:
        if how == "destroy":
            request.session.destroy()
        else:
            request.session["user_id"] = None if how == "nobody" else 8

    async def go_on() -> None:
        for _ in range(1 if lost_by == "time" else 5):
            await browser.post("/rotate")
        if lost_by == "time":
            world.clock.advance(31)  # nothing leads from the old id any more

    gate = Gate(leave)
    world = World({"slow": gate.handle}, grace="30s")
    browser = await world.logged_in(7)
    await laced(browser.clone(), gate, {}, go_on())
    assert await session_of(browser) == {}
    assert await world.sessions.list(7) == []


async def test_one_user_after_another_inherits_nothing() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": 7, "secrets": {"of": "seven"}, "theme": "dark"})
    await browser.post("/update", {"user_id": 8, "theme": "dark"})
    assert await session_of(browser) == {"user_id": 8, "theme": "dark"}
    assert await world.sessions.list(7) == []


async def test_logout_ends_the_session_and_removes_the_cookie() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    old = browser.clone()
    answer = await browser.post("/logout", {})
    assert answer.set_cookie is not None
    assert "__Host-id=;" in answer.set_cookie
    assert "Max-Age=0" in answer.set_cookie
    assert world.stored_keys() == []
    assert await session_of(old) == {}


async def test_what_is_written_after_logout_begins_another_session() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": 7, "flash": "bye"})
    old = browser.clone()
    answer = await browser.post("/logout", {"flash": "bye"})
    assert answer.set_cookie is not None
    assert "Max-Age=43200" in answer.set_cookie
    assert await session_of(browser) == {"flash": "bye"}
    assert await session_of(old) == {}


async def test_taking_the_subject_out_is_a_logout_that_keeps_the_rest() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": 7, "theme": "dark"})
    old = browser.clone()
    await browser.post("/forget", ["user_id"])
    assert browser.cookie != old.cookie
    assert await session_of(browser) == {"theme": "dark"}
    assert await session_of(old) == {}
    assert await world.sessions.list(7) == []


async def test_rotate_gives_a_new_id_and_kills_the_old_one() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": 7, "a": 1})
    old = browser.clone()
    (before,) = await world.sessions.list(7)
    world.clock.advance(60)
    await browser.post("/rotate")
    assert await session_of(browser) == {"user_id": 7, "a": 1}
    assert await session_of(old) == {}
    (after,) = await world.sessions.list(7)
    assert (after.handle, after.expires) == (before.handle, before.expires)


async def test_a_request_under_way_follows_a_rotation() -> None:
    gate = Gate(lambda request, data: request.session.update(data))
    world = World({"slow": gate.handle})
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    tab = browser.clone()
    await laced(tab, gate, {"b": 1}, browser.post("/rotate"))
    assert await session_of(browser) == {"a": 1, "b": 1}


@pytest.mark.parametrize("path", ["/rotate", "/reauthenticate"])
@pytest.mark.parametrize("act", ["write", "rotate", "early", "pop"])
async def test_who_holds_a_rotated_id_is_never_handed_the_new_one(path: str, act: str) -> None:
    async def slow(request: Request) -> Response:
        await gate.handle(request)
        if act == "early":
            await save_session(request)
            request.session["b"] = 2
        return PlainTextResponse("ok")

    def change(request: Request, data: Any) -> None:
        session: Any = request.session
        session["b"] = 1
        if act in ("rotate", "early"):
            session.rotate()
        elif act == "pop":
            del session["user_id"]

    gate = Gate(change)
    world = World({"slow": slow})
    browser = await world.logged_in(7)
    thief = browser.clone()
    request = asyncio.create_task(thief.post("/slow", {}))
    await gate.reached_by(request)
    await browser.post(path)
    await browser.post("/update", {"secret": 1})
    gate.open.set()
    answer = await request
    if act == "pop":  # a logout reaches the session; what it held is not for this client
        assert await session_of(thief) == {"b": 1}
        assert await session_of(browser) == {}
        return
    assert answer.set_cookie is None
    assert await session_of(thief) == {}
    written = {"b": 2 if act == "early" else 1}
    assert await session_of(browser) == {"user_id": 7, "secret": 1, **written}


async def test_a_logout_under_way_follows_a_rotation() -> None:
    gate = Gate(lambda request, data: request.session.destroy())  # type: ignore[attr-defined]
    world = World({"slow": gate.handle})
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    await laced(browser.clone(), gate, {}, browser.post("/rotate"))
    assert await session_of(browser) == {}


async def test_who_proves_again_who_they_are_gets_a_new_id_and_new_clocks() -> None:
    world = World(absolute="1h")
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    old = browser.clone()
    world.clock.advance(1700)
    await browser.post("/reauthenticate")
    assert await session_of(old) == {}
    for _ in range(2):  # past the first deadline
        world.clock.advance(1700)
        assert await session_of(browser) == {"user_id": 7}
    world.clock.advance(300)
    assert await session_of(browser) == {}


# --- time


async def test_activity_moves_the_idle_limit() -> None:
    world = World(idle="10m")
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    for _ in range(5):
        world.clock.advance(599)
        await browser.get("/")  # any request counts, whether it looks at its session or not
    assert await session_of(browser) == {"a": 1}
    world.clock.advance(600)
    assert await session_of(browser) == {}


async def test_nothing_moves_the_absolute_limit() -> None:
    world = World(idle="10m", absolute="1h")
    browser = world.browser()
    await browser.post("/update", {"a": 0})
    for minute in range(1, 7):
        world.clock.advance(595)
        await browser.post("/update", {"a": minute})
        await browser.post("/rotate")
    world.clock.advance(30)
    assert await session_of(browser) == {}


async def test_the_deadline_in_the_middle_of_a_request_wins() -> None:
    gate = Gate(lambda request, data: request.session.update(data))
    world = World({"slow": gate.handle}, idle="10m", absolute="10m")
    browser = world.browser()
    await browser.post("/update", {"a": 1})

    async def time_passes() -> None:
        world.clock.advance(600)

    await laced(browser, gate, {"b": 1}, time_passes())
    assert world.stored_keys() == []


async def test_an_old_id_is_renewed_and_leads_to_the_new_one_for_a_moment() -> None:
    world = World(renew="10m", grace="20s")
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    old = browser.clone()
    world.clock.advance(600)
    answer = await browser.get("/")
    assert answer.set_cookie is not None
    assert answer.header("cache-control") == "private, no-store"
    assert answer.scope[SESSION_USED] is True
    assert browser.cookie != old.cookie

    late = old.clone()
    assert (await late.post("/update", {"late": True})).status == 200
    assert late.cookie == browser.cookie  # even a client that missed the first answer gets it
    assert await session_of(browser) == {"user_id": 7, "late": True}

    world.clock.advance(20)
    assert await session_of(old.clone()) == {}
    assert await session_of(browser) == {"user_id": 7, "late": True}


async def test_two_requests_that_renew_at_once_end_up_with_one_id() -> None:
    gate = Gate(lambda request, data: request.session.update(data))
    world = World({"slow": gate.handle}, renew="10m")
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    world.clock.advance(600)
    tab = browser.clone()
    await laced(tab, gate, {"a": 1}, browser.post("/update", {"b": 1}))
    assert tab.cookie == browser.cookie
    assert await session_of(browser) == {"user_id": 7, "a": 1, "b": 1}


async def test_logout_reaches_a_session_that_was_renewed_meanwhile() -> None:
    gate = Gate(lambda request, data: request.session.destroy())  # type: ignore[attr-defined]
    world = World({"slow": gate.handle}, renew="10m")
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    old = browser.clone()
    world.clock.advance(599)
    slow = asyncio.create_task(old.clone().post("/slow", {}))
    await gate.reached_by(slow)
    world.clock.advance(1)
    await browser.get("/")
    gate.open.set()
    await slow
    assert await session_of(browser) == {}
    assert await session_of(old) == {}


# --- what is stored


@pytest.mark.parametrize(
    "value",
    [
        *(object(), {1, 2}, b"bytes", float("nan"), [1j], {"a": {1: object()}}),
        *({1: "a"}, {None: 1}, [{True: 1}], {1.5: 1}, (1, 2), [(1,)]),
        *(Colour.RED, [Number.ONE], OrderedDict(a=1)),
    ],
)
async def test_what_cannot_be_stored_names_its_key(value: Any) -> None:
    async def put(request: Request) -> Response:
        request.session["bad"] = value
        return PlainTextResponse("ok")

    world = World({"put": put})
    with pytest.raises(TypeError, match="'bad'"):
        await world.browser().post("/put")
    assert world.stored_keys() == []


async def test_a_value_that_holds_itself_is_refused() -> None:
    async def put(request: Request) -> Response:
        loop: list[object] = []
        loop.append(loop)
        request.session["bad"] = loop
        return PlainTextResponse("ok")

    with pytest.raises(TypeError, match="'bad'"):
        await World({"put": put}).browser().post("/put")


async def test_a_session_has_a_size() -> None:
    world = World(max_bytes="1KiB")
    browser = world.browser()
    await browser.post("/update", {"a": "x" * 900})
    with pytest.raises(Exception, match="max_bytes=1024"):
        await browser.post("/update", {"b": "x" * 200})
    assert await session_of(browser) == {"a": "x" * 900}


@pytest.mark.parametrize("renew", [None, "10m"])
@pytest.mark.parametrize("key", [None, "A" * 43 + "="])
async def test_requests_at_once_do_not_outgrow_it(renew: str | None, key: str | None) -> None:
    gate = Gate(lambda request, data: request.session.update(data))
    keys = [key] if key else []
    world = World({"slow": gate.handle}, max_bytes="1KiB", renew=renew, encryption_keys=keys)
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    world.clock.advance(600)
    with pytest.raises(SessionTooLarge, match="max_bytes=1024"):
        await laced(
            browser.clone(), gate, {"b": "x" * 600}, browser.post("/update", {"c": "x" * 600})
        )
    assert await session_of(browser) == {"a": 1, "c": "x" * 600}
    await browser.post("/update", {"d": "x" * (1024 - 3 - 604 - 4)})  # to the last byte


@pytest.mark.parametrize(
    "fields",
    [
        {b"@": b"2 from the future"},
        {b"@": b"1 1 1"},
        {b"@": b"1 1 %b 1 1 - aa" % (b"9" * 5000)},
        {b"@": b"1 %b 99999999999999 1 1 - aa" % (b"9" * 30)},
        {b"=a": b"1"},
        {b"=a": b"{not json"},
        {b"=a": b"NaN"},
        {b"=a": b"1e999"},
        {b"=a": b"[" * 100_000},
        {b"=\xff": b"1"},
        {b"?": b"1"},
        {b"=user_id": b"8"},
        {b"=user_id": b"[]"},
    ],
    ids=lambda fields: ascii(fields)[:30],
)
async def test_a_corrupt_record_is_a_new_session_and_a_count(fields: dict[bytes, bytes]) -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"user_id": 7})
    key = ids.record_key(browser.session_id)
    if b"@" in fields or fields == {b"=a": b"1"}:
        world.store.keyspace.delete(key)
    world.store.keyspace.hset(key, fields)
    world.store.keyspace.expire(key, 60_000)
    answer = await browser.get("/view")
    assert (answer.status, answer.json()) == (200, {"session": {}})
    assert world.kinds == ["login", "unreadable"]
    assert world.sessions.counters["unreadable"] == 1


async def test_a_key_of_another_kind_is_a_new_session() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    world.store.keyspace.delete(ids.record_key(browser.session_id))
    world.store.keyspace.set(ids.record_key(browser.session_id), b"a string", 10_000)
    assert await session_of(browser) == {}
    assert world.kinds == ["created", "unreadable"]


async def test_encryption_at_rest() -> None:
    old, new = "A" * 43 + "=", "B" * 42 + "A="
    world = World(encryption_keys=[old])
    browser = world.browser()
    await browser.post("/update", {"user_id": 7, "diary": "dear diary"})
    await browser.post("/append", 1)
    fields = world.store.keyspace.hgetall(ids.record_key(browser.session_id))
    assert b"diary" not in b"".join(fields.values())
    assert await session_of(browser) == {"user_id": 7, "diary": "dear diary", "list": [1]}

    rotated = Sessions(store=world.store, renew=None, encryption_keys=[new, old])
    app = session_app(rotated)
    tab = Browser(app, cookie=browser.cookie)
    await tab.post("/append", 2)
    assert (await session_of(tab))["list"] == [1, 2]

    without = Browser(session_app(Sessions(store=world.store)), cookie=browser.cookie)
    assert await session_of(without) == {}


async def test_signed_ids_and_the_rotation_of_their_secret() -> None:
    world = World(secrets=["the first secret"])
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    assert await session_of(browser) == {"a": 1}

    forged = world.browser("__Host-id=" + browser.session_id.decode() + "." + "A" * 43)
    assert await session_of(forged) == {}
    assert world.kinds[-1] == "malformed-id"

    newer = Sessions(
        store=world.store, renew=None, secrets=["the second secret", "the first secret"]
    )
    tab = Browser(session_app(newer), cookie=browser.cookie)
    answer = await tab.get("/view")
    assert answer.json() == {"session": {"a": 1}}
    assert answer.set_cookie is not None  # the same id, signed anew
    assert tab.session_id == browser.session_id
    assert (await tab.get("/view")).set_cookie is None


# --- late changes


@pytest.mark.filterwarnings("ignore:the session was changed after:RuntimeWarning")
async def test_a_change_after_the_response_began_is_kept_if_it_needs_no_cookie() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    await browser.post("/stream", {"b": 2})
    assert await session_of(browser) == {"a": 1, "b": 2}
    assert world.kinds == ["created", "late-change"]


@pytest.mark.filterwarnings("ignore:the session was changed after:RuntimeWarning")
async def test_a_login_after_the_response_began_does_not_happen() -> None:
    world = World()
    browser = world.browser()
    await browser.post("/update", {"a": 1})
    await browser.post("/stream", {"user_id": 7})
    assert await session_of(browser) == {"a": 1}
    assert world.kinds == ["created", "late-change"]


async def test_a_change_after_the_response_began_warns_where_it_is_made() -> None:
    world = World()
    with pytest.warns(RuntimeWarning, match="after the response had begun") as caught:
        await world.browser().post("/stream", {"b": 2})
    assert caught[0].filename.endswith("tracked.py") or caught[0].filename.endswith("apps.py")
    assert world.stored_keys() == []
