"""A body on its way from the app to any number of readers.

One writes, each reader reads from the beginning at its own pace. While the body is gathered all of
it stays here. Once it is not (`let_pass`), what every reader has had is dropped, and the writer
waits for the slowest reader: a body too large to keep passes through in bounded memory. But a
reader who is that far behind cannot hold up the others for long: its response breaks off.
"""

import asyncio
from collections.abc import Callable

WINDOW = 256 * 1024  # bytes that may wait for the slowest reader of a body that is not gathered
PATIENCE = 1.0  # seconds that a reader who is so far behind may keep others waiting


class Broken(Exception):
    """The response broke off after it had begun."""


class Flow:
    """The chunks of one body."""

    def __init__(self, deserted: Callable[[], None]) -> None:
        self.deserted: Callable[[], None] | None = deserted
        """Called whenever the last reader has left, as long as somebody wants to know."""
        self.size = 0
        self.ended = False
        self.is_gathering = True
        self.readers: set[Reader] = set()
        self._chunks: dict[int, bytes] = {}
        self._gone = 0  # the first of these: what comes before, every reader has had
        self._held = 0  # bytes in these
        self._failure: BaseException | None = None
        self._room: asyncio.Event | None = None  # once it is gathered no longer
        self._is_met = False

    def join(self) -> "Reader":
        """A place at the beginning. Whoever takes one must `leave` it."""
        reader = Reader(self, is_first=not self._is_met)
        self._is_met = True
        self.readers.add(reader)
        return reader

    @property
    def gathered(self) -> bytes:
        """All that was written, as long as it is gathered."""
        return b"".join(self._chunks.values())

    @property
    def _end(self) -> int:
        return self._gone + len(self._chunks)

    async def write(self, chunk: bytes, *, more: bool) -> None:
        self._chunks[self._end] = chunk
        self._held += len(chunk)
        self.size += len(chunk)
        self.ended = not more
        self._tell()
        if not self.is_gathering:
            self._trim()
            await self._make_room()

    def let_pass(self) -> None:
        """Gather no longer."""
        self.is_gathering = False
        self._room = asyncio.Event()
        self._trim()

    def break_off(self, failure: BaseException) -> None:
        if not self.ended:
            self._failure = failure
            self._tell()

    def shut_out(self, why: str, *, but_first: bool) -> None:
        """Break off all readers, perhaps but the one who came first."""
        for reader in list(self.readers):
            if not (but_first and reader.is_first):
                reader.broken = why
                self.leave(reader)

    def _tell(self) -> None:
        for reader in self.readers:
            reader.wake()

    def _trim(self) -> None:
        """Drop what every reader has had."""
        slowest = min((reader.at for reader in self.readers), default=self._end)
        while self._gone < slowest:
            self._held -= len(self._chunks.pop(self._gone))
            self._gone += 1
        if self._room is not None:
            self._room.set()

    async def _make_room(self) -> None:
        """Wait for the slowest reader, but not for long while another has had all there is."""
        assert self._room is not None
        loop, deadline = asyncio.get_running_loop(), None
        while self._held > WINDOW and self.readers:
            if all(reader.at < self._end for reader in self.readers):
                deadline = None
            elif deadline is None:
                deadline = loop.time() + PATIENCE
            self._room.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._room.wait()
            except TimeoutError:
                self._shed()

    def _shed(self) -> None:
        """Break off the slowest."""
        for reader in [reader for reader in self.readers if reader.at == self._gone]:
            reader.broken = "the client read too slowly"
            self.readers.discard(reader)
            reader.wake()
        self._trim()

    # --- for readers

    def chunk_for(self, reader: "Reader") -> tuple[bytes, bool] | None:
        """The reader's next chunk and whether more follow, None when there is none yet."""
        chunk = self._chunks.get(reader.at)
        if chunk is None:
            return None
        reader.at += 1
        is_last = self.ended and reader.at not in self._chunks
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
            reader.wake()
            self.passed()
            if not self.readers and self.deserted is not None:
                self.deserted()


class Reader:
    """One reader's place. Iterating gives each chunk, and whether more follow."""

    __slots__ = ("_flow", "_loop", "_news", "at", "broken", "is_first", "joined")

    def __init__(self, flow: Flow, *, is_first: bool) -> None:
        self._flow = flow
        self.is_first = is_first
        self.at = 0
        self.broken = ""  # or why
        self._loop = asyncio.get_running_loop()
        self.joined = self._loop.time()
        self._news: asyncio.Future[None] | None = None  # while it waits

    def leave(self) -> None:
        """Read no more; an iteration under way ends."""
        self._flow.leave(self)

    def wake(self) -> None:
        """There is something new, be it the end."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> tuple[bytes, bool]:
        flow = self._flow
        if self.at:
            flow.passed()
        while self in flow.readers:
            found = flow.chunk_for(self)
            if found is not None:
                return found
            if flow.has_ended_for(self):
                raise StopAsyncIteration
            self._news = self._loop.create_future()
            await self._news
        if self.broken:
            raise Broken(self.broken)
        raise StopAsyncIteration
