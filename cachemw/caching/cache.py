"""Cache: values kept for an app, its workers and its scripts; and every way to invalidate.

    cache = Cache(open_store("redis://localhost:6379/0"))

    user = await cache.get_or_set("user:1", load_user, ttl="1h", type=User, tags=["user:1"])
    await cache.purge(tags=["user:1"])       # this value, and the pages that show it

Purges reach the response cache and the data cache alike, since both keep what they keep under the
same stamps. Reads never fail for want of the store: they find nothing. What changes something
raises `StoreUnavailable` when nobody can say that it was done.

What happens is written elsewhere: `larder.py` reads and writes, `loads.py` makes what is missing,
`writing.py` guards writes to their source, `purging.py` finds what a URL or a pattern stands for.
"""

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar, Unpack, overload
from urllib.parse import unquote

from cachemw.caching.data import DataEntry, DataHeader, Use, use_of
from cachemw.caching.datakeys import key_text
from cachemw.caching.datapolicy import DataPolicy, Keeping, Loading, all_tags
from cachemw.caching.fieldset import Fields
from cachemw.caching.journal import noted
from cachemw.caching.keeper import Keeper
from cachemw.caching.larder import Found, Larder
from cachemw.caching.loads import Loads, Order, called
from cachemw.caching.memoized import Memoize
from cachemw.caching.notes import What
from cachemw.caching.policy import CachePolicy
from cachemw.caching.purging import (
    Address,
    Named,
    PolicyOf,
    Progress,
    purge_pattern,
    purge_url,
    stored_keys,
)
from cachemw.caching.values import codec_of
from cachemw.caching.writing import Write
from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError, StoreUnavailable, UnreadableEntry
from cachemw.stores.base import Store, together
from cachemw.telemetry.counters import DataCounts
from cachemw.telemetry.timing import purging

T = TypeVar("T")

LONGEST_LIFE = 10 * 365 * 86_400.0  # seconds: what `persist` gives, since every key has an end
DRAIN = 5.0  # seconds that refreshes have to end when the app shuts down


