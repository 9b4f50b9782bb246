"""What has happened lately, seen through totals of workers that come and go."""

import pytest

from cachemw.dashboard.history import COLUMNS, FEWEST, WIDTH, History
from cachemw.telemetry.bulletin import Bulletin, Fleet
from cachemw.telemetry.counters import Counts, RouteCounts

START = 1_000 * WIDTH  # the edge of a column
SECOND = 1_000_000


def worker(name: str, hits: int, misses: int = 0, *, began: int = 0) -> Bulletin:
    counts = Counts(routes={"/": RouteCounts(hits=hits, misses=misses)})
    return Bulletin(name, "host", 1, "group", began, START, counts)


def history(*looks: tuple[int, list[Bulletin]]) -> History:
    noted = History()
    for at, workers in looks:
        noted.note(START + at * SECOND, Fleet(tuple(workers)))
    return noted


def total(noted: History, at: int) -> list[float]:
    """How many of each kind the columns show altogether."""
    columns = noted.columns(START + at * SECOND)
    return [round(sum(column[kind] for column in columns) * WIDTH / 1e6, 6) for kind in range(4)]


def test_the_first_look_shows_nothing_of_what_was_before() -> None:
    assert total(history((0, [worker("a", 1_000)])), 300) == [0, 0, 0, 0]


def test_what_lies_between_two_looks_is_spread_evenly() -> None:
    noted = history((0, [worker("a", 100)]), (10, [worker("a", 200, 10)]))
    columns = noted.columns(START + 10 * SECOND)
    assert len(columns) == FEWEST
    assert columns[-2:] == [(10, 0, 1, 0), (10, 0, 1, 0)]
    assert noted.per_second(START + 10 * SECOND) == pytest.approx(11)


def test_a_worker_that_leaves_takes_nothing_away() -> None:
    noted = history(
        (0, [worker("a", 0), worker("b", 0)]),
        (5, [worker("a", 5), worker("b", 5)]),
        (10, [worker("a", 8)]),
        (15, [worker("a", 9)]),
    )
    assert total(noted, 15) == [14, 0, 0, 0]


def test_a_worker_that_was_only_not_heard_of_does_not_bring_its_past() -> None:
    noted = history((0, [worker("a", 0)]), (5, [worker("a", 0), worker("b", 1_000_000)]))
    assert total(noted, 5) == [0, 0, 0, 0]


def test_a_worker_that_has_just_begun_counts_from_its_beginning() -> None:
    late = worker("b", 7, began=START + 2 * SECOND)
    assert total(history((0, [worker("a", 0)]), (5, [worker("a", 0), late])), 5) == [7, 0, 0, 0]


def test_counts_that_begin_anew_are_no_negative_traffic() -> None:
    noted = history((0, [worker("a", 100)]), (5, [worker("a", 3)]), (10, [worker("a", 5)]))
    assert total(noted, 10) == [2, 0, 0, 0]


def test_a_clock_that_stands_still_is_no_look() -> None:
    noted = history((5, [worker("a", 0)]), (5, [worker("a", 9)]), (4, [worker("a", 9)]))
    assert len(noted.looks) == 1
    assert noted.per_second(START + 5 * SECOND) == 0


def test_as_much_is_drawn_as_was_seen_but_five_minutes_at_most() -> None:
    noted = history((0, [worker("a", 0)]), (200, [worker("a", 10)]))
    assert len(noted.columns(START + 200 * SECOND)) == 41
    assert len(noted.columns(START + 2000 * SECOND)) == COLUMNS


def test_nothing_was_seen_yet() -> None:
    assert total(History(), 0) == [0, 0, 0, 0]
    assert History().per_second(START) == 0
