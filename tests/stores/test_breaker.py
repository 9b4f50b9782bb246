"""When a server is given up, and when it is not."""

import pytest

from cachemw.stores.breaker import Breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker(failures=3, window=1.0)
    assert [breaker.failed(now) for now in (0.0, 0.1, 0.2)] == [False, False, True]
    assert breaker.is_open and breaker.times_opened == 1


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = Breaker(failures=3, window=1.0)
    breaker.failed(0.0)
    breaker.failed(0.1)
    assert not breaker.succeeded()
    breaker.failed(0.2)
    breaker.failed(0.3)
    assert not breaker.is_open


def test_failures_that_are_far_apart_do_not_count_together() -> None:
    breaker = Breaker(failures=3, window=1.0)
    for now in (0.0, 0.6, 1.2, 1.8, 2.4):
        assert not breaker.failed(now)
    assert breaker.failed(2.5)


def test_a_sign_of_life_closes_it() -> None:
    breaker = Breaker(failures=1)
    assert breaker.failed(0.0)
    assert breaker.succeeded()
    assert not breaker.is_open
    assert not breaker.succeeded()
    assert breaker.failed(0.0)
    assert breaker.times_opened == 2


@pytest.mark.parametrize("failures", [1, 5])
def test_failures_while_it_is_open_change_nothing(failures: int) -> None:
    breaker = Breaker(failures=failures)
    for _ in range(50):
        breaker.failed(0.0)
    assert breaker.times_opened == 1 and len(breaker._recent) <= failures
