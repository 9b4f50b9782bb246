"""What a store keeps, as people want to see it: names, ages, sizes, and whether it is still served.

Reads the beginnings of values and the stamps that they depend on, and changes nothing. Walks are
bounded, since a server may hold millions of keys. Every function raises `StoreUnavailable`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cachemw.caching import data
from cachemw.caching.datakeys import key_text
from cachemw.caching.entry import Entry, Record, Refusal, Signpost, unpack_beginning
from cachemw.caching.keys import record_key
from cachemw.caching.stamps import Standing, read_stamp, stamp_key, standing
from cachemw.caching.tags import tag_text
from cachemw.errors import UnreadableEntry
from cachemw.stores.base import Store
from cachemw.stores.look import Sight, look

BEGINNING = 4096  # bytes, in which most headers end
LONGEST_BEGINNING = 256 * 1024
_ROUTE, _NAMESPACE = "@route:", "@ns:"


class Kind(StrEnum):
    """What stands under a key."""

    RESPONSE = "response"
    VALUE = "value"
    REFUSAL = "refusal"
    """The last result was not kept, so nobody waits for the next."""
    SIGNPOST = "signpost"
    """The URL varies: its variants have keys of their own."""


class State(StrEnum):
    """What becomes of whoever asks for it."""

    FRESH = "fresh"
    STALE = "stale"
    SOFT_PURGED = "soft-purged"
    """Marked as stale by a soft purge."""
    PURGED = "purged"
    """Invalid; the server forgets it in its own time."""
    NONE = "-"
    """Nothing that is served."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One key. Spans are seconds."""

    key: str
    """As the store has it, without the prefix."""
    kind: Kind
    name: str
    """The URL of a response, the key of a value."""
    state: State
    status: int = 0
    age: float = 0.0
    fresh: float = 0.0
    """For how long it is fresh yet; below 0, since when it is not."""
    left: float = 0.0
    """For how long the server keeps it yet."""
    size: int = 0
    took: float = 0.0
    """What it took to make."""
    tags: tuple[str, ...] = ()
    route: str = ""
    namespace: str = ""
    because: tuple[str, ...] = ()
    """Which of its tags were purged since, or `its URL`."""
    varies: tuple[str, ...] = ()
    """The request fields that select among its variants, where it is a signpost."""


async def seen(store: Store, keys: Sequence[bytes]) -> list[Stored]:
    """What stands under those keys that are there. Keys of other features are left out."""
    sights = [s for s in await look(store, keys, BEGINNING) if s.key.startswith((b"e:", b"d:"))]
    pairs = [(sight, _read(store, sight)) for sight in sights]
    cut = [s.key for s, record in pairs if record is None and s.length > BEGINNING]
    if cut:
        longer = {sight.key: sight for sight in await look(store, cut, LONGEST_BEGINNING)}
        pairs = [
            (
                sight,
                record if record or sight.key not in longer else _read(store, longer[sight.key]),
            )
            for sight, record in pairs
        ]
    signposts = await _signposts(store, [s.key for s, _ in pairs])
    stamps = await stamps_of(store, (tag for _, record in pairs for tag in _tags(record)))
    now = await store.time()
    return [_stored(sight, record, signposts, stamps, now) for sight, record in pairs]


async def stamps_of(store: Store, tags: Iterable[bytes]) -> dict[bytes, bytes | None]:
    """The stamps of tags, as they are stored."""
    names = list(dict.fromkeys(tags))
    return dict(zip(names, await store.get_many([stamp_key(n) for n in names]), strict=True))


def purged_tags(
    born: int, tags: Sequence[bytes], stamps: Mapping[bytes, bytes | None]
) -> tuple[str, ...]:
    """Which tags make what was born at `born` invalid or stale, in words."""
    told: list[str] = []
    for tag in tags:
        stamp = read_stamp(stamps.get(tag))
        if stamp is None:
            told.append(f"{tag_text(tag)} (its stamp is gone)")
        elif born <= max(stamp.hard, stamp.soft):
            told.append(tag_text(tag))
    return tuple(told)


def primary_of(key: bytes) -> bytes:
    """The digest of the resource that a key `e:{...}` belongs to."""
    return key[key.find(b"{") + 1 : key.find(b"}")]


# --- records


_Any = Record | data.DataEntry | data.DataRefusal


def _read(store: Store, sight: Sight) -> _Any | None:
    """The record, by how it begins; None when it cannot be read."""
    begins = sight.value(store)
    if begins is None:
        return None
    try:
        return data.unpack(begins) if sight.key.startswith(b"d:") else unpack_beginning(begins)
    except UnreadableEntry:
        return None


def _tags(record: _Any | None) -> tuple[bytes, ...]:
    return record.header.tags if isinstance(record, Entry | data.DataEntry) else ()


