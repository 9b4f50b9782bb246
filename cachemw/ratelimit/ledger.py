"""What one connection was charged: every rule that concerns it writes here, the answer closes it.

Lives in the scope from the outermost limit middleware on. It sees to it that one rule counts a
request once, that a refusal by an inner rule takes back what the outer ones charged, and that
tentative charges are settled when the answer is known.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from cachemw.errors import StoreUnavailable
from cachemw.messages import Header
from cachemw.ratelimit.headers import limit_fields
from cachemw.ratelimit.limiter import Charge, Counted, Limiter, are_allowed, decision_of
from cachemw.ratelimit.toll import Toll
from cachemw.ratelimit.verdicts import Answered, Decision, Demand, Verdict
from cachemw.ratelimit.window import Standing
from cachemw.scripts import Reply
from cachemw.stores.base import Done

LEDGER = "cachemw.limits"
"""The scope key under which a request carries its ledger."""


Paid: TypeAlias = tuple[Toll, Sequence[int], float]


class Ledger(Struct, eq=False):
    """The charges of one connection."""

    limiter: Limiter
    paid: Paid | None = None
    """A toll that was charged, what was said to it, and when; until somebody asks for its
    verdicts. Nothing else has been charged as long as it stands here."""
    corrections: Sequence[Awaitable[Reply]] = ()
    is_tentative: bool = False  # what is owed depends on the answer
    _counted: Sequence[Counted] = ()
    _seen: set[bytes] | None = None

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was charged yet."""
        return self.paid is None and self._seen is None

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Where the client stands with every limit that concerned this connection."""
        self._unfold()
        return decision_of(self._counted).standings

    @property
    def fields(self) -> list[Header]:
        """What the answer says about that."""
        told = None if self.paid is None else self.paid[0].fields(self.paid[1])
        return limit_fields(self.standings) if told is None else told

    async def charge(
        self,
        wishes: Sequence[Demand | Verdict],
        limiter: Limiter,
        meanwhile: Callable[[], None] | None = None,
        step: Awaitable[Reply] | None = None,
    ) -> Decision:
        """Charge what was not charged yet; a refusal takes everything else back.

        `meanwhile` is called while the store is asked, unless the refusals of these rules are not
        remembered: then each of them would cost what was asked in vain. `step` is on its way.
        """
        self._unfold()
        seen = self._seen = self._seen or set()
        demands: list[Demand] = []
        counted: list[Counted] = []
        for wish in wishes:
            if isinstance(wish, Verdict):
                limiter.note(wish)
                counted.append((wish, None))
            elif wish.bucket.block_key not in seen:
                seen.add(wish.bucket.block_key)
                self.is_tentative = self.is_tentative or wish.owed is not None
                demands.append(wish)
        if demands and are_allowed(counted):
            counted += await limiter.charge(demands, None if self.is_tentative else meanwhile, step)
            self._unfold()  # another task may have paid meanwhile
        decision = decision_of(counted)
        if not decision.allowed:
            corrections, self._counted = limiter.give_back(self._counted)
            self.corrections = [*self.corrections, *corrections]
        self._counted = [*self._counted, *counted]
        return decision

    async def pay(self, toll: Toll) -> Decision | None:
        """Begin with a toll, of a ledger that is untouched. None: it is paid; else what else came
        of it."""
        limiter = self.limiter
        own = {demand.bucket.block_key for demand in toll.demands}
        seen = self._seen = set(own)  # at once: tasks of one request may be charged side by side
        sent = limiter.begin(toll)
        step: Done[Reply] | None = None  # what came of it
        if sent is not None:
            try:
                reply = await sent
                numbers = toll.numbers(reply)
                if numbers is not None:
                    self.paid = toll, numbers, limiter.passed(toll)
                    if self._counted:  # by another task, meanwhile
                        self._unfold()
                    return None
                step = Done(reply)
            except StoreUnavailable as error:
                step = Done(failure=error)
        seen -= own
        return await self.charge(toll.demands, limiter, step=step)

    def settle(self, answered: Answered) -> None:
        """The answer is known: begin to correct what was charged tentatively."""

        def change(charge: Charge) -> int:
            owed = charge.demand.owed
            return 0 if owed is None else owed(answered) - charge.demand.cost

        self._unfold()
        corrections, self._counted = self.limiter.give_back(self._counted, change)
        self.corrections = [*self.corrections, *corrections]

    async def close(self) -> None:
        """Wait for the corrections that were begun."""
        if self.corrections:
            corrections, self.corrections = self.corrections, ()
            await self.limiter.finish(corrections)

    def _unfold(self) -> None:
        if self.paid is not None:
            paid, self.paid = self.paid, None
            self._counted = [*self.limiter.counted(*paid), *self._counted]
            own = {demand.bucket.block_key for demand in paid[0].demands}
            self._seen = own if self._seen is None else own | self._seen
