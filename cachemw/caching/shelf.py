"""Looking entries up: the record, the variant it may lead to, and the stamps of its tags.

What an entry depends on is written in the entry. To read it all in one trip, the shelf remembers,
for each resource that this process has met, which fields select and which tags there were. A
memory that is wrong or gone costs a second trip and nothing else: what counts is what was read.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from cachemw.caching.entry import Entry, Record, Refusal, Signpost, unpack
from cachemw.caching.keys import record_key
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.rules import Found
from cachemw.caching.stamps import Standing, stamp_key, standing
from cachemw.caching.status import Forward
from cachemw.errors import UnreadableEntry
from cachemw.stores.base import Store

REMEMBERED = 20_000  # resources


@dataclass(frozen=True, slots=True)
class Plan:
    """What a resource depended on when it was last seen."""

    fields: tuple[bytes, ...]
    tags: tuple[bytes, ...]


class Shelf:
    """The entries of a store, as one process sees them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()

    def plan(self, resource: Resource) -> Plan:
        """What the resource is expected to depend on."""
        plan = self._plans.get(resource.primary)
        return plan or Plan(resource.fields(), resource.tags)

    def remember(self, resource: Resource, plan: Plan) -> None:
        plans = self._plans
        plans[resource.primary] = plan
        plans.move_to_end(resource.primary)
        if len(plans) > REMEMBERED:
            plans.popitem(last=False)

    async def find(self, resource: Resource) -> Found:
        """What is stored for a request. Raises `StoreUnavailable`."""
        plan = self.plan(resource)
        variant = resource.variant(plan.fields)
        tags = plan.tags
        keys = [resource.record, *map(stamp_key, tags)]
        if variant:
            keys.append(record_key(resource.primary, variant))
        values = await self._store.get_many(keys)
        record = _read(values[0])
        is_soft = False
        if isinstance(record, Signpost):
            signpost = record
            if resource.fields(signpost.fields) == plan.fields and variant:
                record = _read(values[-1])
            else:
                fields = resource.fields(signpost.fields)
                key = record_key(resource.primary, resource.variant(fields))
                record = _read(await self._store.get(key))
                plan = Plan(fields, plan.tags)
                self.remember(resource, plan)
            if isinstance(record, Entry):
                is_soft = record.generation == signpost.softened
                if not is_soft and record.generation != signpost.generation:
                    record = None
            if record is None:
                return Found(missing=Forward.VARY_MISS)
        if not isinstance(record, Entry):
            return _nothing(record, values[0])
        stamps = dict(zip(tags, values[1 : len(tags) + 1], strict=True))
        unknown = [tag for tag in record.header.tags if tag not in stamps]
        if unknown or len(record.header.tags) != len(tags):
            self.remember(resource, Plan(plan.fields, record.header.tags))
        if unknown:
            more = await self._store.get_many([stamp_key(tag) for tag in unknown])
            stamps.update(zip(unknown, more, strict=True))
        return _judged(record, is_soft or record.is_soft, stamps)


def _judged(entry: Entry, is_soft: bool, stamps: dict[bytes, bytes | None]) -> Found:
    match standing(entry.header.born, entry.header.tags, stamps):
        case Standing.GONE:
            return Found(missing=Forward.MISS, detail=Reason.PURGED)
        case Standing.STALE:
            return Found(entry, is_soft=True)
        case Standing.VALID:
            return Found(entry, is_soft=is_soft)


def _nothing(record: Refusal | Signpost | str | None, stored: bytes | None) -> Found:
    if isinstance(record, Refusal):
        return Found(detail=Reason.UNCACHEABLE)
    if record is None and stored is None:
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


def all_tags(groups: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    """Tags of several origins, each once, in order."""
    return tuple(dict.fromkeys(tag for group in groups for tag in group))
