"""What was asked of the counters and what they answered: the values between rules and answers.

A `Demand` is one rule's wish to count one hit, a `Verdict` what became of it, a `Decision` all
verdicts of one request. Pure: nothing here counts, waits or reads a clock.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from cachemw.messages import Headers
from cachemw.ratelimit.counting import Bucket
from cachemw.ratelimit.window import Reading, Standing, aged, standing

OutagePolicy: TypeAlias = Literal["open", "closed", "local"]
Outcome: TypeAlias = Literal["allowed", "limited", "blocked", "unavailable", "unidentified"]
CountedBy: TypeAlias = Literal["store", "recall", "local", "nobody"]

STATUS: dict[Outcome, int] = {
    "allowed": 200,
    "limited": 429,
    "blocked": 429,
    "unavailable": 503,
    "unidentified": 403,
}


@dataclass(frozen=True, slots=True)
class Answered:
    """How a request was answered, as far as a rule may want to know before it counts."""

    status_code: int
    headers: Headers = ()
    cache: str | None = None
    """`"hit"`, `"stale"`, `"miss"`...: what the response cache says it did, None without one."""


@dataclass(frozen=True, slots=True)
class Demand:
    """One rule's wish to charge `cost` to a bucket.

    With `owed` the charge is tentative: what is really owed is known when the answer begins.
    """

    label: str
    bucket: Bucket
    policies: tuple[str, ...]
    cost: int = 1
    block: int = 0
    on_outage: OutagePolicy = "open"
    shadow: bool = False
    owed: Callable[[Answered], int] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule says about one hit. `retry_after` is milliseconds."""

    label: str
    outcome: Outcome
    standings: tuple[Standing, ...] = ()
    retry_after: int = 0
    counted_by: CountedBy = "store"
    shadow: bool = False

    @property
    def allowed(self) -> bool:
        return self.outcome == "allowed" or self.shadow

    @property
    def remaining(self) -> int | None:
        """How much the tightest limit leaves; None when nobody counted."""
        return min((each.remaining for each in self.standings), default=None)


@dataclass(frozen=True, slots=True)
class Decision:
    """All verdicts about one hit. Empty when no rule concerned it."""

    verdicts: tuple[Verdict, ...] = ()

    @property
    def refusals(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.allowed)

    @property
    def allowed(self) -> bool:
        return all(verdict.allowed for verdict in self.verdicts)

    @property
    def status(self) -> int:
        """200, or the status of the refusal: a limit is named before an outage."""
        statuses = {STATUS[refusal.outcome] for refusal in self.refusals}
        return next((each for each in (429, 403, 503) if each in statuses), 200)

    @property
    def retry_after(self) -> int:
        return max((refusal.retry_after for refusal in self.refusals), default=0)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Every limit that may be spoken of: a rule in the shadow stays there."""
        told = (verdict.standings for verdict in self.verdicts if not verdict.shadow)
        return tuple(each for standings in told for each in standings)


def verdict_on(
    demand: Demand, admitted: bool, readings: list[Reading], counted_by: CountedBy
) -> Verdict:
    """The verdict that follows from the readings of a demand's block and counters."""
    block, *counters = readings
    bucket = demand.bucket
    standings = tuple(
        standing(policy, limit, reading, demand.cost, bucket.algorithm, charged=admitted)
        for policy, limit, reading in zip(demand.policies, bucket.limits, counters, strict=True)
    )
    violated = [each for each in standings if each.violated]
    waits = [each.reset for each in violated]
    outcome: Outcome = "limited" if violated else "allowed"
    if block.count:
        waits.append(max(1, block.left))
        outcome = "limited" if violated and block.left == demand.block else "blocked"
        standings = tuple(
            replace(each, remaining=0, reset=max(each.reset, block.left)) for each in standings
        )
    retry_after = max(waits, default=0)
    return Verdict(demand.label, outcome, standings, retry_after, counted_by, demand.shadow)


def older(verdict: Verdict, elapsed: int) -> Verdict:
    """A verdict as it reads `elapsed` milliseconds later, told from memory."""
    return replace(
        verdict,
        standings=tuple(aged(each, elapsed) for each in verdict.standings),
        retry_after=max(1, verdict.retry_after - elapsed) if verdict.retry_after else 0,
        counted_by="recall",
    )


def returned(verdict: Verdict, amount: int) -> Verdict:
    """A verdict after `amount` was given back to every counter it speaks of."""
    standings = tuple(
        replace(each, remaining=min(each.limit.quota, max(0, each.remaining + amount)))
        for each in verdict.standings
    )
    return replace(verdict, standings=standings)
