"""`dashboard(app)`: an ASGI app to mount, which shows what the cache of a whole fleet does.

    app.mount("/cache", dashboard(app))                                     for this machine only
    app.mount("/cache", dashboard(app, auth=is_admin, allow_purge=True))    for those who may

This file is the way of a request: who may look (`gate.py`), which page, and the fields that go with
each answer. Nothing is read from the store but for a page that somebody has asked for.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Message, Receive, Scope, Send

from cachemw.asgi import read_body
from cachemw.caching.marks import CONTEXT, CacheContext, cached
from cachemw.clientip import TrustedProxies
from cachemw.dashboard import (
    entries,
    explaining,
    gate,
    health,
    limits,
    overview,
    people,
    purging,
    routes,
)
from cachemw.dashboard.assets import Asset, icon, script, style
from cachemw.dashboard.desk import Content, Desk, Show
from cachemw.dashboard.frame import Visit, whole
from cachemw.dashboard.gate import COOKIE, FIELD
from cachemw.dashboard.source import Source, subject_of
from cachemw.dashboard.watch import Watch
from cachemw.errors import ConfigurationError
from cachemw.ratelimit.identity import PROXIES

Auth: TypeAlias = Callable[[Request], bool | str | Awaitable[bool | str]]

MOST_FORM = 64 * 1024  # bytes of a form
WHO = "cachemw.dashboard.who"

_SHOWN: dict[str, Show] = {
    "": overview.show,
    "routes": routes.show,
    "entries": entries.show,
    "entry": entries.show_one,
    "explain": explaining.show,
    "purge": purging.show,
    "limits": limits.show,
    "sessions": people.show,
    "health": health.show,
}

_FIELDS = {
    # Nothing inline, nothing from elsewhere, no framing, no forms to elsewhere; and markup enters
    # an open page by the one door that live.js names.
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types cachemw"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def dashboard(
    source: Source,
    *,
    auth: Auth | None = None,
    allow_purge: bool = False,
    title: str = "cachemw",
) -> "Dashboard":
    """The dashboard of an app, of what `install` returned, or of a store; to be mounted.

    Without `auth` it answers requests of this very machine only. `auth` takes the request, sync or
    async, and says who may look; a string is a name, which the log of purges shows. It may raise
    `HTTPException`, for instance to ask for a password. Without `allow_purge` nothing can be
    changed.
    """
    return Dashboard(source, auth=auth, allow_purge=allow_purge, title=title)


class Dashboard:
    """The ASGI app that `dashboard` makes."""

    def __init__(self, source: Source, *, auth: Auth | None, allow_purge: bool, title: str) -> None:
        if auth is not None and not callable(auth):
            raise ConfigurationError(f"auth={auth!r} must be a function of the request")
        self._source, self._auth, self._title = source, auth, title
        self._allow_purge = allow_purge
        self._watch: Watch | None = None
        # For the middleware, which looks through the routes of the app: whatever its policies say,
        # this one is not cached. One with `force` would keep a page for whoever comes next.
        cached(methods=())(self)
        self.routes: list[BaseRoute] = [Route("/{path:path}", self, include_in_schema=False)]
        self._router = Router(
            [
                *(
                    Route(f"/{page}", partial(self._page, page, show))
                    for page, show in _SHOWN.items()
                ),
                Route("/purge", self._purge, methods=["POST"]),
                Route("/live.json", self._feed),
                Route("/assets/{name}", _asset),
            ],
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        request = Request(scope, receive)
        CacheContext(request).skip("the dashboard is never cached")
        who = await self._who(request)
        if isinstance(who, Response):
            await who(scope, receive, partial(_with_fields, send))
            return
        scope[WHO] = who
        await self._router(scope, receive, partial(_with_fields, send))

    async def _who(self, request: Request) -> str | Response:
        """Who looks, or the refusal."""
        if self._auth is not None:
            answer = self._auth(request)
            given = await answer if inspect.isawaitable(answer) else answer
            if given is True:
                return ""
            return given if isinstance(given, str) and given else _refused("auth has said no.")
        if CONTEXT in request.scope:
            # What proxies have written is not to be seen from in here.
            return _refused(
                "a cache policy covers the dashboard and hides who is asking: leave its path out, "
                "or mount what dashboard() returns as it is."
            )
        proxies = request.scope.get(PROXIES)
        trusted = proxies if isinstance(proxies, TrustedProxies) else TrustedProxies()
        stranger = gate.not_local(request.scope, trusted)
        if stranger is not None:
            return _refused(f"without auth=... it is for this machine only, and {stranger}.")
        return "this machine"

    # --- what it answers

    async def _page(self, page: str, show: Show, request: Request) -> Response:
        desk = self._desk(request)
        return self._answer(desk, page, await show(desk))

    async def _feed(self, request: Request) -> Response:
        """The live regions of a page, as the page itself would show them."""
        show = _SHOWN.get(request.query_params.get("page", ""))
        if show is None:
            return PlainTextResponse("no such page", HTTPStatus.NOT_FOUND)
        content = await show(replace(self._desk(request), parts_only=True))
        parts = {id: html.text for id, html in content.parts.items()}
        return JSONResponse({"at": content.at, "parts": parts})

    async def _purge(self, request: Request) -> Response:
        if not self._allow_purge:
            return _refused("it is mounted without allow_purge=True.")
        form = await _form(request)
        headers = tuple(request.scope["headers"])
        why = gate.forged(headers, gate.secret_in(request.cookies), form.get(FIELD, ""))
        if why is not None:
            return _refused(f"this was not sent from one of its pages: {why}.")
        desk = self._desk(request)
        came = await purging.carry_out(desk, form)
        if isinstance(came, str):
            return RedirectResponse(came, HTTPStatus.SEE_OTHER)
        return self._answer(desk, "purge", came)

    def _desk(self, request: Request) -> Desk:
        if self._watch is None:
            self._watch = Watch(subject_of(self._source, request.scope.get("app")))
        secret = gate.secret_in(request.cookies) or gate.new_secret()
        base = quote(request.scope.get("root_path", ""), safe="/:@!$&'()*+,;=-._~").rstrip("/")
        visit = Visit(base, secret, gate.token_of(secret), self._allow_purge, self._title)
        return Desk(request, visit, self._watch, request.scope[WHO])

    def _answer(self, desk: Desk, page: str, content: Content) -> Response:
        visit = desk.visit
        feed = visit.link("live.json", page=page) if content.parts else None
        html = whole(visit, page, content.body, feed=feed)
        response = HTMLResponse(html.encode(), content.status)
        if self._allow_purge and gate.secret_in(desk.request.cookies) is None:
            # For this path alone: elsewhere it would keep requests from the cache.
            response.set_cookie(
                COOKIE,
                visit.secret,
                path=visit.base or "/",
                secure=desk.request.url.scheme == "https",
                httponly=True,
                samesite="strict",
            )
        return response


async def _asset(request: Request) -> Response:
    known: dict[str, Asset] = {asset.name: asset for asset in (style(), script(), icon())}
    asset = known.get(request.path_params["name"])
    if asset is None:
        return PlainTextResponse("no such file", HTTPStatus.NOT_FOUND)
    kept = {"cache-control": "private, max-age=31536000, immutable"}
    return Response(asset.content, media_type=asset.media_type, headers=kept)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form as browsers send it, none of one that is not whole or too large."""
    body, _, is_whole = await read_body(request.receive, MOST_FORM)
    if not is_whole or len(body) > MOST_FORM:
        return {}
    text = body.decode("latin-1")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        return {}


def _refused(why: str) -> Response:
    return PlainTextResponse(f"The dashboard does not answer: {why}\n", HTTPStatus.FORBIDDEN)


async def _with_fields(send: Send, message: Message) -> None:
    """Send on, with what keeps an answer of ours from being misused."""
    if message["type"] == "http.response.start":
        headers = list(message["headers"])
        names = {name for name, _ in headers}
        headers += [(name.encode(), value.encode()) for name, value in _FIELDS.items()]
        if b"cache-control" not in names:
            headers.append((b"cache-control", b"no-store"))
        message = {**message, "headers": headers}
    await send(message)
