"""Who is logged in: listing, ending, limiting."""

from datetime import UTC, datetime, timedelta

import pytest

from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.sessions import ids
from cachemw.sessions.holding import Holding
from cachemw.sessions.sessions import Sessions
from cachemw.stores.memory import MemoryStore
from tests.sessions.world import World, session_of

pytestmark = pytest.mark.anyio


async def test_users_see_where_they_are_logged_in() -> None:
    world = World(idle="10m", absolute="1h")
    start = datetime.fromtimestamp(world.clock.now, UTC)
    await world.logged_in(7, user_agent="Firefox on a desk")
    world.clock.advance(60)
    phone = await world.logged_in("7", user_agent="Phone")
    await world.logged_in(8)
    first, second = await world.sessions.list(7)
    assert (first.device, second.device) == ("Phone", "Firefox on a desk")
    assert second.created == second.last_seen == start
    assert second.expires == start + timedelta(hours=1)
    world.clock.advance(550)
    await phone.get("/")
    (left,) = await world.sessions.list(7)
    assert left.handle == first.handle
    assert left.last_seen == start + timedelta(seconds=610)


async def test_one_session_can_be_ended() -> None:
    world = World()
    laptop = await world.logged_in(7, user_agent="laptop")
    phone = await world.logged_in(7, user_agent="phone")
    handle = next(s.handle for s in await world.sessions.list(7) if s.device == "phone")
    assert await world.sessions.revoke(7, handle) is True
    assert await world.sessions.revoke(7, handle) is False
    assert await world.sessions.revoke(8, handle) is False
    assert await session_of(phone) == {}
    assert await session_of(laptop) == {"user_id": 7}
    assert world.kinds[-1] == "revoked"


@pytest.mark.parametrize("handle", ["*", "", "\ud800", "AB"])
async def test_what_is_no_handle_ends_nothing(handle: str) -> None:
    world = World()
    await world.logged_in(7)
    await world.logged_in(7)
    assert await world.sessions.revoke(7, handle) is False
    assert len(await world.sessions.list(7)) == 2


@pytest.mark.parametrize(
    "entry",
    [
        b"garbage",
        b"",
        b"1 2",
        b"x 1 2 ua",
        *(b"%b 1 %b ua" % (b"9" * n, b"9" * n) for n in (30, 5000)),
    ],
    ids=lambda entry: ascii(entry)[:20],
)
async def test_an_entry_that_is_not_ours_is_not_listed(entry: bytes) -> None:
    world = World()
    await world.logged_in(7)
    (good,) = await world.sessions.list(7)
    index = ids.index_key(ids.place_of_subject("7"))
    subject = ids.digest_of_subject("7")
    world.store.keyspace.hset(index, {subject + b":ab": entry, subject + b":\xff": b"1 1 1 ua"})
    assert await world.sessions.list(7) == [good]
    await world.logged_in(7)
    assert len(await world.sessions.list(7)) == 2


async def test_a_handle_opens_nothing() -> None:
    world = World()
    await world.logged_in(7)
    (info,) = await world.sessions.list(7)
    assert await session_of(world.browser(f"__Host-id={info.handle}")) == {}
    assert await session_of(world.browser("__Host-id=" + info.handle.ljust(48, "A"))) == {}


async def test_all_sessions_of_a_subject_can_be_ended_but_one() -> None:
    world = World()
    browsers = [await world.logged_in(7) for _ in range(4)]
    other = await world.logged_in(8)
    kept = (await world.sessions.list(7))[0]
    assert await world.sessions.revoke_all(7, keep=kept.handle) == 3
    assert [s.handle for s in await world.sessions.list(7)] == [kept.handle]
    assert await world.sessions.revoke_all(7) == 1
    assert [await session_of(browser) for browser in browsers] == [{}] * 4
    assert await session_of(other) == {"user_id": 8}
    again = await world.logged_in(7)
    assert await session_of(again) == {"user_id": 7}


async def test_a_revoked_session_stays_revoked_when_its_save_comes_late() -> None:
    world = World()
    browser = await world.logged_in(7)
    found = await world.sessions.vault.load(browser.session_id)
    await world.sessions.revoke_all(7)
    from cachemw.sessions.session import Changes
    from cachemw.sessions.vault import Found, Lost

    assert isinstance(found, Found)
    result = await world.sessions.vault.save(found, Changes({"a": b"1"}), {})
    assert result == Lost("revoked")
    assert await session_of(browser) == {}


