"""The table of all rows, as a terminal shows it and as docs/reliability.md has it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BETWEEN = re.compile(r"(?<=<!-- faults -->\n).*?(?=<!-- end of faults -->)", re.DOTALL)


@dataclass
class Line:
    """What the table says of a fault."""

    number: str
    fault: str
    engine: str = ""
    cache: str = ""
    sessions: str = ""
    limits: str = ""
    requests: int = 0
    worst: float = 0.0
    wrong: int = 0
    normal: float | None = None
    left: str = ""


LINES: list[Line] = []
"""The rows that this process has seen."""


def told(ends: Counter[str]) -> str:
    """The ends of requests in words: `all 312`, or `290, 22 × 503`."""
    if not ends:
        return "–"
    good = ends["200"] + ends["429"]  # refused by a limit is what a limit is for
    others = [f"{n} × {end}" for end, n in sorted(ends.items()) if end not in ("200", "429")]
    return ", ".join([str(good), *others]) if others else f"all {good}"


HEADS = (
    *("fault", "on", "pages", "sessions", "limits", "worst added", "wrong", "normal after"),
    "left over",
)


def cells(line: Line) -> tuple[str, ...]:
    normal = "–" if line.normal is None else f"{line.normal:.1f} s"
    return (
        *(f"{line.number}: {line.fault}", line.engine, line.cache, line.sessions, line.limits),
        *(f"{line.worst * 1000:.0f} ms", str(line.wrong), normal, line.left),
    )


def in_order(lines: Sequence[Line]) -> list[Line]:
    def place(line: Line) -> tuple[int, str, str]:
        number = re.match(r"\d+", line.number)
        return int(number[0]) if number else 99, line.number, line.engine

    return sorted(lines, key=place)


def as_text(lines: Sequence[Line]) -> str:
    """Columns, for a terminal."""
    rows = [HEADS, *map(cells, in_order(lines))]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def as_markdown(lines: Sequence[Line]) -> str:
    rows = [HEADS, ("---",) * len(HEADS), *map(cells, in_order(lines))]
    return "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows) + "\n"


def write_page(lines: Sequence[Line]) -> None:
    """Put the table where the page has it."""
    page = PAGE.read_text("utf-8")
    PAGE.write_text(BETWEEN.sub(lambda _: as_markdown(lines), page), "utf-8")
