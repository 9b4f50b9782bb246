"""The purge page: dry runs, purges of each kind, the log, hostile names, a store that is away."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from cachemw import CachePolicy, MemoryStore, install, open_store
from cachemw.dashboard import dashboard
from cachemw.dashboard.app import _FIELDS
from cachemw.dashboard.purgelog import KEY, MOST, PURGELOG, Line, PurgeLog
from cachemw.stores.memory import MemoryStore as Memory
from cachemw.testing.twins import Twins
from tests.dashboard.test_markup import HOSTILE
from tests.dashboard.visitors import Elements, purge, shop, visitor


@pytest.fixture
def browser() -> Iterator[TestClient]:
    with visitor(shop(allow_purge=True)) as browser:
        yield browser


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("tag", "product:3"),
        ("route", "/products/{id}"),
        ("url", "/products/3"),
        ("url", "http://localhost:8000/products/3"),
    ],
)
@pytest.mark.parametrize("soft", ["", "1"])
def test_each_way_reaches_the_page(browser: TestClient, kind: str, what: str, soft: str) -> None:
    browser.get("/products/3")
    answer = purge(browser, kind, what, soft=soft)
    assert answer.status_code == 303, answer.text
    assert ("Marked as stale" if soft else "Purged") in browser.get(answer.headers["location"]).text
    assert "hit" not in browser.get("/products/3").headers["cache-status"]


def test_a_purge_is_one_purge_and_no_change_of_the_dashboard_itself() -> None:
    store = MemoryStore()
    app = FastAPI()
    app.mount("/cache", dashboard(app, allow_purge=True))
    install(app, store=store, default=CachePolicy(ttl="5m", credentials="strip"))
    with visitor(app) as browser:
        assert purge(browser).status_code == 303
    assert [(one.subject, one.names) for one in store.tally.purges] == [("tags", ("product:3",))]


@pytest.mark.parametrize(
    ("kind", "what", "said"),
    [
        ("tag", "  ", "name the Tag"),
        ("", "x", "choose what"),
        ("everything", "x", "choose what"),
        ("url", "ftp://x", "is no address"),
        ("pattern", "[é]", "cannot stand in brackets"),
        ("tag", "x" * 5000, "longer than any name"),
    ],
)
def test_what_cannot_be_meant_is_answered_in_words(
    browser: TestClient, kind: str, what: str, said: str
) -> None:
    answer = purge(browser, kind, what)
    assert answer.status_code == 400
    assert said in answer.text
    asked = browser.get("/cache/purge", params={"kind": kind, "what": what, "dry": "1"})
    assert asked.status_code == 400
    assert said in asked.text


def test_a_dry_run_counts_and_changes_nothing() -> None:
    store = MemoryStore()
    app = shop(store)
    with visitor(app) as browser:
        cache = app.state.cachemw.cache
        assert browser.portal is not None
        for number in range(3):
            browser.portal.call(cache.set, f"user:{number}", number, 60)
        asked = browser.get("/cache/purge", params={"kind": "pattern", "what": "user:*", "dry": 1})
        assert "3 entries would go" in asked.text
        asked = browser.get("/cache/purge", params={"kind": "key", "what": "user:1", "dry": 1})
        assert "1 entry would go" in asked.text
        browser.get("/products/3")
        for kind, what in [
            ("tag", "product:3"),
            ("url", "/products/3"),
            ("route", "/products/{id}"),
            ("namespace", "nothing"),
        ]:
            asked = browser.get("/cache/purge", params={"kind": kind, "what": what, "dry": 1})
            counted = "0 entries" if kind == "namespace" else "1 entry"
            assert f"{counted} would go" in asked.text
        assert "hit" in browser.get("/products/3").headers["cache-status"]
        assert len(browser.portal.call(cache.keys, "user:*")) == 3


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(browser: TestClient, text: str) -> None:
    answer = purge(browser, "tag", text)
    pages = [
        browser.get(answer.headers["location"]),
        browser.get("/cache/purge", params={"kind": "tag", "what": text, "dry": "1"}),
        browser.get("/cache/purge", params={"kind": text, "what": text, "dry": "1"}),
        browser.get("/cache/purge", params={"done": text, "kind": "tag", "what": "x", text: text}),
        browser.get("/cache/purge", params={"kind": "url", "what": text, "dry": "1"}),
    ]
    for page in pages:
        elements = Elements(page.text)
        (only,) = elements.of("script")
        assert (only["src"] or "").startswith("/cache/assets/live.")
        assert all(
            (one["src"] or "").startswith("/cache/assets/icon.") for one in elements.of("img")
        )
        for _, attributes in elements.tags:
            assert not {name for name in attributes if name.startswith("on") or name == "style"}


def test_every_answer_has_the_fields_that_guard_it(browser: TestClient) -> None:
    style = Elements(browser.get("/cache/purge").text).of("link")[1]["href"] or ""
    for path in ("/cache/purge", "/cache/live.json?page=purge", "/cache/live.json?page=x", style):
        headers = browser.get(path).headers
        assert {name: headers[name] for name in _FIELDS} == _FIELDS
        kept = "private, max-age=31536000, immutable" if path == style else "no-store"
        assert headers["cache-control"] == kept
    assert "unsafe" not in _FIELDS["content-security-policy"]


def test_without_the_store_the_page_is_there_and_says_so() -> None:
    store = open_store("redis://127.0.0.1:1?deadline=20ms")
    with visitor(shop(store, allow_purge=True)) as browser:
        assert "does not answer" in browser.get("/cache/purge").text
        asked = browser.get("/cache/purge", params={"kind": "key", "what": "x", "dry": "1"})
        assert asked.status_code == 200
        answer = purge(browser)
        assert answer.status_code == 503
        assert "purge again" in answer.text


# --- the log


@pytest.mark.anyio
async def test_the_log_keeps_the_last_lines_and_ends() -> None:
    store = Memory()
    log = PurgeLog(store)
    for number in range(MOST + 5):
        await log.enter(Line(number, "tag", f"t{number}", False, "ann", None))
    lines = await log.lines()
    assert [line.at for line in lines] == list(range(MOST + 4, 4, -1))
    assert store.keyspace.ttl(KEY) > 0


@pytest.mark.anyio
async def test_lines_that_are_not_ours_are_left_out() -> None:
    store = Memory()
    for line in (b"", b"\xff", b"{}", b"[1,2]", b'[1,"tag","x",false,"a"]', b"[" * 5000):
        await store.run(PURGELOG, (KEY,), (line[:10] + b".", line, b"50", b"1000"))
    assert await PurgeLog(store).lines() == []


@pytest.mark.anyio
async def test_the_script_and_its_twin_agree(redis_url: str) -> None:
    server = open_store(redis_url + ("&" if "?" in redis_url else "?") + "prefix=&deadline=5s")
    twins = Twins(server, [KEY])

    def view(reply: object) -> object:
        assert isinstance(reply, list)
        return dict(zip(reply[::2], reply[1::2], strict=True))

    for number in (3, 1, 2, 5, 4):
        args = (b"%d" % number, b"line", b"3", b"100000")
        await twins.run(PURGELOG, (KEY,), args, view=view)
    kept = await twins.run(PURGELOG, (KEY,), (b"", b"", b"", b""), view=view)
    assert view(kept) == {b"3": b"line", b"4": b"line", b"5": b"line"}
    for store in (twins.memory, server):
        await store.set(KEY, b"not a hash", ttl=100_000)
    await twins.run(PURGELOG, (KEY,), (b"", b"", b"", b""), view=view)
    await server.aclose()
