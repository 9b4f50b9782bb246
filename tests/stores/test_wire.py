"""Dialing by way of sentinels, left alone at any moment."""

import asyncio
from typing import Any, cast
from unittest.mock import Mock

import pytest

from cachemw.stores.wire import Address, sentinel_dialer

pytestmark = pytest.mark.anyio


class Line:
    """A connection to a server that is a sentinel and a primary, a turn of the loop away."""

    made: list["Line"]

    def __init__(self, **options: Any) -> None:
        self._reader: Mock | None = None
        self._writer: Mock | None = None
        self._asked = ""
        self.made.append(self)

    async def connect(self) -> None:
        await asyncio.sleep(0)
        self._reader = self._writer = Mock()

    async def send_command(self, *words: str) -> None:
        self._asked = words[0]

    async def read_response(self) -> list[bytes]:
        await asyncio.sleep(0)
        return [b"master"] if self._asked == "ROLE" else [b"127.0.0.1", b"6379"]

    @property
    def is_open(self) -> bool:
        return self._writer is not None


async def test_a_dial_that_is_cancelled_leaves_no_connection_open() -> None:
    turns = 0
    while True:
        Line.made = []
        address = Address(cast(Any, Line), {"host": "127.0.0.1", "port": 26379})
        dial = cast(Any, sentinel_dialer([address] * 3, "one", address, timeout=1))
        dialing = asyncio.create_task(dial())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not dialing.cancel():
            break
        await asyncio.wait([dialing])
        for _ in range(3):
            await asyncio.sleep(0)
        assert not any(line.is_open for line in Line.made), f"cancelled after {turns} turns"
        turns += 1
    assert turns > 4
    assert [line for line in Line.made if line.is_open] == [await dialing]
