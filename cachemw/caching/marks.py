"""What is written on a route: that it is cached, that it purges; and what its handler may add.

A mark is a value that hangs on a FastAPI dependency or an endpoint. It does nothing there: the
middleware finds it when it reads the app's routes. Signatures are left alone, so that any order of
decorators works as long as they keep attributes, as `functools.wraps` does.

    @app.get("/products/{id}", dependencies=[Cached(ttl="5m")])      FastAPI route, router or app
    @cached(ttl="5m")                                                any endpoint, function or class
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

from starlette.requests import HTTPConnection

from cachemw.caching.options import PolicyOptions
from cachemw.caching.policy import CachePolicy
from cachemw.caching.tags import Tags, TagTemplate, tag_bytes
from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError
from cachemw.routes import AppRoute

if TYPE_CHECKING:
    from fastapi.params import Depends

E = TypeVar("E", bound=Callable[..., Any])

CONTEXT = "cachemw.cache"
"""The scope key under which the middleware lays the `Notes` of a fill."""

_CACHED = "__cachemw_cached__"
_PURGES = "__cachemw_purges__"


@dataclass(frozen=True, eq=False)
class CachedMark:
    """A policy, and the source line that wrote it. As a dependency it does nothing."""

    policy: CachePolicy
    where: str

    async def __call__(self) -> None: ...


@dataclass(frozen=True, eq=False)
class PurgesMark:
    """What a successful response invalidates. As a dependency it does nothing."""

    tags: Tags
    urls: tuple[TagTemplate, ...]
    namespace: str | None
    soft: bool
    where: str

    async def __call__(self) -> None: ...


def Cached(policy: CachePolicy | None = None, **options: Unpack[PolicyOptions]) -> "Depends":
    """For FastAPI's `dependencies=[...]`: cache the responses of these routes.

    Takes a `CachePolicy` or its options. The nearest mark wins: endpoint, route, router, app.
    """
    return _depends("Cached", _cached_mark("Cached", policy, options))


def cached(policy: CachePolicy | None = None, **options: Unpack[PolicyOptions]) -> Callable[[E], E]:
    """Decorates an endpoint whose responses are cached; takes what `Cached` takes."""
    mark = _cached_mark("@cached", policy, options)

    def decorate(endpoint: E) -> E:
        if _own(endpoint, _CACHED) is not None:
            raise ConfigurationError(f"{mark.where}: {_name(endpoint)} is marked as cached already")
        return _put(endpoint, _CACHED, mark)

    return decorate


def Purges(
    *tags: str, urls: str | Iterable[str] = (), namespace: str | None = None, soft: bool = False
) -> "Depends":
    """For FastAPI's `dependencies=[...]`: purge when the route has answered with success.

    `tags` and `urls` are templates as in a policy: `"product:{id}"`, `"/products/{id}"`. `soft`
    marks entries as stale instead of forgetting them. Several marks add up.
    """
    return _depends("Purges", _purges_mark("Purges", tags, urls, namespace, soft))


def purges(
    *tags: str, urls: str | Iterable[str] = (), namespace: str | None = None, soft: bool = False
) -> Callable[[E], E]:
    """Decorates an endpoint as `Purges` marks a FastAPI route."""
    mark = _purges_mark("@purges", tags, urls, namespace, soft)

    def decorate(endpoint: E) -> E:
        return _put(endpoint, _PURGES, (*_purges_of(endpoint), mark))

    return decorate


def mark_on(route: AppRoute) -> CachedMark | None:
    """The mark on a route of the app that counts: the nearest one if there are several."""
    for carrier in reversed(route.carriers):
        mark = getattr(carrier, "dependency", None) or _own(carrier, _CACHED)
        if isinstance(mark, CachedMark):
            return mark
    return None


def policy_on(route: AppRoute) -> CachePolicy | None:
    """The policy that is marked on a route of the app."""
    mark = mark_on(route)
    if mark is None:
        return None
    params = route.pattern.convertors
    mark.policy.tag_templates.demand_path(params, f"{mark.where}, on {route.pattern}")
    return mark.policy


def purges_on(route: AppRoute) -> tuple[PurgesMark, ...] | None:
    """Every purge that is marked on a route of the app, the outermost first; None for none."""
    marks: list[PurgesMark] = []
    for carrier in route.carriers:
        dependency = getattr(carrier, "dependency", None)
        marks += [dependency] if isinstance(dependency, PurgesMark) else _purges_of(carrier)
    for mark in marks:
        for template in (*mark.tags.templates, *mark.urls):
            template.demand_path(route.pattern.convertors, f"{mark.where}, on {route.pattern}")
    return tuple(dict.fromkeys(marks)) or None


@dataclass(slots=True)
class Notes:
    """What a handler says about the response that it is making; the middleware reads it after."""

    tags: list[bytes] = field(default_factory=list[bytes])
    ttl: float | None = None
    skip: str | None = None


class CacheContext:
    """A handler's word about how its response is cached. Without effect where it is not.

    FastAPI: `cache: CacheContext = Depends()`. Starlette: `CacheContext.of(request)`. What is said
    counts until the response begins.
    """

    def __init__(self, request: HTTPConnection) -> None:
        notes = request.scope.get(CONTEXT)
        self._notes = notes if isinstance(notes, Notes) else None

    @classmethod
    def of(cls, request: HTTPConnection) -> "CacheContext":
        return cls(request)

    @property
    def active(self) -> bool:
        """Whether this response may be stored, as far as is known."""
        return self._notes is not None and self._notes.skip is None

    def tag(self, *tags: str) -> None:
        """Purge this response, too, by these tags."""
        if self._notes is not None:
            self._notes.tags += map(tag_bytes, tags)

    def ttl(self, duration: DurationLike) -> None:
        """Keep this response so long, in place of the policy's `ttl`."""
        lifetime = seconds(duration)
        if self._notes is not None:
            self._notes.ttl = lifetime

    def skip(self, reason: str = "") -> None:
        """Do not store this response; `reason` is for those who ask why."""
        if self._notes is not None:
            self._notes.skip = reason[:200]


