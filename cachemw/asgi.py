"""The only file that reads ASGI scopes and builds ASGI messages."""

import asyncio
from collections.abc import Hashable, Iterable, Mapping
from operator import itemgetter
from typing import Any
from urllib.parse import quote, unquote

from starlette.types import Message, Receive, Scope, Send

from cachemw.messages import Header, RequestHead, ResponseHead, first_of, plain_host

# What a request names its resource by, next to its Host field.
_NAMED_BY = ("method", "scheme", "root_path", "path", "raw_path", "query_string")
_named_by = itemgetter(*_NAMED_BY)

# Ways around plain body messages. A response that is to be kept must not take them.
_SHORTCUTS = frozenset({"http.response.pathsend", "http.response.zerocopysend"})


def head_of(scope: Scope) -> RequestHead:
    """The request as it came over the wire."""
    raw_path = (scope.get("raw_path") or b"").partition(b"?")[0]
    spelt = raw_path.decode("latin-1")
    if (unquote(spelt) if "%" in spelt else spelt) != scope["path"]:  # rewritten further out
        safe = "/:@!$&'()*+,;=-._~"
        raw_path = quote(scope["path"], safe, errors="surrogatepass").encode("ascii")
    headers = tuple(scope["headers"])
    host = first_of(headers, b"host")
    if host is None:
        name, port = scope.get("server") or ("", None)
        host = f"{name}:{port}".encode("latin-1", "replace")
    scheme: str = scope.get("scheme", "http")
    return RequestHead(
        method=scope["method"],
        scheme=scheme,
        host=plain_host(scheme, host),
        path=raw_path,
        query=scope.get("query_string", b""),
        headers=headers,
    )


def route_path(scope: Scope) -> str:
    """The path that the app routes on: decoded, below the root path."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path


def addressed(scope: Scope) -> tuple[tuple[Hashable, ...] | None, dict[bytes, bytes]]:
    """What a request asks for, as it came, and its fields by name: requests with one address are
    for one resource. No address where Host does not say whose, or a field is repeated."""
    lines = scope["headers"]
    fields = dict(lines)
    host = fields.get(b"host")
    if host is None or len(fields) != len(lines):
        return None, fields
    try:
        return (id(scope.get("app")), host, _named_by(scope)), fields
    except KeyError:  # servers may leave some of it out
        return (id(scope.get("app")), host, tuple(map(scope.get, _NAMED_BY))), fields


def response_head(message: Message) -> ResponseHead:
    """The head that a `http.response.start` message carries."""
    headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
    return ResponseHead(message["status"], tuple(headers))


def start_message(status: int, headers: Iterable[Header]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body_message(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def respond(send: Send, status: int, headers: Iterable[Header], body: bytes) -> None:
    """Send a whole response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def plain_extensions(scope: Scope) -> dict[str, Any]:
    """The extensions of a scope, without those by which a body would escape its keeper."""
    extensions: Mapping[str, Any] = scope.get("extensions") or {}
    return {name: value for name, value in extensions.items() if name not in _SHORTCUTS}


async def departure(receive: Receive) -> None:
    """Ends when the client has left."""
    message = await receive()
    while message["type"] == "http.request" and message.get("more_body", False):
        message = await receive()
    if message["type"] == "http.request":
        message = await receive()
    if message["type"] != "http.disconnect":
        await asyncio.get_running_loop().create_future()  # nothing that a client can mean by that


async def read_body(receive: Receive, most: int) -> tuple[bytes, list[Message], bool]:
    """The request's body, messages that say the same, and whether it was all of it.

    Reading stops after `most` bytes, or when the client leaves.
    """
    body = bytearray()  # all in one: clients may send their bodies byte by byte
    while True:
        message = await receive()
        if message["type"] != "http.request":
            whole = bytes(body)
            return whole, [_request_message(whole, more=True), message], False
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if not more or len(body) > most:
            whole = bytes(body)
            return whole, [_request_message(whole, more=more)], not more


def _request_message(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def replaying(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives these messages first."""
    waiting = list(messages)

    async def replayed() -> Message:
        return waiting.pop(0) if waiting else await receive()

    return replayed
