"""Looking at the fleet for whoever has a page open: once a second at most, however many they are.

Nothing here runs while nobody asks.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter

from cachemw.dashboard.history import History
from cachemw.dashboard.source import Subject
from cachemw.doctor import Finding, examine
from cachemw.errors import StoreUnavailable
from cachemw.telemetry.bulletin import Fleet

EVERY = 1.0  # seconds
EXAMINED_EVERY = 30.0


@dataclass(frozen=True, slots=True)
class View:
    """What a look has found."""

    at: int
    """Microseconds, on the fleet's clock."""
    fleet: Fleet
    trip: float | None
    """Seconds that the store took to answer; None when it did not."""
    columns: list[tuple[float, ...]]
    per_second: float


class Watch:
    """The last look, which all share who come within a second. Belongs to one event loop."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._history = History()
        self._looking = asyncio.Lock()
        self._examining = asyncio.Lock()
        self._view: tuple[float, View] | None = None
        self._findings: tuple[float, list[Finding]] | None = None

    async def view(self) -> View:
        """The fleet as it is, or was a second ago. Never fails."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if self._view is None or now - self._view[0] >= EVERY:
                self._view = now, await self._look()
            return self._view[1]

    async def findings(self) -> list[Finding]:
        """What the doctor says, or said half a minute ago. Never fails."""
        async with self._examining:
            now = asyncio.get_running_loop().time()
            if self._findings is None or now - self._findings[0] >= EXAMINED_EVERY:
                self._findings = now, await examine(self.subject.store)
            return self._findings[1]

    async def _look(self) -> View:
        store, trip, fleet, began = self.subject.store, None, Fleet(()), perf_counter()
        with suppress(StoreUnavailable):
            await store.time()
            trip = perf_counter() - began
        with suppress(StoreUnavailable):
            fleet = await self.subject.fleet()
        at, history = store.now(), self._history
        if fleet.workers:
            history.note(at, fleet)
        return View(at, fleet, trip, history.columns(at), history.per_second(at))
