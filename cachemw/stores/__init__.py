"""Where shared state lives. `open_store` takes a URL; `base.py` holds the contract."""

import os
import weakref
from typing import Any

from cachemw.errors import ConfigurationError
from cachemw.sizes import size
from cachemw.stores.base import Store
from cachemw.stores.embedded import EmbeddedServer
from cachemw.stores.memory import MemoryStore
from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import OURS, Convert, from_url, read_options, split_url

__all__ = ["MemoryStore", "RedisStore", "Store", "open_store"]

_MEMORY_OPTIONS: dict[str, Convert] = {"max_bytes": size, "max_entries": int}
_EMBEDDED_OPTIONS: dict[str, Convert] = {"maxmemory": str, "policy": str}


def open_store(url: str) -> Store:
    """The store that a URL names. Nothing is connected yet, except that `embedded://` starts.

        memory://                                within this process
        redis://user:password@host:6379/0        one server; rediss:// with TLS, valkey:// likewise
        unix:///run/redis.sock?db=0              one server, by its socket
        redis+cluster://host1:6379,host2:6379    a cluster, by some of its nodes
        redis+sentinel://host1,host2/name/0      the primary that sentinels call `name`
        embedded://                              a private server that lives as long as this process

    Options go into the query string: `?prefix=shop:&deadline=50ms`. `ConfigurationError` names what
    is wrong with a URL.
    """
    parts = split_url(url)
    if parts.scheme in ("memory", "embedded") and (parts.netloc or parts.path.strip("/")):
        raise ConfigurationError(f"{parts.scheme}:// takes neither a host nor a path")
    if parts.scheme == "memory":
        return MemoryStore(**read_options(parts.query, _MEMORY_OPTIONS))
    if parts.scheme == "embedded":
        return _embedded(read_options(parts.query, {**OURS, **_EMBEDDED_OPTIONS}))
    target = from_url(url)
    return RedisStore(target, **target.options)


def _embedded(options: dict[str, Any]) -> Store:
    ours = {name: options.pop(name) for name in OURS if name in options}
    handed_over = os.environ.get("CACHEMW_REDIS_URL")
    if handed_over:
        if split_url(handed_over).scheme in ("memory", "embedded"):
            raise ConfigurationError("CACHEMW_REDIS_URL must name a server: redis://host:6379/0")
        target = from_url(handed_over)
        return RedisStore(target, **{**ours, **target.options})
    server = EmbeddedServer(**options)
    server.start()
    store = RedisStore(from_url(server.url), **ours)
    store.is_of_one_process = True
    weakref.finalize(store, server.stop)
    return store
