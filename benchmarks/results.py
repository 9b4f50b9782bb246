"""Everything a run has found, and where."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import Effort, Row
from benchmarks.memory import Footprint
from benchmarks.peers import PINS
from benchmarks.servers import redis_version
from benchmarks.stampede import Stampede


@dataclass
class Results:
    """Of one run."""

    effort: Effort
    rows: list[Row] = field(default_factory=list)
    stampedes: list[Stampede] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    costs: dict[str, float] = field(default_factory=dict)
    purges: dict[str, float] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    """What other programs have said."""
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def table(self, name: str, connections: int) -> list[Row]:
        return [row for row in self.rows if (row.table, row.connections) == (name, connections)]

    def tables(self) -> list[tuple[str, int]]:
        return list(dict.fromkeys((row.table, row.connections) for row in self.rows))

    def machine(self) -> dict[str, Any]:
        versions = [pins[0] for peer, pins in PINS.items() if peer != "py-spy"]
        return {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "load before": round(self.load_before, 2),
            "Python": platform.python_version(),
            "server": redis_version(),
            "ours": [f"{name}=={version(name)}" for name in ("uvicorn", "uvloop", "redis")],
            "peers": versions,
            "rounds": self.effort.rounds,
            "seconds a round": self.effort.seconds,
        }

    def as_json(self, goals: Sequence[object]) -> dict[str, Any]:
        return {
            "machine": self.machine(),
            "goals": [vars(goal) for goal in goals],
            "rows": [_plain(row) for row in self.rows],
            "stampedes": [asdict(each) for each in self.stampedes],
            "memory": [asdict(each) for each in self.footprints],
            "costs": self.costs,
            "purges": self.purges,
        }


def _plain(row: Row) -> dict[str, Any]:
    plain = asdict(row)
    for each in plain["rounds"]:
        each["load"]["sample"] = each["load"]["sample"].decode("latin-1")
    return plain


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
