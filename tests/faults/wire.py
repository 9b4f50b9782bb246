"""A client that sees every byte: one request on a connection of its own, then the end.

Each request opens a connection, so that each may come to another worker, and what a server says is
taken as it stands on the wire: a response that breaks off is `Broken`, never a short body.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

PATIENCE = 10.0  # seconds; nothing that works takes so long


class Broken(Exception):
    """The connection was refused, or ended before the response did."""


@dataclass(frozen=True)
class Answer:
    """A whole response, and when it was asked for and had come, on the steady clock."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    began: float = 0.0
    ended: float = 0.0

    def header(self, name: str) -> str:
        return ", ".join(value for field, value in self.headers if field == name)

    @property
    def cookie(self) -> str:
        """The cookie that is set, as it is sent back."""
        return self.header("set-cookie").partition(";")[0]


async def ask(
    port: int,
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    patience: float = PATIENCE,
) -> Answer:
    """The response to a polite request."""
    fields = {"host": "faults", "connection": "close", **(headers or {})}
    if body:
        fields["content-length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items()), "", ""]
    return await ask_raw(port, "\r\n".join(lines).encode() + body, patience=patience)


async def ask_raw(port: int, request: bytes, *, patience: float = PATIENCE) -> Answer:
    """The response to any bytes at all, up to the end of the connection."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(patience):
            said = await _said(port, request)
    except (OSError, TimeoutError) as error:
        raise Broken(f"{type(error).__name__} {error}") from None
    answer = parse(said, is_head=request.startswith(b"HEAD "))
    return Answer(answer.status, answer.headers, answer.body, began, loop.time())


async def _said(port: int, request: bytes) -> bytes:
    async with asked(port, request) as reader:
        return await reader.read()


@contextlib.asynccontextmanager
async def asked(port: int, request: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """What is said to a request. At the end of the block the connection ends at once, whatever is
    still on its way, and however the block ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        yield reader
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def parse(said: bytes, *, is_head: bool = False) -> Answer:
    """The last response of those that stand one after the other in what a server said."""
    while True:
        head, separator, rest = said.partition(b"\r\n\r\n")
        if not separator:
            raise Broken(f"no whole head: {said[:80]!r}")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        fields = [line.partition(":") for line in lines]
        headers = [(name.lower(), value.strip()) for name, _, value in fields]
        if status >= 200:
            break
        said = rest
    answer = Answer(status, headers, rest)
    if is_head or status in (204, 304):
        return answer
    if answer.header("transfer-encoding") == "chunked":
        return Answer(status, headers, _unchunked(rest))
    length = answer.header("content-length")
    if length and len(rest) < int(length):
        raise Broken(f"{len(rest)} bytes of {length}")
    return Answer(status, headers, rest[: int(length)] if length else rest)


def _unchunked(rest: bytes) -> bytes:
    parts: list[bytes] = []
    place = 0
    while True:
        end = rest.find(b"\r\n", place)
        if end < 0:
            raise Broken("the last chunk is missing")
        number, place = int(rest[place:end], 16), end + 2
        if len(rest) < place + number + 2:
            raise Broken("a chunk that breaks off")
        if number == 0:
            return b"".join(parts)
        parts.append(rest[place : place + number])
        place += number + 2
