"""Seeing whether the cache is right: what is stored, beside what the app answers now.

    serving, verify=0.01     a hit is served; of one in a hundred the app is asked, too, as a
                             refresh asks it, behind the client's back, and nothing is kept of it
    serve=False              the app answers every request as it came; the cache fills itself behind
                             the clients' backs, and what it would have served is compared with
                             what they got

Nobody waits for a comparison, and only so many are under way. What they find is counted by route.
"""

import asyncio
import random

from starlette.types import Message, Receive

from cachemw.asgi import response_head
from cachemw.caching.asking import start_refresh
from cachemw.caching.call import Call
from cachemw.caching.comparing import differences
from cachemw.caching.entry import Entry
from cachemw.caching.errand import errand, nobody
from cachemw.caching.flights import context_under
from cachemw.caching.reasons import Reason
from cachemw.caching.rules import Decision, Hit, Miss, StaleHit, Validate
from cachemw.messages import Headers
from cachemw.telemetry.events import Verification, shortened

_OF_THEIR_OWN = frozenset(
    {b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"range"}
)


class Sample:
    """A response as it goes by; of its body no more than could have been kept."""

    def __init__(self, most: int) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.is_complete = False
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            head = response_head(message)
            self.status, self.headers = head.status, head.headers
        elif message["type"] == "http.response.body":
            if self._size <= self._most:
                self._parts.append(bytes(message.get("body", b"")))
                self._size += len(self._parts[-1])
            self.is_complete = not message.get("more_body", False)


def verify(call: Call, entry: Entry) -> None:
    """Perhaps ask the app for what has just been served, and compare."""
    policy, engine = call.policy, call.engine
    if random.random() >= policy.verify:
        return
    made = errand(
        call.scope,
        call.request,
        policy,
        app_state=engine.app_state,
        has_body=bool(call.body),
        is_refresh=True,
    )
    sample, receive = Sample(policy.max_body), _receiving(call.body)

    async def send(message: Message) -> None:
        sample.take(message)

    span = engine.tally.spans("verify")  # made here, where its cause is

    async def ask() -> None:
        with span:
            try:
                async with asyncio.timeout(policy.timeout):
                    await engine.app(made, receive, send)
            except TimeoutError:
                return
            except Exception:  # the app's: where the cache has an answer, it has none
                sample.status, sample.is_complete = 500, True
            _tell(call, entry, sample)

    engine.flights.aside(ask, context_under(policy))


async def try_out(call: Call, decision: Decision) -> None:
    """Have the app answer as if there were no cache, and see what the cache would have done."""
    match decision:
        case Hit(entry) | StaleHit(entry):
            if isinstance(decision, StaleHit) or decision.refresh:
                start_refresh(call, entry)
            if not _is_comparable(call) or random.random() >= call.policy.verify:
                await call.bypass(Reason.TRIAL_HIT)
                return
            sample = Sample(call.policy.max_body)
            await call.bypass(Reason.TRIAL_HIT, watch=sample.take)
            _tell(call, entry, sample)
        case Validate(entry, _, _):
            start_refresh(call, entry)
            await call.bypass(Reason.TRIAL_MISS)
        case Miss(_, detail) if detail is not Reason.UNCACHEABLE:
            start_refresh(call, None)
            await call.bypass(Reason.TRIAL_MISS)
        case _:
            await call.bypass(Reason.TRIAL_MISS)


def _is_comparable(call: Call) -> bool:
    """Whether the client will get a whole answer, as the cache has it."""
    names = {name for name, _ in call.request.headers}
    return call.request.method != "HEAD" and _OF_THEIR_OWN.isdisjoint(names)


def _tell(call: Call, entry: Entry, sample: Sample) -> None:
    if sample.is_complete:
        found = differences(entry, sample.status, sample.headers, sample.body)
        now, path = call.engine.store.now(), shortened(call.scope["path"])
        call.engine.tally.verified(Verification(now, call.route, path, entry.age(now), found))


def _receiving(body: bytes) -> Receive:
    """A `receive` that gives this body, and then that nobody is there."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else await nobody()

    return receive
