"""The tally: where every feature of a process says what happened, once, by one plain call.

It belongs to a store, because that is what all features of an app have in common: `store.tally`.
It counts, keeps the last few events to show, logs them, and tells whoever watches. It waits for
nothing, reads no clock, and does not know what becomes of what it holds (`bulletin.py`).
"""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias, TypeVar

from cachemw.telemetry.counters import Counts, PurgeCounts, RelayCounts, RouteCounts
from cachemw.telemetry.events import Exchange, Outcome, Purge, Refresh, Verification

E = TypeVar("E", Refresh, Purge)

RECENT = 100
LOGGED = 50

Event: TypeAlias = Exchange | Refresh | Purge | Verification
Watcher: TypeAlias = Callable[[Event], object]
Spanning: TypeAlias = Callable[[str], AbstractContextManager[object]]

_log = logging.getLogger("cachemw.requests")
_HIT, _MISS = Outcome.HIT.value, Outcome.MISS.value
_SERVED = (_HIT, Outcome.STALE.value)


class Tally:
    """What has happened in this process to everything that uses one store.

    `watchers` are called with every event as it happens; they must be quick, and must not fail.
    """

    __slots__ = (
        *("began", "counts", "mismatches", "name", "purges", "recent", "refreshes"),
        *("spans", "watchers"),
    )

    def __init__(self) -> None:
        self.counts = Counts()
        self.recent: deque[Exchange] = deque(maxlen=RECENT)
        self.refreshes: deque[Refresh] = deque(maxlen=LOGGED)
        self.purges: deque[Purge] = deque(maxlen=LOGGED)
        self.mismatches: deque[Verification] = deque(maxlen=LOGGED)
        self.watchers: tuple[Watcher, ...] = ()
        self.spans: Spanning = nullcontext[object]
        """Told the name of something that begins in the background, gives what to do it within."""
        self.name = ""
        """How other workers call this one, and since when; whoever tells them gives it a name."""
        self.began = 0

    def exchanged(self, event: Exchange) -> None:
        """A request is being answered. This is on the way of every hit."""
        counts = self.counts.routes.get(event.route)
        if counts is None:
            counts = self.counts.routes[event.route] = RouteCounts()
        outcome = event.outcome
        if outcome in _SERVED:
            if outcome == _HIT:
                counts.hits += 1
            else:
                counts.stale += 1
            counts.size += event.size
            counts.age += event.age
            counts.saved += event.saved
        elif outcome == _MISS:
            counts.misses += 1
            counts.stored += event.stored
            if not event.collapsed:
                counts.spent += event.seconds
        else:
            counts.bypasses += 1
            counts.spent += event.seconds
        if event.reason:
            key = (outcome, event.reason)
            counts.reasons[key] = counts.reasons.get(key, 0) + 1
        if event.collapsed:
            counts.collapsed += 1
        self.recent.append(event)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s", event)
        for watch in self.watchers:
            watch(event)

    def refresh_collapsed(self) -> None:
        """A refresh was wanted, and did not begin."""
        counted = self.counts.refreshes
        counted["collapsed"] = counted.get("collapsed", 0) + 1

    def refresh_began(self) -> None:
        self.counts.running += 1

    def refresh_ended(self, event: Refresh) -> None:
        counted = self.counts.refreshes
        counted[event.ended] = counted.get(event.ended, 0) + 1
        self.counts.running -= 1
        self._keep(self.refreshes, event)

    def purged(self, event: Purge) -> None:
        counted = self.counts.purges
        counts = counted.get((event.subject, event.region))
        if counts is None:
            counts = counted[event.subject, event.region] = PurgeCounts()
        counts.spans.add(event.seconds)
        counts.failed += event.failed
        self._keep(self.purges, event)

    def verified(self, event: Verification) -> None:
        counts = self.counts.routes.setdefault(event.route, RouteCounts())
        counts.verified += 1
        if event.differences:
            counts.mismatched += 1
            for word in {difference.partition(":")[0] for difference in event.differences}:
                counts.differences[word] = counts.differences.get(word, 0) + 1
            self.mismatches.append(event)
            _log.info("%s is not as stored: %s", event.path, ", ".join(event.differences))
        for watch in self.watchers:
            watch(event)

    def limited(self, rule: str, verdict: str) -> None:
        counted = self.counts.limits
        counted[rule, verdict] = counted.get((rule, verdict), 0) + 1

    def session(self, kind: str) -> None:
        counted = self.counts.sessions
        counted[kind] = counted.get(kind, 0) + 1

    def relayed(self, region: str, notes: int, lag: float, *, gap: bool) -> None:
        """What one reading of another region's journal came to."""
        counted = self.counts.relays
        counts = counted.get(region)
        if counts is None:
            counts = counted[region] = RelayCounts()
        counts.notes += notes
        counts.gaps += gap
        if notes:
            counts.lags.add(lag)

    def _keep(self, log: deque[E], event: E) -> None:
        log.append(event)
        for watch in self.watchers:
            watch(event)
