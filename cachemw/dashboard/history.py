"""What has happened lately, from totals that were looked at now and then.

Workers publish totals, so the past is what lies between two looks. Looks come whenever somebody
asks; columns of even width are drawn from them as if things had gone evenly in between. A worker
that comes or goes changes the sums without anything having happened: each is counted for itself.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

from cachemw.telemetry.bulletin import Fleet

LOOKS = 1000
WIDTH = 5_000_000  # microseconds of a column
COLUMNS = 60
FEWEST = 12
OF_LATE = 30_000_000  # microseconds
KINDS = ("hit", "stale", "miss", "bypass")


@dataclass(frozen=True, slots=True)
class Look:
    """What had been counted at an instant, since the first look, in the order of `KINDS`."""

    at: int
    totals: tuple[float, ...]


@dataclass(slots=True)
class History:
    """The looks of one process."""

    looks: deque[Look] = field(default_factory=lambda: deque[Look](maxlen=LOOKS))
    _last: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    def note(self, at: int, fleet: Fleet) -> None:
        """Remember what a look has found."""
        before = self.looks[-1] if self.looks else None
        if before is not None and at <= before.at:
            return
        grown = [0.0] * len(KINDS)
        last: dict[str, tuple[int, ...]] = {}
        for worker in fleet.workers:
            counts = worker.counts.of_all_routes
            now = (counts.hits, counts.stale, counts.misses, counts.bypasses)
            is_new = before is not None and worker.began > before.at
            then = self._last.get(worker.worker, (0,) * len(KINDS) if is_new else now)
            grown = [g + max(0, n - t) for g, n, t in zip(grown, now, then, strict=True)]
            last[worker.worker] = now
        totals = before.totals if before else (0.0,) * len(KINDS)
        self._last = last
        self.looks.append(Look(at, tuple(t + g for t, g in zip(totals, grown, strict=True))))

    def columns(self, now: int) -> list[tuple[float, ...]]:
        """How many a second there were of each kind, a column for every five seconds that were
        seen: `FEWEST` at least, `COLUMNS` at most.

        Columns begin at whole multiples of their width, so that they move but do not shimmer.
        """
        end = now // WIDTH * WIDTH
        seen = (end - self.looks[0].at) // WIDTH + 1 if self.looks else 0
        number = min(max(seen, FEWEST), COLUMNS)
        edges = [end - WIDTH * back for back in range(number, -1, -1)]
        totals = [self._totals_at(edge) for edge in edges]
        seconds = WIDTH / 1e6
        return [
            tuple((b - a) / seconds for a, b in zip(one, next_, strict=True))
            for one, next_ in zip(totals, totals[1:], strict=False)
        ]

    def per_second(self, now: int) -> float:
        """How many requests a second there were of late."""
        if len(self.looks) < 2:
            return 0.0
        since = max(self.looks[0].at, now - OF_LATE)
        newest = self.looks[-1]
        elapsed = (newest.at - since) / 1e6
        return (sum(newest.totals) - sum(self._totals_at(since))) / elapsed if elapsed > 0 else 0.0

    def _totals_at(self, at: int) -> tuple[float, ...]:
        if not self.looks:
            return (0.0,) * len(KINDS)
        index = bisect_left(self.looks, at, key=lambda look: look.at)
        if index == 0:
            return self.looks[0].totals
        if index == len(self.looks):
            return self.looks[-1].totals
        one, other = self.looks[index - 1], self.looks[index]
        share = (at - one.at) / (other.at - one.at)
        return tuple(a + (b - a) * share for a, b in zip(one.totals, other.totals, strict=True))
