"""The fleet's clock, read once for all who ask within one turn of the event loop.

A fill wants to know an instant before which nothing of it was made. Any that is no later will do,
and fills that begin in one turn begin together: so one reading is sent for them, with the first.
Nothing that one of them may have heard of, such as a purge that has returned, is younger than that
turn.
"""

import asyncio
from functools import partial

from cachemw.stores.base import Store


class Readings:
    """Readings of one store's clock. Whoever stops waiting for one disturbs nobody else."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._askers: dict[asyncio.AbstractEventLoop, list[asyncio.Future[int]]] = {}
        self._readings: set[asyncio.Future[int]] = set()

    def ask(self) -> "asyncio.Future[int]":
        """Begun at the call, or before it in this turn of the loop."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()
        askers = self._askers.get(loop)
        if askers is None:
            askers = self._askers[loop] = []
            reading = asyncio.ensure_future(self._store.time())
            self._readings.add(reading)  # held, or it might be collected
            reading.add_done_callback(self._readings.discard)
            reading.add_done_callback(partial(_tell, askers))
            loop.call_soon(self._askers.pop, loop)
        askers.append(answer)
        return answer


def _tell(askers: "list[asyncio.Future[int]]", reading: "asyncio.Future[int]") -> None:
    for asker in askers:
        if asker.done():
            continue
        if reading.cancelled():
            asker.cancel()
        elif (error := reading.exception()) is not None:
            asker.set_exception(error)
            asker.exception()  # perhaps nobody waits any more
        else:
            asker.set_result(reading.result())
