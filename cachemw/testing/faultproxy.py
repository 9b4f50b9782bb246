"""A proxy in front of a real server that loses, swaps, delays and breaks what passes, on request.

    async with FaultProxy("redis://localhost:6379") as proxy:
        store = open_store(proxy.url)
        proxy.drop_next_reply(to="EVALSHA")
        ...
        await proxy.until(lambda: proxy.replies == 3)

Nothing is random and nothing happens by itself: a test says which fault befalls which reply, and
waits for what it wants to have happened. Whole replies are dropped and swapped; what they mean
is not looked at, save the name of the command that each one answers.

        client ──commands────────────────────────────────────> server
               <──reset── held <── delayed <── faults <──replies──

Faults on replies queue up. The first of the queue meets the next reply that fits it, on whichever
connection that comes. Pushes (RESP3) are no replies: they pass, in order, and meet no fault.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cachemw.testing.framing import Framer, command_name

Change = Callable[[bytes], Sequence[bytes]]
"""What is delivered in place of one reply: nothing, something else, or several."""

_Outgoing = asyncio.Queue[tuple[float, bytes, bool]]
"""What a client is to get: when, what, and whether it is a reply."""


class FaultProxy:
    """Listens on a port of 127.0.0.1 and passes everything on to `upstream`, a server's URL.

    `commands` counts what went to the server, `replies` what it answered, `delivered` the replies
    that clients got, `accepted` the connections there ever were; `connections` are open now.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self.port = 0
        self.commands = self.replies = self.delivered = self.accepted = 0
        self._listener: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.WriteTransport] = {}
        self._faults: deque[tuple[Change, bytes | None]] = deque()
        self._delay = 0.0
        self._bytes_left: int | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._moved = asyncio.Event()

    @property
    def url(self) -> str:
        """The server's URL with the proxy's address: credentials, database and options stay."""
        credentials, at, _ = self._upstream.netloc.rpartition("@")
        place = f"{credentials}{at}127.0.0.1:{self.port}"
        path = "" if self._upstream.scheme == "unix" else self._upstream.path
        return self._upstream._replace(scheme="redis", netloc=place, path=path).geturl()

    @property
    def connections(self) -> int:
        return len(self._clients)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something that this proxy counts has come true."""
        while not true():
            await self._moved.wait()

    # --- faults on the next reply, or on the next one that answers the command `to`

    def change_next_reply(self, change: Change, *, to: str | None = None) -> None:
        """Deliver what `change` makes of it."""
        self._faults.append((change, to.upper().encode() if to else None))

    def pass_next_reply(self, *, to: str | None = None) -> None:
        """No fault: a later one is meant."""
        self.change_next_reply(lambda reply: [reply], to=to)

    def drop_next_reply(self, *, to: str | None = None) -> None:
        """The command is carried out, and nobody hears of it."""
        self.change_next_reply(lambda reply: [], to=to)

    def duplicate_next_reply(self, *, to: str | None = None) -> None:
        self.change_next_reply(lambda reply: [reply, reply], to=to)

    def corrupt_next_reply(self, *, to: str | None = None) -> None:
        """Flip the bits of its last byte. Of a value that is content, of a number a digit."""
        flip = 0xFF
        self.change_next_reply(lambda r: [r[:-3] + bytes([r[-3] ^ flip]) + r[-2:]], to=to)

    def swap_next_replies(self, *, to: str | None = None) -> None:
        """The next two change places. The first one waits for the second."""
        first: list[bytes] = []

        def keep(reply: bytes) -> Sequence[bytes]:
            first.append(reply)
            return []

        self.change_next_reply(keep, to=to)
        self.change_next_reply(lambda second: [second, *first], to=to)

    # --- faults on the connections

    def delay(self, seconds: float) -> None:
        """From now on each reply arrives so much later; 0 ends it."""
        self._delay = seconds

    def hold(self) -> None:
        """Commands are still carried out, replies wait for `release`."""
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """Break all connections now; new ones are welcome."""
        for transport in self._clients.values():
            transport.abort()

    def reset_after(self, number: int) -> None:
        """Break the connection that gets the `number`th byte from now on, right after it."""
        self._bytes_left = number

    def refuse(self) -> None:
        """Refuse new connections until `accept`; those that are open stay."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def accept(self) -> None:
        """Take connections again, at the same address."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        self.cut()
        await asyncio.gather(*self._clients)

    # --- one client

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer.transport
        self._note(accepted=1)
        try:
            await self._pass_on(reader, writer)
        except OSError:
            pass  # the server is away or hung up, and so does the proxy
        finally:
            writer.transport.abort()
            del self._clients[task]
            self._note()

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Until either side hangs up; what the server said before that is still delivered."""
        if self._upstream.scheme == "unix":
            server, to_server = await asyncio.open_unix_connection(self._upstream.path)
        else:
            host, port = self._upstream.hostname or "localhost", self._upstream.port or 6379
            server, to_server = await asyncio.open_connection(host, port)
        unanswered: deque[bytes] = deque()
        outgoing = _Outgoing(1024)
        tasks = [
            asyncio.create_task(self._ask(client, to_server, unanswered)),
            asyncio.create_task(self._deliver(outgoing, to_client)),
            asyncio.create_task(self._answer(server, unanswered, outgoing)),
        ]
        try:
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_server.transport.abort()
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _ask(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, unanswered: deque[bytes]
    ) -> None:
        framer = Framer()
        while data := await client.read(65536):
            for command in framer.feed(data):
                unanswered.append(command_name(command))
                server.write(command)
                self._note(commands=1)
            await server.drain()

    async def _answer(
        self, server: asyncio.StreamReader, unanswered: deque[bytes], outgoing: _Outgoing
    ) -> None:
        framer = Framer()
        while data := await server.read(65536):
            due = asyncio.get_running_loop().time() + self._delay
            for message in framer.feed(data):
                if message.startswith(b">"):
                    await outgoing.put((due, message, False))
                    continue
                command = unanswered.popleft() if unanswered else b""
                delivered: Sequence[bytes] = [message]
                if self._faults and self._faults[0][1] in (None, command):
                    change, _ = self._faults.popleft()
                    delivered = change(message)
                for reply in delivered:
                    await outgoing.put((due, reply, True))
                self._note(replies=1)
        await outgoing.put((0, b"", False))

    async def _deliver(self, outgoing: _Outgoing, client: asyncio.StreamWriter) -> None:
        """Write in order, each message when it is due; an empty one is the end."""
        client.transport.set_write_buffer_limits(0)  # drained means: on its way
        while True:
            due, message, is_reply = await outgoing.get()
            await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))
            await self._flowing.wait()
            portion, breaks = self._portion(message)
            client.write(portion)
            await client.drain()
            if portion and portion == message:
                self._note(delivered=is_reply)
            if breaks or not message:
                return

    def _portion(self, message: bytes) -> tuple[bytes, bool]:
        """What of a message goes out, and whether the connection breaks then."""
        left = self._bytes_left
        if left is None or left > len(message):
            self._bytes_left = None if left is None else left - len(message)
            return message, False
        self._bytes_left = None
        return message[:left], True

    def _note(
        self, *, accepted: int = 0, commands: int = 0, replies: int = 0, delivered: int = 0
    ) -> None:
        self.accepted += accepted
        self.commands += commands
        self.replies += replies
        self.delivered += delivered
        self._moved.set()
        self._moved = asyncio.Event()  # for what moves next
