"""What was asked of the counters and what they answered: the values between rules and answers.

A `Demand` is one rule's wish to count one hit, a `Verdict` what became of it, a `Decision` all
verdicts of one request. Pure: nothing here counts, waits or reads a clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from cachemw.messages import Headers
from cachemw.ratelimit.counting import Bucket, readings_of
from cachemw.ratelimit.window import Reading, Standing, aged, remaining, standing

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


@dataclass(frozen=True)
class Demand:
    """One rule's wish to charge `cost` to a bucket.

    With `owed` the charge is tentative: what is really owed is known when the answer begins. The
    demands of clients met before are kept, and so is what they send to the store.
    """

    label: str
    bucket: Bucket
    policies: tuple[str, ...]
    cost: int = 1
    block: int = 0
    on_outage: OutagePolicy = "open"
    shadow: bool = False
    owed: Callable[[Answered], int] | None = None

    @cached_property
    def args(self) -> tuple[bytes, ...]:
        """What goes to the store with the keys of the bucket. In the shadow nothing is blocked."""
        return self.bucket.charge_args(self.cost, 0 if self.shadow else self.block)

    @cached_property
    def question(self) -> bytes:
        """The same for all demands that must be given the same answer."""
        return b" ".join((self.bucket.block_key, *self.args))


class Verdict(NamedTuple):
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


class Decision(NamedTuple):
    """All verdicts about one hit. Empty when no rule concerned it."""

    verdicts: tuple[Verdict, ...] = ()

    @property
    def refusals(self) -> tuple[Verdict, ...]:
        return tuple([verdict for verdict in self.verdicts if not verdict.allowed])

    @property
    def allowed(self) -> bool:
        return not self.refusals

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
        told = [verdict for verdict in self.verdicts if not verdict.shadow]
        return tuple([each for verdict in told for each in verdict.standings])


def verdict_on(
    demand: Demand, admitted: bool, numbers: Sequence[int], counted_by: CountedBy
) -> Verdict:
    """The verdict that follows from the numbers of a demand's block and counters."""
    bucket, label, shadow = demand.bucket, demand.label, demand.shadow
    if admitted:
        told = _left_of(demand, numbers)
        return Verdict(label, "allowed", told, 0, counted_by, shadow)
    block, *counters = readings_of(numbers)
    limits = zip(demand.policies, bucket.limits, counters, strict=True)
    standings = tuple(
        standing(name, limit, reading, demand.cost, bucket.algorithm)
        for name, limit, reading in limits
    )
    violated = [each for each in standings if each.violated]
    waits = [each.reset for each in violated]
    outcome: Outcome = "limited" if violated else "allowed"
    if block.used:
        waits.append(max(1, block.left))
        outcome = "limited" if violated and block.left == demand.block else "blocked"
        standings = tuple(
            each._replace(remaining=0, reset=max(each.reset, block.left)) for each in standings
        )
    retry_after = max(waits, default=0)
    return Verdict(label, outcome, standings, retry_after, counted_by, shadow)


def _left_of(demand: Demand, numbers: Sequence[int]) -> tuple[Standing, ...]:
    """What a demand that was charged leaves. Every request that is let in comes by here."""
    told: list[Standing] = []
    at = 3
    for policy, limit in zip(demand.policies, demand.bucket.limits, strict=True):
        used, previous, left = numbers[at : at + 3]
        at += 3
        rest = limit.quota - used
        if previous or rest < 0:
            rest = remaining(limit, Reading(used, previous, left))
        told.append(Standing(policy, limit, rest, left or 1))
    return tuple(told)


def older(verdict: Verdict, elapsed: int) -> Verdict:
    """A verdict as it reads `elapsed` milliseconds later, told from memory."""
    return verdict._replace(
        standings=tuple(aged(each, elapsed) for each in verdict.standings),
        retry_after=max(1, verdict.retry_after - elapsed) if verdict.retry_after else 0,
        counted_by="recall",
    )


def returned(verdict: Verdict, amount: int) -> Verdict:
    """A verdict after `amount` was given back to every counter it speaks of."""
    standings = tuple(
        each._replace(remaining=min(each.limit.quota, max(0, each.remaining + amount)))
        for each in verdict.standings
    )
    return verdict._replace(standings=standings)
