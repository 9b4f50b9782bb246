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
        self.kept: OrderedDict[Hashable, _Memory[V]] = OrderedDict()
        """What is remembered; most of the time, nothing."""
        # By bucket, the questions that it has to do with.
        self._about: dict[bytes, set[Hashable]] = {}

    def find(self, question: Hashable, now: float) -> tuple[V, float] | None:
        """What was answered to the same question, and when, if that still holds."""
        memory = self.kept.get(question)
        if memory is None:
            return None
        if memory.until <= now:
            self._drop(question)
            return None
        return memory.value, memory.since

    def keep(
        self, question: Hashable, value: V, now: float, until: float, concerns: frozenset[bytes]
    ) -> None:
        self._drop(question)
        self.kept[question] = _Memory(value, now, until, concerns)
        for concern in concerns:
            self._about.setdefault(concern, set()).add(question)
        while len(self.kept) > self._size:
            self._drop(next(iter(self.kept)))

    def forget(self, concern: bytes) -> None:
        """Drop whatever has to do with one bucket."""
        for question in list(self._about.get(concern, ())):
            self._drop(question)

    def _drop(self, question: Hashable) -> None:
        memory = self.kept.pop(question, None)
        for concern in memory.concerns if memory else ():
            questions = self._about[concern]
            questions.discard(question)
            if not questions:
                del self._about[concern]
