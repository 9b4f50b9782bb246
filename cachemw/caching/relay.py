"""The relay: carries the purges of one region to the store of another.

    position   from the target     up to where this journal has been carried
    notes      from the source     those after it
    purge      at the target       by the same functions and on the same clock as the target's own
    position   to the target

It remembers nothing itself, so it may be killed at any of these steps and started again: what was
not confirmed is carried once more, and a purge that comes twice is only a purge. The position
stands in the target because it must share the target's fate: a server that comes back with what it
had an hour ago must hear of that hour's purges again.

When notes are missing, everything that the target has is purged: that is dear, and never wrong.

What is relayed is not noted in the target's journal. So nothing echoes between two regions that
follow each other, and each ordered pair of regions has a relay of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cachemw.caching.journal import Journal
from cachemw.caching.keeper import Keeper
from cachemw.caching.larder import Larder
from cachemw.caching.notes import LIVES, Gap, Note, What, position_key, read_position
from cachemw.caching.policy import CachePolicy
from cachemw.caching.purging import Address, carried_out, purge_pattern, purge_url
from cachemw.errors import StoreUnavailable
from cachemw.stores.base import Store
from cachemw.telemetry.events import Subject
from cachemw.telemetry.timing import purging

BATCH = 200  # notes in one reading
SHORTEST, LONGEST = 0.005, 0.05  # seconds between two readings that found nothing
RETRY = 0.5  # seconds, while a store is away
REMIND = 60.0  # seconds after which a position is written again, so that it is not forgotten

_PLAIN = CachePolicy()


@dataclass(frozen=True, slots=True)
class Trip:
    """What came of one reading."""

    notes: int = 0
    gap: str = ""
    """Why everything was purged, nothing if it was not."""
    lag: float = 0.0
    """Seconds from the oldest of these purges, in its own region, until it was confirmed here."""
    strangers: frozenset[str] = frozenset()
    """Other regions that write this journal: a sign that two are mixed up."""

    @property
    def is_empty(self) -> bool:
        return not self.notes and not self.gap


class Relay:
    """Follows the journal of `region`, which is in `source`, and purges in `target`."""

    def __init__(self, source: Store, target: Store, region: str) -> None:
        self.region = region
        self._source = source
        self._target = target
        self._journal = Journal(source, region)
        self._position = position_key(region)
        self._keeper = Keeper(target)  # of no region: see above
        self._larder = Larder(target, self._keeper)

    async def carry(self) -> Trip:
        """Carry what the journal has, up to a batch. `StoreUnavailable` says that it is to be done
        again, some of it perhaps twice."""
        position = read_position(await self._target.get(self._position))
        self._source.now()  # a clock that is not known yet is read on the same trip
        found = await self._journal.read(position, BATCH)
        if isinstance(found, Gap):
            trip = await self._start_anew(found.reason)
        elif not found.notes:
            return Trip()
        else:
            try:
                names = [_text(name) for note in found.notes for name in note.names]
                with purging(self._target, Subject.RELAYED, names, region=self.region):
                    await self._purge(found.notes)
                trip = self._trip(found.notes)
            except ValueError:  # what a note names cannot be the name of anything
                trip = await self._start_anew("a note cannot be read")
        await self._remember(found.position)
        gap = bool(trip.gap)
        self._target.tally.relayed(self.region, trip.notes, trip.lag, gap=gap)
        return trip

    async def run(
        self,
        report: Callable[[Trip], object],
        complain: Callable[[StoreUnavailable | None], object],
    ) -> None:
        """Carry until cancelled. `report` hears of every trip that was not empty; `complain` hears
        that a store has gone away, and, with None, that all are there again."""
        loop = asyncio.get_running_loop()
        pause, is_away, reminded = SHORTEST, False, loop.time()
        while True:
            try:
                trip = await self.carry()
                if trip.is_empty and loop.time() - reminded > REMIND:
                    await self._remind()
                    reminded = loop.time()
            except StoreUnavailable as error:
                if not is_away:
                    complain(error)
                is_away = True
                await asyncio.sleep(RETRY)
                continue
            if is_away:
                complain(None)
                is_away = False
            if trip.is_empty:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST)
            else:
                report(trip)
                pause = SHORTEST

    # --- within

    async def _start_anew(self, reason: str) -> Trip:
        await purge_everything(self._target, self._keeper)
        return Trip(gap=reason)

    def _trip(self, notes: Sequence[Note]) -> Trip:
        carried = [note for note in notes if note.what is not What.BEGINNING]
        oldest = min((note.written for note in carried), default=self._source.now())
        lag = max(0.0, (self._source.now() - oldest) / 1e6)
        strangers = frozenset(note.region for note in notes) - {self.region}
        return Trip(len(notes), lag=lag, strangers=strangers)

    async def _remember(self, position: bytes) -> None:
        await self._target.set(self._position, position, ttl=LIVES)

    async def _remind(self) -> None:
        position = read_position(await self._target.get(self._position))
        if position:
            await self._remember(position)

    async def _purge(self, notes: Sequence[Note]) -> None:
        """Purge what the notes say; all their tags in one step, however many notes there are."""
        purges: list[Awaitable[object]] = []
        for soft in (False, True):
            tags = _names(notes, What.TAGS, soft)
            if tags:
                purges.append(self._keeper.purge_tags(tags, soft=soft))
            resources = _names(notes, What.RESOURCE, soft)
            purges += [self._keeper.purge_resource(name, soft=soft) for name in resources]
            purges += [
                # Under the target's own origins: its clients may come by names that the source
                # never heard. What a note names is what counts, all of it.
                purge_url(self._keeper, lambda _: _PLAIN, Address(None, *url), soft=soft)
                for url in _urls(notes, soft)
            ]
            keys = [_text(name) for name in _names(notes, What.KEY, soft)]
            if soft:
                purges += [self._larder.soften(key) for key in keys]
            elif keys:
                purges.append(self._larder.forget(keys))
            patterns = [_text(name) for name in _names(notes, What.PATTERN, soft)]
            purges += [purge_pattern(self._target, pattern, soft=soft) for pattern in patterns]
        await carried_out(purges)


async def purge_everything(store: Store, keeper: Keeper) -> None:
    """Forget every response and every value, and let nothing be kept that is being made just now.

    Sessions, limits and one-time tokens stay. As dear as there are keys.
    """
    await purge_pattern(store, "*", soft=False)
    async for batch in store.scan(b"[el]:{*"):
        primaries = {key[key.index(b"{") + 1 : key.index(b"}")] for key in batch if b"}" in key}
        await carried_out([keeper.purge_resource(primary) for primary in primaries])


def _names(notes: Sequence[Note], what: What, soft: bool) -> list[bytes]:
    """What the notes name of one kind, each once."""
    chosen = (note.names for note in notes if note.what is what and note.soft is soft)
    return list(dict.fromkeys(name for names in chosen for name in names))


def _urls(notes: Sequence[Note], soft: bool) -> list[tuple[bytes, bytes]]:
    urls = [note.names for note in notes if note.what is What.URL and note.soft is soft]
    return list(dict.fromkeys((path, query) for path, query in urls))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
