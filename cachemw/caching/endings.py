"""Whether it was the app that ended its response, or a layer in its place.

A `BaseHTTPMiddleware` hands a response on through a queue, and when the app returns in the middle
of it, the layer ends it as if it were whole. Nobody further out can tell. So beneath each such
layer that the cache finds on its inside there is put a witness, which sees what the app has said
itself. A response with a Content-Length needs none: it is counted.

Only layers between the cache and the next app (Starlette's own) are found: not those of an app that
the cache was put around by hand, nor those of single routes.
"""

from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ENDING = "cachemw.ending"
"""The scope key under which a fill lays the `Ending` of its response."""


class Ending:
    """How many witnesses have seen the app begin, and not yet end."""

    def __init__(self) -> None:
        self.open = 0


class Witness:
    """Notes what passes it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ending = scope.get(ENDING)
        if not isinstance(ending, Ending):
            await self.app(scope, receive, send)
            return

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                ending.open -= 1
            await send(message)

        ending.open += 1
        await self.app(scope, receive, noted)


def attend(app: ASGIApp) -> None:
    """Put a witness beneath every layer that ends responses in the app's place."""
    layer: Any = app
    while layer is not None:
        inner: Any = getattr(layer, "app", None)
        if isinstance(layer, BaseHTTPMiddleware) and not isinstance(inner, Witness):
            layer.app = Witness(inner)
        layer = inner