async def test_what_was_read_is_not_in_its_repr() -> None:
    world = World()
    browser = await world.logged_in("ada@example.com")
    found = await world.sessions.vault.load(browser.session_id)
    assert browser.cookie is not None
    headers = [(b"cookie", browser.cookie.encode())]
    reading = world.sessions.cookie.read(headers)
    for seen in (repr(found), repr(reading), repr(Holding(world.sessions, headers))):
        assert browser.session_id.decode() not in seen
        assert "ada@example.com" not in seen


async def test_everyone_can_be_logged_out() -> None:
    world = World()
    browsers = [await world.logged_in(subject) for subject in range(20)]
    anonymous = world.browser()
    await anonymous.post("/update", {"a": 1})
    assert await world.sessions.revoke_everyone() == 20
    assert [await session_of(browser) for browser in browsers] == [{}] * 20
    assert await session_of(anonymous) == {"a": 1}


async def test_an_index_that_was_evicted_revokes_rather_than_pardons() -> None:
    world = World()
    browser = await world.logged_in(7)
    await world.sessions.revoke_all(7)
    await world.store.delete([ids.index_key(ids.place_of_subject("7"))])
    assert await session_of(browser) == {}
    second = await world.logged_in(7)
    await world.store.delete([ids.index_key(ids.place_of_subject("7"))])
    assert await session_of(second) == {}


async def test_a_new_login_ends_the_session_used_least_recently() -> None:
    world = World(max_sessions=2)
    first = await world.logged_in(7)
    world.clock.advance(1)
    second = await world.logged_in(7)
    world.clock.advance(1)
    await first.get("/")
    world.clock.advance(1)
    third = await world.logged_in(7)
    assert [await session_of(b) for b in (first, second, third)] == [
        {"user_id": 7},
        {},
        {"user_id": 7},
    ]
    assert world.kinds[:4] == ["login", "login", "login", "evicted"]


async def test_sessions_whose_time_is_up_do_not_count() -> None:
    world = World(max_sessions=1, idle="10m")
    await world.logged_in(7)
    world.clock.advance(600)
    await world.logged_in(7)
    assert "evicted" not in world.kinds


async def test_two_subjects_of_one_place_do_not_see_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "place_of_subject", lambda subject: b"same")
    world = World()
    seven, eight = await world.logged_in(7), await world.logged_in(8)
    assert len(await world.sessions.list(7)) == 1
    await world.sessions.revoke_all(7)
    assert await session_of(seven) == {}
    assert await session_of(eight) == {"user_id": 8}


async def test_without_a_store_the_fix_is_named() -> None:
    sessions = Sessions()
    with pytest.raises(ConfigurationError, match="install"):
        await sessions.revoke_all(7)
    store = MemoryStore()
    assert sessions.bind(store).bind(store) is sessions
    assert await sessions.revoke_all(7) == 0
    with pytest.raises(ConfigurationError, match="another store"):
        sessions.bind(MemoryStore())


async def test_an_outage_is_an_error_here() -> None:
    world = World()
    await world.store.aclose()
    with pytest.raises(StoreUnavailable):
        await world.sessions.revoke_all(7)
    with pytest.raises(StoreUnavailable):
        await world.sessions.list(7)


async def test_a_broken_audit_hook_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: object) -> None:
        raise ZeroDivisionError

    world = World()
    world.sessions = Sessions(store=world.store, audit=broken)
    world.app.sessions = world.sessions
    browser = await world.logged_in(7)
    assert await session_of(browser) == {"user_id": 7}
    assert "audit hook failed" in caplog.text


async def test_no_event_carries_an_id() -> None:
    world = World()
    browser = await world.logged_in(7)
    await browser.post("/rotate")
    await browser.post("/logout", {})
    await browser.clone().get("/view")
    told = repr(world.events)
    assert world.kinds == ["login", "rotated", "ended"]
    assert all(event.subject == "7" for event in world.events)
    assert browser.cookie is None
    assert ids.place_of_subject("7").decode() not in told