async def _signposts(store: Store, keys: Sequence[bytes]) -> dict[bytes, Signpost]:
    """The signposts of those keys that are variants, by resource."""
    primaries = dict.fromkeys(primary_of(key) for key in keys if b"}:" in key)
    found = await look(store, [record_key(primary) for primary in primaries], BEGINNING)
    read = ((primary_of(sight.key), _read(store, sight)) for sight in found)
    return {primary: record for primary, record in read if isinstance(record, Signpost)}


def _stored(
    sight: Sight,
    record: _Any | None,
    signposts: Mapping[bytes, Signpost],
    stamps: Mapping[bytes, bytes | None],
    now: int,
) -> Stored:
    key, left = sight.key.decode("ascii", "backslashreplace"), sight.lives / 1000
    name = key_text(sight.key) if key.startswith("d:") else ""
    match record:
        case Entry():
            return _response(key, left, sight, record, signposts, stamps, now)
        case data.DataEntry():
            return _value(key, left, sight, record, stamps, now)
        case Signpost(fields):
            varies = tuple(field.decode("latin-1") for field in fields)
            return Stored(
                key, Kind.SIGNPOST, name, State.NONE, left=left, size=sight.length, varies=varies
            )
        case Refusal(reason):
            because = (reason.value,)
            return Stored(
                key, Kind.REFUSAL, name, State.NONE, left=left, size=sight.length, because=because
            )
        case _:
            kind = Kind.REFUSAL if isinstance(record, data.DataRefusal) else _kind(key)
            unread = () if record else ("it cannot be read",)
            return Stored(key, kind, name, State.NONE, left=left, size=sight.length, because=unread)


def _kind(key: str) -> Kind:
    return Kind.VALUE if key.startswith("d:") else Kind.RESPONSE


def _response(
    key: str,
    left: float,
    sight: Sight,
    entry: Entry,
    signposts: Mapping[bytes, Signpost],
    stamps: Mapping[bytes, bytes | None],
    now: int,
) -> Stored:
    header = entry.header
    state = _state(standing(header.born, header.tags, stamps), entry.is_soft)
    because = purged_tags(header.born, header.tags, stamps)
    if b"}:" in sight.key:
        signpost = signposts.get(primary_of(sight.key))
        if signpost is None or signpost.generation != entry.generation:
            state, because = State.PURGED, ("its URL", *because)
        elif header.born <= signpost.softened and state is not State.PURGED:
            state, because = State.SOFT_PURGED, ("its URL", *because)
    elif entry.is_soft:
        because = ("its URL", *because)
    age = entry.age(now)
    if state is State.FRESH and age >= header.fresh:
        state = State.STALE
    tags, route, namespace = _sorted(header.tags)
    return Stored(
        key=key,
        kind=Kind.RESPONSE,
        name=header.target.decode("ascii", "backslashreplace"),
        state=state,
        status=header.status,
        age=age,
        fresh=header.fresh - age,
        left=left,
        size=sight.length,
        took=header.took,
        tags=tags,
        route=route,
        namespace=namespace,
        because=because,
    )


def _value(
    key: str,
    left: float,
    sight: Sight,
    entry: data.DataEntry,
    stamps: Mapping[bytes, bytes | None],
    now: int,
) -> Stored:
    header = entry.header
    state = _state(standing(header.born, header.tags, stamps), entry.is_soft)
    fresh = (entry.fresh_until - now) / 1e6
    if state is State.FRESH and fresh <= 0:
        state = State.STALE
    tags, route, namespace = _sorted(header.tags)
    because = purged_tags(header.born, header.tags, stamps)
    return Stored(
        key=key,
        kind=Kind.VALUE,
        name=key_text(sight.key),
        state=state,
        age=header.fresh - fresh,
        fresh=fresh,
        left=left,
        size=sight.length,
        took=header.took,
        tags=tags,
        route=route,
        namespace=namespace,
        because=("its key", *because) if entry.is_soft else because,
    )


def _state(stands: Standing, is_soft: bool) -> State:
    if stands is Standing.GONE:
        return State.PURGED
    return State.SOFT_PURGED if is_soft or stands is Standing.STALE else State.FRESH


def _sorted(tags: Iterable[bytes]) -> tuple[tuple[str, ...], str, str]:
    """Tags that somebody chose, the route, the namespace."""
    texts = [tag_text(tag) for tag in tags]
    own = tuple(text for text in texts if not text.startswith("@"))
    route = next((text[len(_ROUTE) :] for text in texts if text.startswith(_ROUTE)), "")
    namespace = next((t[len(_NAMESPACE) :] for t in texts if t.startswith(_NAMESPACE)), "")
    return own, route, namespace
