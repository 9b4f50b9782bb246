"""Looking entries up: the record, the variant it may lead to, and the stamps of its tags.

What an entry depends on is written in the entry. To read it all in one trip, the shelf remembers,
for each resource that this process has met, which fields select and which tags there were beyond
those that the request itself tells. A memory that is wrong or gone costs a second trip and nothing
else: what counts is what was read.
"""

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct, structs

from cachemw.caching.credentials import keeps_users_apart
from cachemw.caching.entry import Entry, Record, Refusal, Signpost, unpack
from cachemw.caching.keys import record_key
from cachemw.caching.look import Look
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.rules import Found
from cachemw.caching.stamped import Stamped
from cachemw.caching.stamps import Standing, read_stamp, stamp_key, standing
from cachemw.caching.status import Forward
from cachemw.errors import UnreadableEntry
from cachemw.stores.base import Store
from cachemw.stores.near import NearStore

REMEMBERED = 20_000  # resources


class Plan(Struct, frozen=True):
    """What a resource depended on when it was last seen."""

    fields: tuple[bytes, ...] = ()
    extra: tuple[bytes, ...] = ()
    """Tags that only its response told."""


_PLAIN = Plan()


class Shelf:
    """The entries of a store, as one process sees them."""

    def __init__(self, store: Store, stamped: Stamped | None = None) -> None:
        self.near = store
        """Where what the process keeps is good enough,"""
        self.far = store.store if isinstance(store, NearStore) else store
        """and where only what the server says is."""
        self._stamped = stamped or Stamped()
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()

    def fields(self, resource: Resource) -> tuple[bytes, ...]:
        """The request fields that are expected to select."""
        return resource.fields(self._plans.get(resource.primary, _PLAIN).fields)

    def variant(self, resource: Resource) -> bytes:
        """The variant that is expected to be this request's."""
        return resource.variant(self.fields(resource))

    def learn(
        self,
        resource: Resource,
        fields: tuple[bytes, ...],
        tags: tuple[bytes, ...] | None = None,
    ) -> None:
        """Remember what a resource depends on, for the next time."""
        known = self._plans.get(resource.primary, _PLAIN)
        extra = known.extra
        if tags is not None:
            is_plain = tags == resource.tags
            extra = () if is_plain else tuple(tag for tag in tags if tag not in resource.tags)
        if fields == known.fields and extra == known.extra:
            return
        plans = self._plans
        plans[resource.primary] = Plan(fields, extra)
        plans.move_to_end(resource.primary)
        if len(plans) > REMEMBERED:
            plans.popitem(last=False)

    async def find(
        self, resource: Resource, *, afresh: bool = False, look: Look | None = None
    ) -> Found:
        """What is stored for a request; `afresh`: nothing but what the server says now; `look`:
        what was read for it before. Raises `StoreUnavailable`."""
        is_near = not afresh and _may_be_near(resource.policy)
        store = self.near if is_near else self.far
        plan = self._plans.get(resource.primary, _PLAIN)
        fields, tags = resource.fields(plan.fields), (*resource.tags, *plan.extra)
        variant = resource.variant(fields)
        keys = (resource.record, *map(stamp_key, tags))
        if variant:
            keys = (*keys, record_key(resource.primary, variant))
        if look is None or look.keys != keys:
            look = Look(keys, await store.get_many(keys), is_near=is_near)
        values = look.taken()
        if None in (stored := values[1 : len(tags) + 1]):
            self._stamped.missed(tags)
        if values[0] is None and not variant:
            return Found()
        record = _read(values[0])
        if isinstance(record, Signpost):
            signpost, fields = record, resource.fields(record.fields)
            actual = resource.variant(fields)
            if actual == variant:
                record = _read(values[-1])
            else:
                record = _read(await store.get(record_key(resource.primary, actual)))
                look = None
            if isinstance(record, Entry):
                record = _under(signpost, record)
            if record is None:
                self.learn(resource, fields)
                return Found(missing=Forward.VARY_MISS)
        elif variant and (record is None or resource.always_varies):
            # Without a signpost nothing leads to a variant, and what was kept for everybody by
            # another policy is not for one who is told apart. But a refusal counts.
            variant_record = _read(values[-1])
            record = variant_record if isinstance(variant_record, Refusal) else None
        if not isinstance(record, Entry):
            return _nothing(record)
        stamps = dict(zip(tags, stored, strict=True))
        unknown = [tag for tag in record.header.tags if tag not in stamps]
        if unknown:
            more = await store.get_many([stamp_key(tag) for tag in unknown])
            stamps.update(zip(unknown, more, strict=True))
            if None in more:
                self._stamped.missed(unknown)
        if unknown or len(record.header.tags) != len(tags) or fields != plan.fields:
            self.learn(resource, fields, record.header.tags)
            look = None
        return _judged(record, stamps, fields, look)

    async def is_purged(self, born: int, tags: Sequence[bytes]) -> bool:
        """Whether one of these tags is known to have been purged since an instant.

        For a response that is still being made: a stamp may be missing, as no entry needs it yet.
        """
        values = await self.far.get_many([stamp_key(tag) for tag in tags])
        stamps = (read_stamp(value) for value in values)
        return any(stamp is not None and born <= stamp.hard for stamp in stamps)


def _under(signpost: Signpost, entry: Entry) -> Entry | None:
    """A variant as its signpost has it: None when it belongs to a former one."""
    if entry.generation != signpost.generation:
        return None
    return structs.replace(entry, is_soft=True) if entry.header.born <= signpost.softened else entry


def _may_be_near(policy: CachePolicy) -> bool:
    """Whether entries may be kept in the process. What belongs to one user is so by choice only."""
    if policy.near_cache is None:
        return not keeps_users_apart(policy)
    return policy.near_cache


def _judged(
    entry: Entry,
    stamps: dict[bytes, bytes | None],
    fields: tuple[bytes, ...],
    look: Look | None,
) -> Found:
    match standing(entry.header.born, entry.header.tags, stamps):
        case Standing.GONE:
            return Found(missing=Forward.MISS, detail=Reason.PURGED)
        case Standing.STALE:
            return Found(entry, is_soft=True)
        case Standing.VALID:
            return Found(entry, is_soft=entry.is_soft, fields=fields, look=look)


def _nothing(record: Refusal | Signpost | str | None) -> Found:
    if isinstance(record, Refusal):
        return Found(detail=Reason.UNCACHEABLE)
    if record is None:
        return Found()
    return Found(missing=Forward.MISS, detail=Reason.UNREADABLE)


def _read(stored: bytes | None) -> Record | str | None:
    """The record, None when there is nothing, a word when there is something unreadable."""
    if stored is None:
        return None
    try:
        return unpack(stored)
    except UnreadableEntry:
        return "unreadable"
