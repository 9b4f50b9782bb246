"""Numbers turned into SVG: pure functions, drawn with attributes and classes alone.

No `style` attribute, since the policy of the pages forbids it: colours come from the style sheet by
class, so that light and dark need no second drawing. Each drawing says in words what it shows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cachemw.dashboard.figures import share
from cachemw.dashboard.markup import Html, tag

WIDTH = 720
HEIGHT = 150
_MOST = 1e30  # sums of more could become endless


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: the class that paints it, its name, and its values over time."""

    kind: str
    name: str
    values: Sequence[float]


def stacked(series: Sequence[Series], marks: Sequence[str], label: str) -> Html:
    """Columns, one for each instant, in which the series stand on each other.

    `marks` are the words below: at the left end and at the right, and what is in between.
    """
    length = max((len(one.values) for one in series), default=0)
    totals = [sum(_at(one, i) for one in series) for i in range(length)]
    top = ceiling(max(totals, default=0))
    step = WIDTH / max(length, 1)
    columns: list[Html] = []
    for index in range(length):
        level = 0.0
        for one in series:
            height = HEIGHT * _at(one, index) / top
            if height > 0:
                level += height
                columns.append(
                    tag(
                        "rect",
                        x=_n(index * step + step * 0.1),
                        y=_n(HEIGHT - level),
                        width=_n(step * 0.8),
                        height=_n(height),
                        class_=f"fill-{one.kind}",
                    )
                )
    drawn = tag(
        "svg",
        [_grid(), columns],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    # Words stand beside the drawing, not in it: they keep their size while it is stretched.
    scale = [tag("span", f"{top * part:g}") for part in (1.0, 0.5, 0.0)]
    ends = [tag("span", text) for text in marks]
    return tag(
        "div",
        tag("div", scale, class_="scale", aria_hidden="true"),
        drawn,
        tag("div", ends, class_="ends", aria_hidden="true"),
        class_="chart",
    )


def line(values: Sequence[float], label: str, kind: str = "accent") -> Html:
    """A small line without axes: where a number has been of late."""
    width, height = 120, 28
    values = [_sane(value) for value in values]
    top = max(*values, 1e-9) if values else 1.0
    step = width / max(len(values) - 1, 1)
    points = [f"{_n(i * step)},{_n(height - height * v / top)}" for i, v in enumerate(values)]
    path = tag("polyline", points=" ".join(points), class_=f"line-{kind}")
    return tag(
        "svg",
        path if len(points) > 1 else None,
        viewBox=f"-2 -2 {width + 4} {height + 4}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        class_="spark",
    )


def bar(parts: Sequence[tuple[str, str, float]], label: str) -> Html:
    """One bar cut into shares: kind, name and amount of each."""
    whole = sum(_sane(amount) for _, _, amount in parts)
    pieces: list[Html] = []
    left = 0.0
    for kind, name, amount in parts:
        width = 100 * _sane(amount) / whole if whole else 0
        if width > 0:
            title = tag("title", f"{name}: {share(amount, whole)}")
            rect = tag("rect", title, x=_n(left), width=_n(width), height=8, class_=f"fill-{kind}")
            pieces.append(rect)
            left += width
    told = ", ".join(f"{name} {share(amount, whole)}" for _, name, amount in parts if amount > 0)
    return tag(
        "svg",
        tag("rect", width=100, height=8, class_="fill-empty"),
        pieces,
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{label}: {told or 'nothing yet'}",
        class_="bar",
    )


def ceiling(value: float) -> float:
    """The round number that an axis ends at: 1, 2 or 5 times a power of ten."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((power * n for n in (1, 2, 5) if power * n >= value), power * 10)


def _grid() -> list[Html]:
    heights = (0, HEIGHT // 2, HEIGHT)
    return [tag("line", x1=0, x2=WIDTH, y1=y, y2=y, class_="grid") for y in heights]


def _at(one: Series, index: int) -> float:
    return _sane(one.values[index]) if index < len(one.values) else 0.0


def _sane(value: float) -> float:
    return min(value, _MOST) if math.isfinite(value) and value > 0 else 0.0


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
