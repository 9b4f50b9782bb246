"""cachemw: the cache layer for ASGI apps. The public names; `docs/` explains them."""

from cachemw.caching.cache import Cache
from cachemw.caching.datakeys import literal
from cachemw.caching.marks import CacheContext, Cached, Purges, cached, purges
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.errors import CachemwError, ConfigurationError, StoreUnavailable
from cachemw.install import CacheMW, install
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
