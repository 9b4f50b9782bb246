"""Comparing what is stored with what the app answers: while serving, and before that."""

from types import SimpleNamespace
from typing import Any

import pytest

from cachemw import CachePolicy, ConfigurationError
from cachemw.caching.flights import ASIDE
from cachemw.telemetry.counters import RouteCounts
from cachemw.testing import START, Gate
from tests.caching.caches import Cached, cached

pytestmark = pytest.mark.anyio


def counts(cache: Cached) -> RouteCounts:
    (found,) = cache.middleware.engine.tally.counts.routes.values()
    return found


def compared(cache: Cached) -> tuple[int, int]:
    found = counts(cache)
    return found.verified, found.mismatched


async def stored(answer: Any = "page", **policy: Any) -> Cached:
    """A cache that verifies every hit, and has one page."""
    cache = cached(ttl="5m", **{"verify": 1.0, **policy})
    cache.origin.answers(answer)
    await cache.get("/")
    await cache.settle()
    return cache


# --- while serving


async def test_the_same_answer_is_no_mismatch() -> None:
    cache = await stored()
    response = await cache.get("/")
    await cache.settle()
    assert (response.cache, response.body) == ("hit", b"page")
    assert compared(cache) == (1, 0)
    assert cache.origin.called(2)


@pytest.mark.parametrize(
    ("answer", "differences"),
    [
        ({"body": "other"}, {"body"}),
        ({"status": 404}, {"status"}),
        ({"headers": {"content-type": "text/html"}}, {"headers:content-type"}),
        ({"headers": {"set-cookie": "a=b"}}, {"headers:set-cookie"}),
        ({"headers": {"date": "now", "x-request-id": "7"}}, set()),
        ({"body": ValueError("oops")}, {"status", "body"}),
    ],
)
async def test_what_differs_is_named(answer: dict[str, Any], differences: set[str]) -> None:
    cache = await stored()
    cache.origin.answers(answer.pop("body", "page"), **answer)
    cache.clock.advance("9s")
    assert (await cache.get("/")).body == b"page"
    await cache.settle()
    assert compared(cache) == (1, bool(differences))
    found = list(cache.middleware.engine.tally.mismatches)
    assert {name for each in found for name in each.differences} == differences
    assert [each.age for each in found] == [9.0] * bool(differences)
    words = {name.partition(":")[0] for name in differences}
    assert counts(cache).differences == dict.fromkeys(words, 1)


async def test_what_is_compared_is_not_kept() -> None:
    cache = await stored()
    cache.origin.answers("other")
    for _ in range(3):
        response = await cache.get("/")
        assert (response.cache, response.body) == ("hit", b"page")
        await cache.settle()


async def test_nobody_waits_for_a_comparison() -> None:
    cache, gate = await stored(), Gate()
    cache.origin.answers(gate, START, "page")
    assert (await cache.get("/")).body == b"page"
    await gate.reached()
    assert counts(cache).verified == 0
    gate.open()
    await cache.settle()
    assert compared(cache) == (1, 0)


async def test_no_more_than_some_are_under_way() -> None:
    cache, gate = await stored(), Gate()
    cache.origin.answers(gate, START, "page")
    for _ in range(3 * ASIDE):
        await cache.get("/")
    await gate.reached()
    assert cache.origin.running == ASIDE
    gate.open()
    await cache.settle()
    assert counts(cache).verified == ASIDE


async def test_an_app_that_does_not_answer_in_time_says_nothing() -> None:
    cache, gate = await stored(timeout=0.01), Gate()
    cache.origin.answers(gate, START, "page")
    await cache.get("/")
    await gate.reached()
    await cache.settle()
    assert (compared(cache), cache.origin.running) == ((0, 0), 0)


async def test_the_app_is_asked_as_a_refresh_asks_it() -> None:
    cache = await stored(credentials="strip")
    first = await cache.get("/", headers={"authorization": "secret", "cookie": "a=b"})
    await cache.settle()
    etag = first.header("etag") or ""
    assert (await cache.get("/", headers={"if-none-match": etag})).status == 304
    await cache.settle()
    for name in ("authorization", "cookie", "if-none-match"):
        assert not any(request.header(name) for request in cache.origin.requests)
    assert compared(cache) == (2, 0)


async def test_without_verify_the_app_is_left_alone() -> None:
    cache = await stored(verify=0.0)
    await cache.get("/")
    await cache.settle()
    assert cache.origin.called(1)


async def test_a_share_is_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    lots = iter([0.5, 0.009, 0.011])
    cache = await stored(verify=0.01)
    fate = SimpleNamespace(random=lambda: next(lots))
    monkeypatch.setattr("cachemw.caching.trials.random", fate)
    for _ in range(3):
        await cache.get("/")
        await cache.settle()
    assert counts(cache).verified == 1


# --- on trial


async def test_on_trial_the_app_answers_everything() -> None:
    cache = await stored(serve=False)
    for number in range(3):
        cache.origin.answers(f"new {number}")
        response = await cache.get("/")
        assert response.body == f"new {number}".encode()
        assert (response.cache, response.detail) == ("bypass", "trial-hit")
    await cache.settle()
    assert compared(cache) == (3, 3)
    assert counts(cache).reasons == {("bypass", "trial-miss"): 1, ("bypass", "trial-hit"): 3}
    assert cache.origin.called(5)  # each request, and one fill


async def test_on_trial_an_app_that_agrees_is_seen_to() -> None:
    cache = await stored(serve=False)
    await cache.get("/")
    assert compared(cache) == (1, 0)


async def test_on_trial_clients_get_what_is_theirs() -> None:
    cache = cached(ttl="5m", credentials="strip", verify=1.0, serve=False)
    cache.origin.answers("page")
    await cache.get("/", headers={"authorization": "mine"})
    await cache.settle()
    first, fill = cache.origin.requests
    assert (first.header("authorization"), fill.header("authorization")) == ("mine", None)
    cache.origin.answers("my page")
    assert (await cache.get("/", headers={"authorization": "mine"})).body == b"my page"
    assert compared(cache) == (1, 1)


@pytest.mark.parametrize("headers", [{"if-none-match": '"x"'}, {"range": "bytes=0-1"}])
async def test_on_trial_a_part_is_not_compared(headers: dict[str, str]) -> None:
    cache = await stored(serve=False)
    await cache.get("/", headers=headers)
    await cache.client.request("HEAD", "/")
    assert compared(cache) == (0, 0)


async def test_on_trial_what_cannot_be_kept_is_not_asked_for_twice_each_time() -> None:
    cache = cached(verify=1.0, serve=False)
    cache.origin.answers("mine", headers={"cache-control": "private"})
    for _ in range(5):
        await cache.get("/")
        await cache.settle()
    assert cache.origin.called(6)


async def test_on_trial_a_client_that_leaves_is_no_mismatch() -> None:
    cache, gate = await stored(serve=False), Gate()
    cache.origin.answers(START, "pa", gate, "ge")
    asking = cache.start("GET", "/")
    await gate.reached()
    await asking.cancel()
    assert compared(cache) == (0, 0)


def test_a_trial_without_comparisons_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="verify=1.0"):
        CachePolicy(ttl="5m", serve=False)
    with pytest.raises(ConfigurationError, match="verify"):
        CachePolicy(ttl="5m", verify=1.1)
