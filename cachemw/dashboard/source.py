"""What a dashboard looks at: a store, and, where an app is known, its policies and sessions."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.applications import Starlette

from cachemw.caching.cache import Cache
from cachemw.caching.policy import CachePolicy
from cachemw.errors import ConfigurationError
from cachemw.inspection import CachedApp
from cachemw.installing import CacheMW
from cachemw.sessions.middleware import SessionMiddleware
from cachemw.sessions.sessions import Sessions
from cachemw.stores.base import Store
from cachemw.telemetry.bulletin import Fleet, Publisher, read_fleet

Source: TypeAlias = Starlette | CacheMW | Store


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at."""

    store: Store
    cache: Cache
    app: CachedApp | None
    """The app with its policies; None where only a store is known."""
    sessions: Sessions | None = None
    publisher: Publisher | None = None

    async def fleet(self) -> Fleet:
        """All workers; of this one, where it is known, the newest word. `StoreUnavailable` when
        nobody knows of any."""
        return await (self.publisher.fleet() if self.publisher else read_fleet(self.store))

    def policy_of(self, path: str) -> CachePolicy | None:
        """The policy of a GET."""
        return self.app.policy_of(path) if self.app else None


def subject_of(source: Source, mounted_in: object) -> Subject:
    """What `source` stands for. An app may be given before `install` is called for it."""
    if isinstance(source, Store):
        return Subject(source, Cache(source), None)
    app = source if isinstance(source, Starlette) else mounted_in
    handle = source if isinstance(source, CacheMW) else getattr(source.state, "cachemw", None)
    if isinstance(handle, CacheMW):
        known = CachedApp.of(app) if isinstance(app, Starlette) else None
        return Subject(handle.store, handle.cache, known, handle.sessions, handle.publisher)
    try:
        known = CachedApp.of(app)
    except ConfigurationError:
        raise ConfigurationError(
            "the dashboard has nothing to look at: this app has neither install() nor a "
            "CacheMiddleware; or give dashboard() the store itself"
        ) from None
    store = known.cache.store
    return Subject(store, Cache(store, policies=known.policy_of), known, _sessions_of(app))


def _sessions_of(app: Any) -> Sessions | None:
    """The sessions of an app whose middleware was added one by one."""
    for one in getattr(app, "user_middleware", ()):
        if one.cls is SessionMiddleware and isinstance(
            kept := one.kwargs.get("sessions"), Sessions
        ):
            return kept
    return None
