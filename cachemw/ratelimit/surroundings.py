"""What stands around the limit middleware: the app's other middleware, and browsers' preflights.

Read from the Starlette app in the scope. Where there is none, nothing is assumed.
"""

from collections.abc import Callable
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

from cachemw.messages import first_of

_HARMLESS = frozenset(
    f"starlette.middleware.{name}" for name in ("cors", "gzip", "httpsredirect", "trustedhost")
)


def is_preflight(scope: Scope) -> bool:
    """A browser's question before a request; refusing it would hide the refusal itself."""
    return (
        scope["type"] == "http"
        and scope["method"] == "OPTIONS"
        and first_of(scope["headers"], b"origin") is not None
        and first_of(scope["headers"], b"access-control-request-method") is not None
    )


def is_outermost(app: object, middleware: object) -> bool:
    """Whether nothing is around `middleware` but what neither answers failures nor has sessions."""
    depth = _depth_of(app, middleware)
    if depth is None:
        return False
    outside: list[Any] = getattr(app, "user_middleware", [])[:depth]
    return all(getattr(entry.cls, "__module__", "") in _HARMLESS for entry in outside)


def cors_within(app: object, middleware: object) -> Callable[[ASGIApp], ASGIApp] | None:
    """The app's CORS middleware as a wrapper, when it stands further in than `middleware`."""
    own_depth = _depth_of(app, middleware)
    for depth, entry in enumerate(getattr(app, "user_middleware", ())):
        is_within = own_depth is None or depth > own_depth
        if is_within and _is_cors(entry.cls):

            def wrap(answer: ASGIApp, entry: Any = entry) -> ASGIApp:
                wrapped: ASGIApp = entry.cls(answer, *entry.args, **entry.kwargs)
                return wrapped

            return wrap
    return None


def _depth_of(app: object, middleware: object) -> int | None:
    for depth, entry in enumerate(getattr(app, "user_middleware", ())):
        if entry.cls is middleware:
            return depth
    return None


def _is_cors(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, CORSMiddleware)
