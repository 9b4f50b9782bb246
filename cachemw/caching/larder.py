"""The values of the data cache, as one process sees them: looked up, leased, kept, written, barred.

What an entry depends on is written in the entry. To read it all in one trip, the larder remembers
the tags of keys that this process has met; a memory that is wrong or gone costs a second trip and
nothing else. Nothing here decides whether a value may be used (`data.py`), and nothing loads one
(`loads.py`). Every verb raises `StoreUnavailable`.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar, cast

from msgspec import Struct, structs

from cachemw.caching.data import REFUSAL, DataEntry, DataHeader, DataRefusal, pack, unpack
from cachemw.caching.datakeys import data_key, holders_key
from cachemw.caching.journal import noted
from cachemw.caching.keeper import LEASE_LIVES, Keeper, fresh_token
from cachemw.caching.leases import KEEP, LEASE, RELEASE, RENEW, SOFTEN
from cachemw.caching.notes import What
from cachemw.caching.stamps import (
    MARK_LIVES,
    STAMP_LIVES,
    Standing,
    by_bucket,
    mark_key,
    stamp_key,
    standing,
)
from cachemw.caching.writes import BAR, HOLD, RETIME, SETTLE, WITHDRAW
from cachemw.errors import StoreUnavailable, UnreadableEntry
from cachemw.scripts import SEAL, Reply
from cachemw.stores.base import Store, together

T = TypeVar("T")

REMEMBERED = 20_000  # keys
REFUSAL_LIVES = 10_000  # milliseconds; so long nobody waits for a value that is not kept
_LEASE = b"-"


class Found(Struct, frozen=True):
    """What is kept under a key, and what its stamps say of it."""

    entry: DataEntry | None = None
    standing: Standing = Standing.GONE
    is_refused: bool = False


class Lease(Struct, frozen=True):
    """The right to keep a value, and the instant at which its making began."""

    token: bytes
    born: int


class Bar(Struct, frozen=True):
    """Tags that are barred, and what their stamps said before."""

    until: int
    before: dict[bytes, bytes]


class Larder:
    """Reads and writes the entries of the data cache."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self.store = store
        self.keeper = keeper
        self._tags: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()

    # --- reading

    async def find(self, keys: Sequence[str], tags: Sequence[bytes] = ()) -> list[Found]:
        """What is kept under `keys`; in one trip if their tags are as `tags` or the memory say."""
        expected = dict.fromkeys(tags)
        for key in keys:
            expected.update(dict.fromkeys(self._tags.get(key, ())))
        names = [*map(data_key, keys), *map(stamp_key, expected)]
        values = await self.store.get_many(names)
        records = [_read(value) for value in values[: len(keys)]]
        stamps = dict(zip(expected, values[len(keys) :], strict=True))
        for key, record in zip(keys, records, strict=True):
            if isinstance(record, DataEntry):
                self._remember(key, record.header.tags)
        entries = [record for record in records if isinstance(record, DataEntry)]
        unknown = dict.fromkeys(tag for e in entries for tag in e.header.tags if tag not in stamps)
        if unknown:
            more = await self.store.get_many([stamp_key(tag) for tag in unknown])
            stamps.update(zip(unknown, more, strict=True))
        return [_found(record, stamps) for record in records]

    def _remember(self, key: str, tags: tuple[bytes, ...]) -> None:
        if not tags and key not in self._tags:
            return
        self._tags[key] = tags
        self._tags.move_to_end(key)
        if len(self._tags) > REMEMBERED:
            self._tags.popitem(last=False)

    # --- making a value that is missing

    def lease(self, key: str) -> Awaitable[Lease | None]:
        """The lease of a key, None when somebody else has it. One trip, begun at the call."""
        token = fresh_token()
        args = (_LEASE, token, b"%d" % LEASE_LIVES)
        taken = self.store.run(LEASE, (holders_key(key),), args)
        return self._in_doubt(key, token, _leased(token, taken, self.store.time()))

    async def renew(self, key: str, token: bytes) -> bool:
        """Whether a lease still stands, for another while."""
        args = (_LEASE, token, b"%d" % LEASE_LIVES)
        return await self.store.run(RENEW, (holders_key(key),), args) == 1

    async def keep(self, key: str, token: bytes, entry: DataEntry) -> bool:
        """Keep a value under a lease. False when the lease has ended meanwhile."""
        name, lives = data_key(key), entry.lives(self.store.now())
        args = (_LEASE, token, b"%d" % max(1, lives), self.store.sealed(name, pack(entry)))
        ensured = self.keeper.ensure(entry.header.tags, lives / 1000)
        kept = self.store.run(KEEP, (name, holders_key(key)), args)
        self._remember(key, entry.header.tags)
        return await self._in_doubt(key, token, _both(kept, ensured)) == 1

    async def give_back(self, key: str, token: bytes, *, refused: bool = False) -> None:
        """End a lease without a value; when `refused`, nobody waits for the next for a while."""
        name = data_key(key)
        refusal = self.store.sealed(name, REFUSAL) if refused else b""
        args = (_LEASE, token, refusal, b"%d" % REFUSAL_LIVES)
        released = self.store.run(RELEASE, (name, holders_key(key)), args)
        await self._in_doubt(key, token, released)

    async def _in_doubt(self, key: str, token: bytes, step: Awaitable[T]) -> T:
        """The result of a step; when it is lost, the lease is given back later."""
        try:
            return await step
        except StoreUnavailable as error:
            self.keeper.owed.add(error, holders_key(key), _LEASE, token)
            raise

    # --- saying what a value is

    async def put(
        self,
        payloads: Mapping[str, bytes],
        header: DataHeader,
        fresh_until: int,
        token: bytes = b"",
    ) -> None:
        """Keep values whatever was there, but for those that are being written elsewhere just now.
        `token` ends a hold."""
        now, lives = self.store.now(), 0
        notes = self._noted(list(payloads)) if token else []
        kept: list[Awaitable[Reply]] = []
        for key, payload in payloads.items():
            name, entry = data_key(key), DataEntry(header, payload, fresh_until)
            lives = entry.lives(now)
            args = (token, self.store.sealed(name, pack(entry)), b"%d" % max(1, lives))
            self._remember(key, header.tags)
            kept.append(self.store.run(SETTLE, (name, holders_key(key)), args))
        ensured = self.keeper.ensure(header.tags, lives / 1000)
        await _both(together(kept), ensured)
        await together(notes)

    async def forget(self, keys: Sequence[str], token: bytes = b"") -> int:
        """Let nothing be kept of `keys`, nor of what is being made of them just now. How many
        there were."""
        notes = self._noted(keys)
        names = [(data_key(key), holders_key(key)) for key in keys]
        answers = await together([self.store.run(SETTLE, n, (token, b"", b"0")) for n in names])
        await together(notes)
        return sum(answer == 2 for answer in answers)

    async def soften(self, key: str) -> bool:
        """Mark what is kept as stale."""
        notes = self._noted([key], soft=True)
        keys = (data_key(key), holders_key(key))
        found = await self.store.run(SOFTEN, keys, (b"%d" % self.store.now(),)) == 1
        await together(notes)
        return found

    async def retime(self, key: str, entry: DataEntry, fresh_until: int) -> bool:
        """Move the end of an entry; the stamps of its tags outlive it."""
        moved = structs.replace(entry, fresh_until=fresh_until)
        now = self.store.now()
        lives = moved.lives(now) / 1000
        ensured = self.keeper.ensure(entry.header.tags, lives)
        args = (fresh_until.to_bytes(8, "big"), b"%d" % max(1, (fresh_until - now) // 1000))
        return await _both(self.store.run(RETIME, (data_key(key),), args), ensured) == 1

    async def withdraw(self, key: str) -> Found:
        """What is kept under a key, which from now on nobody else finds."""
        name = data_key(key)
        stored = await self.store.run(WITHDRAW, (name, holders_key(key)), ())
        if not isinstance(stored, bytes) or stored != self.store.sealed(name, stored[SEAL:]):
            return Found()
        record = _read(stored[SEAL:])
        tags = record.header.tags if isinstance(record, DataEntry) else ()
        stamps = await self.store.get_many([stamp_key(tag) for tag in tags])
        return _found(record, dict(zip(tags, stamps, strict=True)))

    # --- while a value is written elsewhere

    async def hold(self, keys: Sequence[str], lives: float) -> bytes:
        """Forget what is kept, and let nobody keep another until it is settled with this token, or
        `lives` seconds are over."""
        token = fresh_token()
        args = (token, b"%d" % (lives * 1000))
        await together(
            [self.store.run(HOLD, (data_key(key), holders_key(key)), args) for key in keys]
        )
        return token

    async def bar(self, tags: Sequence[bytes], lives: float) -> Bar:
        """Let nothing with one of these tags be valid until the bar is lifted, or `lives` seconds
        are over."""
        now = await self.store.time()
        until = now + int(lives * 1e6)
        return Bar(until, await self._bar(now, until, dict.fromkeys(tags, b"")))

    async def lift(self, bar: Bar) -> None:
        """Purge the tags of a bar as of now, and let what is made from now on be valid."""
        notes = noted(self.keeper.journal, What.TAGS, list(bar.before))
        await self._bar(await self.store.time(), bar.until, bar.before)
        await together(notes)

    def _noted(self, keys: Sequence[str], *, soft: bool = False) -> list[Awaitable[Reply]]:
        names = [key.encode("utf-8", "surrogatepass") for key in keys]
        return noted(self.keeper.journal, What.KEY, names, soft=soft)

    async def _bar(self, now: int, until: int, found: dict[bytes, bytes]) -> dict[bytes, bytes]:
        groups = by_bucket(list(found)).items()
        runs: list[Awaitable[Reply]] = []
        for bucket, tags in groups:
            names = [stamp_key(tag) for tag in tags]
            args = [b"%d" % now, b"%d" % until, b"%d" % MARK_LIVES, b"%d" % STAMP_LIVES]
            for name, tag in zip(names, tags, strict=True):
                args += (self.store.sealed(name, b""), found[tag])
            runs.append(self.store.run(BAR, (mark_key(bucket), *names), args))
        before: dict[bytes, bytes] = {}
        for (_, tags), answer in zip(groups, await together(runs), strict=True):
            before.update(zip(tags, cast(list[bytes], answer), strict=True))
        return before


async def _both(step: Awaitable[T], ensured: Awaitable[bool]) -> T:
    """The result of a step, when the stamps that go with it are there, too."""
    try:
        return await step
    finally:
        await ensured


async def _leased(token: bytes, taken: Awaitable[Reply], time: Awaitable[int]) -> Lease | None:
    try:
        is_mine = await taken
    finally:
        born = await time
    return Lease(token, born) if is_mine == 1 else None


def _read(stored: bytes | None) -> DataEntry | DataRefusal | None:
    if stored is None:
        return None
    try:
        return unpack(stored)
    except UnreadableEntry:
        return None


def _found(record: DataEntry | DataRefusal | None, stamps: dict[bytes, bytes | None]) -> Found:
    if isinstance(record, DataEntry):
        header = record.header
        return Found(record, standing(header.born, header.tags, stamps))
    return Found(is_refused=isinstance(record, DataRefusal))
