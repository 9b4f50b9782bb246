"""The pages: what they show of a fleet, of hostile names, and of a store that is away."""

import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence

import pytest
from fastapi import FastAPI, Request, Response
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from cachemw import (
    Cached,
    CacheMiddleware,
    CachePolicy,
    ConfigurationError,
    MemoryStore,
    RateLimit,
    SessionMiddleware,
    Sessions,
    install,
    open_store,
)
from cachemw.dashboard import dashboard
from cachemw.dashboard.app import _SHOWN
from cachemw.dashboard.entries import MOST
from cachemw.scripts import Reply, Script
from cachemw.telemetry.bulletin import Publisher
from cachemw.telemetry.events import Exchange, Purge, Refresh
from tests.dashboard.test_markup import HOSTILE
from tests.dashboard.visitors import AT, LOCAL, Elements, shop, visitor

ALIVE = [page for page in _SHOWN if page not in ("entry", "explain", "entries", "purge")]


@pytest.fixture
def browser() -> Iterator[TestClient]:
    with visitor(shop()) as browser:
        yield browser


@pytest.mark.parametrize("page", sorted(set(_SHOWN) - {"entry"}))
def test_each_page_is_there_and_the_navigation_says_where_one_is(
    browser: TestClient, page: str
) -> None:
    answer = browser.get(f"/cache/{page}")
    assert answer.status_code == 200
    elements = Elements(answer.text)
    here = [link["href"] for link in elements.of("a") if link.get("aria-current") == "page"]
    assert here == [f"/cache/{page}"]
    assert len(elements.of("h1")) == len(elements.of("main")) == len(elements.of("nav")) == 1


@pytest.mark.parametrize("page", ALIVE)
def test_the_feed_sends_the_regions_that_the_page_has(browser: TestClient, page: str) -> None:
    elements = Elements(browser.get(f"/cache/{page}").text)
    (feed,) = [body["data-feed"] for body in elements.of("body")]
    answer = browser.get(feed or "").json()
    regions = {one["id"] for one in elements.of("div") if "data-live" in one}
    assert regions == set(answer["parts"])
    assert answer["at"].endswith("UTC")


def test_requests_are_counted_by_what_became_of_them(browser: TestClient) -> None:
    for _ in range(3):
        browser.get("/products/3")
    page = browser.get("/cache/").text
    assert "66.7 %" in page
    assert "2 of 3" in page
    assert "/products/{id}" in page


def test_its_own_requests_are_not_counted() -> None:
    app = FastAPI()
    app.mount("/cache", dashboard(app))
    handle = install(app, store=MemoryStore(), default=CachePolicy(ttl="1h", force=True))
    with visitor(app) as browser:
        for _ in range(3):
            browser.get("/cache/")
        counts = handle.store.tally.counts
        assert (counts.unruled, counts.of_all_routes.requests) == (0, 0)


def test_what_was_verified_stands_beside_its_route() -> None:
    store = MemoryStore()
    with visitor(shop(store)) as browser:
        browser.get("/products/3")
        counts = store.tally.counts.routes["/products/{id}"]
        counts.verified, counts.mismatched = 40, 1
        assert "verified 40, 2.5 % differ" in browser.get("/cache/routes").text


