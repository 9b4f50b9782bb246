"""Clients that are known to be over a limit, so that nobody need ask the store about them again.

Bounded, and only ever a shortcut: what is forgotten is asked again. Knows no clock; every question
brings the time.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Memory(Generic[V]):
    value: V
    since: float
    until: float
    concerns: frozenset[bytes]


class Recall(Generic[V]):
    """At most `size` refusals, each until its time is over."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, _Memory[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, question: Hashable, now: float) -> tuple[V, float] | None:
        """What was answered to the same question, and when, if that still holds."""
        memory = self._kept.get(question)
        if memory is None:
            return None
        if memory.until <= now:
            del self._kept[question]
            return None
        return memory.value, memory.since

    def keep(
        self, question: Hashable, value: V, now: float, until: float, concerns: frozenset[bytes]
    ) -> None:
        self._kept.pop(question, None)
        self._kept[question] = _Memory(value, now, until, concerns)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def forget(self, concern: bytes) -> None:
        """Drop whatever has to do with one bucket."""
        stale = [question for question, kept in self._kept.items() if concern in kept.concerns]
        for question in stale:
            del self._kept[question]
