"""The origins that anything is stored for: what `purge(url="/products/3")` has to go through.

The key of a response contains scheme and host, and a path alone has neither. So whoever stores a
response first enters its origin in a list that the fleet shares. The list is bounded, since clients
can make up hosts, and an origin leaves it when the last of its responses has ended.

Made-up hosts may so keep out a real one. What is stored for an origin that is not listed therefore
has a tag of its own (`UNLISTED_TAG`), and every purge of a path purges all that has it. Where
clients may send any Host, `TrustedHostMiddleware` outside the cache spares that.

Every process remembers what it has entered. A server may lose the list, by an eviction or by a new
start, and a purge of a path would then go past what was entered in the old one. So it is entered
again every few seconds in which anything is stored, for as long as the longest of it.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

from cachemw.messages import RequestHead
from cachemw.scripts import Keyspace, Reply, Script, hash_at, prolong
from cachemw.stores.base import Store

logger = logging.getLogger("cachemw.cache")

KEY = b"o:{origins}"
MOST = 256
AHEAD = 600_000  # milliseconds that an entry in the list is good for beyond what it is made for
TRUSTED = 10_000  # milliseconds that an entry is taken to be there without another look
_NEVER = 0, 0


class Hosts:
    """The list, as one process sees it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entered: dict[bytes, tuple[int, int]] = {}
        """Until when each is in the list, and until when we trust in that."""
        self._has_warned = False

    def is_entered(self, request: RequestHead, lives: float, now: int) -> bool:
        """Whether the origin of a request is known to be in the list for so long: then there is
        nothing to `admit`."""
        until, trusted = self._entered.get(origin_of(request.scheme, request.host), _NEVER)
        return now < 1000 * trusted and until >= now // 1000 + int(lives * 1000)

    async def admit(self, request: RequestHead, lives: float) -> bool:
        """Enter the origin of a request, before its response is stored for `lives` seconds.

        False when the list is full: then it is stored as unlisted. No trip when it is entered
        already.
        """
        now = self._store.now()
        if self.is_entered(request, lives, now):
            return True
        origin, now = origin_of(request.scheme, request.host), now // 1000
        entered, _ = self._entered.get(origin, _NEVER)
        until = max(entered, now + int(lives * 1000) + AHEAD)
        args = (origin, b"%d" % (until - now), b"%d" % MOST)
        if await self._store.run(ADMIT, (KEY,), args) != 1:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "responses are kept for %d hosts, and %r is one more: every purge of a path "
                    "forgets what is kept for it; TrustedHostMiddleware keeps made-up hosts out",
                    MOST,
                    origin,
                )
            return False
        if len(self._entered) >= MOST:
            self._entered.clear()
        self._entered[origin] = until, now + TRUSTED
        return True

    async def known(self) -> list[tuple[str, bytes]]:
        """Every scheme and host that something may be stored for."""
        origins = cast(list[bytes], await self._store.run(ORIGINS, (KEY,), ()))
        split = (origin.split(b" ", 1) for origin in origins)
        return [(scheme.decode("utf-8", "replace"), host) for scheme, host in split]


@lru_cache(maxsize=MOST)
def origin_of(scheme: str, host: bytes) -> bytes:
    return scheme.encode() + b" " + host.lower()


def _list(keyspace: Keyspace, key: bytes) -> dict[bytes, int]:
    """The origins, and until when each is in use, in milliseconds."""
    found = hash_at(keyspace, key)
    now = keyspace.time() // 1000
    ended = [origin for origin, until in found.items() if not until.isdigit() or int(until) <= now]
    if ended:
        keyspace.hdel(key, ended)
    return {origin: int(until) for origin, until in found.items() if origin not in ended}


def _admit(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    origin, lives, most = args
    origins = _list(keyspace, keys[0])
    if origin not in origins and len(origins) >= int(most):
        return 0
    until = max(origins.get(origin, 0), keyspace.time() // 1000 + int(lives))
    keyspace.hset(keys[0], {origin: b"%d" % until})
    prolong(keyspace, keys[0], int(lives))
    return 1


def _origins(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    return list(_list(keyspace, keys[0]))


ADMIT = Script.load("cachemw.caching", "admit", _admit)
ORIGINS = Script.load("cachemw.caching", "origins", _origins)
