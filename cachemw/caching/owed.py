"""Leases that nobody holds any more, and that the store has not been told of.

A step whose reply never came may have been carried out, or may still be: a server that was frozen
reads on when it thaws. So a lease that was asked for, or was to end, may stand with nobody behind
it, and all who want that response would wait for it in vain. Whoever is in doubt leaves it here,
and it is given back when the store answers again. Its token sees to it that nobody loses another.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from cachemw.caching.leases import RELEASE
from cachemw.errors import StoreUnavailable
from cachemw.stores.base import Store

RETRY = 0.25  # seconds
ENOUGH = 2  # answers that it does not stand: the first may have overtaken the step in doubt
MOST = 4096  # leases; beyond, the oldest end by themselves
_NEVER_SENT = ("breaker-open", "closed")


class Owed:
    """Gives back in the background what could not be given back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._steps: OrderedDict[tuple[bytes, bytes], tuple[bytes, int]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, error: StoreUnavailable, leases: bytes, variant: bytes, token: bytes) -> None:
        """The lease of a variant may stand, because of this error, though nobody holds it."""
        if error.reason in _NEVER_SENT:
            return
        self._steps[leases, token] = variant, ENOUGH
        if len(self._steps) > MOST:
            self._steps.popitem(last=False)
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._pay())

    def forget(self) -> None:
        """Leave them to their end: the process is about to stop."""
        self._steps.clear()
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()

    async def _pay(self) -> None:
        while self._steps:
            await asyncio.sleep(RETRY)
            for key, (variant, left) in list(self._steps.items()):
                try:
                    is_gone = await self._release(*key, variant)
                except StoreUnavailable:
                    continue  # in a cluster, the others' servers may be well
                if is_gone or left == 1:
                    self._steps.pop(key, None)
                elif key in self._steps:
                    self._steps[key] = variant, left - 1

    async def _release(self, leases: bytes, token: bytes, variant: bytes) -> bool:
        keys: Sequence[bytes] = (leases, leases)  # no record is touched without a refusal
        return await self._store.run(RELEASE, keys, (variant, token, b"", b"1")) == 1
