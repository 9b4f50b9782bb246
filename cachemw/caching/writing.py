"""A write to the source of cached values, such that no older value outlives it.

    hold keys, bar tags ── write ── lift the bar, settle the keys

From the first step on, what was kept is gone, and what is read meanwhile is not kept. So it does
not matter where the process dies: holds and bars end by themselves, later than the write could.
Other regions hear of it at the end only, so that an end which could not be noted has failed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from cachemw.caching.larder import Bar, Larder
from cachemw.durations import DurationLike, seconds
from cachemw.errors import StoreUnavailable

logger = logging.getLogger("cachemw.data")

MARGIN = 1.0  # seconds that holds and bars outlive the time that the write has


class Write:
    """One write, as a context. It ends within its time, or is cancelled with `TimeoutError`."""

    def __init__(
        self, larder: Larder, keys: Sequence[str], tags: Sequence[bytes], within: DurationLike
    ) -> None:
        self.then: Callable[[bytes], Awaitable[None]] | None = None
        """Keeps what was written; it is given the token of the hold."""
        self._larder = larder
        self._keys = keys
        self._tags = tags
        self._span = seconds(within)
        self._token = b""
        self._bar: Bar | None = None
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        lives = self._span + MARGIN
        if self._tags:
            self._bar = await self._larder.bar(self._tags, lives)
        self._token = await self._larder.hold(self._keys, lives)
        self._timeout = asyncio.timeout(self._span)
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        finally:
            await self._end(failed=kind is not None)

    async def _end(self, *, failed: bool) -> None:
        steps: list[Callable[[], Awaitable[object]]] = []
        if (bar := self._bar) is not None:
            steps.append(lambda: self._larder.lift(bar))
        if (then := self.then) is not None and not failed:
            steps.append(lambda: then(self._token))
        else:
            steps.append(lambda: self._larder.forget(self._keys, self._token))
        away: StoreUnavailable | None = None
        for step in steps:  # each of them, since each is a note for other regions
            try:
                await step()
            except StoreUnavailable as error:
                away = error
        if away is None:
            return
        # What was made before is invalid for good; what is made from now on, a little later.
        logger.warning("nothing of what was written is kept for a while: %s", away)
        if self._larder.keeper.journal is not None and not failed:
            # But not in the regions that did not hear of it.
            raise away
