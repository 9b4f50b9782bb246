"""What caches in an app: the middleware, its policies, and where each of them was written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cachemw.caching.invalidation import SAFE_METHODS
from cachemw.caching.marks import mark_on
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.placement import faults, strays, warnings
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.tags import tag_text
from cachemw.errors import ConfigurationError
from cachemw.messages import Header
from cachemw.routes import AppRoute, Matched, app_routes
from cachemw.stores.base import Store
from cachemw.stores.near import NearStore

_SAMPLES = {
    **{"int": "48151623", "float": "4815.1623", "path": "a/sample"},
    **{"uuid": "00000000-0000-4000-8000-000000000000"},
}


@dataclass(frozen=True, slots=True)
class CachedApp:
    """An app and its cache."""

    app: Any
    """What has the routes; None where the cache is wrapped around it by hand."""
    cache: CacheMiddleware

    @classmethod
    def of(cls, app: object) -> "CachedApp":
        """The cache of an ASGI app; `ConfigurationError` when it has none."""
        layer: Any = app
        while layer is not None:
            if isinstance(layer, CacheMiddleware):
                return cls(None, layer)
            for entry in getattr(layer, "user_middleware", ()):
                if issubclass(entry.cls, CacheMiddleware):
                    return cls(layer, entry.cls(layer, *entry.args, **entry.kwargs))
            layer = getattr(layer, "app", None)
        raise ConfigurationError(
            "the app has no cache: call install(app, ...), or add CacheMiddleware to it"
        )

    @property
    def store(self) -> Store:
        """Where responses are kept, without what this process may keep itself."""
        store = self.cache.store
        return store.store if isinstance(store, NearStore) else store

    def match(
        self, method: str, path: str, headers: Sequence[Header] = ()
    ) -> Matched[CachePolicy] | None:
        return self.cache.policies.match(self.app, method, path, headers)

    def policy_of(self, path: str) -> CachePolicy | None:
        """The policy of a GET: what `listing.named` takes."""
        matched = self.match("GET", path)
        return matched.policy if matched else None

    def source_of(self, matched: Matched[CachePolicy]) -> str:
        """Where the policy of a match was written, for people."""
        for route, _ in self.cache.policies.marked:
            mark = mark_on(route)
            if route.pattern is matched.pattern and mark is not None:
                return f"marked: {mark.where}"
        entries = self.cache.policies.routes.entries
        is_last = bool(entries) and entries[-1][0] is matched.pattern
        if is_last and matched.pattern.text == "/{path:path}":
            return "default, or the pattern of everything"
        return f"pattern {str(matched.pattern)!r}"


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """One route of an app, and what is cached of it."""

    route: str
    """Methods and path, as the app routes them."""
    endpoint: str
    policy: CachePolicy | None
    source: str
    """Where the policy was written."""
    why: str
    """Why it is cached as it is, or not at all."""
    purges: tuple[str, ...] = ()
    """What its success makes obsolete."""


def route_policies(app: object) -> list[RoutePolicy]:
    """Every route of an app with its policy and the why of it, in the order of the app."""
    cached = CachedApp.of(app)
    told: list[RoutePolicy] = []
    before: list[AppRoute] = []
    for route in app_routes(cached.app):
        if route.endpoint is not None:
            told.append(_told(cached, route, before))
        before.append(route)
    return told


def complaints(app: object) -> list[str]:
    """What is wrong with the place of the cache, and policies that no route can match."""
    cached = CachedApp.of(app)
    middleware: Sequence[Any] = getattr(cached.app, "user_middleware", ())
    own = [pattern for pattern, _ in cached.cache.policies.routes.entries]
    there = [route.pattern for route in app_routes(cached.app)]
    placed = (*faults(middleware, CacheMiddleware), *warnings(middleware, CacheMiddleware))
    return [*placed, *strays(own, there)]


def _told(cached: CachedApp, route: AppRoute, before: Sequence[AppRoute]) -> RoutePolicy:
    named, endpoint = str(route.pattern), route.endpoint
    name: str = route.name or getattr(endpoint, "__name__", "") or repr(endpoint)
    hidden = next((one for one in before if one.pattern.covers(route.pattern)), None)
    if hidden is not None and hidden.endpoint is not None and hidden.pattern != route.pattern:
        why = f"never reached: {hidden.pattern} stands before it and takes the same requests"
        return RoutePolicy(named, name, None, "", why)
    cached.cache.purges.resolve(cached.app)
    purges = tuple(_purges(cached, route))
    path = _sample(route)
    methods = route.pattern.methods or frozenset({"GET"})
    first = "GET" if "GET" in methods else min(methods)
    matched = cached.match(first, path)
    if matched is not None and first in matched.policy.methods:
        told, policy = cached.source_of(matched), matched.policy
        return RoutePolicy(named, name, policy, told, policy.describe(), purges)
    if first not in SAFE_METHODS:
        return RoutePolicy(named, name, None, "", _unsafe(purges), purges)
    reason = Reason.NO_POLICY if matched is None else Reason.METHOD
    return RoutePolicy(named, name, None, "", reason.meaning, purges)


def _unsafe(purges: Sequence[str]) -> str:
    others = "; ".join(purges)
    return "a success purges its own URL" + (f", and {others}" if others else "")


def _purges(cached: CachedApp, route: AppRoute) -> Iterator[str]:
    for marked, marks in cached.cache.purges.marked:
        if marked.pattern != route.pattern:
            continue
        for mark in marks:
            soft = "softly " if mark.soft else ""
            texts = [tag_text(tag) for tag in mark.tags.fixed]
            texts += [template.text for template in mark.tags.templates]
            yield from (f"{soft}tag {text}" for text in texts)
            yield from (f"{soft}URL {template.text}" for template in mark.urls)
            if mark.namespace:
                yield f"{soft}namespace {mark.namespace}"


def _sample(route: AppRoute) -> str:
    """A path that the route takes, with nothing special about it."""
    path = route.pattern.text
    for name, convertor in route.pattern.convertors.items():
        kind = type(convertor).__name__.removesuffix("Convertor").lower()
        for hole in (f"{{{name}}}", f"{{{name}:{kind}}}", f"{{{name}:str}}"):
            path = path.replace(hole, _SAMPLES.get(kind, "a-sample"))
    return path