def _cached_mark(name: str, policy: CachePolicy | None, options: PolicyOptions) -> CachedMark:
    where = f"{name} at {_caller()}"
    if policy is not None and (options or not isinstance(policy, CachePolicy)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"{where}: give a CachePolicy or options such as ttl='5m'")
    try:
        return CachedMark(policy or CachePolicy(**options), where)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _purges_mark(
    name: str, tags: Sequence[str], urls: str | Iterable[str], namespace: str | None, soft: bool
) -> PurgesMark:
    where = f"{name} at {_caller()}"
    urls = (urls,) if isinstance(urls, str) else tuple(urls)
    if not (tags or urls or namespace):
        raise ConfigurationError(f"{where}: name what is purged: tags, urls or a namespace")
    try:
        templates = tuple(map(TagTemplate.parse, urls))
        if not all(url.text.startswith(("/", "http://", "https://")) for url in templates):
            raise ConfigurationError("urls are paths such as '/products/{id}', or absolute")
        return PurgesMark(Tags.parse(tags), templates, namespace, soft, where)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _caller() -> str:
    """The line that wrote a mark: the first one outside of this file."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _depends(name: str, mark: CachedMark | PurgesMark) -> "Depends":
    try:
        from fastapi.params import Depends
    except ImportError:
        raise ConfigurationError(
            f"{mark.where}: {name}(...) is a FastAPI dependency and FastAPI is not installed: "
            f"decorate the endpoint with @{name.lower()}(...)"
        ) from None
    return Depends(mark)


def _target(endpoint: Callable[..., Any]) -> Any:
    """Where an endpoint keeps its attributes: a bound method's are those of its function."""
    return getattr(endpoint, "__func__", endpoint)


def _own(carrier: object, name: str) -> object:
    """A mark that was put on this very object: a class does not inherit being cached."""
    own: dict[str, object] = getattr(carrier, "__dict__", {})
    return own.get(name)


def _purges_of(carrier: object) -> tuple[PurgesMark, ...]:
    return cast(tuple[PurgesMark, ...], _own(carrier, _PURGES) or ())


def _put(endpoint: E, name: str, mark: object) -> E:
    try:
        setattr(_target(endpoint), name, mark)
    except (AttributeError, TypeError):
        raise ConfigurationError(
            f"{_name(endpoint)} cannot carry a mark: decorate a function or a class"
        ) from None
    return endpoint


def _name(endpoint: object) -> str:
    return getattr(endpoint, "__qualname__", None) or repr(endpoint)
