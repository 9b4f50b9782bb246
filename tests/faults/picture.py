"""A soak as an SVG picture: what came of requests, how long they took, how much memory it took.

Time runs to the right; a grey band is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.soak import Second, Story

WIDTH, LEFT, PANEL, GAP, TOP = 1000, 70, 120, 34, 74
FINE, REFUSED, BROKEN, INK = "#3b7a57", "#d9a441", "#b23a48", "#333"


def draw(story: Story, title: str) -> str:
    """The picture of a story."""
    seconds = [second for second in story.seconds if second.memory]
    end = max([second.at for second in seconds] + [1.0])

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * at / end

    panels: list[tuple[str, list[tuple[str, Callable[[Second], float]]]]] = [
        (
            "requests a second: answered, refused for want of the store, broken off",
            [
                (FINE, lambda s: s.fine + s.refused + s.broken),
                (REFUSED, lambda s: s.refused + s.broken),
                (BROKEN, lambda s: s.broken + s.other),
            ],
        ),
        ("the slowest answer of each second, ms", [(INK, lambda s: s.worst * 1000)]),
        ("memory of the largest worker, MB", [("#46618c", lambda s: s.memory / 1e6)]),
    ]
    height = TOP + len(panels) * (PANEL + GAP) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" font-size="16">{escape(title)}</text>',
        f'<text x="{LEFT}" y="44">{len(story.faults)} faults (grey); '
        f"{len(story.wrong)} wrong answers</text>",
    ]
    for number, (name, lines) in enumerate(panels):
        top = TOP + number * (PANEL + GAP)
        parts += _bands(story, x, top)
        parts += _panel(seconds, name, lines, x, top)
    ticks = range(0, int(end) + 1, max(1, int(end) // 10))
    parts += [_text(x(at), height - 6, f"{at} s", "middle") for at in ticks]
    return "\n".join([*parts, "</svg>\n"])


def _bands(story: Story, x: Callable[[float], float], top: float) -> list[str]:
    return [
        f'<rect x="{x(began):.1f}" y="{top}" width="{max(1.0, x(ended) - x(began)):.1f}" '
        f'height="{PANEL}" fill="#000" opacity="0.08"><title>{escape(name)}</title></rect>'
        for began, ended, name in story.faults
    ]


def _panel(
    seconds: Sequence[Second],
    name: str,
    lines: Sequence[tuple[str, Callable[[Second], float]]],
    x: Callable[[float], float],
    top: float,
) -> list[str]:
    most = max([value(second) for second in seconds for _, value in lines] + [1e-9])
    base = top + PANEL
    parts = [_text(LEFT, top - 6, name), _text(LEFT - 8, top + 10, f"{most:.0f}", "end")]
    parts.append(f'<path d="M{LEFT} {base}H{WIDTH - 20}" stroke="#999" fill="none"/>')
    for colour, value in lines:
        points = " ".join(
            f"{x(second.at):.1f},{base - PANEL * value(second) / most:.1f}" for second in seconds
        )
        if len(lines) > 1:
            area = f"{LEFT},{base} {points} {WIDTH - 20},{base}"
            parts.append(f'<polygon points="{area}" fill="{colour}"/>')
        else:
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
