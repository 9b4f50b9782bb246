"""`cachemw stats`: what all workers have counted, by route."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cachemw.cli.reach import awaited, json_option, on_a_store, reached
from cachemw.cli.tell import Column, counted, facts, note, rows, span, table
from cachemw.doctor.memory import size_words
from cachemw.errors import StoreUnavailable
from cachemw.telemetry.bulletin import Fleet, read_fleet
from cachemw.telemetry.counters import RouteCounts

EVERY = 2.0  # seconds; so often workers tell of themselves


@dataclass(frozen=True, slots=True)
class Row:
    """One route, or all of them together."""

    route: str
    counts: RouteCounts


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@on_a_store
@json_option
@awaited
async def stats(watch: bool, store: str | None, app: str | None, as_json: bool) -> None:
    """Hits, misses and time saved, by route, of all workers.

    Counts are of workers that are alive, since each of them began. Into a pipe it is told once.
    """
    async with reached(store, app) as found:
        fleet = await read_fleet(found.store)
        if as_json:
            _as_json(fleet)
        elif watch and sys.stdout.isatty():
            console = Console()
            with Live(_drawn(fleet, console.width), console=console, screen=True) as live:
                while True:
                    await asyncio.sleep(EVERY)
                    try:
                        live.update(_drawn(await read_fleet(found.store), console.width))
                    except StoreUnavailable as error:
                        live.update(Text(f"waiting: {error}", "yellow"))
        else:
            rows(_rows(fleet), COLUMNS, as_json=False)
            note(_summary(fleet))


def _rows(fleet: Fleet) -> list[Row]:
    busy = sorted(fleet.total.routes.items(), key=lambda each: -each[1].requests)
    return [Row(route, counts) for route, counts in busy] + [Row("all", fleet.total.of_all_routes)]


def _as_json(fleet: Fleet) -> None:
    for row in _rows(fleet):
        counts = row.counts
        told = {
            "route": row.route,
            "requests": counts.requests,
            "hits": counts.hits,
            "stale": counts.stale,
            "misses": counts.misses,
            "bypasses": counts.bypasses,
            "hit_ratio": round(counts.hit_ratio, 4),
            "collapsed": counts.collapsed,
            "stored": counts.stored,
            "bytes": counts.size,
            "seconds_saved": round(counts.saved, 3),
            "seconds_spent": round(counts.spent, 3),
            "reasons": {f"{outcome} {why}": n for (outcome, why), n in counts.reasons.items()},
        }
        facts(told, {}, as_json=True)


def _drawn(fleet: Fleet, width: int) -> Group:
    return Group(table(_rows(fleet), COLUMNS, width), Text(""), Text(_summary(fleet), "dim"))


def _summary(fleet: Fleet) -> str:
    total, workers = fleet.total, [one for one in fleet.workers if one.kind == "worker"]
    said = [
        counted(len(workers), "worker"),
        counted(total.unruled, "request") + " without a policy",
    ]
    away = [f"{server} given up by {count}" for server, count in fleet.breakers.items() if count]
    failures = sum(total.store.failures.values())
    return "; ".join([*said, counted(failures, "call") + " of the store failed", *away])


COLUMNS: Sequence[Column[Row]] = (
    Column("REQUESTS", lambda one: f"{one.counts.requests:,}", right=True),
    Column("HIT RATIO", lambda one: f"{one.counts.hit_ratio:.1%}", right=True),
    Column("HITS", lambda one: f"{one.counts.hits:,}", right=True),
    Column("STALE", lambda one: f"{one.counts.stale:,}", right=True),
    Column("MISSES", lambda one: f"{one.counts.misses:,}", right=True),
    Column("BYPASSED", lambda one: f"{one.counts.bypasses:,}", right=True),
    Column("SAVED", lambda one: span(one.counts.saved), right=True),
    Column("SENT", lambda one: size_words(one.counts.size), right=True),
    Column("ROUTE", lambda one: one.route, wide=True),
)
