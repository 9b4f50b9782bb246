"""Writing entries: taking a lease, storing what was made under it, or giving it back.

Also the purges, which are the other side of the same promises: once one has returned, no request
that starts later gets what it covered, and no fill that began before it can bring that back
(`stamps.py` and `leases.py` say why).
"""

import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

from cachemw.caching.entry import Entry, Refusal, Signpost, pack
from cachemw.caching.keys import lease_key, record_key
from cachemw.caching.leases import KEEP, LEASE, RELEASE, SOFTEN
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.stamps import (
    BUCKETS,
    ENSURE,
    MARK_LIVES,
    PURGE,
    STAMP_LIVES,
    by_bucket,
    mark_key,
    stamp_key,
)
from cachemw.scripts import Reply
from cachemw.stores.base import Store, together

REFUSAL_LIVES = 30_000  # milliseconds; so long nobody waits for an answer that is not kept
_WHOLE = b"-"  # the lease of a resource that does not vary


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to store one variant, and when its making began."""

    token: bytes
    variant: bytes
    born: int


class Keeper:
    """Writes entries and purges them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = secrets.token_hex(8).encode()
        self._is_ready = False

    async def get_ready(self) -> None:
        """Once per process: put up the marks of buckets that have none, so that first entries
        count."""
        if self._is_ready:
            return
        buckets = [b"s%d" % number for number in range(BUCKETS)]
        for _ in range(2):  # the first time our name is put there, the second time the mark
            now = b"%d" % await self._store.time()
            args = (now, now, b"%d" % MARK_LIVES, b"%d" % STAMP_LIVES, self._name)
            answers = [self._store.run(ENSURE, (mark_key(bucket),), args) for bucket in buckets]
            if all(answer == 1 for answer in await together(answers)):
                break
        self._is_ready = True

    def lease(self, resource: Resource, variant: bytes, lives: float) -> Awaitable[Lease | None]:
        """The lease for a variant, None when somebody else has it. One trip, begun at the call."""
        token = secrets.token_hex(8).encode()
        args = (variant or _WHOLE, token, b"%d" % (lives * 1000))
        taken = self._store.run(LEASE, (resource.leases,), args)
        return _leased(Lease(token, variant or _WHOLE, 0), taken, self._store.time())

    async def keep(
        self, resource: Resource, lease: Lease, entry: Entry, fields: tuple[bytes, ...], ttl: float
    ) -> Reason | None:
        """Store an entry. None when it is stored, else why it is not. One trip."""
        lives = b"%d" % max(1, int(ttl * 1000))
        ensured = self._ensure(lease.born, entry.header.tags, int(ttl * 1000))
        kept = self._keep(resource, lease, entry, fields, lives)
        without_mark = [bucket for bucket, answer in ensured if await answer == 0]
        match await kept:
            case 1:
                reason = None
            case 2:
                reason = Reason.VARIANTS
            case _:
                reason = Reason.PURGED
        if without_mark:
            # The entry stays invalid, since nobody knows of the purges since its birth; but the
            # next one will not: put the marks up.
            tags = [tag for tag in entry.header.tags if by_bucket([tag]).keys() & set(without_mark)]
            again = self._ensure(lease.born, tags, int(ttl * 1000), now=await self._store.time())
            await together([answer for _, answer in again])
        return reason

    async def give_back(
        self, resource: Resource, lease: Lease, variant: bytes, reason: Reason | None = None
    ) -> None:
        """End a lease without an entry; with a reason, nobody waits for this one for a while."""
        record = record_key(resource.primary, variant)
        refusal = b"" if reason is None else self._store.sealed(record, pack(Refusal(reason)))
        args = (lease.variant, lease.token, refusal, b"%d" % REFUSAL_LIVES)
        await self._store.run(RELEASE, (record, resource.leases), args)

    async def purge_tags(self, tags: Sequence[bytes], *, soft: bool = False) -> None:
        """Make every entry with one of these tags invalid, or stale. Two trips, whatever they
        cover."""
        now = b"%d" % await self._store.time()
        await together(
            [
                self._store.run(
                    PURGE,
                    (mark_key(bucket), *map(stamp_key, group)),
                    (now, b"1" if soft else b"0", b"%d" % MARK_LIVES, b"%d" % STAMP_LIVES)
                    + tuple(self._store.sealed(stamp_key(tag), b"") for tag in group),
                )
                for bucket, group in by_bucket(tags).items()
            ]
        )

    async def purge_resource(self, primary: bytes, *, soft: bool = False) -> bool:
        """Make whatever is stored for a URL invalid, or stale, with all its variants. One trip."""
        keys = (record_key(primary), lease_key(primary))
        if not soft:
            return await self._store.delete(keys) > 0
        return await self._store.run(SOFTEN, keys, (secrets.token_bytes(8),)) == 1

    def _keep(
        self,
        resource: Resource,
        lease: Lease,
        entry: Entry,
        fields: tuple[bytes, ...],
        lives: bytes,
    ) -> Awaitable[Reply]:
        policy, store, record = resource.policy, self._store, resource.record
        variant = resource.variant(fields)
        if not variant:
            sealed = store.sealed(record, pack(entry, deflate=policy.compress))
            whole = (lease.variant, lease.token, lives, sealed)
            return store.run(KEEP, (record, resource.leases), whole)
        generation = secrets.token_bytes(8)
        signpost = store.sealed(record, pack(Signpost(fields, generation)))
        key = record_key(resource.primary, variant)
        packed = pack(replace(entry, generation=generation), deflate=policy.compress)
        sealed = (signpost, store.sealed(key, packed))
        args = (lease.variant, lease.token, lives, *sealed, b"%d" % policy.max_variants)
        return store.run(KEEP, (record, resource.leases, key), args)

    def _ensure(
        self, born: int, tags: Sequence[bytes], ttl: int, *, now: int | None = None
    ) -> list[tuple[bytes, Awaitable[Reply]]]:
        lives = max(STAMP_LIVES, ttl + 3_600_000)
        times = (b"%d" % born, b"%d" % (born if now is None else now))
        spans = (b"%d" % MARK_LIVES, b"%d" % lives, self._name)
        return [
            (
                bucket,
                self._store.run(
                    ENSURE,
                    (mark_key(bucket), *map(stamp_key, group)),
                    (*times, *spans, *(self._store.sealed(stamp_key(t), b"") for t in group)),
                ),
            )
            for bucket, group in by_bucket(tags).items()
        ]


async def _leased(lease: Lease, taken: Awaitable[Reply], time: Awaitable[int]) -> Lease | None:
    try:
        is_mine = await taken
    finally:
        born = await time
    return replace(lease, born=born) if is_mine == 1 else None
