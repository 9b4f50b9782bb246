"""A WebSocket and its session: the cookie goes out with the accept, and a session that ends
elsewhere ends the socket.

While the socket is open, its session is looked up every `websocket_check` seconds. When it was
revoked, rotated by a login, or has expired, the client gets a close with code 1008 and the app a
disconnect. A message from the client counts as activity; an idle socket does not keep its session
alive. An outage of the store closes nothing.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from cachemw.errors import StoreUnavailable
from cachemw.sessions.errors import ConflictError, SessionUnavailable
from cachemw.sessions.headers import marked
from cachemw.sessions.refusal import refusal
from cachemw.sessions.sessions import Sessions
from cachemw.sessions.vault import Found
from cachemw.sessions.visit import Visit

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
_OVER: Message = {
    "type": "websocket.disconnect",
    "code": POLICY_VIOLATION,
    "reason": "the session has ended",
}
_log = logging.getLogger("cachemw.sessions")


class SocketClosed(OSError):
    """The app sends to a socket whose session has ended."""


class Socket:
    """One connection, from its handshake to its end."""

    def __init__(
        self, visit: Visit, sessions: Sessions, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._visit = visit
        self._sessions = sessions
        self._scope = scope
        self._receive = receive
        self._send = send
        self._answered = False
        self._is_open = False
        self._refused = False
        self._heard = False
        self._over = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._arrival: asyncio.Future[Message] | None = None

    async def serve(self, app: ASGIApp) -> None:
        try:
            await self._run(app)
        except (SessionUnavailable, ConflictError) as error:
            if self._answered:
                raise
            await self._refuse(error)
        except WebSocketDisconnect:  # the client has left: few apps catch it, and nothing is wrong
            await self._settle_late(200)
            raise
        except BaseException:
            # Maybe it failed after `destroy()`. Whoever asked to be logged out, is.
            if self._visit.session.was_destroyed:
                await self._settle_late(500)
            raise
        else:
            if self._answered:
                await self._settle_late(200)

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._from_client, self._to_client)
        finally:
            if self._watch is not None:
                self._watch.cancel()
                await asyncio.wait({self._watch})
            if self._arrival is not None:
                self._arrival.cancel()
                await asyncio.wait({self._arrival})
                if not self._arrival.cancelled():
                    self._arrival.exception()  # nobody wants to know any more

    async def _to_client(self, message: Message) -> None:
        if self._refused or self._over.is_set():
            raise SocketClosed("the session of this WebSocket has ended")
        if message["type"] in ("websocket.accept", "websocket.http.response.start"):
            message = await self._with_session(message)
        elif message["type"] == "websocket.close":
            self._answered = True
            self._closed()
        await self._send(message)
        self._is_open = self._is_open or message["type"] == "websocket.accept"
        self._see_to_the_watch()

    async def _with_session(self, message: Message) -> Message:
        accepts = message["type"] == "websocket.accept"
        try:
            cookie = await self._visit.settle(200 if accepts else message["status"])
        except (SessionUnavailable, ConflictError) as error:
            await self._refuse(error)
            raise SocketClosed("the session of this WebSocket cannot be saved") from None
        self._answered = True
        headers = tuple(message.get("headers", ()))
        if not accepts:
            headers = marked(headers, used=self._visit.session.accessed, cookie=cookie)
        elif cookie is not None:
            headers = (*headers, cookie)
        self._visit.answered()
        return {**message, "headers": headers}

    async def _from_client(self) -> Message:
        self._see_to_the_watch()
        if self._watch is None:
            message = await self._receive()
        else:
            message = await self._receive_or_over()
        self._heard = self._heard or message["type"] == "websocket.receive"
        if message["type"] == "websocket.disconnect" and message is not _OVER:
            self._closed()
        return message

    def _closed(self) -> None:
        """Watch no longer: it might close once more, which servers refuse."""
        self._is_open = False
        if self._watch is not None:
            self._watch.cancel()

    async def _receive_or_over(self) -> Message:
        over: asyncio.Future[Any] = asyncio.ensure_future(self._over.wait())
        try:
            while not self._over.is_set():
                # Kept when the app stops waiting: what arrives then is for its next call.
                arrival = self._arrival = self._arrival or asyncio.ensure_future(self._receive())
                waiting: set[asyncio.Future[Any]] = {arrival, over}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if arrival.done() and self._arrival is arrival and not self._over.is_set():
                    self._arrival = None
                    return arrival.result()
            return _OVER
        finally:
            over.cancel()

    def _see_to_the_watch(self) -> None:
        """Watch over the session as soon as there is one: a lazy one may be loaded at any time."""
        interval, found = self._sessions.settings.websocket_check, self._visit.found
        if self._is_open and self._watch is None and found is not None and interval > 0:
            self._watch = asyncio.create_task(self._keep_watch(found, interval))

    async def _keep_watch(self, found: Found, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            heard, self._heard = self._heard, False
            try:
                current = await self._sessions.vault.load(found.session_id, touch=heard)
            except StoreUnavailable:
                self._heard = self._heard or heard
                continue
            except Exception:  # nobody could say any more whether the session has ended
                _log.exception("the watch over the session of a WebSocket failed: closing it")
                break
            if not isinstance(current, Found):
                self._sessions.note(current.reason, detail="websocket")
                break
            found = current  # it may have another id by now
            self._visit.follow(found.session_id)
        self._over.set()
        with suppress(OSError):  # the client may have left in this moment
            await self._send(
                {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": _OVER["reason"]}
            )

    async def _refuse(self, error: SessionUnavailable | ConflictError) -> None:
        self._answered = self._refused = True
        status, headers, body = refusal(error, self._sessions.settings.retry_after)
        _log.warning("refused a WebSocket (%d): %s", status, error)
        if "websocket.http.response" in (self._scope.get("extensions") or {}):
            start: Message = {"type": "websocket.http.response.start"}
            await self._send({**start, "status": status, "headers": headers})
            await self._send({"type": "websocket.http.response.body", "body": body})
        else:
            await self._send({"type": "websocket.close", "code": TRY_AGAIN_LATER})

    async def _settle_late(self, status: int) -> None:
        if self._over.is_set():
            return
        try:
            await self._visit.settle(status)
        except (SessionUnavailable, ConflictError) as error:
            _log.warning("what a WebSocket left in its session is lost: %s", error)
