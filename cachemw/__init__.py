"""cachemw: the cache layer for ASGI apps. The public names; `docs/` explains them.

Each is imported when it is first asked for: whoever wants one feature does not wait for the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cachemw.caching.cache import Cache
    from cachemw.caching.datakeys import literal
    from cachemw.caching.marks import CacheContext, Cached, Purges, cached, purges
    from cachemw.caching.middleware import CacheMiddleware
    from cachemw.caching.policy import CachePolicy
    from cachemw.errors import CachemwError, ConfigurationError, StoreUnavailable
    from cachemw.installing import CacheMW, install
    from cachemw.ratelimit.identity import client_ip, header, subject
    from cachemw.ratelimit.limiter import Limiter
    from cachemw.ratelimit.middleware import RateLimitMiddleware
    from cachemw.ratelimit.refusal import RateLimited
    from cachemw.ratelimit.rule import RateLimit
    from cachemw.sessions.guards import fresh_login, required_session
    from cachemw.sessions.middleware import SessionMiddleware
    from cachemw.sessions.session import Session
    from cachemw.sessions.sessions import Sessions
    from cachemw.stores import MemoryStore, RedisStore, Store, open_store
    from cachemw.tokens import Tokens

__all__ = [
    "Cache",
    "CacheContext",
    "CacheMW",
    "CacheMiddleware",
    "CachePolicy",
    "Cached",
    "CachemwError",
    "ConfigurationError",
    "Limiter",
    "MemoryStore",
    "Purges",
    "RateLimit",
    "RateLimitMiddleware",
    "RateLimited",
    "RedisStore",
    "Session",
    "SessionMiddleware",
    "Sessions",
    "Store",
    "StoreUnavailable",
    "Tokens",
    "cached",
    "client_ip",
    "fresh_login",
    "header",
    "install",
    "literal",
    "open_store",
    "purges",
    "required_session",
    "subject",
]

_HOMES = {
    "Cache": "caching.cache",
    "CacheContext": "caching.marks",
    "CacheMW": "installing",
    "CacheMiddleware": "caching.middleware",
    "CachePolicy": "caching.policy",
    "Cached": "caching.marks",
    "CachemwError": "errors",
    "ConfigurationError": "errors",
    "Limiter": "ratelimit.limiter",
    "MemoryStore": "stores",
    "Purges": "caching.marks",
    "RateLimit": "ratelimit.rule",
    "RateLimitMiddleware": "ratelimit.middleware",
    "RateLimited": "ratelimit.refusal",
    "RedisStore": "stores",
    "Session": "sessions.session",
    "SessionMiddleware": "sessions.middleware",
    "Sessions": "sessions.sessions",
    "Store": "stores",
    "StoreUnavailable": "errors",
    "Tokens": "tokens",
    "cached": "caching.marks",
    "client_ip": "ratelimit.identity",
    "fresh_login": "sessions.guards",
    "header": "ratelimit.identity",
    "install": "installing",
    "literal": "caching.datakeys",
    "open_store": "stores",
    "purges": "caching.marks",
    "required_session": "sessions.guards",
    "subject": "ratelimit.identity",
}
"""In which module of ours each name is."""


if not TYPE_CHECKING:  # or they would take every name for a good one

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'cachemw' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"cachemw.{home}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
