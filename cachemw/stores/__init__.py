"""Where shared state lives. `open_store` takes a URL; `base.py` holds the contract."""

import os
import weakref
from urllib.parse import urlsplit

from cachemw.errors import ConfigurationError
from cachemw.sizes import size
from cachemw.stores.base import Store
from cachemw.stores.embedded import EmbeddedServer
from cachemw.stores.memory import MemoryStore
from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import from_url, read_options

__all__ = ["MemoryStore", "RedisStore", "Store", "open_store"]

_MEMORY_OPTIONS = {"max_bytes": size, "max_entries": int}
_EMBEDDED_OPTIONS = {"maxmemory": str, "policy": str}


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
    scheme, query = urlsplit(url).scheme, urlsplit(url).query
    if scheme == "memory":
        return MemoryStore(**read_options(query, _MEMORY_OPTIONS))
    if scheme == "embedded":
        return _embedded(query)
    target = from_url(url)
    return RedisStore(target, **target.options)


def _embedded(query: str) -> Store:
    handed_over = os.environ.get("CACHEMW_REDIS_URL")
    if handed_over:
        if urlsplit(handed_over).scheme == "embedded":
            raise ConfigurationError("CACHEMW_REDIS_URL must name a server, not embedded://")
        return open_store(handed_over)
    server = EmbeddedServer(**read_options(query, _EMBEDDED_OPTIONS))
    server.start()
    store = RedisStore(from_url(server.url))
    weakref.finalize(store, server.stop)
    return store
