"""Every scenario, played through the whole middleware."""

from collections import Counter

import pytest

from tests.conformance import (
    freshness,
    invalidation,
    ranges,
    requests,
    selecting,
    stale,
    storing,
    validation,
)
from tests.conformance.play import Scenario, play

pytestmark = pytest.mark.anyio

ALL: list[Scenario] = [
    *storing.SCENARIOS,
    *freshness.SCENARIOS,
    *stale.SCENARIOS,
    *validation.SCENARIOS,
    *ranges.SCENARIOS,
    *selecting.SCENARIOS,
    *requests.SCENARIOS,
    *invalidation.SCENARIOS,
]


@pytest.mark.parametrize("scenario", ALL, ids=str)
async def test_scenario(scenario: Scenario) -> None:
    await play(scenario)


def test_no_two_scenarios_have_one_name() -> None:
    twice = [name for name, times in Counter(map(str, ALL)).items() if times > 1]
    assert not twice
