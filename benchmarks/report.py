"""The tables of a run as Markdown, and its bars as SVG."""

from collections.abc import Sequence
from html import escape

from benchmarks.goals import Goal
from benchmarks.measure import Row
from benchmarks.memory import Footprint
from benchmarks.results import Results
from benchmarks.stampede import Stampede

BASES = ("hand_redis", "hand_lua", "hand_get")
BAR, ROOM, WIDE = 22, 190, 640


def markdown(results: Results, goals: Sequence[Goal]) -> str:
    parts = [_machine(results), _goals(goals)]
    parts += [_rows(*table, results.table(*table)) for table in results.tables()]
    parts += [_stampedes(results.stampedes), _footprints(results.footprints)]
    parts += [f"```\n{text}```\n" for text in results.texts]
    return "\n".join(part for part in parts if part)


def _machine(results: Results) -> str:
    lines: list[str] = []
    for name, value in results.machine().items():
        told = ", ".join(value) if isinstance(value, list) else value
        lines.append(f"- {name}: {told}")
    return "\n".join(lines) + "\n"


def _goals(goals: Sequence[Goal]) -> str:
    if not goals:
        return ""
    lines = ["| goal | wanted | measured | |", "|---|--:|--:|---|"]
    for goal in goals:
        met = "met" if goal.met else "**not met**"
        lines.append(f"| {goal.what} | {goal.wanted} | {goal.measured} | {met} |")
    return "\n".join(lines) + "\n"


def _rows(table: str, connections: int, rows: Sequence[Row]) -> str:
    base = next((row for row in rows if row.name in BASES), rows[0])
    lines = [
        f"### {table}, {connections} connection{'s' if connections > 1 else ''}\n",
        f"| subject | requests/s (min-max) | x {base.name} | p50 ms | p99 ms | CPU s/1000 "
        f"| CPU x {base.name} | Redis CPU s/1000 | commands | trips | to/from Redis B "
        "| handler ran | bad |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: -row.rate):
        sent, received = (
            row.per_request(lambda each: each.received),
            row.per_request(lambda each: each.sent),
        )
        cells = [
            row.name,
            f"{row.rate:,.0f} ({min(row.rates):,.0f}-{max(row.rates):,.0f})",
            f"{row.rate / base.rate:.2f}" if base.rate else "",
            f"{1000 * row.median(lambda each: each.load.p50):.2f}",
            f"{1000 * row.median(lambda each: each.load.p99):.2f}",
            f"{row.cpu:.3f}",
            f"{row.cpu / base.cpu:.2f}" if base.cpu else "",
            f"{1000 * row.per_request(lambda each: each.redis_cpu):.3f}",
            f"{row.per_request(lambda each: each.commands):.2f}",
            f"{row.per_request(lambda each: each.reads):.2f}",
            f"{sent:.0f}/{received:.0f}",
            f"{row.per_request(lambda each: each.runs):.0%}",
            str(row.bad),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _stampedes(found: Sequence[Stampede]) -> str:
    if not found:
        return ""
    lines = [
        "### 200 cold requests at once, 4 workers, a handler of 100 ms\n",
        "| subject | runs of the handler, page by page | seconds for all | bad |",
        "|---|--:|--:|--:|",
    ]
    for each in found:
        runs = ", ".join(str(count) for count in each.runs)
        lines.append(f"| {each.name} | {runs} | {each.seconds:.3f} | {each.bad} |")
    return "\n".join(lines) + "\n"


def _footprints(found: Sequence[Footprint]) -> str:
    if not found:
        return ""
    lines = [
        "### Memory for one entry\n",
        "| subject | where | body B | in all B | over the body B | keys |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for each in sorted(found, key=lambda each: (each.body, each.bytes)):
        lines.append(
            f"| {each.name} | {each.place} | {each.body} | {each.bytes:.0f} "
            f"| {each.overhead:.0f} | {each.keys:.2f} |"
        )
    return "\n".join(lines) + "\n"


def bars(title: str, rows: Sequence[Row]) -> str:
    """Requests a second, one bar for each subject, with a whisker from the least to the most."""
    rows = sorted(rows, key=lambda row: -row.rate)
    most = max(max(row.rates) for row in rows) or 1
    height = 44 + BAR * len(rows)
    scale = (WIDE - ROOM - 80) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12">',
        "<style>text{fill:#333}.o{fill:#c2410c}.p{fill:#94a3b8}.h{fill:#64748b}"
        "line{stroke:#111;stroke-width:1}@media(prefers-color-scheme:dark)"
        "{text{fill:#ddd}line{stroke:#eee}}</style>",
        f'<text x="0" y="18" font-size="14" font-weight="600">{escape(title)}</text>',
    ]
    for turn, row in enumerate(rows):
        top = 34 + turn * BAR
        kind = "o" if row.name.startswith("cachemw") else "p" if row.is_peer else "h"
        length, middle = row.rate * scale, top + BAR / 2 - 2
        low, high = ROOM + min(row.rates) * scale, ROOM + max(row.rates) * scale
        parts += [
            f'<text x="{ROOM - 8}" y="{top + 13}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect class="{kind}" x="{ROOM}" y="{top}" width="{length:.1f}" height="{BAR - 5}"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>',
            f'<text x="{max(high, ROOM + length) + 6:.1f}" y="{top + 13}">{row.rate:,.0f}/s</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
