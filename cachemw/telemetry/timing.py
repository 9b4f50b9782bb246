"""Purges, timed and told to the tally, whether they end well or not."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from time import perf_counter

from cachemw.stores.base import Store
from cachemw.telemetry.events import NAMED, Purge, Subject, shortened


@contextmanager
def purging(
    store: Store,
    subject: Subject,
    names: Sequence[str],
    *,
    soft: bool = False,
    cause: str = "",
    region: str = "",
) -> Generator[None]:
    """Around a purge. `names` may still grow within; where there are none, nothing was purged."""
    began, has_failed = perf_counter(), True
    try:
        yield
        has_failed = False
    finally:
        if names:
            first = tuple(shortened(name) for name in names[:NAMED])
            seconds = perf_counter() - began
            now = store.now()
            store.tally.purged(
                Purge(now, subject.value, first, seconds, soft, has_failed, cause, region)
            )
