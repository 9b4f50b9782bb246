"""What the app's own handler says when a handler raised, and how our fields get there.

Starlette answers failures outside of all middleware. What goes out there does not pass us, so the
handler that the app has registered for 500 or `Exception` is made to add the fields itself.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response

from cachemw.messages import Header, without
from cachemw.ratelimit.headers import LEGACY, OURS

FIELDS = "cachemw.limit_fields"
"""The scope key of what is to be said about limits in the answer to a failure."""


def has_own_handler(app: object) -> bool:
    """Whether the app words its failures itself."""
    handlers = getattr(app, "exception_handlers", {})
    return 500 in handlers or Exception in handlers


def dress_own_handler(app: object) -> None:
    """Have the handler that the app was built with add the fields, from now on."""
    outermost = getattr(app, "middleware_stack", None)
    if not isinstance(outermost, ServerErrorMiddleware) or outermost.handler is None:
        return
    if not hasattr(outermost.handler, "__cachemw__"):
        outermost.handler = _dressed(outermost.handler)


def _dressed(handler: Callable[..., Any]) -> Callable[..., Any]:
    is_async = is_async_callable(handler)

    @functools.wraps(handler)
    async def dressed(request: Request, error: Exception) -> Response:
        if is_async:
            response: Response = await handler(request, error)
        else:
            response = await run_in_threadpool(handler, request, error)
        fields: Sequence[Header] = request.scope.get(FIELDS, ())
        if fields:
            response.raw_headers = [*without(response.raw_headers, OURS | LEGACY), *fields]
        return response

    dressed.__cachemw__ = True  # type: ignore[attr-defined]
    return dressed
