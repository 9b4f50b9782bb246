"""What a dashboard looks at: a store, and, where an app is known, its policies and sessions."""

from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from starlette.applications import Starlette

from cachemw.caching.cache import Cache
from cachemw.caching.marks import policy_on
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.errors import ConfigurationError
from cachemw.install import CacheMW
from cachemw.routes import Routes, RouteTable
from cachemw.sessions.middleware import SessionMiddleware
from cachemw.sessions.sessions import Sessions
from cachemw.stores.base import Store

Source: TypeAlias = Starlette | CacheMW | Store


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at."""

    store: Store
    cache: Cache
    app: object | None
    sessions: Sessions | None
    policies: RouteTable[CachePolicy] | None


def subject_of(source: Source, mounted_in: object | None) -> Subject:
    """What `source` stands for. An app may be given before `install` is called for it."""
    app = source if isinstance(source, Starlette) else mounted_in
    policies = None if app is None else policies_of(app)
    match source:
        case CacheMW():
            return Subject(source.store, source.cache, app, source.sessions, policies)
        case Store():
            return Subject(source, Cache(source), app, None, policies)
        case _:
            handle = getattr(source.state, "cachemw", None)
            if isinstance(handle, CacheMW):
                return Subject(handle.store, handle.cache, app, handle.sessions, policies)
            return _by_hand(source, policies)


def policies_of(app: object) -> RouteTable[CachePolicy] | None:
    """The policies of an app, those that are marked on its routes included."""
    options = _options(app, CacheMiddleware)
    if options is None:
        return None
    table = RouteTable(
        Routes[CachePolicy].of(options.get("routes") or {}, options.get("default")), policy_on
    )
    table.resolve(app)
    return table


def _by_hand(app: Starlette, policies: RouteTable[CachePolicy] | None) -> Subject:
    """An app whose middleware was added one by one."""
    cache, sessions = _options(app, CacheMiddleware), _options(app, SessionMiddleware)
    store = (cache or sessions or {}).get("store")
    if not isinstance(store, Store):
        raise ConfigurationError(
            "the dashboard has nothing to look at: this app has neither install() nor a "
            "CacheMiddleware; or give dashboard() the store itself"
        )
    data = (cache or {}).get("data")
    kept = (sessions or {}).get("sessions")
    return Subject(
        store,
        data if isinstance(data, Cache) else Cache(store),
        app,
        kept if isinstance(kept, Sessions) else None,
        policies,
    )


def _options(app: object, kind: type) -> dict[str, Any] | None:
    """What a middleware of an app was given."""
    for one in getattr(app, "user_middleware", ()):
        if one.cls is kind:
            return cast(dict[str, Any], one.kwargs)
    return None