def test_policies_stand_with_where_they_were_written() -> None:
    app = FastAPI()

    @app.get("/news", dependencies=[Cached(ttl="5m", tags=["news"])])
    async def news(response: Response) -> None:
        response.set_cookie("a", "b")

    app.mount("/cache", dashboard(app))
    install(app, store=MemoryStore(), cache={"GET /old/{id}": CachePolicy(ttl="1d")})
    with visitor(app) as browser:
        browser.get("/news")
        page = browser.get("/cache/routes").text
    assert "ttl 5m; credentials bypass; tags news" in page
    assert "by Cached at dashboard/test_pages.py:" in page
    assert "/old/{id}" in page and "by a pattern" in page
    assert "set-cookie 1" in page and "the response sets a cookie" in page


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_shown_and_do_nothing(text: str) -> None:
    store = MemoryStore()
    app = shop(store)
    with visitor(app) as browser:
        browser.get("/products/" + text.replace("/", "%2F").replace("\0", "%00"))
        tally = store.tally
        tally.exchanged(Exchange(1, text, text, text, text, text, 200, 0, 0, 0))
        tally.refresh_ended(Refresh(1, text, text, "kept"))
        tally.purged(Purge(1, text, (text, text), cause=text))
        tally.limited(text, text)
        tally.session(text)
        assert browser.portal is not None
        cache = app.state.cachemw.cache
        browser.portal.call(lambda: cache.set(text, 1, 60, tags=[text]))
        asked = dict.fromkeys(
            ("name", "tag", "kind", "state", "url", "headers", "page", "client", "by", "subject"),
            text,
        )
        pages = [browser.get(f"/cache/{page}") for page in _SHOWN]
        pages += [browser.get(f"/cache/{page}", params=asked) for page in _SHOWN]
        pages.append(browser.get("/cache/entries", params={"tag": text}))
        pages.append(browser.get("/cache/entry", params={"key": f"d:{{{text}}}"}))
        pages += [browser.get(link) for link in links_to(pages[-2].text, "/cache/entry?")]
        feeds = [browser.get("/cache/live.json", params={"page": page}) for page in ALIVE]
    documents = [page.text for page in pages]
    documents += [html for feed in feeds for html in feed.json()["parts"].values()]
    for document in documents:
        elements = Elements(document)
        assert all(
            (one["src"] or "").startswith("/cache/assets/icon.") for one in elements.of("img")
        )
        scripts = [one.get("src") or "" for one in elements.of("script")]
        assert all(source.startswith("/cache/assets/live.") for source in scripts)
        for _, attributes in elements.tags:
            assert not {name for name in attributes if name.startswith("on") or name == "style"}


def links_to(page: str, start: str) -> list[str]:
    found = [link["href"] or "" for link in Elements(page).of("a")]
    return [link for link in found if link.startswith(start)]


# --- entries


def test_an_entry_is_found_and_shown_with_what_ends_it(browser: TestClient) -> None:
    browser.get("/products/3?page=2")
    listed = browser.get("/cache/entries", params={"name": "/products/*"})
    (link,) = links_to(listed.text, "/cache/entry?")
    page = browser.get(link).text
    for text in ("/products/3?page=2", "product:3", "fresh", "application/json", "/products/{id}"):
        assert text in page
    left = [
        float(one["data-left"] or "") for one in Elements(page).of("span") if "data-left" in one
    ]
    assert len(left) == 2 and all(0 < one <= 300 for one in left)
    assert links_to(page, "/cache/purge?")
    assert '{"id"' not in page  # bodies are not shown


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"name": "/products/3"}, 1),
        ({"name": "/products/*"}, 2),
        ({"name": "/nothing"}, 0),
        ({"tag": "product:4"}, 1),
        ({"tag": "product:5"}, 0),
        ({"kind": "value"}, 0),
        ({"kind": "response", "state": "fresh"}, 2),
        ({"name": "/products/3", "state": "stale"}, 0),
        ({"name": "/products/3", "tag": "product:4"}, 0),
    ],
)
def test_filters(browser: TestClient, asked: dict[str, str], found: int) -> None:
    browser.get("/products/3")
    browser.get("/products/4")
    page = browser.get("/cache/entries", params=asked).text
    assert len(links_to(page, "/cache/entry?")) == found


@pytest.mark.parametrize("asked", [{"kind": "x"}, {"state": "x"}, {"name": "ftp://x/"}])
def test_what_cannot_be_looked_for_is_answered_in_words(
    browser: TestClient, asked: dict[str, str]
) -> None:
    answer = browser.get("/cache/entries", params=asked)
    assert answer.status_code in (200, 400)
    assert "notice-bad" in answer.text or "Nothing is kept that fits" in answer.text


@pytest.mark.parametrize(
    ("key", "status"), [("", 400), ("s:{x}", 400), ("e:{nothing}", 404), ("d:{é}", 404)]
)
def test_only_entries_are_shown(browser: TestClient, key: str, status: int) -> None:
    assert browser.get("/cache/entry", params={"key": key}).status_code == status


