"""Carries out demands: one trip for all limits of a client, or none while it is known to be over.

Owns the way to the store, what happens without it, and what is remembered between requests. What a
rule is, and how a refusal is worded, is decided elsewhere.

All demands of a request leave in one write. Those of one identity are one script: all or nothing.
Those of different identities may live on different servers; where one of them refuses, what the
others charged is given back, and rules that block are asked only after the others. Nothing is ever
sent again: a reply that got lost was counted once or not at all.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, TypeAlias

from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.ratelimit.counting import ADJUST, ANY, CHARGE, Bucket, numbers_of
from cachemw.ratelimit.recall import Recall
from cachemw.ratelimit.toll import Toll
from cachemw.ratelimit.verdicts import (
    CountedBy,
    Decision,
    Demand,
    Verdict,
    older,
    returned,
    verdict_on,
)
from cachemw.scripts import Reply
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore

logger = logging.getLogger("cachemw.ratelimit")

REMEMBERED = 10_000  # refusals kept in this process
RECHECK = 10.0  # seconds after which a remembered refusal is asked again, so that a reset is seen
OUTAGE_RETRY = 1000  # ms that a client is told to wait for the store


class Charge(NamedTuple):
    """Something that was counted and may be given back: where, how much, in which windows."""

    demand: Demand
    store: Store
    numbers: Sequence[int]  # that the store told: of the block, then of the counters
    at: float


Counted: TypeAlias = tuple[Verdict, Charge | None]


class Limiter:
    """Counts on one store for one process.

    `workers` is by how many processes a limit is divided while the store is away and a rule counts
    locally; by default `WEB_CONCURRENCY`, or 1. `counts` says how often each rule came to which
    outcome.
    """

    def __init__(
        self,
        store: Store,
        *,
        workers: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.workers = _workers(workers)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._recall: Recall[tuple[Verdict, ...]] = Recall(REMEMBERED)
        self._local = MemoryStore(max_bytes=16 * 1024 * 1024, clock=clock)

    def begin(self, toll: Toll) -> Awaitable[Reply] | None:
        """Send a toll's script; None where a refusal is remembered, or there is nothing to ask."""
        recall = self._recall
        if recall.kept and recall.find(toll.question, self._clock()) is not None:
            return None
        if toll.store is not self.store:  # a rule on a route may serve several apps
            if not toll.keys:
                return None
            toll.store, toll.step = self.store, self.store.prepare(CHARGE, toll.keys, toll.args)
        return toll.step()

    def passed(self, toll: Toll) -> float:
        """A toll was charged: count it, and say when that was."""
        counts, told = self.counts, self.store.tally.counts.limits
        for outcome in toll.outcomes:
            counts[outcome] += 1
            told[outcome] = told.get(outcome, 0) + 1
        return self._clock()

    def counted(self, toll: Toll, numbers: Sequence[int], at: float) -> list[Counted]:
        """What became of a toll that was charged."""
        return self._counted(numbers, toll.demands, self.store, "store", at)

    async def charge(
        self,
        demands: Sequence[Demand],
        meanwhile: Callable[[], None] | None = None,
        step: Awaitable[Reply] | None = None,
    ) -> list[Counted]:
        """Count one hit against all `demands`, or against none of them. Never raises an outage.

        `meanwhile` is called when the store is being asked: what it asks travels along. `step` is
        on its way, for all of them.
        """
        known = self._known(demands) if self._recall.kept and step is None else None
        if known is not None:
            return self._noted(known)
        counted: list[Counted] = []
        outage: StoreUnavailable | None = None
        for stage in _stages(demands):
            if outage is not None:
                counted += [await self._without_store(each, outage) for each in chain(*stage)]
                continue
            begun = [(step or self._begin(self.store, group), group) for group in stage]
            if meanwhile is not None and not counted:
                meanwhile()
            for sent, group in begun:
                try:
                    reply = await sent
                except StoreUnavailable as error:
                    outage = error
                    counted += [await self._without_store(each, error) for each in group]
                else:
                    counted += self._counted(numbers_of(reply), group, self.store, "store")
            if not are_allowed(counted):
                break
        else:
            return self._noted(counted)

        corrections, untouched = self.give_back(counted)
        await self.finish(corrections)
        self._remember(demands, untouched)
        return self._noted(untouched)

    def _known(self, demands: Sequence[Demand]) -> list[Counted] | None:
        """What was answered to the same a moment ago, if it was no."""
        now = self._clock()
        known = self._recall.find(_question(demands), now)
        if known is None:
            return None
        verdicts, since = known
        elapsed = int((now - since) * 1000)
        return [(older(verdict, elapsed), None) for verdict in verdicts]

    async def peek(self, demand: Demand) -> Verdict:
        """How things stand, nothing being counted. Raises `StoreUnavailable`."""
        idle = replace(demand, cost=0, block=0)
        numbers = numbers_of(await self._begin(self.store, [idle]))
        return verdict_on(replace(demand, block=0), False, numbers[1:], "store")

    def give_back(
        self, counted: Iterable[Counted], change: Callable[[Charge], int] | None = None
    ) -> tuple[list[Awaitable[Reply]], list[Counted]]:
        """Begin to change what was charged, by default to nothing; and what then holds.

        Starts at once. A charge is corrected in the windows it was made in, or not at all.
        """
        now = self._clock()
        begun: list[Awaitable[Reply]] = []
        corrected: list[Counted] = []
        for verdict, charge in counted:
            difference = 0
            if charge is not None:
                difference = -charge.demand.cost if change is None else change(charge)
            if charge is None or difference == 0:
                corrected.append((verdict, charge))
                continue
            bucket = charge.demand.bucket
            passed = int((now - charge.at) * 1000)
            args = bucket.adjust_args(difference, [left - passed for left in charge.numbers[5::3]])
            begun.append(charge.store.run(ADJUST, bucket.counter_keys, args))
            corrected.append((returned(verdict, -difference), None))
        return begun, corrected

    async def finish(self, begun: Iterable[Awaitable[Reply]]) -> None:
        """Wait for corrections. One that is lost stays lost: the client is charged too much."""
        for step in begun:
            try:
                await step
            except StoreUnavailable:
                self.counts["*", "correction lost"] += 1

    async def adjust(self, bucket: Bucket, change: int) -> None:
        """Add to the counters of a bucket, or take from them. Raises `StoreUnavailable`."""
        await self.store.run(ADJUST, bucket.counter_keys, bucket.adjust_args(change))
        self._recall.forget(bucket.block_key)  # a refusal of before may have come until now

    async def block(self, bucket: Bucket, duration: int) -> None:
        """Refuse every hit for `duration` ms. Raises `StoreUnavailable`."""
        await self.store.run(ADJUST, [bucket.block_key], [b"block", b"0", b"%d" % duration, ANY])
        self._recall.forget(bucket.block_key)

    async def reset(self, bucket: Bucket) -> None:
        """Begin anew: no block, no count. Raises `StoreUnavailable`."""
        await self._local.delete(bucket.keys)
        await self.store.delete(bucket.keys)
        self._recall.forget(bucket.block_key)

    def note(self, verdict: Verdict) -> None:
        """Count an outcome in `counts`; say aloud, once, that a client cannot be told."""
        if verdict.outcome == "unidentified" and not self.counts[verdict.label, "unidentified"]:
            logger.warning(
                "%s: a client could not be identified and was refused. Behind a proxy on a unix "
                "socket, say trusted_proxies=['unix']; otherwise choose unknown='exempt' or "
                "'shared' for the rule",
                verdict.label,
            )
        in_shadow = verdict.shadow and verdict.outcome != "allowed"
        outcome = f"shadow {verdict.outcome}" if in_shadow else verdict.outcome
        self.counts[verdict.label, outcome] += 1
        self.store.tally.limited(verdict.label, outcome)

    def _begin(self, store: Store, group: Sequence[Demand]) -> Awaitable[Reply]:
        if len(group) == 1:
            return store.run(CHARGE, group[0].bucket.keys, group[0].args)
        keys = [key for demand in group for key in demand.bucket.keys]
        return store.run(CHARGE, keys, [arg for demand in group for arg in demand.args])

    async def _without_store(self, demand: Demand, outage: StoreUnavailable) -> Counted:
        """The one place where an outage is answered."""
        verdict = Verdict(demand.label, "allowed", counted_by="nobody", shadow=demand.shadow)
        policy = demand.on_outage
        if policy == "open" and outage.reason == "overloaded":
            policy = "local"  # the crowd is here and not at the store: a flood opens no door
        match policy:
            case "open":
                return verdict, None
            case "closed":
                return verdict._replace(outcome="unavailable", retry_after=OUTAGE_RETRY), None
            case "local":
                share = replace(demand, bucket=_share(demand, self.workers))
                reply = await self._begin(self._local, [share])
                return self._counted(numbers_of(reply), [share], self._local, "local")[0]

    def _counted(
        self,
        numbers: Sequence[int],
        group: Sequence[Demand],
        store: Store,
        counted_by: CountedBy,
        at: float | None = None,
    ) -> list[Counted]:
        admitted, *numbers = numbers
        now = self._clock() if at is None else at
        counted: list[Counted] = []
        for demand in group:
            size = 3 * len(demand.bucket.keys)
            own = numbers if len(group) == 1 else numbers[:size]
            numbers = numbers[size:]
            charge = Charge(demand, store, own, now) if admitted and demand.cost else None
            counted.append((verdict_on(demand, bool(admitted), own, counted_by), charge))
        return counted

    def _remember(self, demands: Sequence[Demand], counted: Sequence[Counted]) -> None:
        """Keep a refusal that only time, or a reset, can end."""
        tentative = {demand.label for demand in demands if demand.owed is not None}
        waits = [
            verdict.retry_after
            for verdict, _ in counted
            if not verdict.allowed
            and verdict.counted_by == "store"
            and (verdict.outcome == "blocked" or verdict.label not in tentative)
        ]
        if waits:
            now = self._clock()
            until = now + min(max(waits) / 1000, RECHECK)
            concerns = frozenset(demand.bucket.block_key for demand in demands)
            verdicts = tuple(verdict for verdict, _ in counted)
            self._recall.keep(_question(demands), verdicts, now, until, concerns)

    def _noted(self, counted: list[Counted]) -> list[Counted]:
        for verdict, _ in counted:
            self.note(verdict)
        return counted


