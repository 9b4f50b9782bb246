"""Finding what a store keeps: a bounded walk with filters, one thing by its name, and all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from cachemw.caching import data
from cachemw.caching.datakeys import data_key, pattern_key
from cachemw.caching.entry import Entry, unpack
from cachemw.caching.hosts import Hosts
from cachemw.caching.keys import primary_key, record_key
from cachemw.caching.policy import CachePolicy
from cachemw.caching.purging import Address, PolicyOf
from cachemw.caching.values import codec_of
from cachemw.errors import UnreadableEntry
from cachemw.inspection.stored import Kind, State, Stored, seen
from cachemw.messages import Headers
from cachemw.stores.base import Store
from cachemw.stores.glob import glob_to_regex

AT_ONCE = 200  # keys that are looked at in one write
MOST_VARIANTS = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted of a listing; what is left out is not asked for."""

    name: str = "*"
    """A glob pattern of URLs and of keys: `/products/*`, `user:?`."""
    kind: Kind | None = None
    state: State | None = None
    tag: str = ""
    route: str = ""
    namespace: str = ""

    def takes(self, stored: Stored) -> bool:
        name = glob_to_regex(self.name.encode("utf-8", "surrogatepass"))
        return (
            stored.kind in ((self.kind,) if self.kind else (Kind.RESPONSE, Kind.VALUE))
            and self.state in (None, stored.state)
            and (not self.tag or self.tag in stored.tags)
            and self.route in ("", stored.route)
            and self.namespace in ("", stored.namespace)
            and name.fullmatch(stored.name.encode("utf-8", "surrogatepass")) is not None
        )

    @property
    def pattern(self) -> bytes:
        """The keys on the server that may be wanted."""
        match self.kind:
            case Kind.VALUE:
                return pattern_key(self.name)
            case None:
                return b"[ed]:{*"
            case _:
                return b"e:{*"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a walk has found."""

    items: tuple[Stored, ...]
    looked_at: int
    """How many keys of ours it has seen."""
    is_whole: bool
    """Whether it went to the end: there is nothing else that is wanted."""


async def listing(
    store: Store, wanted: Filter | None = None, *, most: int = 100, look_at: int = 50_000
) -> Listing:
    """Up to `most` things that are wanted, among the first `look_at` keys that come along."""
    wanted = wanted or Filter()
    found: dict[str, Stored] = {}
    looked_at = 0
    async for batch in store.scan(wanted.pattern):
        for start in range(0, len(batch), AT_ONCE):
            keys = batch[start : start + AT_ONCE]
            looked_at += len(keys)
            found.update((one.key, one) for one in await seen(store, keys) if wanted.takes(one))
            if len(found) > most or looked_at >= look_at:
                return Listing(_in_order(found)[:most], looked_at, is_whole=False)
    return Listing(_in_order(found), looked_at, is_whole=True)


def _in_order(found: dict[str, Stored]) -> tuple[Stored, ...]:
    return tuple(sorted(found.values(), key=lambda one: (one.kind, one.name, one.key)))


async def named(store: Store, name: str, *, policies: PolicyOf | None = None) -> tuple[Stored, ...]:
    """What is kept under a name: the URL of responses, with all their variants, the key of a value,
    or a key of the store's own (`e:{...}`). `policies` tells which query parameters count."""
    if name.startswith(("e:{", "d:{")):
        return tuple(await seen(store, [name.encode("ascii", "replace")]))
    if not name.startswith(("/", "http://", "https://")):
        return tuple(await seen(store, [data_key(name)]))
    found: list[Stored] = []
    for primary in await _primaries(store, name, policies):
        own = await seen(store, [record_key(primary)])
        found += own
        if own and own[0].kind is Kind.SIGNPOST:
            found += await _variants(store, primary)
    return tuple(found)


async def _primaries(store: Store, url: str, policies: PolicyOf | None) -> list[bytes]:
    address = Address.parse(url)
    policy = (policies and policies(unquote(address.path.decode("ascii")))) or CachePolicy()
    origins = [address.origin] if address.origin else await Hosts(store).known()
    return [primary_key(address.asked("GET", origin), policy) for origin in origins]


async def _variants(store: Store, primary: bytes) -> Sequence[Stored]:
    keys: list[bytes] = []
    async for batch in store.scan(record_key(primary) + b":*"):
        keys += batch
        if len(keys) >= MOST_VARIANTS:
            break
    return await seen(store, list(dict.fromkeys(keys)))


@dataclass(frozen=True, slots=True)
class Content:
    """All of one thing that is kept."""

    stored: Stored
    headers: Headers = ()
    body: bytes = b""
    """Of a response, as clients get it; of a value, its bytes."""
    value: Any = None
    """Of a value, where its bytes say what it is."""


async def content(store: Store, key: str) -> Content | None:
    """What stands under a key of the store, all of it. None when there is nothing."""
    name = key.encode("ascii", "replace")
    about = await seen(store, [name])
    held = await store.get(name)
    if not about or held is None:
        return None
    try:
        if key.startswith("d:"):
            return _value_of(about[0], held)
        record = unpack(held)
    except UnreadableEntry:
        return Content(about[0])
    if isinstance(record, Entry):
        return Content(about[0], record.header.headers, record.body)
    return Content(about[0])


def _value_of(stored: Stored, held: bytes) -> Content:
    record = data.unpack(held)
    if not isinstance(record, data.DataEntry):
        return Content(stored)
    try:
        return Content(stored, body=record.payload, value=codec_of().decode(record.payload))
    except UnreadableEntry:
        return Content(stored, body=record.payload)  # JSON of a model, say
