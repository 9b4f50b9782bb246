"""When to stop asking a server that does not answer, and when to ask again.

Closed: everything passes. After `failures` failures in a row within `window` seconds: open, nothing
passes and every caller hears so at once. From then on the lane looks for the server by itself, at
once and every `retry_after` seconds, on nobody's time, and the first sign of life closes the
breaker. One a server, shared by all features, so that the first to notice spares the others. Pure:
it is told the time.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Breaker:
    failures: int = 5
    window: float = 1.0
    retry_after: float = 0.25
    is_open: bool = False
    times_opened: int = 0
    _recent: deque[float] = field(default_factory=deque[float], repr=False)

    def succeeded(self) -> bool:
        """Note a sign of life; whether it closed the breaker."""
        self._recent.clear()
        was_open, self.is_open = self.is_open, False
        return was_open

    def failed(self, now: float) -> bool:
        """Note a failure; whether it opened the breaker."""
        if self.is_open:
            return False
        self._recent.append(now)
        while len(self._recent) > self.failures or self._recent[0] < now - self.window:
            self._recent.popleft()
        self.is_open = len(self._recent) >= self.failures
        self.times_opened += self.is_open
        return self.is_open