def decision_of(counted: Iterable[Counted]) -> Decision:
    """The verdicts alone, as one decision."""
    return Decision(tuple([verdict for verdict, _ in counted]))


def are_allowed(counted: Iterable[Counted]) -> bool:
    """Whether no verdict refuses."""
    for verdict, _ in counted:  # noqa: SIM110 - a generator costs more than all else here
        if not verdict.allowed:
            return False
    return True


def _question(demands: Sequence[Demand]) -> Hashable:
    return tuple([demand.question for demand in demands])


def _stages(demands: Sequence[Demand]) -> Iterable[Sequence[Sequence[Demand]]]:
    """Which demands one script decides, and which scripts are asked for at once: all of them, but
    those that may block wait for the others.

    What one client asks for too often is refused by its own limit, and given back to a bucket that
    it shares with others. A block is not given back: it must not come of what was never let in.
    """
    if len(demands) == 1:
        return ((demands,),)
    groups = _groups(demands)
    if len(groups) == 1:
        return (groups,)
    blocking = [group for group in groups if any(each.block and not each.shadow for each in group)]
    harmless = [group for group in groups if group not in blocking]
    return [stage for stage in (harmless, *([group] for group in blocking)) if stage]


def _groups(demands: Sequence[Demand]) -> list[list[Demand]]:
    """The demands of each identity. A rule in the shadow stays alone."""
    groups: dict[Hashable, list[Demand]] = {}
    for demand in demands:
        key = (demand.bucket.tag, demand.bucket.name if demand.shadow else None)
        groups.setdefault(key, []).append(demand)
    return list(groups.values())


def _share(demand: Demand, workers: int) -> Bucket:
    """This worker's part of the limits: room for one hit at least, or nobody would ever pass."""
    limits = tuple(
        limit._replace(quota=min(limit.quota, max(demand.cost, limit.quota // workers, 1)))
        for limit in demand.bucket.limits
    )
    return replace(demand.bucket, limits=limits)


def _workers(given: int | None) -> int:
    text = str(given) if given is not None else os.environ.get("WEB_CONCURRENCY", "1")
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        option = "workers" if given is not None else "WEB_CONCURRENCY"
        raise ConfigurationError(
            f"{option}={text!r}: say how many processes serve the app, 1 or more"
        )
    return int(text)
