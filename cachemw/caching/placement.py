"""Whether the cache stands in the right place among the app's middleware.

Read from the list that a Starlette app keeps, outermost first. What would give one user's page to
the next is an error; what only costs memory or hits is a warning. Each names the fix.
"""

from collections.abc import Sequence
from typing import Any

_SESSIONS = "SessionMiddleware"
_ENCODERS = ("GZipMiddleware", "BrotliMiddleware", "ZstdMiddleware", "CompressMiddleware")
_FIX = "the middleware that is added last is the outermost"


def faults(middleware: Sequence[Any], own: type) -> list[str]:
    """What is dangerously wrong. `middleware` are entries with a `cls`, `own` is the cache's."""
    outside, _ = _sides(middleware, own)
    return [
        f"{name} is outside of CacheMiddleware, which therefore cannot see whose page it keeps: "
        f"add the cache after the sessions ({_FIX}), or use install()"
        for name in outside
        if name == _SESSIONS
    ]


def warnings(middleware: Sequence[Any], own: type) -> list[str]:
    """What is wasteful."""
    _, inside = _sides(middleware, own)
    return [
        f"{name} is inside of CacheMiddleware: each encoding is made and kept as a variant of its "
        f"own; add it after the cache ({_FIX})"
        for name in inside
        if name in _ENCODERS
    ]


def _sides(middleware: Sequence[Any], own: type) -> tuple[list[str], list[str]]:
    """The names of what is outside and inside of the cache."""
    classes = [entry.cls for entry in middleware]
    if own not in classes:
        return [], []
    at = classes.index(own)
    names = [getattr(cls, "__name__", "") for cls in classes]
    return names[:at], names[at + 1 :]
