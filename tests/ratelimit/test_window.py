"""The arithmetic of windows, checked against its own promises."""

from hypothesis import given
from hypothesis import strategies as st

from cachemw.ratelimit.limits import Limit
from cachemw.ratelimit.window import (
    Reading,
    aged,
    has_room,
    remaining,
    rolled,
    standing,
    wait,
)

MINUTE = Limit(10, 60_000)
counts = st.integers(0, 40)


def test_a_fixed_window_is_full_at_its_quota() -> None:
    assert has_room(MINUTE, Reading(9, 0, 1000), 1)
    assert not has_room(MINUTE, Reading(10, 0, 1000), 1)
    assert has_room(MINUTE, Reading(10, 0, 1000), 0)
    assert not has_room(MINUTE, Reading(5, 0, 1000), 6)


def test_who_is_refused_by_a_fixed_window_waits_for_its_end() -> None:
    assert wait(MINUTE, Reading(10, 0, 1234), 1, "fixed") == 1234


def test_a_sliding_window_remembers_the_last_one_as_far_as_it_overlaps() -> None:
    half_way = Reading(0, 10, 30_000)
    assert remaining(MINUTE, half_way) == 5
    assert has_room(MINUTE, half_way, 5)
    assert not has_room(MINUTE, half_way, 6)


@given(count=counts, previous=counts, left=st.integers(0, 60_000), cost=st.integers(1, 10))
def test_after_the_wait_there_is_room_and_not_before(
    count: int, previous: int, left: int, cost: int
) -> None:
    """The wait of a sliding window is exact, to the millisecond."""
    reading = Reading(count, previous, left)
    needed = wait(MINUTE, reading, cost, "sliding")

    def room_after(passed: int) -> bool:
        if passed <= left:
            later = Reading(count, previous, left - passed)
        else:
            later = Reading(0, count, left + MINUTE.span - passed)
        return has_room(MINUTE, later, cost)

    assert room_after(needed)
    assert needed == 0 or not room_after(needed - 1)


@given(count=counts, previous=counts, left=st.integers(0, 60_000))
def test_remaining_is_what_still_fits(count: int, previous: int, left: int) -> None:
    reading = Reading(count, previous, left)
    fits = remaining(MINUTE, reading)
    assert fits == 0 or has_room(MINUTE, reading, fits)
    assert not has_room(MINUTE, reading, fits + 1)


def test_a_counter_in_its_second_span_has_become_the_previous_one() -> None:
    assert rolled(Reading(7, 3, 90_000), 60_000) == Reading(7, 3, 30_000)
    assert rolled(Reading(7, 3, 45_000), 60_000) == Reading(0, 7, 45_000)


def test_a_cost_that_never_fits_is_told_to_wait_all_the_same() -> None:
    told = standing("minute", MINUTE, Reading(0, 0, 60_000), 11, "fixed")
    assert told.violated
    assert told.reset == 60_000


def test_where_there_is_room_the_reset_is_the_end_of_the_window() -> None:
    assert standing("p", MINUTE, Reading(3, 0, 1234), 1, "fixed").reset == 1234
    assert standing("p", MINUTE, Reading(10, 0, 1234), 1, "fixed").reset == 1234


def test_time_that_has_passed_is_taken_off() -> None:
    now = standing("p", MINUTE, Reading(3, 0, 1234), 1, "fixed")
    assert (aged(now, 234).reset, aged(now, 5000).reset) == (1000, 1)


def test_at_the_end_of_its_first_span_a_count_is_that_of_the_last_window() -> None:
    assert rolled(Reading(7, 2, 60_001), 60_000) == Reading(7, 2, 1)
    assert rolled(Reading(7, 2, 60_000), 60_000) == Reading(0, 7, 60_000)
