"""How commands speak: data on stdout, everything else on stderr.

Data is a table on a terminal, lines with tabs between the columns where it goes into a file or
another program, and one JSON object a line with `--json`. What comes from clients (URLs, tags,
keys) may hold anything: what would move a cursor or colour a terminal is shown, not obeyed.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, Generic, TypeVar, cast

import click
from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

GAP = 2  # characters between two columns
NARROWEST = 16  # characters that a wide column must have

STYLES = {
    **{"fresh": "green", "hit": "green", "ok": "green", "kept": "green"},
    **{"stale": "yellow", "soft-purged": "yellow", "warning": "yellow", "miss": "yellow"},
    **{"purged": "red", "critical": "bold red", "failed": "red", "bypass": "magenta"},
    **{"notice": "cyan", "purge": "cyan"},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table: its name, and what stands in it."""

    name: str
    text: Callable[[T], str]
    right: bool = False
    wide: bool = False
    """Whether it takes what room there is; others keep to what they need."""


def rows(items: Iterable[T], columns: Sequence[Column[T]], *, as_json: bool) -> None:
    """Tell several things of one kind."""
    if as_json:
        for item in items:
            click.echo(to_json(item))
    elif sys.stdout.isatty():
        console = Console()
        console.print(table(items, columns, console.width))
    else:
        for item in items:
            click.echo("\t".join(plain(column.text(item)) for column in columns))


def table(items: Iterable[T], columns: Sequence[Column[T]], width: int) -> RenderableType:
    """A table `width` characters wide, or a paragraph for each item where that is too narrow."""
    told = [[plain(column.text(item)) for column in columns] for item in items]
    needs = [max(map(len, texts)) for texts in zip([c.name for c in columns], *told, strict=True)]
    least = (
        NARROWEST if column.wide else need for column, need in zip(columns, needs, strict=True)
    )
    if sum(least) + GAP * len(columns) > width:
        return Group(*(_paragraph(texts, columns) for texts in told))
    drawn = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(
            column.name,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not column.wide,
            ratio=1 if column.wide else None,
        )
    for texts in told:
        drawn.add_row(*map(_styled, texts))
    return drawn


def _paragraph(texts: Sequence[str], columns: Sequence[Column[Any]]) -> Text:
    """What is wide on lines of its own, and the rest behind it."""
    pairs = [(text, column) for text, column in zip(texts, columns, strict=True) if text]
    heads = [_styled(text) for text, column in pairs if column.wide]
    rest = [
        Text(f"{column.name.lower()} ").append(_styled(text))
        for text, column in pairs
        if not column.wide
    ]
    return Text("\n").join([*heads, Text("  ") + Text(", ").join(rest)])


def _styled(text: str) -> Text:
    return Text(text, style=STYLES.get(text, ""))


def facts(item: Any, told: Mapping[str, str | Iterable[str]], *, as_json: bool) -> None:
    """Tell one thing: names and what is said under them, or `item` as JSON."""
    if as_json:
        click.echo(to_json(item))
        return
    lines = [
        (name, plain(text))
        for name, texts in told.items()
        for text in ([texts] if isinstance(texts, str) else texts)
        if text
    ]
    width = max((len(name) for name, _ in lines), default=0)
    before = ""
    for name, text in lines:
        label = "" if name == before else name
        before = name
        if sys.stdout.isatty():
            styled = Text(text, style=STYLES.get(text, ""))
            grid = Table.grid(padding=(0, 2, 0, 0))
            grid.add_column(width=width, style="bold")
            grid.add_column(overflow="fold")
            grid.add_row(label, styled)
            Console().print(grid)
        else:
            click.echo(f"{name}\t{text}")


def plain(text: str) -> str:
    """Text without what a terminal would obey."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def note(text: str) -> None:
    """Say something that is no data."""
    click.echo(plain(text), err=True)


def to_json(item: Any) -> str:
    return json.dumps(simple(item), ensure_ascii=False)


def simple(item: Any) -> Any:
    """A value in the terms of JSON."""
    match item:
        case Enum():
            return item.value
        case bytes():
            return item.decode("utf-8", "backslashreplace")
        case Mapping():
            pairs = cast(Mapping[object, object], item).items()
            return {str(key): simple(value) for key, value in pairs}
        case str() | int() | float() | bool() | None:
            return item
        case list() | tuple() | set() | frozenset():
            return [simple(one) for one in cast(Iterable[object], item)]
        case _ if hasattr(item, "describe"):
            return item.describe()
        case _ if dataclasses.is_dataclass(item):
            named = [field.name for field in dataclasses.fields(item)]
            return {name: simple(getattr(item, name)) for name in named}
        case _ if hasattr(item, "__struct_fields__"):
            return {name: simple(getattr(item, name)) for name in item.__struct_fields__}
        case _:
            return str(item)


# --- amounts


def counted(number: int, what: str) -> str:
    """A number of things: `1 worker`, `1,200 workers`."""
    return f"{number:,} {what}" + "s" * (number != 1)


def span(value: float) -> str:
    """A span of time in at most two units: `4m48s`, `2d3h`, `-10s`."""
    sign, rest = ("-" if value < 0 else ""), abs(value)
    if rest < 10:
        return f"{sign}{rest:.1f}s"
    parts: list[str] = []
    whole = round(rest)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return sign + "".join(parts[:2])


# --- progress


@contextmanager
def progress(what: str, total: int | None = None) -> Generator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal. Gives what is to be told how many are done."""

    def silent(done: int) -> None: ...

    if not sys.stderr.isatty():
        yield silent
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=total)

        def show(done: int) -> None:
            bar.update(task, completed=done)

        yield show


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether somebody agrees; where nobody can be asked, `--yes` has to have been said."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: say --yes, or look first with --dry-run")
    return click.confirm(plain(question), err=True)
