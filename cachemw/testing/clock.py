"""A clock that stands still until a test moves it."""

from cachemw.durations import DurationLike, seconds


class FakeClock:
    """Call it for the time in seconds; pass it wherever a `clock` is asked for.

    clock = FakeClock()
    store = MemoryStore(clock=clock)
    clock.advance("5m")
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def __repr__(self) -> str:
        return f"<FakeClock {self.now}>"

    def advance(self, duration: DurationLike) -> None:
        """Let time pass."""
        self.now += seconds(duration)

    def jump(self, seconds: float) -> None:
        """Set the clock, forwards or backwards, as an operator or NTP may do."""
        self.now += seconds
