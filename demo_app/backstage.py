"""What a demo needs and an app does not: a server of its own to freeze, the page, and its log.

With `CACHEMW_REDIS_URL` the store is that server, which belongs to somebody and is never touched;
without it, a private one is started, and the page may freeze it (SIGSTOP) for a while.
"""

import asyncio
import os
import signal
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cachemw import Store, StoreUnavailable
from cachemw.stores.embedded import EmbeddedServer
from demo_app.crowd import crowd
from demo_app.log import Log, Watch
from demo_app.page import render

STATIC = Path(__file__).with_name("static")
LONGEST_PAUSE = 60  # seconds, so that a closed page leaves no frozen server
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Backstage:
    def __init__(self, variant: str, source: str) -> None:
        self.variant = variant
        self.source = Path(source)
        self.log = Log(os.environ.get("DEMO_DATABASE"))
        given = os.environ.get("CACHEMW_REDIS_URL")
        self.server = None if given else EmbeddedServer().start()
        self.url = self.server.url if self.server else given or ""
        # Without it the dashboard is for this machine only, and a container's host is another one.
        self.auth = everybody if os.environ.get("DEMO_DASHBOARD") == "open" else None
        self.paused = False
        self._thaw: asyncio.TimerHandle | None = None

    def join(self, app: Starlette) -> None:
        """Add the page and its helpers to the app, and watch what it answers."""
        self.store: Store = app.state.cachemw.store
        app.router.routes += [
            Route("/", self.page),
            Route("/health", self.health),
            Route("/backstage/log", self.follow),
            Route("/backstage/state", self.state),
            Route("/backstage/crowd", self.fifty, methods=["POST"]),
            Route("/backstage/pause", self.pause, methods=["POST"]),
            Route("/backstage/resume", self.resume, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
        app.add_middleware(Watch, log=self.log)

    # --- what is served

    async def page(self, request: Request) -> Response:
        return HTMLResponse(render(self.variant, self.source), headers=HEADERS)

    async def health(self, request: Request) -> Response:
        """For a container's health check: the app serves; the store is reported, not required."""
        return JSONResponse({"store": await self.answers()}, headers=HEADERS)

    async def follow(self, request: Request) -> Response:
        return StreamingResponse(
            self.log.follow(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def state(self, request: Request) -> Response:
        said = {
            "variant": self.variant,
            "store": await self.answers(),
            "paused": self.paused,
            "can_pause": self.server is not None,
        }
        return JSONResponse(said, headers=HEADERS)

    async def fifty(self, request: Request) -> Response:
        number = time.time_ns() // 1_000_000 % 1_000_000_000  # a report that nobody has asked for
        host, port = request.scope["server"]
        return JSONResponse(await crowd((host, port), f"/reports/{number}"), headers=HEADERS)

    async def pause(self, request: Request) -> Response:
        if self.server is None:
            said = "this Redis is not the demo's own, so it is left alone"
            return JSONResponse({"detail": said}, 409, headers=HEADERS)
        self._cancel_thaw()
        os.kill(self.server.pid, signal.SIGSTOP)
        self.paused = True
        self._thaw = asyncio.get_running_loop().call_later(LONGEST_PAUSE, self.thaw)
        self.log.add("said", text="Redis is frozen (SIGSTOP), for a minute at most")
        return JSONResponse({"paused": True}, headers=HEADERS)

    async def resume(self, request: Request) -> Response:
        if self.paused:
            self.thaw()
        return JSONResponse({"paused": False}, headers=HEADERS)

    def thaw(self) -> None:
        self._cancel_thaw()
        if self.server is not None:
            os.kill(self.server.pid, signal.SIGCONT)
        self.paused = False
        self.log.add("said", text="Redis runs again (SIGCONT)")

    # --- what is so

    def _cancel_thaw(self) -> None:
        if self._thaw is not None:
            self._thaw.cancel()
            self._thaw = None

    async def answers(self) -> bool:
        try:
            await self.store.time()
        except StoreUnavailable:
            return False
        return True


def everybody(request: Request) -> bool:
    return True
