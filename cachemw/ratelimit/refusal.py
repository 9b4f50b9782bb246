"""How a refusal reaches the client, over HTTP or a websocket.

`RateLimited` is raised by dependencies, decorators and `check`. An app that registers a handler
for it (or for status 429, 503, 403) words every refusal itself, the middleware's too. Which fields
speak of the limits is the middleware's business; it adds them to whatever is sent.
"""

from collections.abc import Callable, Mapping
from typing import Any

from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from cachemw.ratelimit.headers import problem, refusal_headers, to_json
from cachemw.ratelimit.verdicts import Decision

Handlers = Mapping[Any, Callable[..., Any]]

POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013  # websocket close codes (RFC 6455 §7.4)


class RateLimited(HTTPException):
    """A rule refused this connection. `.decision` says which, and until when."""

    def __init__(self, decision: Decision) -> None:
        headers = {
            name.decode(): value.decode()
            for name, value in refusal_headers(decision)
            if name != b"content-type"
        }
        super().__init__(decision.status, headers=headers)
        self.decision = decision


def refusal_response(decision: Decision) -> Response:
    """The problem document of a refusal, ready to be sent."""
    response = Response(to_json(problem(decision)), decision.status)
    response.raw_headers = [
        *refusal_headers(decision),
        (b"content-length", b"%d" % len(response.body)),
    ]
    return response


async def handle(connection: HTTPConnection, error: RateLimited) -> Response | None:
    """The exception handler of `RateLimited` where the app has none of its own."""
    if isinstance(connection, WebSocket):
        await _close(connection, error.decision)
        return None
    return refusal_response(error.decision)


async def refuse(
    scope: Scope, receive: Receive, send: Send, error: RateLimited, handlers: Handlers
) -> None:
    """Answer a connection that never reached the app, as the app would have answered it."""
    connection = (
        Request(scope, receive) if scope["type"] == "http" else WebSocket(scope, receive, send)
    )
    handler = handlers.get(error.status_code) or handlers.get(RateLimited)
    response: Response | None
    if handler is None or scope["type"] == "websocket":  # it words responses only
        response = await handle(connection, error)
    elif is_async_callable(handler):
        response = await handler(connection, error)
    else:
        response = await run_in_threadpool(handler, connection, error)
    if response is not None:
        await response(scope, receive, send)


def close_of(decision: Decision) -> tuple[int, str]:
    """The code and the reason by which a refusal closes a websocket."""
    code = TRY_AGAIN_LATER if decision.status == 503 else POLICY_VIOLATION
    return code, str(problem(decision)["detail"])


async def _close(websocket: WebSocket, decision: Decision) -> None:
    code, reason = close_of(decision)
    if websocket.application_state == WebSocketState.CONNECTING:
        if websocket.client_state == WebSocketState.CONNECTING:
            await websocket.receive()  # the connect message comes before any answer
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            await websocket.send_denial_response(refusal_response(decision))
            return
    if websocket.application_state != WebSocketState.DISCONNECTED:
        await websocket.close(code, reason)
