"""What a URL and a pattern stand for, and purging just that.

The other ways to invalidate are one write each, whatever they cover (`stamps.py`, `larder.py`).
A URL is a few keys, one for each origin it may have been stored under. A pattern is a walk over the
keys of every server, in batches, and costs as much as there are keys.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias
from urllib.parse import quote, urlsplit

from cachemw.caching.datakeys import pattern_key
from cachemw.caching.datapolicy import all_tags
from cachemw.caching.journal import noted
from cachemw.caching.keeper import Keeper
from cachemw.caching.keys import canonical_query, primary_key
from cachemw.caching.leases import SOFTEN
from cachemw.caching.notes import What
from cachemw.caching.policy import CachePolicy
from cachemw.caching.stamps import UNLISTED_TAG, bodies_tag, route_tag
from cachemw.caching.writes import SETTLE
from cachemw.errors import ConfigurationError
from cachemw.messages import RequestHead, plain_host
from cachemw.stores.base import Store, together
from cachemw.telemetry.events import Subject

PolicyOf: TypeAlias = Callable[[str], CachePolicy | None]
"""The policy that a GET of a path has, None when it has none."""

Progress: TypeAlias = Callable[[int], object]
"""Is told, after every batch, how many keys a walk has found so far."""

PolicyFor: TypeAlias = Callable[[RequestHead], CachePolicy | None]
"""The policy under which the answer to a request would be kept, None when it would not."""

METHODS = ("GET", "QUERY", "POST")  # those of which a policy may keep answers

_NOWHERE = "http", b""

_AS_SENT = "/:@!$&'()*+,;=-._~%"  # what a client leaves as it is in a path; '%' is escaped already
_AS_SENT_IN_QUERY = _AS_SENT + '?"<>[]`{}|\\^'


@dataclass(frozen=True)
class Named:
    """What a purge was told to purge."""

    tags: tuple[str, ...]
    namespace: str | None
    route: str | None
    url: str | None
    key: str | None
    pattern: str | None

    @cached_property
    def stamped(self) -> tuple[bytes, ...]:
        """The tags that all of it that has stamps comes to."""
        of_route = (route_tag(self.route),) if self.route else ()
        return (*all_tags(self.tags, self.namespace), *of_route)

    @property
    def is_nothing(self) -> bool:
        return not self.stamped and (self.url, self.key, self.pattern) == (None, None, None)

    @property
    def is_one_pattern(self) -> bool:
        others = (*self.stamped, self.url, self.key)
        return self.pattern is not None and others == (None, None)

    def told(self) -> tuple[Subject, list[str]]:
        """What it is about, for those who watch: what comes first of it, and all the names."""
        given = (
            *((Subject.TAGS, tag) for tag in self.tags),
            (Subject.NAMESPACE, self.namespace),
            (Subject.ROUTE, self.route),
            (Subject.URL, self.url),
            (Subject.KEY, self.key),
            (Subject.PATTERN, self.pattern),
        )
        named = [(subject, name) for subject, name in given if name is not None]
        return named[0][0], [name for _, name in named]


@dataclass(frozen=True, slots=True)
class Address:
    """A URL as requests name it. Without an origin it means all that are known."""

    origin: tuple[str, bytes] | None
    path: bytes
    query: bytes

    @classmethod
    def parse(cls, url: str) -> "Address":
        """The address that a path with a query, or an absolute URL, stands for."""
        if url.startswith("/") and not url.startswith("//"):
            return cls.of_path(url)
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.netloc:
            raise ConfigurationError(
                f"url={url!r} is no address: write '/products/3?page=2' or 'https://host/...'"
            )
        host = split.netloc.rpartition("@")[2].lower().encode()
        origin = split.scheme, plain_host(split.scheme, host)
        return cls(origin, *_as_sent(split.path or "/", split.query))

    @classmethod
    def of_path(cls, url: str) -> "Address":
        """The address of a path with a query. What begins with '//' names no host here."""
        path, _, query = url.partition("#")[0].partition("?")
        return cls(None, *_as_sent(path, query))

    def asked(self, method: str, origin: tuple[str, bytes]) -> RequestHead:
        """A request for it."""
        scheme, host = origin
        return RequestHead(method, scheme, host, self.path, self.query)


def _as_sent(path: str, query: str) -> tuple[bytes, bytes]:
    sent = quote(path, _AS_SENT, errors="surrogatepass")
    asked = quote(query, _AS_SENT_IN_QUERY, errors="surrogatepass")
    return sent.encode("ascii"), asked.encode("ascii")


async def purge_url(
    keeper: Keeper,
    policy_for: PolicyFor,
    address: Address,
    *,
    soft: bool,
    own: tuple[str, bytes] | None = None,
) -> int:
    """Make what is stored for a URL invalid, or stale, with all variants. How many there were, but
    for what is kept by the bodies of requests, which nobody counts.

    An address without an origin means all that are known, and `own`. Of others whatever is kept is
    purged: nobody can name its keys (`hosts.py`).
    """
    if address.origin is not None:
        origins = [address.origin]
    else:
        # Elsewhere there may be origins that are not known here.
        here = [address.asked(method, own or _NOWHERE) for method in METHODS]
        policies = [policy for head in here if (policy := policy_for(head)) is not None]
        for query in {canonical_query(address.query, policy) for policy in policies}:
            await together(noted(keeper.journal, What.URL, [address.path, query], soft=soft))
        origins = await keeper.hosts.known()
        if own is not None and own not in origins:
            origins.append(own)
    resources: list[bytes] = []
    bodies: list[bytes] = []
    for method in METHODS:
        for origin in origins:
            head = address.asked(method, origin)
            policy = policy_for(head)
            if policy is None:
                continue
            if method == "GET":
                resources.append(primary_key(head, policy))
            else:
                bodies.append(bodies_tag(primary_key(head, policy)))
    is_noted = address.origin is not None  # else the note of the URL says it all
    if address.origin is None:
        bodies.append(UNLISTED_TAG)
    purges: list[Awaitable[object]] = [keeper.purge_resource(key, soft=soft) for key in resources]
    purges.append(keeper.purge_tags(bodies, soft=soft, is_noted=is_noted))
    *found, _ = await carried_out(purges)
    return sum(map(bool, found))


async def carried_out(purges: Iterable[Awaitable[object]]) -> list[object]:
    """The results of purges, each carried out to its end even when another one fails."""
    ended = await asyncio.gather(*purges, return_exceptions=True)
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    return ended


async def purge_pattern(
    store: Store,
    pattern: str,
    *,
    soft: bool,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> int:
    """Forget every value whose key matches, or mark it as stale. How many there were.

    Loads that began before it keep nothing. With `dry_run` nothing is done but the counting.
    """
    count = 0
    async for batch in _walk(store, pattern):
        entries = [key for key in batch if key.startswith(b"d:")]
        count += len(entries)
        sets = [] if soft else [key for key in batch if key.startswith(b"df:")]
        count += len(sets)
        if not dry_run:
            await store.delete(sets)
            # A value that is being made has holders and, perhaps, no entry yet.
            held = [key for key in batch if key.startswith(b"dl:")]
            pairs = [(b"d:" + key[3:], key) for key in held]
            if soft:
                pairs += [(key, b"dl:" + key[2:]) for key in entries]
                await together([store.run(SOFTEN, pair, (b"%d" % store.now(),)) for pair in pairs])
            else:
                settled = [store.run(SETTLE, pair, (b"", b"", b"0")) for pair in pairs]
                await store.delete(entries)
                await together(settled)
        if progress is not None:
            progress(count)
    return count


async def stored_keys(store: Store, pattern: str) -> AsyncIterator[bytes]:
    """The names of values whose key matches, each once."""
    seen: set[bytes] = set()
    async for batch in _walk(store, pattern):
        for key in batch:
            if key.startswith(b"d:") and key not in seen:
                seen.add(key)
                yield key


async def _walk(store: Store, pattern: str) -> AsyncIterator[list[bytes]]:
    """Values and their holders: no other key of ours matches, for there is but one ':{' in each."""
    async for batch in store.scan(b"d*:{%b}" % pattern_key(pattern)[3:-1]):
        yield batch
