"""`cachemw relay`: follow the purges of one region, and purge the same in another.

What it carries is told on stdout, one JSON object a line; what is amiss, on stderr.
"""

import asyncio
import json
from contextlib import AsyncExitStack

import click

from cachemw.caching.relay import Relay, Trip
from cachemw.cli.reach import patient
from cachemw.errors import StoreUnavailable
from cachemw.stores import open_store
from cachemw.telemetry.bulletin import Publisher


@click.command()
@click.option(
    "--from",
    "source",
    metavar="URL",
    required=True,
    envvar="CACHEMW_RELAY_FROM",
    help="The store where the purges happen.",
)
@click.option(
    "--to",
    "target",
    metavar="URL",
    required=True,
    envvar="CACHEMW_RELAY_TO",
    help="The store that is to follow.",
)
@click.option(
    "--region",
    metavar="NAME",
    required=True,
    envvar="CACHEMW_RELAY_REGION",
    help="The region that --from belongs to, by the name its workers write.",
)
@click.option("--once", is_flag=True, help="Carry what there is, and end.")
def relay(source: str, target: str, region: str, once: bool) -> None:
    """Carry the purges of one region to another.

    One such process for each ordered pair of regions. It can be killed and started again at any
    time: nothing is lost, some of it may be carried twice.
    """
    asyncio.run(_relay(source, target, region, once))


async def _relay(source: str, target: str, region: str, once: bool) -> None:
    async with AsyncExitStack() as at_the_end:
        here, there = open_store(patient(source)), open_store(patient(target))
        relay = Relay(here, there, region)
        click.echo(f"carrying the purges of {region}: {here} -> {there}", err=True)
        for store in (here, there):
            at_the_end.push_async_callback(store.aclose)
            await store.open()
        publisher = Publisher(there, kind="relay")
        at_the_end.push_async_callback(publisher.aclose)
        publisher.start()
        if once:
            while not (trip := await relay.carry()).is_empty:
                _report(region, trip)
        else:
            await relay.run(lambda trip: _report(region, trip), _complain)


def _report(region: str, trip: Trip) -> None:
    told = {"region": region, "notes": trip.notes, "lag_ms": round(trip.lag * 1000, 1)}
    if trip.gap:
        click.echo(f"{trip.gap}: everything was purged", err=True)
        told["gap"] = trip.gap
    for stranger in trip.strangers:
        click.echo(
            f"the journal is written by region {stranger!r}, not {region!r}: "
            "are --from, --to and --region the right way round?",
            err=True,
        )
    click.echo(json.dumps(told))


def _complain(error: StoreUnavailable | None) -> None:
    click.echo("both stores answer again" if error is None else f"waiting: {error}", err=True)
