"""An ASGI app that answers as a test has scripted it, and remembers what it was asked.

    origin = ScriptedOrigin()
    origin.answers("hello", headers={"cache-control": "max-age=60"})
    client = Client(CacheMiddleware(origin, store=MemoryStore(), routes={"/": CachePolicy()}))

    assert (await client.get("/")).cache == "miss"
    assert (await client.get("/")).cache == "hit"
    assert origin.called_once()

An answer is a sequence of pieces, carried out in order:

    bytes or str          a chunk of the body; the last one ends the response
    Gate()                waits until the test opens it
    START                 the response begins here; without it, before everything else
    an exception          is raised
    a message (dict)      is sent as it is: trailers, early hints, debug information
    a function            is called with the scope, and awaited: what a handler would do

Pieces behind the last chunk are work in the background. With `ends=False` the response is left
without an end.
"""

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from starlette.types import Message, Receive, Scope, Send

from cachemw.messages import Header, Headers, combined
from cachemw.testing.gate import Gate


class _Start:
    def __repr__(self) -> str:
        return "START"


START: Final = _Start()

Doing: TypeAlias = Callable[[Scope], Awaitable[None] | None]
Piece: TypeAlias = "bytes | str | Gate | _Start | BaseException | Mapping[str, Any] | Doing"
GivenHeaders: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted response."""

    pieces: tuple[Piece, ...]
    status: int = 200
    headers: Headers = ()
    ends: bool = True
    trailers: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the origin has seen it."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes
    scope: Scope = field(repr=False)

    def header(self, name: str) -> str | None:
        """The value of a field, all its lines together; None when it is not there."""
        value = combined(self.headers, name.lower().encode())
        return None if value is None else value.decode("latin-1")


class ScriptedOrigin:
    """See the module's text. Several requests may be under way at once; `running` is how many."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.running = 0
        self.finished = 0
        self._standing: dict[str | None, Answer] = {None: Answer((b"",))}
        self._next: dict[str | None, deque[Answer]] = {}

    # --- the script

    def answers(
        self,
        *pieces: Piece,
        status: int = 200,
        headers: GivenHeaders = (),
        path: str | None = None,
        ends: bool = True,
        trailers: bool = False,
    ) -> None:
        """From now on answer so: every path, or this one."""
        made = Answer(pieces or (b"",), status, raw_headers(headers), ends, trailers)
        self._standing[path] = made

    def answers_once(
        self,
        *pieces: Piece,
        status: int = 200,
        headers: GivenHeaders = (),
        path: str | None = None,
        ends: bool = True,
        trailers: bool = False,
    ) -> None:
        """Answer so once, before anything else; several such answers are given in order."""
        made = Answer(pieces or (b"",), status, raw_headers(headers), ends, trailers)
        self._next.setdefault(path, deque()).append(made)

    # --- what happened

    @property
    def calls(self) -> int:
        """How many requests have come."""
        return len(self.requests)

    @property
    def last(self) -> Asked:
        """The latest request."""
        return self.requests[-1]

    def called(self, times: int) -> bool:
        """Whether exactly so many requests came."""
        return self.calls == times

    def called_once(self) -> bool:
        return self.called(1)

    def never_called(self) -> bool:
        return self.called(0)

    # --- the app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        answer = self._answer_to(scope["path"])
        body = await _body(receive) if scope["method"] not in ("GET", "HEAD") else b""
        self.requests.append(
            Asked(
                scope["method"],
                scope["path"],
                scope.get("query_string", b""),
                tuple(scope["headers"]),
                body,
                scope,
            )
        )
        self.running += 1
        try:
            await _perform(answer, scope, send)
            self.finished += 1
        finally:
            self.running -= 1

    def _answer_to(self, path: str) -> Answer:
        for place in (path, None):
            if queue := self._next.get(place):
                return queue.popleft()
        return self._standing.get(path, self._standing[None])


def raw_headers(given: GivenHeaders) -> Headers:
    """Header lines as ASGI has them."""
    pairs = list(given if isinstance(given, Sequence) else given.items())
    return tuple((name.lower().encode(), value.encode("latin-1")) for name, value in pairs)


async def _perform(answer: Answer, scope: Scope, send: Send) -> None:
    pieces = answer.pieces if START in answer.pieces else (START, *answer.pieces)
    chunks = [place for place, piece in enumerate(pieces) if isinstance(piece, bytes | str)]
    for place, piece in enumerate(pieces):
        if isinstance(piece, _Start):
            await send(_head(answer))
        elif isinstance(piece, bytes | str):
            chunk = piece.encode() if isinstance(piece, str) else piece
            more = not answer.ends or place != chunks[-1]
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
        elif isinstance(piece, Gate):
            await piece.pass_through()
        elif isinstance(piece, BaseException):
            raise piece
        elif callable(piece):
            doing = piece(scope)
            if inspect.isawaitable(doing):
                await doing
        else:
            await send(dict(piece))


def _head(answer: Answer) -> Message:
    headers: list[Header] = list(answer.headers)
    head: Message = {"type": "http.response.start", "status": answer.status, "headers": headers}
    return {**head, "trailers": True} if answer.trailers else head


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(cast(bytes, message.get("body", b"")))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