def test_a_store_full_of_entries_is_looked_through_with_a_bound() -> None:
    app = shop()
    with visitor(app) as browser:
        cache = app.state.cachemw.cache
        values = {f"user:{number}": number for number in range(3 * MOST)}
        assert browser.portal is not None
        browser.portal.call(cache.set_many, values, 60)
        page = browser.get("/cache/entries").text
        assert len(links_to(page, "/cache/entry?")) == MOST
        assert "there may be more" in page


# --- limits and sessions


def guarded() -> FastAPI:
    """An app with a limit and sessions."""
    app = FastAPI()

    @app.post("/login")
    async def login(request: Request) -> None:
        request.session["user_id"] = "ann"

    app.mount("/cache", dashboard(app))
    install(
        app,
        store=MemoryStore(),
        limits={"/login": RateLimit("3/minute", name="login")},
        sessions=Sessions(idle="30m", absolute="12h", secure=False, cookie="sid"),
    )
    return app


def test_limits_show_what_rules_said_and_who_is_counted() -> None:
    with visitor(guarded()) as browser:
        for _ in range(5):
            browser.post("/login")
        page = browser.get("/cache/limits").text
        assert "allowed 3" in page and "limited 2" in page
        assert '<td class="num" data-head="Count">3</td>' in page
        mine = browser.get("/cache/limits", params={"client": LOCAL[0], "by": "ip"}).text
        assert '<td class="num" data-head="Count">3</td>' in mine
        other = browser.get("/cache/limits", params={"client": "203.0.113.9"}).text
        assert "Nothing is counted of this client" in other
        assert LOCAL[0] not in page


def test_a_client_is_found_behind_any_number_of_busier_ones() -> None:
    app = guarded()
    with visitor(app) as browser:
        browser.post("/login")
        store = app.state.cachemw.store
        for number in range(300):
            key = b"rl:{%032x}:login:f60000" % number
            store.keyspace.set(key, b"2", 60_000)
        mine = browser.get("/cache/limits", params={"client": LOCAL[0], "by": "ip"}).text
        assert '<td class="num" data-head="Count">1</td>' in mine


def test_sessions_show_how_many_there_are_and_where_one_is_logged_in() -> None:
    with visitor(guarded()) as browser:
        for agent in ("Firefox", "<b>Evil</b>"):
            browser.cookies.clear()
            browser.post("/login", headers={"user-agent": agent})
        page = browser.get("/cache/sessions", params={"subject": "ann"}).text
        assert "2 at the moment" in page
        assert "Firefox" in page and "&lt;b&gt;Evil" in page
        assert "login" in page
        assert "Nowhere" in browser.get("/cache/sessions", params={"subject": "bob"}).text


def test_an_open_page_does_not_walk_over_the_keys_again_and_again() -> None:
    class Walked(MemoryStore):
        walks = 0

        def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
            self.walks += 1
            return super().scan(pattern)

    store = Walked()
    with visitor(shop(store)) as browser:
        for page in ("limits", "sessions"):
            browser.get(f"/cache/{page}")
            before = store.walks
            assert before > 0
            browser.get("/cache/live.json", params={"page": page})
            assert store.walks == before


# --- explaining


def test_a_request_is_explained_without_asking_the_app(browser: TestClient) -> None:
    browser.get("/products/3")
    page = browser.get("/cache/explain", params={"url": AT + "/products/3", "method": "GET"}).text
    assert "badge-hit" in page and "product:3" in page
    page = browser.get("/cache/explain", params={"url": "/cart", "headers": "Accept: */*"}).text
    assert "no cache policy matches the route" in page


@pytest.mark.parametrize(
    "asked",
    [
        {"url": "/x", "method": "BREW"},
        {"url": "/x", "headers": "no colon"},
        {"url": "/x", "headers": "Näme: x"},
        {"url": "ftp://x"},
        {"url": "x"},
    ],
)
def test_what_cannot_be_asked_is_answered_in_words(
    browser: TestClient, asked: dict[str, str]
) -> None:
    answer = browser.get("/cache/explain", params=asked)
    assert answer.status_code == 400
    assert "notice-bad" in answer.text


