"""`cachemw tail`: what becomes of requests, as it happens."""

import asyncio
import sys
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.text import Text

from cachemw.cli.reach import awaited, json_option, on_a_store, reached
from cachemw.cli.tell import STYLES, facts, note, plain
from cachemw.errors import StoreUnavailable
from cachemw.telemetry.bulletin import Fleet, read_fleet
from cachemw.telemetry.events import Exchange

EVERY = 1.0  # seconds


@click.command()
@click.option("--route", help="Only of this route.")
@click.option("--outcome", help="Only these: hit, stale, miss or bypass.")
@click.option("--once", is_flag=True, help="What there is, and end.")
@on_a_store
@json_option
@awaited
async def tail(
    route: str | None,
    outcome: str | None,
    once: bool,
    store: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Show what becomes of requests, on all workers.

    Workers tell of themselves every two seconds, and of their last hundred requests, so that a
    busy one is seen in samples.
    """
    seen: dict[str, int] = {}
    async with reached(store, app) as found:
        while True:
            try:
                news = _news(await read_fleet(found.store), seen)
            except StoreUnavailable as error:
                if once:
                    raise
                note(f"waiting: {error}")
                news = []
            for one in news:
                if route in (None, one.route) and outcome in (None, one.outcome):
                    _tell(one, as_json=as_json)
            if once:
                return
            sys.stdout.flush()
            await asyncio.sleep(EVERY)


def _news(fleet: Fleet, seen: dict[str, int]) -> list[Exchange]:
    """What each worker has told since the last look, in order; `seen` is brought up to date."""
    news: list[Exchange] = []
    for worker in fleet.workers:
        since = seen.get(worker.worker, 0)
        news += [one for one in worker.recent if one.at > since]
        seen[worker.worker] = max([since, *(one.at for one in worker.recent)])
    return sorted(news, key=lambda one: one.at)


def _tell(one: Exchange, *, as_json: bool) -> None:
    if as_json:
        facts(one, {}, as_json=True)
        return
    at = datetime.fromtimestamp(one.at / 1e6, UTC)
    line = f"{at:%H:%M:%S.%f}"[:-3] + f" {plain(str(one))}"
    if sys.stdout.isatty():
        Console().print(Text(line, STYLES.get(one.outcome, "")), overflow="fold")
    else:
        click.echo(line)
