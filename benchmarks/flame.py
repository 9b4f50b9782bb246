"""Where the time of a hit goes: a flame graph of the app's process under load.

    python3 -m benchmarks.flame [cachemw|cachemw_near|...] [--seconds 10] [--out FILE]

py-spy samples the process from outside; it is installed into an environment of its own. A box is as
wide as its function's share of the time; below it is whom it called. What the graph shows is
printed as well: the functions on top of the stack, by their share.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import cycle
from pathlib import Path

from benchmarks import subjects
from benchmarks.apps.origin import body
from benchmarks.load import drive, request
from benchmarks.peers import ENVIRONMENTS, python_of
from benchmarks.servers import LOAD_CORE, serving
from benchmarks.subjects import Subject

KEYS = 64
CONNECTIONS = 32
SHOWN = 40
WIDE, HIGH, LETTER = 1160, 18, 6.6  # pixels: the drawing, a box, a letter in it
LEAST = 0.003  # of the time: what takes less is not drawn
COLOURS = {"cachemw": "#f2a65a", "starlette": "#8fb8de", "uvicorn": "#b6c9a8"}
OTHERS = "#c9c5d6"


@dataclass
class Frame:
    """A function, as called from where it stands in the tree."""

    name: str
    samples: int = 0
    calls: "dict[str, Frame]" = field(default_factory=dict["str", "Frame"])


def sample(subject: Subject, seconds: float) -> dict[tuple[str, ...], int] | None:
    """How often each stack was met, its functions from the outermost inwards."""
    python = python_of("py-spy")
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as place, serving(subject, counting=False) as server:
        if server is None:
            return None
        exchanges = [(request(f"/item/{number}"), body(number)) for number in range(KEYS)]
        workloads = [cycle(exchanges[turn:] + exchanges[:turn]) for turn in range(CONNECTIONS)]
        drive(server.port, workloads, 1.0)
        folded = Path(place) / "folded"
        command = [str(python.with_name("py-spy")), "record", "--pid", str(server.process.pid)]
        command += ["--rate", "500", "--duration", str(int(seconds)), "--format", "raw"]
        spy = subprocess.Popen(
            [*command, "--output", str(folded)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        drive(server.port, workloads, seconds + 1)
        spy.wait()
        stacks: Counter[tuple[str, ...]] = Counter()
        for line in folded.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            stacks[tuple(map(_function, stack.split(";")))] += int(count)
    return stacks


def _function(frame: str) -> str:
    """`name (package/file.py:12)` without the line."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame


def shares(stacks: Mapping[tuple[str, ...], int]) -> list[tuple[str, float, float]]:
    """For each function: its name, the share of the time it is on top, and anywhere."""
    top: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    for stack, count in stacks.items():
        top[stack[-1]] += count
        for name in set(stack):
            anywhere[name] += count
    total = sum(stacks.values())
    return [(name, count / total, anywhere[name] / total) for name, count in top.most_common(SHOWN)]


def drawn(title: str, stacks: Mapping[tuple[str, ...], int]) -> str:
    """The tree of calls as SVG, from the event loop on."""
    root = _tree(stacks)
    boxes = list(_boxes(root, 0.0, 0, root.samples))
    height = 56 + HIGH * (1 + max(depth for *_, depth in boxes))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="11" fill="#222">',
        f"<title>{escape(title)}</title>",
        f'<text x="0" y="16" font-size="14" fill="#777">{escape(title)}</text>',
    ]
    at = 0
    for name, colour in (*COLOURS.items(), ("Python and others", OTHERS)):
        parts.append(f'<rect x="{at}" y="26" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{at + 18}" y="36" fill="#777">{name}</text>')
        at += 40 + int(LETTER * len(name))
    for frame, x, depth in boxes:
        left, width = x * WIDE / root.samples, frame.samples * WIDE / root.samples
        top, told = 48 + depth * HIGH, f"{frame.name}: {frame.samples / root.samples:.1%}"
        name = frame.name.partition(" ")[0]
        if (room := int((width - 6) / LETTER)) < len(name):
            name = name[: room - 1] + "\u2026" if room > 3 else ""
        parts.append(
            f'<rect x="{left:.1f}" y="{top}" width="{max(width - 0.6, 0.4):.1f}" '
            f'height="{HIGH - 1}" fill="{_colour(frame.name)}"><title>{escape(told)}</title></rect>'
        )
        if name:
            parts.append(f'<text x="{left + 3:.1f}" y="{top + 13}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _tree(stacks: Mapping[tuple[str, ...], int]) -> Frame:
    root = Frame("all")
    for stack, count in stacks.items():
        frame = root
        frame.samples += count
        for name in stack:
            frame = frame.calls.setdefault(name, Frame(name))
            frame.samples += count
    # How the server was started is in every stack, and of no interest.
    while len(root.calls) == 1:
        (root,) = root.calls.values()
    return root


def _boxes(frame: Frame, x: float, depth: int, total: int) -> Iterator[tuple[Frame, float, int]]:
    yield frame, x, depth
    for called in sorted(frame.calls.values(), key=lambda each: -each.samples):
        if called.samples >= LEAST * total:
            yield from _boxes(called, x, depth + 1, total)
        x += called.samples


def _colour(name: str) -> str:
    package = name.partition("(")[2].partition("/")[0]
    return COLOURS.get(package, OTHERS)


def main() -> None:
    there = {one.name: one for one in vars(subjects).values() if isinstance(one, Subject)}
    parser = argparse.ArgumentParser(description="A flame graph of a hit.")
    parser.add_argument("subject", nargs="?", default="cachemw", choices=sorted(there))
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--out", type=Path, default=ENVIRONMENTS / "results" / "flame.svg")
    given = parser.parse_args()
    os.sched_setaffinity(0, [LOAD_CORE])
    given.out.parent.mkdir(parents=True, exist_ok=True)
    stacks = sample(there[given.subject], given.seconds)
    if not stacks:
        sys.exit("no flame graph")
    title = f"{given.subject}: where the time of a hit goes, {CONNECTIONS} connections"
    given.out.write_text(drawn(title, stacks))
    print("| function | on top | anywhere |\n|---|--:|--:|")
    for name, on_top, anywhere in shares(stacks):
        print(f"| `{name}` | {on_top:.1%} | {anywhere:.1%} |")


if __name__ == "__main__":
    main()
