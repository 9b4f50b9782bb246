"""A policy's `ttl` may be a function of the response. It is the operator's code, and may fail."""

import logging
from typing import Any

import pytest

from cachemw.caching.judging import Refuse
from cachemw.caching.reasons import Reason
from cachemw.messages import ResponseHead
from tests.caching.caches import FRESH, cached

pytestmark = pytest.mark.anyio


def raises(head: ResponseHead) -> float:
    raise KeyError("x-ttl")


async def test_it_decides_for_each_response() -> None:
    cache = cached(ttl=lambda head: {200: "10s", 203: None}[head.status])
    cache.origin.answers("a")
    assert (await cache.get("/a")).is_stored
    cache.clock.advance("11s")
    assert (await cache.get("/a")).cache == "miss"
    cache.origin.answers("b", status=203)
    assert (await cache.get("/b")).detail == "no-lifetime"
    cache.origin.answers("c", status=203, headers=FRESH)
    assert (await cache.get("/c")).is_stored


@pytest.mark.parametrize(
    "given",
    [raises, -1, float("nan"), float("inf"), 1e300, 2**31 + 1, "soon", True, [], b"5m"],
)
async def test_when_it_fails_the_response_is_not_kept_and_that_is_logged_once(
    given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache = cached(ttl=raises if given is raises else lambda head: given)
    cache.origin.answers("body", headers=FRESH)
    with caplog.at_level(logging.WARNING, "cachemw.cache"):
        for _ in range(3):
            answer = await cache.get("/")
            assert (answer.status, answer.body) == (200, b"body")
            assert answer.detail == "ttl-rule" and not answer.is_stored
    (record,) = caplog.records
    assert "a ttl function of a policy failed" in record.getMessage()
    assert record.exc_info is not None


async def test_when_it_fails_for_what_the_app_confirms_the_entry_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given: list[Any] = ["1s"]
    cache = cached(ttl=lambda head: given[0], stale_if_error="1m")
    cache.origin.answers("body", headers={"etag": '"a"'})
    assert (await cache.get("/")).is_stored
    cache.clock.advance("2s")
    given[0] = "nonsense"
    cache.origin.answers("", status=304, headers={"etag": '"a"'})
    answer = await cache.get("/")
    assert (answer.status, answer.body, answer.detail) == (200, b"body", "not-modified")
    assert "a ttl function of a policy failed" in caplog.text


def test_a_refusal_says_what_it_was() -> None:
    assert Refuse(Reason.TTL_RULE) == Refuse(Reason.TTL_RULE, ValueError("x"))
