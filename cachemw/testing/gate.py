"""A barrier that a test opens: how races are scripted rather than hoped for."""

import asyncio


class Gate:
    """Whoever comes to it waits until it is opened; the test waits until somebody has come.

    gate = Gate()
    origin.answers("one", gate, "two")
    ...
    await gate.reached()
    gate.open()
    """

    def __init__(self) -> None:
        self.arrivals = 0
        self._open = asyncio.Event()
        self._arrived = asyncio.Event()

    async def pass_through(self) -> None:
        """Come to the gate, and wait for it to open."""
        self.arrivals += 1
        self._arrived.set()
        await self._open.wait()

    async def reached(self, times: int = 1) -> None:
        """Wait until so many have come."""
        while self.arrivals < times:
            self._arrived.clear()
            await self._arrived.wait()

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        """Let those who come from now on wait again."""
        self._open.clear()
