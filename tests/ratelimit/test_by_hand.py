"""A rule used by hand: hit, peek, refund, penalty, block, reset."""

import pytest

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.identity import Identity
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.rule import RateLimit
from tests.ratelimit.apps import Client, app_with

pytestmark = pytest.mark.anyio


async def test_peek_refund_penalty_reset_and_block(limiter: Limiter) -> None:
    rule = RateLimit("3/minute", name="api").bind(limiter)
    me = "203.0.113.9"

    assert (await rule.hit(me)).remaining == 2
    await rule.penalty(me, 5)
    assert not (await rule.hit(me)).allowed
    assert (await rule.peek(me)).outcome == "limited"
    await rule.refund(me, 4)
    assert (await rule.peek(me)).remaining == 1
    assert (await rule.hit(me)).allowed
    await rule.block(me, "1h")
    blocked = await rule.hit(me)
    assert (blocked.outcome, blocked.retry_after) == ("blocked", 3_600_000)
    await rule.reset(me)
    assert (await rule.hit(me)).remaining == 2


async def test_by_hand_and_by_request_are_one_counter(limiter: Limiter) -> None:
    rule = RateLimit("2/minute", name="api")
    client = Client(app_with(limiter, {"/x": rule}), "2001:db8::1")
    await client.get("/x")
    assert (await rule.hit("2001:db8::ffff")).remaining == 0
    assert (await client.get("/x")).status_code == 429
    await rule.reset(Identity("ip", "2001:db8::/64"))
    assert (await client.get("/x")).status_code == 200


async def test_by_hand_limits_may_be_said(limiter: Limiter) -> None:
    rule = RateLimit("2/minute", name="api").bind(limiter)
    verdict = await rule.hit("me", limits=["5/hour", "9/day"])
    assert [each.policy for each in verdict.standings] == ["api-hour", "api-day"]
    assert [each.remaining for each in verdict.standings] == [4, 8]


async def test_by_hand_needs_a_name_or_a_route(limiter: Limiter) -> None:
    rule = RateLimit("2/minute")
    await Client(app_with(limiter, {"/x": rule})).get("/x")
    with pytest.raises(ConfigurationError, match="give it a name="):
        await rule.reset("203.0.113.9")
    assert (await rule.peek("203.0.113.9", route="GET /x")).remaining == 1


async def test_an_unbound_rule_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match=r"\.bind\(store\)"):
        await RateLimit("2/minute").hit("me")
