"""What one connection was charged: every rule that concerns it writes here, the answer closes it.

Lives in the scope from the outermost limit middleware on. It sees to it that one rule counts a
request once, that a refusal by an inner rule takes back what the outer ones charged, and that
tentative charges are settled when the answer is known.
"""

from collections.abc import Awaitable, Callable, Sequence

from cachemw.ratelimit.limiter import Charge, Counted, Limiter, are_allowed, decision_of
from cachemw.ratelimit.verdicts import Answered, Decision, Demand, Verdict
from cachemw.ratelimit.window import Standing
from cachemw.scripts import Reply

LEDGER = "cachemw.limits"
"""The scope key under which a request carries its ledger."""


class Ledger:
    """The charges of one connection."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self._counted: list[Counted] = []
        self._corrections: list[Awaitable[Reply]] = []
        self._seen: set[bytes] = set()
        self.is_tentative = False  # what is owed depends on the answer

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Where the client stands with every limit that concerned this connection."""
        return decision_of(self._counted).standings

    async def charge(
        self,
        wishes: Sequence[Demand | Verdict],
        limiter: Limiter,
        meanwhile: Callable[[], None] | None = None,
    ) -> Decision:
        """Charge what was not charged yet; a refusal takes everything else back.

        `meanwhile` is called while the store is asked, unless the refusals of these rules are not
        remembered: then each of them would cost what was asked in vain.
        """
        demands: list[Demand] = []
        counted: list[Counted] = []
        for wish in wishes:
            if isinstance(wish, Verdict):
                limiter.note(wish)
                counted.append((wish, None))
            elif wish.bucket.block_key not in self._seen:
                self._seen.add(wish.bucket.block_key)
                self.is_tentative = self.is_tentative or wish.owed is not None
                demands.append(wish)
        if demands and are_allowed(counted):
            counted += await limiter.charge(demands, None if self.is_tentative else meanwhile)
        decision = decision_of(counted)
        if not decision.allowed:
            corrections, self._counted = limiter.give_back(self._counted)
            self._corrections += corrections
        self._counted += counted
        return decision

    def settle(self, answered: Answered) -> None:
        """The answer is known: begin to correct what was charged tentatively."""

        def change(charge: Charge) -> int:
            owed = charge.demand.owed
            return 0 if owed is None else owed(answered) - charge.demand.cost

        corrections, self._counted = self.limiter.give_back(self._counted, change)
        self._corrections += corrections

    async def close(self) -> None:
        """Wait for the corrections that were begun."""
        if self._corrections:
            corrections, self._corrections = self._corrections, []
            await self.limiter.finish(corrections)
