"""`stats`, `top` and `tail`: what a fleet has told of itself."""

import asyncio

import pytest

from cachemw import open_store
from cachemw.telemetry.bulletin import Publisher
from cachemw.testing.client import Client
from tests.cli.conftest import Shop
from tests.cli.terminal import Ended
from tests.cli.test_looking import objects
from tests.inspection.shop import shop as make_shop


async def worked(url: str) -> None:
    """A worker that answers some requests and tells of them, then ends without taking it back."""
    store = open_store(url + "?deadline=5s")
    app = make_shop(store)
    client = Client(app)
    for target in ("/me", "/me", "/plain", "/about", "/about", "/about"):
        await client.get(target)
    await client.get("/about", headers={"cookie": "a=b"})
    assert await Publisher(store).post()
    await store.aclose()


SCREEN_GIVEN_BACK = "\x1b[?25h\x1b[?1049l"  # the cursor, and what was there before


@pytest.fixture
def at_work(shop: Shop) -> Shop:
    for _ in range(2):
        asyncio.run(worked(shop.url))
    return shop


def of(ended: Ended, name: str) -> dict[object, dict[str, object]]:
    return {one[name]: one for one in objects(ended)}


def test_the_counts_of_all_workers_are_added_up(at_work: Shop) -> None:
    told = of(at_work.piped("stats", "--json"), "route")
    about = told["/about"]
    # The page was there from the start.
    assert (about["hits"], about["misses"], about["bypasses"]) == (6, 0, 2)
    assert about["reasons"] == {"bypass cookie": 2}
    assert (told["/me"]["hits"], told["/me"]["misses"]) == (3, 1)
    assert told["all"]["requests"] == 12
    ended = at_work.piped("stats")
    assert ended.lines[0].startswith("8\t100.0%\t6\t0\t0\t2\t")
    assert ended.lines[0].endswith("/about")
    assert "2 workers; 2 requests without a policy" in ended.err


def test_into_a_pipe_it_is_told_once(at_work: Shop) -> None:
    assert at_work.piped("stats", "--watch").code == 0


def test_it_is_shown_again_and_again_until_somebody_has_seen_enough(at_work: Shop) -> None:
    ended = at_work.on_terminal("stats", "--watch", columns=120, until="/about")
    assert ended.code == 130
    assert "2 workers; 2 requests without a policy" in ended.out
    assert ended.out.rstrip().endswith(SCREEN_GIVEN_BACK)


def test_a_tail_goes_on_until_somebody_has_seen_enough(at_work: Shop) -> None:
    ended = at_work.on_terminal("tail", "--outcome", "bypass", until="GET /about bypass 200")
    assert ended.code == 130
    assert "hit" not in ended.out


def test_the_last_requests_are_ranked(at_work: Shop) -> None:
    paths = of(at_work.piped("top", "--json"), "path")
    assert paths["GET /about"]["count"] == 8
    assert next(iter(paths)) == "GET /about"
    reasons = of(at_work.piped("top", "--by", "reason", "--outcome", "bypass", "--json"), "reason")
    assert {name: one["count"] for name, one in reasons.items()} == {"cookie": 2}
    assert at_work.on_terminal("top").code == 0


def test_what_became_of_each_is_a_line(at_work: Shop) -> None:
    lines = at_work.piped("tail", "--once").lines
    assert len(lines) == 12
    assert sum("GET /about hit 200 route=/about" in line for line in lines) == 6
    only = objects(at_work.piped("tail", "--once", "--outcome", "bypass", "--json"))
    assert {one["reason"] for one in only} == {"cookie"}
    assert len(at_work.piped("tail", "--once", "--route", "/me").lines) == 4
    shown = at_work.on_terminal("tail", "--once", columns=60)
    assert "GET /about hit" in shown.out


def test_nobody_at_work_is_no_failure(shop: Shop) -> None:
    assert shop.piped("tail", "--once").out == ""
    assert objects(shop.piped("stats", "--json"))[0]["requests"] == 0
    assert shop.piped("top").code == 0
