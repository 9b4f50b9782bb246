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
_ENCODED = "each encoding is made and kept as a variant of its own"
_BELONG_OUTSIDE = {
    "GZipMiddleware": _ENCODED,
    "BrotliMiddleware": _ENCODED,
    "ZstdMiddleware": _ENCODED,
    "CompressMiddleware": _ENCODED,
    "CORSMiddleware": "each origin is a variant of its own, and where any may read, browsers "
    "refuse what was stored for a request without one",
}
_FIX = "the middleware that is added last is the outermost"


def faults(middleware: Sequence[Any], own: type) -> list[str]:
    """What is dangerously wrong. `middleware` are entries with a `cls`, `own` is the cache's."""
    outside, _ = _sides(middleware, own)
    return [
        f"{names[0]} is outside of CacheMiddleware, which therefore cannot see whose page it "
        f"keeps: add the cache after the sessions ({_FIX}), or use install()"
        for names in outside
        if _SESSIONS in names
    ]


def warnings(middleware: Sequence[Any], own: type) -> list[str]:
    """What is wasteful, or serves less than it should."""
    _, inside = _sides(middleware, own)
    return [
        f"{names[0]} is inside of CacheMiddleware: {what}; add it after the cache ({_FIX})"
        for names in inside
        for kind, what in _BELONG_OUTSIDE.items()
        if kind in names
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


def _sides(middleware: Sequence[Any], own: type) -> tuple[list[list[str]], list[list[str]]]:
    """What is outside and inside of the cache: of each its name, and those of its base classes."""
    families = [_family(entry.cls) for entry in middleware]
    at = next((at for at, family in enumerate(families) if own.__name__ in family), None)
    return ([], []) if at is None else (families[:at], families[at + 1 :])


def _family(cls: Any) -> list[str]:
    classes: Sequence[Any] = getattr(cls, "__mro__", (cls,))
    return [getattr(one, "__name__", "") for one in classes]
