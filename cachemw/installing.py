"""One call that puts everything in its place: `install(app, store=..., cache=..., limits=...)`.

The right order is the point: limits outermost, so that a refusal costs nothing; then the cache,
which must not see a session's cookies; then sessions; then the app.

    client ── RateLimitMiddleware ── CacheMiddleware ── SessionMiddleware ── app
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any, cast

from starlette.applications import Starlette

from cachemw.caching.cache import Cache
from cachemw.caching.marks import policy_on
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.config import load_settings
from cachemw.errors import ConfigurationError
from cachemw.openapi import document
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.middleware import RateLimitMiddleware
from cachemw.ratelimit.rule import RateLimit
from cachemw.routes import Routes
from cachemw.routetable import RouteTable
from cachemw.sessions.middleware import SessionMiddleware
from cachemw.sessions.options import SessionOptions
from cachemw.sessions.sessions import Sessions
from cachemw.stores import Store, open_store
from cachemw.stores.near import with_near
from cachemw.telemetry.bulletin import Fleet, Publisher


@dataclass(frozen=True)
class CacheMW:
    """What `install` has put in place; also at `app.state.cachemw`."""

    store: Store
    cache: Cache
    limits: Limiter
    sessions: Sessions | None

    @cached_property
    def publisher(self) -> Publisher:
        """Speaks for this worker to the others."""
        return Publisher(self.store)

    async def fleet(self) -> Fleet:
        """What all workers have counted, and what happened last (docs/observability.md). It never
        fails: while the store is away, it is this worker alone."""
        return await self.publisher.fleet()


def install(
    app: Starlette,
    *,
    store: Store | str | None = None,
    cache: Mapping[str, CachePolicy] | None = None,
    default: CachePolicy | None = None,
    limits: Mapping[str, RateLimit | Iterable[RateLimit]] | None = None,
    sessions: Sessions | bool | None = None,
    config: str | PathLike[str] | None = None,
    trusted_proxies: Iterable[str] = (),
    near_cache: int | str | None = None,
    region: str | None = None,
) -> CacheMW:
    """Give a Starlette or FastAPI app a cache, rate limits and sessions that share one store.

    Call it once, before or after the routes are added; routes may carry marks of their own
    (`Cached`, `@cached`, `Purges`, `Depends(RateLimit(...))`). Middleware that was added before is
    inside, middleware that is added later outside: GZip and CORS belong outside. Whatever cannot be
    right raises `ConfigurationError`, here or when the app starts.

    `near_cache="32MiB"` keeps that much of what was read in the process (docs/caching.md). `region`
    names this region, whose purges are noted for others to follow (docs/multi-region.md).
    `config` names a TOML or YAML file; `CACHEMW_*` variables win over it, and both over arguments.
    """
    if not isinstance(cast(object, app), Starlette):
        raise ConfigurationError(
            f"install() takes a Starlette or FastAPI app, not {type(app).__name__}; wrap any other "
            "ASGI app by hand: CacheMiddleware(app, store=..., routes={...})"
        )
    if hasattr(app.state, "cachemw"):
        raise ConfigurationError("install() was called twice for this app: once is enough")
    settings = load_settings(config, code=_written(store, cache))
    opened = with_near(_store(store, settings.store), near_cache)
    limiter = Limiter(opened)
    table = {**limits_from(settings.limits), **(limits or {})}
    keeps_sessions = sessions_from(sessions, settings.sessions)
    # The last one added is the outermost.
    if keeps_sessions is not None:
        keeps_sessions.bind(opened)
        app.add_middleware(SessionMiddleware, sessions=keeps_sessions)
    policies = RouteTable(Routes[CachePolicy].of(settings.cache, default), policy_on)

    def policy_of(path: str) -> CachePolicy | None:
        matched = policies.match(app, "GET", path)
        return matched.policy if matched else None

    data = Cache(opened, policies=policy_of, region=region)
    app.add_middleware(
        CacheMiddleware,
        store=opened,
        routes=settings.cache,
        default=default,
        data=data,
        region=region,
    )
    document(app, policies)
    app.add_middleware(
        RateLimitMiddleware, store=limiter, routes=table, trusted_proxies=trusted_proxies
    )
    handle = CacheMW(opened, data, limiter, keeps_sessions)
    app.state.cachemw = handle
    return handle


def _written(store: Store | str | None, cache: Mapping[str, CachePolicy] | None) -> dict[str, Any]:
    written: dict[str, Any] = {"cache": dict(cache or {})}
    if isinstance(store, str):
        written["store"] = store
    return written


def _store(given: Store | str | None, url: str | None) -> Store:
    if isinstance(given, Store):
        return given
    if url is None:
        raise ConfigurationError(
            "no store: pass store='redis://localhost:6379/0' (or 'embedded://' to try things out), "
            "or set CACHEMW_STORE"
        )
    return open_store(url)


def limits_from(written: Mapping[str, Any]) -> dict[str, list[RateLimit]]:
    """Limits from a file: a string, a list of strings, or a table of options with `limits`."""
    rules: dict[str, list[RateLimit]] = {}
    for pattern, value in written.items():
        options = {"limits": value} if not isinstance(value, dict) else cast(dict[str, Any], value)
        texts = options.get("limits", ())
        others = {name: given for name, given in options.items() if name != "limits"}
        try:
            rules[pattern] = [RateLimit(*([texts] if isinstance(texts, str) else texts), **others)]
        except ConfigurationError as error:
            raise ConfigurationError(f"limits.{pattern!r}: {error}") from None
    return rules


def sessions_from(
    given: Sessions | bool | None, written: Mapping[str, Any] | None
) -> Sessions | None:
    if isinstance(given, Sessions):
        if written:
            raise ConfigurationError("sessions are configured in code and in settings: choose one")
        return given
    if not given and written is None:
        return None
    return Sessions(**cast(SessionOptions, dict(written or {})))
