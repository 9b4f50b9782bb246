"""One request that waits for a fill: until its outcome is known, its time is up, or its client has
left.

To listen for the client takes a task. Most apps have answered before anybody could have left, and
what they make is made whoever leaves. So it begins when the answer has been waited for a while.
"""

import asyncio
from types import TracebackType

from starlette.types import Receive

from cachemw.asgi import departure
from cachemw.caching.fill import Fill

LISTEN_AFTER = 0.1  # seconds


class Waiting:
    """A place at a fill, taken when it is made and left at the end of its block."""

    def __init__(self, fill: Fill, receive: Receive) -> None:
        self.reader = fill.join()
        self.has_left = False
        """Whether the client is known to have left."""
        self._outcome = fill.outcome
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(LISTEN_AFTER, self._listen)
        self._listening: asyncio.Task[None] | None = None
        self._news: asyncio.Future[None] | None = None

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.reader.leave()
        self.listen_no_more()

    async def news(self, patience: float | None) -> None:
        """Wait until the outcome is known or the client has left, or for `patience` seconds."""
        if self._outcome.done() or self.has_left:
            return
        self._news = news = self._loop.create_future()
        timer = None if patience is None else self._loop.call_later(patience, self._wake)
        self._outcome.add_done_callback(self._wake)
        try:
            await news
        finally:
            self._news = None
            self._outcome.remove_done_callback(self._wake)
            if timer is not None:
                timer.cancel()

    def listen_no_more(self) -> None:
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()

    def _listen(self) -> None:
        self._listening = self._loop.create_task(departure(self._receive))
        self._listening.add_done_callback(self._part)

    def _part(self, listening: "asyncio.Task[None]") -> None:
        self.has_left = not listening.cancelled()
        self.reader.leave()
        self._wake()

    def _wake(self, _: object = None) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
