"""Numbers as people read them: short, honest about their unit, and safe for any size."""

import math
import re

_NONE = "–"
_PATH = re.compile(r"(?:[\w.-]*/)+([\w.-]+/[\w.-]+\.py:\d+)")


def count(value: float) -> str:
    """`998`, `12.3k`, `4.56M`: three digits that matter."""
    if not math.isfinite(value):
        return _NONE
    if value < 0:
        return "-" + count(-value)
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return _three(value / size) + unit
    return str(round(value)) if value == round(value) or value >= 100 else f"{value:.1f}"


def exact(value: int) -> str:
    """Every digit, in groups: `12,345,678`."""
    return f"{value:,}"


def per_second(value: float) -> str:
    return f"{count(value)}/s"


def share(part: float, whole: float) -> str:
    """A percentage that says 100 % only of all, and 0 % only of nothing."""
    percent = 100 * (part / whole) if whole else math.nan
    if not math.isfinite(percent):
        return _NONE
    if percent > 99.9 and part < whole:
        return "99.9 %"
    if percent < 0.1 and part > 0:
        return "0.1 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def duration(seconds: float) -> str:
    """Two units at most: `0.4 ms`, `12 s`, `3 min 5 s`, `2 d 4 h`."""
    if not math.isfinite(seconds):
        return _NONE
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 1:
        return f"{_three(seconds * 1000)} ms"
    if seconds < 60:
        return f"{_three(seconds)} s"
    whole = round(seconds)
    units = (("y", 31_536_000), ("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for unit, size in units:
        number, whole = divmod(whole, size)
        if number or parts:
            parts.append(f"{exact(number)} {unit}" if number else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts))


def size(octets: float) -> str:
    """`512 B`, `1.5 KiB`, `32 MiB`."""
    if not math.isfinite(octets):
        return _NONE
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(octets) < 1023.5 or unit == "TiB":
            break
        octets /= 1024
    return f"{octets:.0f} B" if unit == "B" else f"{_three(octets)} {unit}"


def where(text: str) -> str:
    """A text in which the paths of source files are no longer than is needed to know them."""
    return _PATH.sub(r"\1", text)


def cut(text: str, length: int = 120) -> str:
    """The text, or its beginning and its end."""
    if len(text) <= length:
        return text
    tail = length // 3
    return f"{text[: length - tail - 1]}…{text[-tail:]}"


def _three(value: float) -> str:
    """Three digits that matter, without an exponent."""
    if value >= 99.95:
        return f"{value:,.0f}"
    text = f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") or "0"
