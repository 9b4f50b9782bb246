"""`SessionMiddleware`: `request.session` for Starlette and FastAPI, kept in a store.

The session is loaded before the app runs, in one trip, and only for a cookie that could be ours;
it is settled when the response begins, because that is the last moment for a `Set-Cookie`. The
middleware answers for the session in two cases only: 503 when the store is away and the app needs
the session, 409 when a guarded key was changed by somebody else.
"""

import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Unpack

from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.ahead import AHEAD, Question, leave, taken
from cachemw.errors import ConfigurationError
from cachemw.messages import Header, Headers
from cachemw.scopekeys import SESSION_USED, SESSIONS_MET
from cachemw.sessions.errors import ConflictError, SessionUnavailable
from cachemw.sessions.headers import marked
from cachemw.sessions.options import SessionOptions
from cachemw.sessions.refusal import refusal
from cachemw.sessions.sessions import Sessions
from cachemw.sessions.visit import Visit
from cachemw.sessions.websocket import Socket
from cachemw.stores.base import Store

VISIT = "cachemw.session_visit"
_log = logging.getLogger("cachemw.sessions")


class SessionMiddleware:
    """Sessions for an ASGI app: `SessionMiddleware(app, store=store, idle="30m")`.

    Takes either the options of `Sessions`, or `sessions=`, which the app can then ask who is
    logged in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store | None = None,
        sessions: Sessions | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        if sessions is not None and options:
            raise ConfigurationError(
                f"SessionMiddleware got sessions= and {', '.join(options)}: "
                "give the options to Sessions(...)"
            )
        self.app = app
        self.sessions = sessions if sessions is not None else Sessions(**options)
        if store is not None:
            self.sessions.bind(store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        asked = taken(scope, self) if AHEAD in scope else None
        visit = scope[VISIT] = Visit(self.sessions, scope) if asked is None else asked.state
        is_lazy = self.sessions.settings.lazy
        scope["session"] = visit.postpone() if is_lazy else await visit.load_now()
        if scope["type"] == "websocket":
            await Socket(visit, self.sessions, scope, receive, send).serve(self.app)
            return
        if SESSIONS_MET in scope:
            scope[SESSIONS_MET].append(visit)
        response = _Response(visit, self.sessions, scope, send)
        try:
            await self.app(scope, receive, response.pass_on)
        except (SessionUnavailable, ConflictError) as error:
            await response.give_way(error)
        except BaseException:
            await response.still_log_out()
            raise
        else:
            if not visit.is_at_rest():
                await response.settle_late()

    def ask_ahead(self, scope: Scope) -> None:
        """Send the load of the session, if one can be named."""
        if scope["type"] == "http" and not self.sessions.settings.lazy:
            visit = Visit(self.sessions, scope)
            answer = visit.begin()
            if answer is not None:
                leave(scope, Question(self, visit, answer))


class _Response(Struct, eq=False):
    """One request on its way out."""

    _visit: Visit
    _sessions: Sessions
    _scope: Scope
    _send: Send
    _began: bool = False
    _replaced: bool = False

    def pass_on(self, message: Message) -> Awaitable[None]:
        """The `send` of the app."""
        if self._replaced:
            return _nothing()  # what the app says now belongs to a response that nobody gets
        if self._began or message["type"] != "http.response.start":
            return self._send(message)
        visit = self._visit
        if not visit.is_at_rest():
            return self._begin(message)
        self._began = True
        headers: Headers = tuple(message.get("headers", ()))
        if visit.session.accessed:
            self._scope[SESSION_USED] = True
            headers = marked(headers, used=True, cookie=None)
        visit.answered()
        return self._send({**message, "headers": headers})

    async def _begin(self, message: Message) -> None:
        failure = self._visit.failure
        if failure is not None and message["status"] >= 500:
            # Starlette's own error page, when the app as a whole is wrapped in us.
            await self._answer_instead(failure)
            return
        try:
            cookie = await self._visit.settle(message["status"])
        except (SessionUnavailable, ConflictError) as error:
            await self._answer_instead(error)
            return
        await self._send(self._dressed(message, cookie))

    def _dressed(self, message: Message, cookie: Header | None) -> Message:
        used = self._visit.session.accessed
        if used or cookie is not None:
            self._scope[SESSION_USED] = True
        headers = marked(tuple(message.get("headers", ())), used=used, cookie=cookie)
        self._began = True
        self._visit.answered()
        return {**message, "headers": headers}

    async def _answer_instead(self, error: SessionUnavailable | ConflictError) -> None:
        """Instead of the app's response, unless that is under way already."""
        if self._began:
            raise error
        self._began = self._replaced = True
        self._scope[SESSION_USED] = True
        status, headers, body = refusal(error, self._sessions.settings.retry_after)
        _log.warning("answered %d: %s", status, error)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def give_way(self, error: SessionUnavailable | ConflictError) -> None:
        """The app ended with this error."""
        if not self._replaced:
            await self._answer_instead(error)

    async def still_log_out(self) -> None:
        """The app failed. What it wanted to keep is lost."""
        # Maybe it failed after `destroy()`. Whoever asked to be logged out, is.
        if not self._began and self._visit.session.was_destroyed:
            with suppress(SessionUnavailable):
                await self._visit.settle(500)

    async def settle_late(self) -> None:
        """Keep what was changed while the response was under way, as far as that is possible."""
        if self._replaced or not self._began or not self._visit.may_need_settling():
            return
        try:
            await self._visit.settle_early()
        except (SessionUnavailable, ConflictError) as error:
            _log.warning("a change after the response had begun is lost: %s", error)


async def _nothing() -> None:
    pass
