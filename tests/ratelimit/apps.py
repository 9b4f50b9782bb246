"""What the tests of the limiter are told in: a clock that is moved, and clients with addresses."""

from collections.abc import Mapping

import httpx2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware, Rules
from tests.servers import Server


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Client:
    """Somebody at an address. Answers of the app are plain httpx responses, 500s included."""

    def __init__(self, app: ASGIApp, address: str | None = "203.0.113.9") -> None:
        peer = None if address is None else (address, 4711)
        transport = httpx2.ASGITransport(
            app,
            raise_app_exceptions=False,
            client=peer,  # type: ignore[arg-type]
        )
        self._http = httpx2.AsyncClient(transport=transport, base_url="http://app")

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: str
    ) -> httpx2.Response:
        return await self._http.request(method, path, headers=headers, **more)  # type: ignore[arg-type]

    async def get(self, path: str = "/", **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("GET", path, named)

    async def post(self, path: str = "/", **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", path, named)

    async def statuses(self, path: str, times: int) -> list[int]:
        return [(await self.get(path)).status_code for _ in range(times)]


async def answer(request: Request) -> Response:
    status = int(request.query_params.get("status", 200))
    if status == 500:
        raise RuntimeError("the handler broke")
    return PlainTextResponse("done", status)


def app_with(
    limiter: Limiter, routes: Mapping[str, Rules], *inner: Middleware, legacy_headers: bool = False
) -> Starlette:
    return Starlette(
        routes=[Route("/{rest:path}", answer, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])],
        middleware=[
            Middleware(
                RateLimitMiddleware, store=limiter, routes=routes, legacy_headers=legacy_headers
            ),
            *inner,
        ],
    )


def trips(server: Server) -> int:
    """How many scripts the server was sent: the only way in which the limiter talks to it."""
    stats = server.info("commandstats")
    names = ("cmdstat_eval", "cmdstat_evalsha", "cmdstat_fcall")
    return sum(
        int(stats[name].split(",")[0].removeprefix("calls=")) for name in names if name in stats
    )
