"""What a purge would meet, counted by looking: bounded, so that asking is never dear."""

from collections.abc import Sequence

from cachemw.caching.datakeys import data_key
from cachemw.caching.purging import Address
from cachemw.dashboard.source import Subject
from cachemw.inspection import Filter, Kind, State, Stored, listing, named, seen

MOST = 10_000  # entries
LOOK_AT = 50_000  # keys


async def forecast(subject: Subject, kind: str, what: str) -> tuple[int, bool]:
    """How many entries a purge would make invalid, and whether there may be more.

    Raises `StoreUnavailable`, and `ConfigurationError` for what is no URL or pattern.
    """
    store = subject.store
    if kind == "url":
        Address.parse(what)  # else it would be taken for a key
        return _living(await named(store, what, policies=subject.policy_of)), False
    if kind == "key":
        return _living(await seen(store, [data_key(what)])), False
    found = await listing(store, _filter(kind, what), most=MOST, look_at=LOOK_AT)
    return _living(found.items), not found.is_whole


def _filter(kind: str, what: str) -> Filter:
    match kind:
        case "tag":
            return Filter(tag=what)
        case "route":
            return Filter(route=what)
        case "namespace":
            return Filter(namespace=what)
        case _:
            return Filter(what, kind=Kind.VALUE)


def _living(found: Sequence[Stored]) -> int:
    kept = (Kind.RESPONSE, Kind.VALUE)
    return sum(one.kind in kept and one.state is not State.PURGED for one in found)
