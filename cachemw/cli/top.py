"""`cachemw top`: what the last requests of all workers have in common."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import click

from cachemw.cli.reach import awaited, json_option, on_a_store, reached
from cachemw.cli.tell import Column, counted, note, rows
from cachemw.telemetry.bulletin import read_fleet
from cachemw.telemetry.events import Exchange

BY: Mapping[str, Callable[[Exchange], str]] = {
    "path": lambda one: f"{one.method} {one.path}",
    "route": lambda one: one.route,
    "outcome": lambda one: one.outcome,
    "reason": lambda one: one.reason or "-",
    "status": lambda one: str(one.status),
}


@click.command()
@click.option("--by", type=click.Choice(list(BY)), default="path", help="What to rank.")
@click.option("--outcome", help="Only these: hit, stale, miss or bypass.")
@click.option("--route", help="Only of this route.")
@click.option("-n", "--most", default=20, show_default=True, help="How many to list at most.")
@on_a_store
@json_option
@awaited
async def top(
    by: str,
    outcome: str | None,
    route: str | None,
    most: int,
    store: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Rank what was asked for last, over all workers.

    Each worker tells of its last hundred requests.
    """
    async with reached(store, app) as found:
        fleet = await read_fleet(found.store)
    wanted = [
        one for one in fleet.recent if outcome in (None, one.outcome) and route in (None, one.route)
    ]
    ranked = Counter(map(BY[by], wanted)).most_common(most)
    told: list[dict[str, object]] = [
        {by: name, "count": count, "share": count / len(wanted)} for name, count in ranked
    ]
    columns: Sequence[Column[dict[str, object]]] = (
        Column("COUNT", lambda one: str(one["count"]), right=True),
        Column("SHARE", lambda one: f"{one['share']:.0%}", right=True),
        Column(by.upper(), lambda one: str(one[by]), wide=True),
    )
    rows(told, columns, as_json=as_json)
    note(
        f"of {counted(len(wanted), 'request')}, the last of {counted(len(fleet.workers), 'worker')}"
    )