# --- what it may be given


def test_an_app_that_was_put_together_by_hand() -> None:
    store = MemoryStore()
    app = Starlette(routes=[Route("/news", lambda request: Response("news"))])
    app.mount("/cache", dashboard(app))
    app.add_middleware(SessionMiddleware, store=store, secure=False)
    app.add_middleware(CacheMiddleware, store=store, routes={"/news": CachePolicy(ttl="5m")})
    with visitor(app) as browser:
        browser.get("/news")
        assert "ttl 5m" in browser.get("/cache/routes").text
        assert "/news" in browser.get("/cache/entries").text


def test_the_handle_and_the_store_will_do() -> None:
    app = FastAPI()
    handle = install(app, store=MemoryStore(), cache={"/news": CachePolicy(ttl="5m")})
    app.mount("/handle", dashboard(handle))
    app.mount("/store", dashboard(handle.store))
    with visitor(app) as browser:
        assert "ttl 5m" in browser.get("/handle/routes").text
        assert "nothing is known" in browser.get("/store/routes").text
        assert "nothing is known" in browser.get("/store/explain").text


def test_an_app_without_a_cache_is_told_so() -> None:
    app = FastAPI()
    app.mount("/cache", dashboard(app))
    with visitor(app) as browser, pytest.raises(ConfigurationError, match="nothing to look at"):
        browser.get("/cache/")


# --- the fleet, and bad days


class Counting(MemoryStore):
    """Counts how often the fleet is asked for."""

    asked = 0

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        self.asked += script.name == "attend" and args[0] == b""
        return super().run(script, keys, args)


def test_however_many_look_the_store_is_asked_once_a_second() -> None:
    store = Counting()
    with visitor(shop(store)) as browser:
        assert store.asked == 0
        for _ in range(10):
            assert browser.get("/cache/live.json", params={"page": ""}).status_code == 200
        # One look lasts a second; ten requests take less than four, however slow the machine.
        assert 1 <= store.asked <= 4


def test_workers_elsewhere_are_counted_in(valkey_url: str) -> None:
    with visitor(shop(open_store(valkey_url + "?deadline=5s"))) as browser:
        assert browser.portal is not None
        other = open_store(valkey_url + "?deadline=5s")
        other.tally.exchanged(Exchange(1, "GET", "/far", "/far", "hit", saved=7200.0))
        browser.portal.call(Publisher(other).post)
        assert "2 h" in browser.get("/cache/").text
        workers = browser.get("/cache/health").text
        assert workers.count('<th scope="row">worker ') == 2
        browser.portal.call(other.aclose)


def test_huge_counts_fit() -> None:
    store = MemoryStore()
    with visitor(shop(store)) as browser:
        store.tally.exchanged(Exchange(1, "GET", "/x", "/x", "hit", "", 200))
        counts = store.tally.counts.routes["/x"]
        counts.hits, counts.saved, counts.misses = 10**18, 1e15, 1
        page = browser.get("/cache/").text
        assert "1,000P" in page
        assert "99.9 %" in page
        assert "nan" not in page and "inf" not in page.replace("info", "")


@pytest.mark.parametrize("page", sorted(_SHOWN))
def test_without_the_store_every_page_is_there(page: str) -> None:
    store = open_store("redis://127.0.0.1:1?deadline=20ms")
    with visitor(shop(store)) as browser:
        answer = browser.get(f"/cache/{page}", params={"key": "e:{x}", "url": "/products/3"})
        assert answer.status_code == 200
        if page != "routes":
            assert "does not answer" in answer.text or "away" in answer.text


def test_the_feed_of_no_page_is_not_found(browser: TestClient) -> None:
    assert browser.get("/cache/live.json?page=nothing").status_code == 404
    assert browser.get("/cache/assets/other.js").status_code == 404
    assert browser.get("/cache/nothing").status_code == 404
    assert json.loads(browser.get("/cache/live.json?page=purge").text)["parts"] == {}
