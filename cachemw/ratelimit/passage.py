"""A request that was let in, on its way through the app: what is said about limits on its answer.

The short way only (`toll.py`). Where the answer has fields of its own about limits, is for another
origin, or is none because the app failed, a `Responder` words it.
"""

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.types import Message, Receive, Scope, Send

from cachemw.messages import Header
from cachemw.ratelimit.headers import LEGACY, OURS
from cachemw.ratelimit.ledger import Ledger
from cachemw.ratelimit.refusal import RateLimited
from cachemw.ratelimit.responder import Responder

if TYPE_CHECKING:
    from cachemw.ratelimit.middleware import RateLimitMiddleware

_SPEAKING = OURS | LEGACY | {b"access-control-allow-origin"}
"""Fields beside which ours need a second look."""


class Passage(Struct, eq=False):
    """What the middleware has of a request while the app has it. `app` as it stood before."""

    owner: "RateLimitMiddleware"
    scope: Scope
    receive: Receive
    passed_on: Send
    app: object
    ledger: Ledger
    has_started: bool = False

    def send(self, message: Message) -> Awaitable[None]:
        """The `send` of the app."""
        if not self.has_started and message["type"] == "http.response.start":
            self.has_started = True
            paid = self.ledger.paid
            if paid is None and self.ledger.is_untouched:
                return self.passed_on(message)
            headers: Sequence[Header] = message.get("headers") or ()
            fields = None if paid is None else paid[0].fields(paid[1])
            is_plain = _SPEAKING.isdisjoint(dict(headers)) and not self.owner.legacy_headers
            if fields is not None and is_plain:
                message = {**message, "headers": [*headers, *fields]}
            else:
                message = self._responder().dress(message)
        return self.passed_on(message)

    async def ends_with(self, error: Exception) -> bool:
        """Answer what the app raised, if it has not answered. False: it is to be raised on."""
        if self.has_started:
            return False
        if isinstance(error, RateLimited):  # raised where no exception middleware is
            await self._responder().refuse(error)
            return True
        await self._responder().answer_failure(error)
        return False

    def _responder(self) -> Responder:
        return Responder(
            self.owner, self.scope, self.receive, self.passed_on, self.app, self.ledger
        )
