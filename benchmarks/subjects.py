"""Who takes part in which comparison, under which name, and which factory makes its app."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import python_of


@dataclass(frozen=True)
class Subject:
    """One app: `factory` is `module:function` in `benchmarks.apps`."""

    name: str
    factory: str
    peer: str | None = None
    """Whose environment it runs in; None: ours."""

    @property
    def is_peer(self) -> bool:
        return self.peer is not None

    def python(self) -> Path | None:
        return Path(sys.executable) if self.peer is None else python_of(self.peer)


RAW = Subject("raw_asgi", "bare:raw")
DICT = Subject("dict_asgi", "bare:a_dict")
STARLETTE = Subject("bare_starlette", "bare:starlette")
FASTAPI = Subject("bare_fastapi", "bare:fastapi")
HAND_REDIS = Subject("hand_redis", "bare:hand_redis")
HAND_WIRE = Subject("hand_wire", "bare:hand_wire")
CACHE = Subject("cachemw", "ours:cache")
NEAR = Subject("cachemw_near", "ours:near")
NO_POLICY = Subject("cachemw_no_policy", "ours:no_policy")
EVERYTHING = Subject("cachemw_everything", "ours:everything")

SDK = Subject("fastapi_redis_sdk", "sdk:caching", "fastapi-redis-sdk")
HISHEL = Subject("hishel", "hishel_app:caching", "hishel")
CASHEWS = Subject("cashews", "cashews_app:caching", "cashews")
CASHEWS_NEAR = Subject("cashews_client_side", "cashews_app:client_side", "cashews")
CASHEWS_LOCK = Subject("cashews_lock", "cashews_app:locking", "cashews")
FASTAPI_CACHE2 = Subject("fastapi_cache2", "fastapi_cache2_app:caching", "fastapi-cache2")
STARLETTE_CACHES = Subject("starlette_caches", "starlette_caches_app:caching", "starlette-caches")
CACHE_PEERS = (SDK, HISHEL, CASHEWS, FASTAPI_CACHE2, STARLETTE_CACHES)

LIMIT_HAND = Subject("hand_lua", "bare:limited")
LIMIT_ONE = Subject("cachemw_one_limit", "ours:one_limit")
LIMIT_THREE = Subject("cachemw_three_limits", "ours:three_limits")
LIMIT_PEERS = (
    Subject("fastapi_redis_sdk", "sdk:limits", "fastapi-redis-sdk"),
    Subject("fastapi_redis_sdk_three", "sdk:three_limits", "fastapi-redis-sdk"),
    Subject("fastapi_limiter", "limiters:fastapi_limiter", "fastapi-limiter"),
    Subject("slowapi", "limiters:slowapi", "slowapi"),
    Subject("limits", "limiters:limits", "limits"),
)

SESSION_HAND = Subject("hand_get", "bare:visited")
SESSION_COOKIE = Subject("starlette_cookie", "bare:cookie_sessions")
SESSIONS = Subject("cachemw_sessions", "ours:sessions")
SESSION_PEERS = (
    Subject("starsessions", "starsessions_app:sessions", "starsessions"),
    Subject("fastapi_redis_sdk", "sdk:sessions", "fastapi-redis-sdk"),
)


def named(subjects: Sequence[Subject], only: Sequence[str]) -> list[Subject]:
    """These subjects, or those among them that are named."""
    return [one for one in subjects if not only or one.name in only]
