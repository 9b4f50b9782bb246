"""The app that the tests of sessions talk to: each route does one thing to its session."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from cachemw.sessions.middleware import SessionMiddleware
from cachemw.sessions.sessions import Sessions

Handler = Callable[[Request], Any]


async def home(request: Request) -> Response:
    return PlainTextResponse("hello")


async def view(request: Request) -> Response:
    return JSONResponse({"session": request.session})


async def update(request: Request) -> Response:
    request.session.update(await request.json())
    return JSONResponse({"session": request.session})


async def forget(request: Request) -> Response:
    for key in await request.json():
        request.session.pop(key, None)
    return JSONResponse({"session": request.session})


async def append(request: Request) -> Response:
    request.session.setdefault("list", []).append(await request.json())
    return JSONResponse({"session": request.session})


async def nested(request: Request) -> Response:
    for key, value in (await request.json()).items():
        request.session["nested"][key] = value
    return PlainTextResponse("ok")


async def clear(request: Request) -> Response:
    request.session.clear()
    return JSONResponse({"session": request.session})


async def logout(request: Request) -> Response:
    request.session.destroy()  # type: ignore[attr-defined]
    request.session.update(await request.json())
    return PlainTextResponse("bye")


async def rotate(request: Request) -> Response:
    request.session.rotate()  # type: ignore[attr-defined]
    return PlainTextResponse("ok")


async def reauthenticate(request: Request) -> Response:
    request.session.reauthenticated()  # type: ignore[attr-defined]
    return PlainTextResponse("ok")


async def fail(request: Request) -> Response:
    request.session.update(await request.json())
    return PlainTextResponse("no", 503)


async def stream(request: Request) -> Response:
    async def body() -> Any:
        yield b"first"
        await asyncio.sleep(0)
        request.scope["session"].update(await request.json())
        yield b"second"

    await request.body()
    return StreamingResponse(body())


async def live(socket: WebSocket) -> None:
    """Says what its session holds, and writes into it what it hears."""
    if "before" in socket.query_params or socket.url.path == "/live-new":
        socket.session["accepted"] = True
    await socket.accept()
    try:
        while True:
            heard = await socket.receive_json()
            socket.session.update(heard)
            await socket.send_json(dict(socket.session))
    except WebSocketDisconnect as bye:
        socket.app.state.goodbyes.append(bye.code)


async def crash(request: Request) -> Response:
    request.session.destroy()  # type: ignore[attr-defined]
    raise ZeroDivisionError


ROUTES = [
    Route("/", home),
    Route("/view", view),
    Route("/update", update, methods=["POST"]),
    Route("/forget", forget, methods=["POST"]),
    Route("/append", append, methods=["POST"]),
    Route("/nested", nested, methods=["POST"]),
    Route("/clear", clear, methods=["POST"]),
    Route("/logout", logout, methods=["POST"]),
    Route("/rotate", rotate, methods=["POST"]),
    Route("/reauthenticate", reauthenticate, methods=["POST"]),
    Route("/fail", fail, methods=["POST"]),
    Route("/stream", stream, methods=["POST"]),
    Route("/crash", crash, methods=["POST"]),
    WebSocketRoute("/live", live),
    WebSocketRoute("/live-new", live),
]


def session_app(sessions: Sessions, **handlers: Handler) -> SessionMiddleware:
    """The app, inside its middleware, with a POST route more for each handler."""
    more = [Route(f"/{name}", handler, methods=["POST"]) for name, handler in handlers.items()]
    app = Starlette(routes=[*ROUTES, *more, Mount("/mounted", routes=[Route("/view", view)])])
    app.state.goodbyes = []
    app.state.sessions = sessions
    return SessionMiddleware(app, sessions=sessions)


class Gate:
    """A handler that stops in the middle: two requests can be laced into each other."""

    def __init__(self, act: Callable[[Request, Any], None]) -> None:
        self._act = act
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()

    async def handle(self, request: Request) -> Response:
        data = await request.json()
        self.arrived.set()
        await asyncio.wait_for(self.open.wait(), 10)
        self._act(request, data)
        return PlainTextResponse("ok")

    async def reached_by(self, request: "asyncio.Task[Any]") -> None:
        """Wait until the handler has stopped; a request that ends before fails the test."""
        arrival = asyncio.create_task(self.arrived.wait())
        await asyncio.wait({request, arrival}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        if not arrival.done():
            arrival.cancel()
            raise AssertionError(f"the request never came to the gate: {request}")
