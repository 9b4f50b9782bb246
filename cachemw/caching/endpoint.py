"""Purging over HTTP: an ASGI app that takes signed orders. Who sends them is `remote.py`.

    app.add_route("/purge", PurgeEndpoint(handle.cache, keys={"ci": secret}))

For who has no way to the store: a CMS, a shop's back office, a build. What is not a POST with a
good signature does nothing, is told no more than that, and costs no trip to the store. A signature
is good once, and for `window` around the time that it says.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from cachemw.asgi import read_body, respond
from cachemw.caching.cache import Cache
from cachemw.caching.marks import cached
from cachemw.caching.purging import Address
from cachemw.caching.signing import SCHEME, Signature, Verdict, checked_keys, judge
from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.messages import Headers, lines_of
from cachemw.scripts import Keyspace, Reply, Script

LONGEST = 64 * 1024  # bytes of an order
MOST = 1000  # names in an order
_JSON = (b"content-type", b"application/json")
_ALWAYS = (_JSON, (b"cache-control", b"no-store"))


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be purged; the body of a request, as JSON."""

    tags: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    soft: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.tags, *self.urls, *self.keys, *self.namespaces, *self.routes)


_decode = msgspec.json.Decoder(Order).decode


class PurgeEndpoint:
    """Takes signed orders. `keys` are secrets by their ids: several at once, so that one can be
    changed while the other still counts."""

    def __init__(
        self, cache: Cache, *, keys: Mapping[str, str], window: DurationLike = "1m"
    ) -> None:
        self._cache = cache
        self._keys = checked_keys(keys)
        self._window = seconds(window)
        if not 1 <= self._window <= 3600:
            raise ConfigurationError(f"window={window!r} must be from 1 second to 1 hour")
        cached(methods=())(self)  # whatever a policy says of all paths, this is not cached

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ConfigurationError("PurgeEndpoint answers HTTP alone: add it as a route")
        if scope["method"] != "POST":
            await _answer(send, 405, "POST an order", ((b"allow", b"POST"),))
            return
        signature = _signature(tuple(scope["headers"]))
        if signature is None:
            await _refuse(send, "there is no signature")
            return
        body, messages, is_all = await read_body(receive, LONGEST)
        if messages[-1]["type"] != "http.request":
            return  # the client has left
        if not is_all or len(body) > LONGEST:
            await _answer(send, 413, f"an order has at most {LONGEST} bytes")
            return
        try:
            status, said = await self._judged(signature, body)
        except StoreUnavailable as error:
            again = ((b"retry-after", b"1"),)
            await _answer(send, 503, f"not all of it was done: {error.reason}; sign it anew", again)
            return
        if status == 401:
            await _refuse(send, str(said))
        else:
            await _answer(send, status, said)

    async def _judged(
        self, signature: Signature, body: bytes
    ) -> tuple[int, str | Mapping[str, Any]]:
        """The status of the answer, and what it says."""
        now = self._cache.store.now() / 1e6
        match judge(signature, self._keys, body, now=now, window=self._window):
            case Verdict.FORGED:
                return 401, "the signature is not good"
            case Verdict.UNTIMELY:
                return 401, f"it was signed at {signature.time}, and it is {now:.0f} here"
            case Verdict.GOOD:
                pass
        try:
            order = _checked(body)
        except (msgspec.MsgspecError, ConfigurationError) as error:
            return 400, str(error)
        if not await self._is_new(signature):
            return 409, "this order was carried out already"
        found = await carry_out(self._cache, order)
        return 200, {"purged": len(order.names), "found": found, "soft": order.soft}

    async def _is_new(self, signature: Signature) -> bool:
        name = blake2b(f"{signature.key_id} {signature.nonce}".encode(), digest_size=16)
        key = b"pn:{%b}" % name.hexdigest().encode()
        # It may have been signed as far ahead of time as behind it.
        lives = b"%d" % (self._window * 2000 + 1000)
        return await self._cache.store.run(ONCE, (key,), (lives,)) == 1


def _signature(headers: Headers) -> Signature | None:
    lines = lines_of(headers, b"authorization")
    return Signature.from_header(lines[0].decode("latin-1")) if len(lines) == 1 else None


def _checked(body: bytes) -> Order:
    """The order; nothing is done of one that is wrong in any part."""
    order = _decode(body)
    if not order.names:
        raise ConfigurationError("it names nothing: tags, urls, keys, namespaces or routes")
    if len(order.names) > MOST:
        raise ConfigurationError(f"it names {len(order.names)} things; {MOST} are the most")
    if not all(order.names):
        raise ConfigurationError("one of its names is empty")
    for url in order.urls:
        Address.parse(url)
    return order


async def carry_out(cache: Cache, order: Order) -> int:
    """Purge all that it names. How many were found by URL and key."""
    found, soft = 0, order.soft
    if order.tags:
        await cache.purge(tags=order.tags, soft=soft)
    for namespace in order.namespaces:
        await cache.purge(namespace=namespace, soft=soft)
    for route in order.routes:
        await cache.purge(route=route, soft=soft)
    for url in order.urls:
        found += await cache.purge(url=url, soft=soft)
    for key in order.keys:
        found += await cache.purge(key=key, soft=soft)
    return found


async def _refuse(send: Send, why: str) -> None:
    await _answer(send, 401, why, ((b"www-authenticate", SCHEME.encode()),))


async def _answer(
    send: Send, status: int, said: str | Mapping[str, Any], headers: Headers = ()
) -> None:
    told = said if isinstance(said, Mapping) else {"error": said}
    body = json.dumps(told).encode()
    length = (b"content-length", b"%d" % len(body))
    await respond(send, status, [*_ALWAYS, *headers, length], body)


def _once(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    """The twin of once.lua."""
    if keyspace.exists(keys[0]):
        return 0
    keyspace.set(keys[0], b"1", int(args[0]))
    return 1


ONCE = Script.load("cachemw.caching", "once", _once)