class Cache:
    """The data cache and the invalidation API. Needs no app: a script may make one, too.

    `policies` tells, of a path, the policy of its GET, so that `purge(url=...)` knows which query
    parameters count; without it, all of them do. With `region`, others can hear of purges.
    """

    def __init__(
        self, store: Store, *, policies: PolicyOf | None = None, region: str | None = None
    ) -> None:
        self.store = store
        self._policies = policies
        self._keeper = Keeper(store, region)
        self._larder = Larder(store, self._keeper)
        self._loads = Loads(self._larder)

    async def aclose(self, *, patience: DurationLike = DRAIN) -> None:
        """Let refreshes end. The store stays open: it may be others' as well."""
        await self._loads.drain(seconds(patience))
        self._keeper.owed.forget()

    # --- reading

    @overload
    async def get(self, key: str) -> Any: ...
    @overload
    async def get(self, key: str, default: T, *, type: type[T]) -> T: ...
    @overload
    async def get(self, key: str, default: None = None, *, type: type[T]) -> T | None: ...
    @overload
    async def get(self, key: str, default: Any = None, *, type: Any = None) -> Any: ...

    async def get(self, key: str, default: Any = None, *, type: Any = None) -> Any:
        """The value of `key` while it is fresh, else `default`."""
        return (await self.get_many([key], type=type)).get(key, default)

    @overload
    async def get_many(self, keys: Iterable[str], *, type: type[T]) -> dict[str, T]: ...
    @overload
    async def get_many(self, keys: Iterable[str], *, type: Any = None) -> dict[str, Any]: ...

    async def get_many(self, keys: Iterable[str], *, type: Any = None) -> dict[str, Any]:
        """The values of those keys that have a fresh one, in one trip."""
        wanted, codec, counts = list(dict.fromkeys(keys)), codec_of(type), self._loads.counts
        found: dict[str, Any] = {}
        for key, entry in (await self._fresh(wanted)).items():
            try:
                found[key] = codec.decode(entry.payload)
            except UnreadableEntry:
                continue
        counts.hits += len(found)
        counts.misses += len(wanted) - len(found)
        return found

    async def ttl(self, key: str) -> float | None:
        """For how many seconds a value is still fresh, None when there is none."""
        entry = (await self._fresh([key])).get(key)
        return None if entry is None else (entry.fresh_until - self.store.now()) / 1e6

    async def take(self, key: str, *, type: Any = None) -> Any:
        """The value of `key`, if it is fresh, for you alone: nobody else ever gets it."""
        found = await self._larder.withdraw(key)
        if found.entry is None or not _is_fresh(found.entry, found, self.store.now()):
            return None
        try:
            return codec_of(type).decode(found.entry.payload)
        except UnreadableEntry:
            return None

    async def keys(self, pattern: str = "*") -> list[str]:
        """The keys that match a pattern, purged ones included as long as the server has them. Walks
        over all keys of the server: for looking, not for requests."""
        return sorted([key_text(key) async for key in stored_keys(self.store, pattern)])

    async def stats(self) -> DataCounts:
        """What has happened in this process so far."""
        return replace(self._loads.counts)

    async def _fresh(self, keys: Sequence[str]) -> dict[str, DataEntry]:
        if not keys:
            return {}
        try:
            found = await self._larder.find(keys)
        except StoreUnavailable:
            self._loads.counts.outages += 1
            return {}
        now = self.store.now()
        pairs = ((key, one.entry, one) for key, one in zip(keys, found, strict=True))
        return {key: entry for key, entry, one in pairs if entry and _is_fresh(entry, one, now)}

    def fields(self, key: str) -> Fields:
        """Several values under one key, each with its own end (`fieldset.py`)."""
        return Fields(self.store, key)

    # --- values that are made when they are missing

    @overload
    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        ttl: DurationLike,
        *,
        type: Any = None,
        **options: Unpack[Loading],
    ) -> T: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], T],
        ttl: DurationLike,
        *,
        type: Any = None,
        **options: Unpack[Loading],
    ) -> T: ...

    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], Any],
        ttl: DurationLike,
        *,
        type: Any = None,
        **options: Unpack[Loading],
    ) -> Any:
        """The value of `key`; if there is none, what `loader` returns, kept for `ttl`.

        One loader at a time for each key, in this process and in the fleet. `options` are those of
        `Loading`.
        """
        policy = DataPolicy.of(ttl, **options)
        return await self._loads.get(Order(key, loader, policy, codec_of(type)))

    def memoize(
        self,
        ttl: DurationLike,
        *,
        key: str | None = None,
        type: Any = None,
        **options: Unpack[Loading],
    ) -> "Memoize":
        """Decorates a function, sync or async: its results are kept, for each set of arguments.

        `key` and `tags` are templates of the arguments: `"user:{user_id}"`. Without a key, all
        arguments count. The type is that of the function's return annotation, unless given. What
        is decorated is awaited, always.
        """
        return Memoize(self._loads, ttl, key, type, options)

    # --- values that are given

    async def set(
        self,
        key: str,
        value: Any,
        ttl: DurationLike,
        *,
        type: Any = None,
        **keeping: Unpack[Keeping],
    ) -> None:
        """Keep a value for `ttl`, whatever was there; loads under way keep nothing any more."""
        await self.set_many({key: value}, ttl, type=type, **keeping)

    async def set_many(
        self,
        values: Mapping[str, Any],
        ttl: DurationLike,
        *,
        type: Any = None,
        **keeping: Unpack[Keeping],
    ) -> None:
        """Keep several values for `ttl`, in one trip, or two if they have tags."""
        codec = codec_of(type)
        payloads = {key: codec.encode(value) for key, value in values.items()}
        if payloads:
            await self._put(payloads, seconds(ttl), keeping)

    async def _put(
        self, payloads: Mapping[str, bytes], ttl: float, keeping: Keeping, token: bytes = b""
    ) -> None:
        tags = all_tags(keeping.get("tags", ()), keeping.get("namespace"))
        stale = seconds(keeping.get("stale_while_revalidate", 0))
        spare = seconds(keeping.get("stale_if_error", 0))
        born = 0
        if tags:
            await self._keeper.get_ready()
            born = await self.store.time()
        header = DataHeader(born, ttl, stale, spare, tags, 0.0)
        until = self.store.now() + int(ttl * 1e6)
        await self._larder.put(payloads, header, until, token)

    async def touch(self, key: str, ttl: DurationLike) -> bool:
        """Let a value be fresh for `ttl` from now. False when there is none."""
        entry = (await self._fresh([key])).get(key)
        until = self.store.now() + int(seconds(ttl) * 1e6)
        return entry is not None and await self._larder.retime(key, entry, until)

    async def expire_at(self, key: str, when: datetime | float) -> bool:
        """Let a value be fresh until an instant: an aware datetime, or seconds since the epoch."""
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise ConfigurationError(f"{when!r} has no time zone: give it one, such as UTC")
            when = when.timestamp()
        return await self.touch(key, max(0.0, when - self.store.now() / 1e6))

    async def persist(self, key: str) -> bool:
        """Let a value be fresh for ten years, which is the longest: every key has an end."""
        return await self.touch(key, LONGEST_LIFE)

    async def delete(self, *keys: str) -> None:
        """Forget values; loads of them that are under way keep nothing any more."""
        await self._larder.forget(keys)

    # --- values that are written elsewhere

    async def write_through(
        self,
        key: str,
        value: T,
        writer: Callable[[T], Any],
        ttl: DurationLike,
        *,
        purges: str | Iterable[str] = (),
        within: DurationLike = "10s",
        type: Any = None,
        **keeping: Unpack[Keeping],
    ) -> Any:
        """Write a value where it belongs, by `writer(value)`, and keep it. What the writer returns.

        Nobody finds an older value once the writer has begun, nor after a crash at whatever moment.
        When the writer fails, nothing is kept. `purges` names the tags of what else is obsolete.
        """
        payload = codec_of(type).encode(value)
        span = seconds(ttl)
        write = Write(self._larder, [key], all_tags(purges), within)
        async with write:
            result = await called(functools.partial(writer, value))
            write.then = lambda token: self._put({key: payload}, span, keeping, token)
        return result

    def writing(
        self,
        *,
        keys: str | Iterable[str] = (),
        tags: str | Iterable[str] = (),
        namespace: str | None = None,
        within: DurationLike = "10s",
    ) -> Write:
        """Around a write to the source of cached values: when the block ends, whatever was made of
        the source before, or meanwhile, is invalid; and so it is when the process dies within.

            async with cache.writing(tags=["product:3"]):
                await database.execute("UPDATE products ...")

        While the block runs nothing is kept under these keys and tags. It has `within` to end, then
        it is cancelled with `TimeoutError`. Without the store it does not begin.
        """
        held = [keys] if isinstance(keys, str) else list(keys)
        barred = all_tags(tags, namespace)
        if not held and not barred:
            raise ConfigurationError("name what is being written: keys=..., tags=... or namespace=")
        return Write(self._larder, held, barred, within)

    # --- invalidation

    async def purge(
        self,
        *,
        tags: str | Iterable[str] = (),
        namespace: str | None = None,
        route: str | None = None,
        url: str | None = None,
        key: str | None = None,
        pattern: str | None = None,
        soft: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Invalidate, in the response cache and the data cache. `soft` marks as stale instead.

        When it has returned, no request that starts later gets what was purged, on any worker, and
        no load that began before can bring it back. After `StoreUnavailable`, purge again: nobody
        knows how much of it was done.

            tags        whatever has one of these tags            one write, whatever it covers
            namespace   whatever is in it                         likewise
            route       "/products/{id}": the route's responses   likewise
            url         "/products/3?page=2", or absolute         all variants
            key         a value
            pattern     "user:1001:*": values                     a walk over all keys

        Answers how many were found by URL, key and pattern; tags do not count what they cover.
        `dry_run` and `progress` are for patterns.
        """
        listed = (tags,) if isinstance(tags, str) else tuple(tags)
        named = Named(listed, namespace, route, url, key, pattern)
        if named.is_nothing:
            raise ConfigurationError(
                "purge() was told nothing to purge: tags, namespace, route, url, key or pattern"
            )
        if dry_run:
            if pattern is None or not named.is_one_pattern:
                raise ConfigurationError("dry_run counts the keys of a pattern, and nothing else")
            return await purge_pattern(
                self.store, pattern, soft=soft, dry_run=True, progress=progress
            )
        subject, names = named.told()
        with purging(self.store, subject, names, soft=soft):
            if named.stamped:
                await self._keeper.purge_tags(named.stamped, soft=soft)
            count = 0 if url is None else await self._purge_url(url, soft=soft)
            if key is not None:
                count += await (self._larder.soften(key) if soft else self._larder.forget([key]))
            if pattern is not None:
                name = pattern.encode("utf-8", "surrogatepass")
                await together(noted(self._keeper.journal, What.PATTERN, [name], soft=soft))
                count += await purge_pattern(self.store, pattern, soft=soft, progress=progress)
        return count

    async def _purge_url(self, url: str, *, soft: bool) -> int:
        address = Address.parse(url)
        path = unquote(address.path.decode("ascii"))
        policy = (self._policies and self._policies(path)) or CachePolicy()
        return await purge_url(self._keeper, lambda _: policy, address, soft=soft)

    async def bump(self, namespace: str) -> None:
        """Invalidate everything in a namespace: one write, whatever it holds."""
        await self.purge(namespace=namespace)


def _is_fresh(entry: DataEntry, found: Found, now: int) -> bool:
    use = use_of(entry, found.standing, now, refresh_age=None, luck=1.0)
    return use is Use.FRESH
