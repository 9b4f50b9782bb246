"""Writing entries: taking a lease, storing what was made under it, or giving it back.

Also the purges, which are the other side of the same promises: once one has returned, no request
that starts later gets what it covered, and no fill that began before it can bring that back
(`stamps.py` and `leases.py` say why).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from math import inf
from typing import Any

from msgspec import Struct, structs

from cachemw.caching.entry import Entry, Refusal, Signpost, pack
from cachemw.caching.hosts import Hosts
from cachemw.caching.journal import Journal, noted
from cachemw.caching.keys import census_key, lease_key, record_key
from cachemw.caching.leases import KEEP, LEASE, RELEASE, RENEW, SOFTEN
from cachemw.caching.notes import What
from cachemw.caching.owed import Owed
from cachemw.caching.readings import Readings
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.stamped import Stamped
from cachemw.caching.stamps import (
    BUCKETS,
    ENSURE,
    MARK_LIVES,
    PURGE,
    STAMP_LIVES,
    UNLISTED_TAG,
    by_bucket,
    mark_key,
    stamp_key,
)
from cachemw.errors import StoreUnavailable
from cachemw.scripts import Reply
from cachemw.stores.base import Store, together

FILLING = 60.0  # seconds that an origin is listed for while a response is made for it
LEASE_LIVES = 6_000  # milliseconds that a lease outlives its holder
RENEW_AFTER = 2.0  # seconds until its holder renews it
REFUSAL_LIVES = 30_000  # milliseconds; so long nobody waits for an answer that is not kept
CLAIM_PAUSES = (0, 0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0)
"""Seconds. First the claim, then the mark; more than that where somebody else's claim stands, which
may be that of a process that has died, and then ends after a second."""
STAMP_MARGIN = 3_600_000  # milliseconds that a stamp outlives its entry
_WHOLE = b"-"  # the lease of a resource that does not vary


class Lease(Struct, frozen=True):
    """The right to store one variant, and when its making began."""

    token: bytes
    variant: bytes
    born: int
    is_listed: bool = True
    """Whether a purge of its path finds what is made under it (`hosts.py`)."""


class Leasing:
    """A lease that has been asked for. Awaiting it gives it, or None when somebody else has it."""

    def __init__(
        self,
        lease: Lease,
        taken: Awaitable[Reply],
        born: Awaitable[int],
        admitted: Callable[[], Awaitable[bool]] | None,
        doubt: Callable[[StoreUnavailable], object],
    ) -> None:
        self._lease, self._taken, self._born, self._admitted = lease, taken, born, admitted
        self._doubt = doubt

    def __await__(self) -> Generator[Any, None, Lease | None]:
        try:
            is_mine = yield from self._taken.__await__()
            born = yield from self._born.__await__()
            if is_mine != 1:
                return None
            # Before the app is asked, or a purge of its path would go past what it is to make.
            is_listed = not self._admitted or (yield from self._admitted().__await__())
        except StoreUnavailable as error:
            self._doubt(error)
            raise
        return Lease(self._lease.token, self._lease.variant, born, is_listed)


class _GivenBack:
    """A lease that is being given back; who awaits it hears whether it was."""

    def __init__(self, released: Awaitable[Reply], doubt: Callable[[StoreUnavailable], object]):
        self._released, self._doubt = released, doubt

    def __await__(self) -> Generator[Any, None, Reply]:
        try:
            return (yield from self._released.__await__())
        except StoreUnavailable as error:
            self._doubt(error)
            raise


class Keeper:
    """Writes entries and purges them. With a region, other regions can hear of its purges."""

    def __init__(self, store: Store, region: str | None = None) -> None:
        self._store = store
        self.hosts = Hosts(store)
        self.owed = Owed(store)
        self.stamped = Stamped()
        self._readings = Readings(store)
        self.journal = None if region is None else Journal(store, region)
        self.is_ready = False

    async def get_ready(self, patience: float = inf) -> None:
        """Once per process: put up the marks of buckets that have none, so that first entries
        count. Where another process has put a claim, that one is waited for, `patience` seconds
        at most."""
        claim, buckets = fresh_token(), [b"s%d" % number for number in range(BUCKETS)]
        for pause in CLAIM_PAUSES:
            patience -= pause
            if self.is_ready or patience < 0:
                return
            await asyncio.sleep(pause)
            now = await self._store.time()
            answers = [self._ensure(bucket, (), now, 0, claim) for bucket in buckets]
            asked = zip(buckets, await together(answers), strict=True)
            buckets = [bucket for bucket, answer in asked if answer != 1]
            if not buckets:
                break
        self.is_ready = True

    def lease(
        self, resource: Resource, variant: bytes, *, alone: bool = False, is_first: bool = False
    ) -> Leasing:
        """Take the lease for a variant. One trip, begun at the call, but for the first of a host
        (`hosts.py`).

        One who makes it `alone` has a lease of his own beside all others, since there are things
        that nobody waits for: a purge ends it as it ends them, and nobody can keep him out. Who
        is the first, as far as he has seen, gets one only if there is still nothing stored.
        """
        token = fresh_token()
        lease = Lease(token, b"!" + token if alone else variant or _WHOLE, 0)
        args = (lease.variant, lease.token, b"%d" % LEASE_LIVES)
        keys = [resource.leases]
        if is_first:  # there must be nothing where it would be stored
            keys.append(resource.record)
            if variant:
                keys.append(record_key(resource.primary, variant))
        taken = self._store.run(LEASE, keys, args)
        # Read while nothing has been asked of the app: what it is made of can only be younger.
        born = self._readings.ask()
        hosts, request = self.hosts, resource.request
        is_known = hosts.is_entered(request, FILLING, self._store.now())
        admitted = None if is_known else partial(hosts.admit, request, FILLING)
        return Leasing(lease, taken, born, admitted, self._doubt(resource, lease))

    async def renew(self, resource: Resource, lease: Lease) -> bool:
        """Whether the lease still stands, for another while. One trip."""
        if lease.is_listed:
            await self.hosts.admit(resource.request, FILLING)
        args = (lease.variant, lease.token, b"%d" % LEASE_LIVES)
        return await self._store.run(RENEW, (resource.leases,), args) == 1

    async def keep(
        self, resource: Resource, lease: Lease, entry: Entry, fields: tuple[bytes, ...], ttl: float
    ) -> Reason | None:
        """Store an entry, and end the lease. None when it is stored, else why not. One trip, but
        for the first entry of a host (`hosts.py`), and one more where a variant makes room."""
        hosts, request, now = self.hosts, resource.request, self._store.now()
        is_entered = hosts.is_entered(request, ttl, now)
        if not (lease.is_listed and (is_entered or await hosts.admit(request, ttl))):
            tags = (*entry.header.tags, UNLISTED_TAG)
            entry = structs.replace(entry, header=structs.replace(entry.header, tags=tags))
        span = max(1, int(ttl * 1000))
        lacking = self.stamped.lacking(entry.header.tags, now + 1000 * (span + STAMP_MARGIN))
        storing = self._keep(resource, lease, entry, fields, b"%d" % span)
        is_ensured: object = True
        try:
            if lacking:
                # In front: unlike a step, it may not be left alone, as by a cancellation.
                ensuring: Awaitable[object] = self.ensure(lacking, ttl)
                is_ensured, stored = await together([ensuring, storing])
            else:
                stored = await storing
        except StoreUnavailable as error:
            self._doubt(resource, lease)(error)
            raise
        if lacking:
            self.stamped.note(lacking, now + 1000 * _stamp_lives(span))
        if isinstance(stored, bytes):  # the variant that made room
            await self._store.delete([record_key(resource.primary, stored)])
        return None if stored != 0 and is_ensured else Reason.PURGED

    def give_back(
        self, resource: Resource, lease: Lease, variant: bytes, reason: Reason | None = None
    ) -> Awaitable[Reply]:
        """End a lease without an entry; with a reason, nobody waits for this one for a while.
        One trip, begun at the call."""
        record = record_key(resource.primary, variant)
        refusal = b"" if reason is None else self._store.sealed(record, pack(Refusal(reason)))
        args = (lease.variant, lease.token, refusal, b"%d" % REFUSAL_LIVES)
        released = self._store.run(RELEASE, (record, resource.leases), args)
        return _GivenBack(released, self._doubt(resource, lease))

    def _doubt(self, resource: Resource, lease: Lease) -> Callable[[StoreUnavailable], None]:
        """What to do when a step was lost after which this lease may stand."""
        return lambda error: self.owed.add(error, resource.leases, lease.variant, lease.token)

    def ensure(self, tags: Sequence[bytes], lives: float) -> Awaitable[bool]:
        """See to it that stamps exist, and outlive what is kept for `lives` seconds from now. False
        when nobody knows of the last purges: then that is invalid, and what is born from now on is
        not. Begun at the call."""
        claim, span, groups = fresh_token(), max(1, int(lives * 1000)), by_bucket(tags)
        ensured = [self._ensure(*group, 0, span, claim) for group in groups.items()]
        return self._ensured(groups, ensured, span, claim)

    async def _ensured(
        self,
        groups: dict[bytes, list[bytes]],
        ensured: list[Awaitable[Reply]],
        span: int,
        claim: bytes,
    ) -> bool:
        marked = await together(ensured)
        unmarked = [group for group, there in zip(groups.items(), marked, strict=True) if not there]
        if unmarked:
            now = await self._store.time()
            await together([self._ensure(*group, now, span, claim) for group in unmarked])
        return not unmarked

    async def purge_tags(
        self, tags: Sequence[bytes], *, soft: bool = False, is_noted: bool = True
    ) -> None:
        """Make every entry with one of these tags invalid, or stale. One trip, whatever they
        cover; on a cluster two. Not to be noted when other regions hear of it in other words."""
        notes = noted(self.journal, What.TAGS, tags, soft=soft) if is_noted else []
        purges = (
            self._store.run(
                PURGE,
                (mark_key(bucket), *map(stamp_key, group)),
                (b"1" if soft else b"0", b"%d" % MARK_LIVES, b"%d" % STAMP_LIVES)
                + tuple(self._store.sealed(stamp_key(tag), b"") for tag in group),
            )
            for bucket, group in by_bucket(tags).items()
        )
        await together([*notes, *purges])

    async def purge_resource(self, primary: bytes, *, soft: bool = False) -> bool:
        """Make whatever is stored for a URL invalid, or stale, with all its variants. One trip, or
        two."""
        record, leases = record_key(primary), lease_key(primary)
        notes = noted(self.journal, What.RESOURCE, [primary], soft=soft)
        if soft:
            now = b"%d" % await self._store.time()
            purge: Awaitable[Reply] = self._store.run(SOFTEN, (record, leases), (now,))
        else:
            purge = self._store.delete((record, leases, census_key(primary)))
        *_, found = await together([*notes, purge])
        return bool(found)

    def _keep(
        self,
        resource: Resource,
        lease: Lease,
        entry: Entry,
        fields: tuple[bytes, ...],
        lives: bytes,
    ) -> Awaitable[Reply]:
        policy, store, record = resource.policy, self._store, resource.record
        held = (lease.variant, lease.token, lives)
        variant = resource.variant(fields)
        if not variant:
            packed = store.sealed(record, pack(entry, policy.compress))
            return store.run(KEEP, (record, resource.leases), (*held, packed))
        generation = os.urandom(8)
        signpost = store.sealed(record, pack(Signpost(fields, generation)))
        key = record_key(resource.primary, variant)
        packed = store.sealed(
            key, pack(structs.replace(entry, generation=generation), policy.compress)
        )
        args = (*held, signpost, variant, packed, b"%d" % policy.max_variants)
        return store.run(KEEP, (record, resource.leases, key, resource.census), args)

    def _ensure(
        self, bucket: bytes, tags: Sequence[bytes], now: int, lives: int, claim: bytes
    ) -> Awaitable[Reply]:
        stamps = [stamp_key(tag) for tag in tags]
        seals = [self._store.sealed(stamp, b"") for stamp in stamps]
        times = (b"%d" % now, b"%d" % MARK_LIVES, b"%d" % _stamp_lives(lives))
        return self._store.run(ENSURE, (mark_key(bucket), *stamps), (*times, claim, *seals))


def _stamp_lives(lives: int) -> int:
    """For how long the stamp of an entry is to live, in milliseconds: for longer than it needs, so
    that it need not be seen to for each of the next."""
    return max(STAMP_LIVES, lives + 2 * STAMP_MARGIN)


def fresh_token() -> bytes:
    """By which a lease, a claim or a hold is known to be somebody's own."""
    return os.urandom(8).hex().encode()
