"""What each client may see at each moment. Pure: it is told what happened and when.

**Pages.** A version of a key is begun by its writer, and made known when the purge after it has
been acknowledged. Whoever begins to ask after that may not see an older one. While a purge is not
acknowledged, because it failed or nobody knows, both are right.

**Sessions.** Whatever was acknowledged is there; what was answered with an error, or not at all,
may be there. Nobody else's session ever is.

**Limits.** No more are let in than the quota, and nobody is refused before so many have been let
in, or may have been.
"""

from dataclasses import dataclass, field

from tests.faults.pages import QUOTA, from_bytes

TOLERANCE = 0.25  # seconds that a loaded machine may take between a decision and the last byte


@dataclass
class Write:
    """A change of a key, and since when nobody may see what was before it."""

    began: float
    known: float | None = None


@dataclass
class Truth:
    """All that was written, and how long after a purge what was before it may still be seen."""

    grace: float = 0.0
    _writes: dict[str, list[Write]] = field(default_factory=dict[str, list[Write]])

    # --- pages

    def begin_write(self, key: str, now: float) -> int:
        """A new version of a key is on its way."""
        self._of(key).append(Write(now))
        return len(self._of(key)) - 1

    def end_write(self, key: str, version: int, now: float) -> None:
        """It is written, and what was before it is purged."""
        self._of(key)[version].known = now

    def doubt(self, since: float) -> None:
        """A server that had acknowledged purges was lost, and perhaps they with it."""
        for writes in self._writes.values():
            for write in writes:
                if write.known is not None and write.known >= since:
                    write.known = None

    def fault_of(
        self, body: bytes, kind: str, key: str, who: str, *, began: float, ended: float
    ) -> str | None:
        """What is wrong with a page that was asked for and came, at these times."""
        try:
            page = from_bytes(body)
        except ValueError as error:
            return str(error)
        if (page.kind, page.key, page.who) != (kind, key, who):
            return f"{who} asked for {kind} {key}, got {page.kind} {page.key} for {page.who}"
        writes = self._of(key)
        if page.version >= len(writes) or writes[page.version].began > ended:
            return f"{kind} {key}: version {page.version} was not written yet"
        for number, write in enumerate(writes[page.version + 1 :], page.version + 1):
            if write.known is not None and write.known + self.grace < began:
                late = began - write.known
                return f"{kind} {key}: v{page.version}, {late:.3f} s after v{number} was purged for"
        return None

    def _of(self, key: str) -> list[Write]:
        return self._writes.setdefault(key, [Write(0.0, 0.0)])  # version 0 was always there


def fault_of_age(body: bytes, began: float, ended: float, *, most: float) -> str | None:
    """What is wrong with a page that says when it was made and may be `most` seconds old."""
    try:
        made = from_bytes(body).version / 1000
    except ValueError as error:
        return str(error)
    if began - made > most + TOLERANCE:
        return f"{began - made:.2f} s old, where {most} is the most"
    return f"made {made - ended:.2f} s after it was got" if made > ended + 0.01 else None


@dataclass
class Counted:
    """Something that is counted on the server: what was acknowledged, and what nobody knows of."""

    sure: int = 0
    unsure: int = 0

    def fault_of(self, seen: int) -> str | None:
        if self.sure <= seen <= self.sure + self.unsure:
            return None
        return f"{seen} are counted, where {self.sure} are sure and {self.unsure} unsure"


def fault_of_limit(counted: Counted, *, refused: bool) -> str | None:
    """What is wrong when, after all that was `counted`, somebody is let in or refused."""
    if not refused and counted.sure > QUOTA:
        return f"{counted.sure} were let in, where {QUOTA} is the quota"
    if refused and counted.sure + counted.unsure < QUOTA:
        return f"refused after {counted.sure} were let in and {counted.unsure} may have been"
    return None
