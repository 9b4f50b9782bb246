"""A body on its way from the app to any number of readers.

One writes, each reader reads from the beginning at its own pace. While the body is gathered all of
it stays here. Once it is not (`let_pass`), what every reader has had is dropped, and the writer
waits for the slowest reader: a body too large to keep passes through in bounded memory.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

WINDOW = 256 * 1024  # bytes that may wait for the slowest reader of a body that is not gathered


class Broken(Exception):
    """The response broke off after it had begun."""


class Flow:
    """The chunks of one body. `deserted` is called whenever the last reader has left."""

    def __init__(self, deserted: Callable[[], None]) -> None:
        self.size = 0
        self.ended = False
        self.is_gathering = True
        self.readers: set[Reader] = set()
        self._deserted = deserted
        self._chunks: list[bytes] = []
        self._gone = 0  # chunks before these, which every reader has had
        self._held = 0  # bytes in these
        self._failure: BaseException | None = None
        self._room = asyncio.Event()

    def join(self) -> "Reader":
        """A place at the beginning. Whoever takes one must `leave` it."""
        reader = Reader(self)
        self.readers.add(reader)
        return reader

    @property
    def gathered(self) -> bytes:
        """All that was written, as long as it is gathered."""
        return b"".join(self._chunks)

    async def write(self, chunk: bytes, *, more: bool) -> None:
        self._chunks.append(chunk)
        self._held += len(chunk)
        self.size += len(chunk)
        self.ended = not more
        self._tell()
        if not self.is_gathering:
            self._trim()
            while self._held > WINDOW and self.readers:
                self._room.clear()
                await self._room.wait()

    def let_pass(self) -> None:
        """Gather no longer."""
        self.is_gathering = False
        self._trim()

    def break_off(self, failure: BaseException) -> None:
        if not self.ended:
            self._failure = failure
            self._tell()

    def _tell(self) -> None:
        for reader in self.readers:
            reader.news.set()

    def _trim(self) -> None:
        """Drop what every reader has had."""
        end = self._gone + len(self._chunks)
        slowest = min((reader.at for reader in self.readers), default=end)
        dropped = self._chunks[: slowest - self._gone]
        del self._chunks[: len(dropped)]
        self._gone = slowest
        self._held -= sum(map(len, dropped))
        self._room.set()

    # --- for readers

    def chunk_for(self, reader: "Reader") -> tuple[bytes, bool] | None:
        """The reader's next chunk and whether more follow, None when there is none yet."""
        if reader.at == self._gone + len(self._chunks):
            return None
        chunk = self._chunks[reader.at - self._gone]
        reader.at += 1
        is_last = self.ended and reader.at == self._gone + len(self._chunks)
        return chunk, not is_last

    def passed(self) -> None:
        """A reader has done with a chunk."""
        if not self.is_gathering:
            self._trim()

    def has_ended_for(self, reader: "Reader") -> bool:
        """`Broken` if it broke off."""
        if self._failure is not None:
            raise Broken("the response broke off") from self._failure
        return self.ended or reader not in self.readers

    def leave(self, reader: "Reader") -> None:
        if reader in self.readers:
            self.readers.discard(reader)
            reader.news.set()
            self.passed()
            if not self.readers:
                self._deserted()


class Reader:
    """One reader's place. Iterating gives each chunk, and whether more follow."""

    __slots__ = ("_flow", "at", "joined", "news")

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.at = 0
        self.joined = asyncio.get_running_loop().time()
        self.news = asyncio.Event()

    def leave(self) -> None:
        """Read no more; an iteration under way ends."""
        self._flow.leave(self)

    async def __aiter__(self) -> AsyncIterator[tuple[bytes, bool]]:
        flow = self._flow
        while self in flow.readers:
            self.news.clear()
            found = flow.chunk_for(self)
            if found is not None:
                yield found
                flow.passed()
            elif flow.has_ended_for(self):
                return
            else:
                await self.news.wait()
