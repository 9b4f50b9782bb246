"""The right of one fill to store what it makes: its lease, from when it has it until it ends.

The lease is renewed for as long as the app takes. It ends with the entry, or without one, and then
whoever waits for it may know why. Whoever wants to join a fill asks here whether anything has been
purged since it began.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Sequence

from cachemw.caching.entry import Entry
from cachemw.caching.keeper import RENEW_AFTER, Keeper, Lease
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.shelf import Shelf
from cachemw.caching.stamps import UNLISTED_TAG
from cachemw.errors import StoreUnavailable
from cachemw.stores.base import Store

logger = logging.getLogger("cachemw.cache")


class Tenure:
    """One fill's lease, and which variant of its resource it is for."""

    def __init__(self, resource: Resource, store: Store, shelf: Shelf, keeper: Keeper) -> None:
        self.resource = resource
        self.fields = shelf.fields(resource)
        """The request fields that select what is made, as far as is known."""
        self.began_at = 0
        self.unkept: Reason | None = None
        """Why the response, which may be kept, is not."""
        self.was_kept = False
        self._store, self._shelf, self._keeper = store, shelf, keeper
        self._lease: Lease | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None  # held, or it might be collected

    def begin(self, acquired: Lease | Reason) -> None:
        """The app is asked from now on: under a lease, or with a reason why there is none."""
        if isinstance(acquired, Lease):
            self._lease, self.began_at = acquired, acquired.born
            self._renew_later()
        else:
            self.unkept, self.began_at = acquired, self._store.now()

    @property
    def has_begun(self) -> bool:
        """Whether the app has been asked: from then on the response may be older than a purge."""
        return self.began_at > 0

    def select_by(self, vary: tuple[bytes, ...]) -> None:
        """Note what selects the response, together with what is known to select others of its
        URL."""
        fields, known = self.resource.fields(vary), self._shelf.fields(self.resource)
        if fields != known:
            fields = tuple(sorted({*fields, *known}))
            self._shelf.learn(self.resource, fields)
        self.fields = fields

    def select_as_known(self) -> None:
        """Note what is known by now to select the responses of its URL."""
        self.fields = self._shelf.fields(self.resource)

    # --- purges meanwhile

    async def still_stands(self, tags: tuple[bytes, ...]) -> bool:
        """Whether nothing has been purged since it began that its response would have."""
        if not self.has_begun:
            return True
        if self.unkept is Reason.STORE_UNAVAILABLE:
            return await self._is_nobody_told()
        if self._lease is None:
            return False
        if not self._lease.is_listed:
            tags = (*tags, UNLISTED_TAG)
        try:
            stands, is_current = await asyncio.gather(
                self._keeper.renew(self.resource, self._lease), self.is_current(tags)
            )
        except StoreUnavailable:
            return False
        return stands and is_current

    async def _is_nobody_told(self) -> bool:
        """Whether the store is still away: then nobody can be told of purges. Of those since it
        came back, this fill, which has no lease, would not hear."""
        try:
            await self._shelf.is_purged(self.began_at, self.resource.tags)
        except StoreUnavailable:
            return True
        return False

    async def is_current(self, tags: Sequence[bytes]) -> bool:
        """Whether none of these tags was purged since it began. If one was, nobody need wait for
        this fill's lease."""
        if not await self._shelf.is_purged(self.began_at, tags):
            return True
        self.unkept = Reason.PURGED
        await settled(self.give_back())
        return False

    # --- until it ends

    def _renew_later(self) -> None:
        if self._lease is not None:
            loop = asyncio.get_running_loop()
            self._renewal = loop.call_later(RENEW_AFTER, self._renew)

    def _renew(self) -> None:
        async def renew() -> None:
            if self._lease is not None:
                with contextlib.suppress(StoreUnavailable):
                    await self._keeper.renew(self.resource, self._lease)
                self._renew_later()

        self._renewing = asyncio.get_running_loop().create_task(renew())

    async def keep(self, entry: Entry, usable: float) -> None:
        """Store the entry for as many seconds as it is usable, if there is a lease for it."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            reason = await self._keeper.keep(self.resource, lease, entry, self.fields, usable)
        except StoreUnavailable as error:
            logger.debug("not stored: %s", error)
            reason = Reason.STORE_UNAVAILABLE
        self.unkept, self.was_kept = reason, reason is None
        if reason is None:
            self._shelf.learn(self.resource, self.fields, entry.header.tags)

    async def take_back(self) -> None:
        """Let what was stored be gone."""
        if self.was_kept:
            self.was_kept = False
            await settled(self._keeper.purge_resource(self.resource.primary))

    def give_back(self, reason: Reason | None = None) -> Awaitable[object] | None:
        """End the lease without an entry; with a reason, nobody waits for this one for a while.
        Begun at the call; to be `settled`."""
        lease, self._lease = self._lease, None
        if lease is None:
            return None
        variant = self.resource.variant(self.fields)
        return self._keeper.give_back(self.resource, lease, variant, reason)

    async def end(self) -> None:
        """Whatever has become of it, nobody need wait any longer."""
        if self._renewal is not None:
            self._renewal.cancel()
        if self._lease is not None:
            await settled(self.give_back())


async def settled(released: Awaitable[object] | None) -> None:
    """Wait until a lease has been given back; that nobody hears of it does no harm for long."""
    try:
        if released is not None:
            await released
    except StoreUnavailable as error:
        logger.debug("lease not given back: %s", error)
