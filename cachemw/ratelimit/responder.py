"""One connection on the long way: its charges, and what is added to its answer.

For whatever the middleware does not do at once: websockets, rules with something to wait for,
refusals, outages, failures, and limits within limits. It decides nothing: the ledger charges,
`refusal.py` words the answer.
"""

from collections.abc import Awaitable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from starlette._utils import get_route_path
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from cachemw.ahead import let_go
from cachemw.messages import Header, without
from cachemw.ratelimit.failures import FIELDS, dress_own_handler, has_own_handler
from cachemw.ratelimit.guard import SERVED_BY
from cachemw.ratelimit.headers import EXPOSED, LEGACY, OURS, legacy_fields
from cachemw.ratelimit.ledger import LEDGER, Ledger
from cachemw.ratelimit.refusal import RateLimited, close_of, refuse
from cachemw.ratelimit.surroundings import cors_within, is_outermost
from cachemw.ratelimit.toll import Toll
from cachemw.ratelimit.verdicts import Answered, Decision
from cachemw.scopekeys import RESULT
from cachemw.scripts import Reply

if TYPE_CHECKING:
    from cachemw.ratelimit.middleware import RateLimitMiddleware

_REPLACED = OURS | LEGACY
_BEGINNINGS = {
    "http.response.start": 200,
    "websocket.http.response.start": 403,
    "websocket.accept": 101,
    "websocket.close": 403,
}


class Responder:
    """Takes a connection to its answer. Where it is taken over from the short way, `ledger` is what
    was begun there, and `app` the app as it stood then."""

    __slots__ = (
        *("_send", "app", "has_started", "is_outermost", "ledger", "owner"),
        *("path", "receive", "scope"),
    )

    def __init__(
        self,
        owner: "RateLimitMiddleware",
        scope: Scope,
        receive: Receive,
        send: Send,
        app: object,
        ledger: Ledger | None = None,
    ) -> None:
        self.owner = owner
        self.scope = scope
        # As they came: mounts and mounted apps write into the scope.
        self.app = app
        self.path = get_route_path(scope)
        self.receive = receive
        self._send = send
        self.has_started = False
        outer: Ledger | None = scope.get(LEDGER)
        self.is_outermost = outer is None or outer is ledger
        self.ledger = outer or Ledger(owner.limiter)

    async def respond(self, toll: Toll | None = None, step: Awaitable[Reply] | None = None) -> None:
        """Charge and pass on, or refuse. `step` is what was said to a `toll` that was asked for."""
        owner, scope, ledger = self.owner, self.scope, self.ledger
        is_http = scope["type"] == "http"
        if self.is_outermost:
            scope[LEDGER] = ledger
            if is_http:
                method, root = scope["method"], scope.get("root_path", "")
                standpoint = self.app, method, scope["path"], root, scope["headers"]
                scope[SERVED_BY] = owner.served_by, *standpoint
        try:
            decision = await self._charge(toll, step)
            if decision is not None and not decision.allowed:
                await self.refuse(RateLimited(decision))
            else:
                receive = self.receive if is_http else self._receive_for_app()
                await owner.app(scope, receive, self.send)
        except RateLimited as error:  # raised where no exception middleware is
            if self.has_started:
                raise
            await self.refuse(error)
        except Exception as error:
            await self.answer_failure(error)
            raise
        finally:
            let_go(scope)
            if self.is_outermost:
                await ledger.close()

    async def _charge(self, toll: Toll | None, step: Awaitable[Reply] | None) -> Decision | None:
        owner, scope, ledger = self.owner, self.scope, self.ledger
        if toll is not None:
            return await ledger.charge(toll.demands, owner.limiter, step=step)
        rules, pattern = owner.rules_for(scope, self.path)
        if not rules:
            return None
        wishes = await owner.wishes(scope, rules, pattern)
        ask_within = owner.ask_within
        return await ledger.charge(wishes, owner.limiter, ask_within and partial(ask_within, scope))

    def send(self, message: Message) -> Awaitable[None]:
        if not self.has_started and message["type"] in _BEGINNINGS:
            self.has_started = True
            if self.is_outermost:
                message = self.dress(message)
        return self._send(message)

    def dress(self, message: Message) -> Message:
        """The beginning of an answer, with what it says about limits. The app's own stays as it
        was: it may send that to others, too."""
        status = message.get("status") or _BEGINNINGS[message["type"]]
        headers: Sequence[Header] = message.get("headers") or ()
        fields = self._settle(status, headers)
        if fields and message["type"] != "websocket.close":
            names = [name for name, _ in headers]
            if b"access-control-allow-origin" in names:
                fields.append((b"access-control-expose-headers", EXPOSED))
            kept = headers if _REPLACED.isdisjoint(names) else without(headers, _REPLACED)
            return {**message, "headers": [*kept, *fields]}
        return message

    def _settle(self, status: int, headers: Iterable[Header]) -> list[Header]:
        """The answer is known: settle what was tentative. The fields that say where all stands."""
        ledger = self.ledger
        if ledger.is_tentative:
            ledger.settle(Answered(status, tuple(headers), self.scope.get(RESULT)))
        fields = ledger.fields
        if self.owner.legacy_headers:
            now = self.owner.limiter.store.now() // 1_000_000
            fields += legacy_fields(ledger.standings, now)
        return fields

    async def refuse(self, error: RateLimited) -> None:
        """Answer a refusal."""
        app = self.app
        handlers = getattr(app, "exception_handlers", {})

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await refuse(scope, receive, send, error, handlers)

        # A page of another origin may read a refusal only with the fields that the app's own
        # CORS middleware, which stands further in, would have added.
        cors = cors_within(app, type(self.owner))
        dressed = cors(answer) if cors else answer
        await dressed(self.scope, self.receive, self.send)

    async def answer_failure(self, error: Exception) -> None:
        """See to it that the 500 has our fields, where Starlette would send it past us.

        An app's own handler adds them itself. Otherwise we send what Starlette would send, unless
        there is middleware outside of us that could want to answer.
        """
        app, scope = self.app, self.scope
        if self.has_started or scope["type"] != "http":
            return
        if not has_own_handler(app) and is_outermost(app, type(self.owner)):

            async def fail(scope: Scope, receive: Receive, send: Send) -> None:
                raise error

            answer = ServerErrorMiddleware(fail, debug=getattr(app, "debug", False))
            await answer(scope, self.receive, self.send)
        if self.is_outermost:
            scope[FIELDS] = self._settle(500, ())
            dress_own_handler(app)

    def _receive_for_app(self) -> Receive:
        return self._receive_counted if self.owner.messages.entries else self.receive

    async def _receive_counted(self) -> Message:
        message = await self.receive()
        if message["type"] != "websocket.receive":
            return message
        found = self.owner.messages.match("GET", self.path)
        if found is None:
            return message
        place = f"MESSAGE {found.pattern.text}"
        wish = await found.policy.asking.demand(HTTPConnection(self.scope), place, {})
        if wish is None:
            return message
        # Each message stands for itself: a ledger would count the rule once a connection.
        decision = await Ledger(self.owner.limiter).charge([wish], self.owner.limiter)
        if decision.allowed:
            return message
        code, reason = close_of(decision)
        await self.send({"type": "websocket.close", "code": code, "reason": reason})
        return {"type": "websocket.disconnect", "code": code, "reason": reason}
