"""Counts, and how those of many workers become one."""

from cachemw.telemetry.counters import BOUNDS, Counts, RouteCounts, Spans, merged, sum_of


def spans(*seconds: float) -> Spans:
    made = Spans()
    for each in seconds:
        made.add(each)
    return made


def test_a_span_goes_into_the_first_bucket_that_holds_it() -> None:
    made = spans(BOUNDS[0], BOUNDS[0] * 1.01, 1e9)
    assert (made.buckets[0], made.buckets[1], made.buckets[-1]) == (1, 1, 1)
    assert made.count == 3


def test_the_mean_of_nothing_is_nothing() -> None:
    assert (spans().mean, spans(1.0, 3.0).mean) == (0.0, 2.0)


def test_a_hit_ratio_leaves_out_what_could_not_have_been_a_hit() -> None:
    counts = RouteCounts(hits=2, stale=1, misses=1, bypasses=96)
    assert (counts.requests, counts.served, counts.hit_ratio) == (100, 3, 0.75)
    assert RouteCounts(bypasses=1).hit_ratio == 0.0


def test_merging_adds_up_whatever_is_in_either() -> None:
    one = Counts(unruled=1, routes={"/a": RouteCounts(hits=1), "/b": RouteCounts(saved=0.5)})
    other = Counts(unruled=2, routes={"/a": RouteCounts(hits=2, reasons={("hit", "x"): 1})})
    one.store.trips = spans(0.001)
    other.store.trips = spans(0.002, 5.0)
    one.store.failures["timeout"] = 2
    other.store.failed("timeout")
    total = merged(one, other)
    assert total.unruled == 3
    assert total.routes["/a"] == RouteCounts(hits=3, reasons={("hit", "x"): 1})
    assert total.routes["/b"].saved == 0.5
    assert (total.store.trips.count, total.store.failures) == (3, {"timeout": 3})
    assert one.routes["/a"].hits == 1, "what was merged has been changed"


def test_the_sum_of_several() -> None:
    several = [RouteCounts(hits=number) for number in (1, 2, 3)]
    assert sum_of(several, RouteCounts()).hits == 6
    assert Counts(routes={"/a": several[0], "/b": several[2]}).of_all_routes.hits == 4


def test_trips_alone_are_no_happening() -> None:
    counts = Counts()
    before = counts.happenings()
    counts.store.trips.add(0.1)
    assert counts.happenings() == before
    counts.unruled += 1
    assert counts.happenings() != before
