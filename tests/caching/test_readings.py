"""One reading of the clock for all who ask in one turn of the loop."""

import asyncio
from collections.abc import Awaitable

import pytest

from cachemw.caching.readings import Readings
from cachemw.errors import StoreUnavailable
from cachemw.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio


class Gated(MemoryStore):
    """A store whose clock is read when the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.begun: list[asyncio.Future[int]] = []
        self.is_away = False

    def time(self) -> Awaitable[int]:
        self.begun.append(asyncio.ensure_future(self._slowly()))
        return self.begun[-1]

    async def _slowly(self) -> int:
        await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable("away", "time")
        return await super().time()


async def test_who_asks_in_one_turn_shares_a_reading() -> None:
    store = Gated()
    readings = Readings(store)
    first, second = readings.ask(), readings.ask()
    await asyncio.sleep(0)
    third = readings.ask()
    store.gate.set()
    assert await first == await second != await third
    assert len(store.begun) == 2


async def test_who_stops_waiting_disturbs_nobody() -> None:
    store = Gated()
    readings = Readings(store)
    leaving = asyncio.ensure_future(readings.ask())
    staying = readings.ask()
    leaving.cancel()
    store.gate.set()
    assert await staying > 0


async def test_all_hear_that_the_clock_cannot_be_read() -> None:
    store = Gated()
    store.is_away = True
    readings = Readings(store)
    both = readings.ask(), readings.ask()
    store.gate.set()
    for one in both:
        with pytest.raises(StoreUnavailable):
            await one


async def test_nobody_waits_for_a_reading_that_was_cancelled() -> None:
    store = Gated()
    asker = Readings(store).ask()
    store.begun[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
