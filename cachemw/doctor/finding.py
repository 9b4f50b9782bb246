"""What the doctor says: one finding, how grave it is, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How grave a finding is, the gravest first."""

    CRITICAL = "critical"
    """Something does not work, or will stop working without a warning."""
    WARNING = "warning"
    """Something works worse than it could, or fails on a bad day."""
    NOTICE = "notice"
    """Worth knowing; perhaps it is meant so."""
    OK = "ok"
    """Looked at, and as it should be."""

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    severity: Severity
    subject: str
    """What was looked at: `memory`, `evictions`, `latency` ..."""
    what: str
    fix: str = ""
    """What to do; empty where there is nothing to be done."""
    server: str = ""
    """Which server, where it is the matter of one."""
