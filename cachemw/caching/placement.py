"""Whether the cache stands in the right place among the app's middleware, and on its routes.

Read from the lists that a Starlette app keeps, of middleware the outermost first. What would give
one user's page to the next is an error; what only costs memory or hits is a warning. Each names the
fix.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from cachemw.routes import Pattern

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


def strays(patterns: Iterable[Pattern], routes: Sequence[Pattern]) -> list[str]:
    """The patterns of policies that no route of the app can match, with the nearest that is."""
    told: list[str] = []
    for pattern in patterns if routes else ():
        if not any(_may_meet(pattern.text, route.text) for route in routes):
            close = get_close_matches(pattern.text, [route.text for route in routes], n=1, cutoff=0)
            told.append(
                f"no route of the app matches {str(pattern)!r}, so its policy caches nothing: "
                f"the nearest one is {close[0]!r}"
            )
    return told


def _may_meet(one: str, other: str) -> bool:
    """Whether some path may match both patterns. Parameters are taken to match anything."""
    ours, theirs = one.split("/"), other.split("/")
    for own, their in zip(ours, theirs, strict=False):
        if ":path}" in own or ":path}" in their:
            return True
        if own != their and "{" not in own + their:
            return False
    return len(ours) == len(theirs)


def _sides(middleware: Sequence[Any], own: type) -> tuple[list[str], list[str]]:
    """The names of what is outside and inside of the cache."""
    classes = [entry.cls for entry in middleware]
    if own not in classes:
        return [], []
    at = classes.index(own)
    names = [getattr(cls, "__name__", "") for cls in classes]
    return names[:at], names[at + 1 :]
