"""When to stop asking a server that does not answer, and when to look for it again.

Closed: everything passes. After `failures` failures within `window` seconds: open, nothing passes
and every caller hears so at once. Every `retry_after` from then on a probe is due, which is nobody's
request; the first sign of life closes the breaker. One a server, shared by all features, so that
the first to notice spares the others. Pure: it is told the time.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Breaker:
    failures: int = 5
    window: float = 1.0
    retry_after: float = 0.25
    times_opened: int = 0
    _recent: deque[float] = field(default_factory=deque[float])
    _next_probe: float | None = None

    @property
    def is_open(self) -> bool:
        return self._next_probe is not None

    def wants_probe(self, now: float) -> bool:
        """Whether the caller is to send a probe now. Says yes once every `retry_after`."""
        if self._next_probe is None or now < self._next_probe:
            return False
        self._next_probe = now + self.retry_after
        return True

    def succeeded(self) -> None:
        if self._recent:
            self._recent.clear()
            self._next_probe = None

    def failed(self, now: float) -> None:
        self._recent.append(now)
        while self._recent[0] < now - self.window:
            self._recent.popleft()
        if self._next_probe is None and len(self._recent) >= self.failures:
            self._next_probe = now + self.retry_after
            self.times_opened += 1
