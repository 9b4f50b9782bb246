"""`cachemw ls`: what is kept."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from cachemw.cli.reach import awaited, json_option, on_a_store, reached
from cachemw.cli.tell import Column, note, rows, span
from cachemw.doctor.memory import size_words
from cachemw.inspection import Filter, Kind, State, Stored, listing

SORTS: Mapping[str, Callable[[Stored], Any]] = {
    "name": lambda one: (one.kind, one.name, one.key),
    "age": lambda one: -one.age,
    "fresh": lambda one: one.fresh,
    "left": lambda one: one.left,
    "size": lambda one: -one.size,
}


@click.command()
@click.argument("pattern", default="*")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only such things.")
@click.option(
    "--state", type=click.Choice([s.value for s in State][:-1]), help="Only in this state."
)
@click.option("--tag", default="", help="Only what has this tag.")
@click.option("--route", default="", help="Only the responses of this route.")
@click.option("--namespace", default="", help="Only what is in it.")
@click.option(
    "--sort", type=click.Choice(list(SORTS)), default="name", show_default=True, help="By what."
)
@click.option("-n", "--most", default=100, show_default=True, help="How many to list at most.")
@click.option("--look-at", default=50_000, show_default=True, help="Keys to look at, at most.")
@click.option("--fail-empty", is_flag=True, help="End with 3 when there is nothing.")
@on_a_store
@json_option
@awaited
async def ls(
    pattern: str,
    kind: str | None,
    state: str | None,
    tag: str,
    route: str,
    namespace: str,
    sort: str,
    most: int,
    look_at: int,
    fail_empty: bool,
    store: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """List responses by URL and values by key.

    PATTERN is a glob of names: '/products/*', 'user:*'. Without one, everything.
    """
    wanted = Filter(
        pattern,
        kind=Kind(kind) if kind else None,
        state=State(state) if state else None,
        tag=tag,
        route=route,
        namespace=namespace,
    )
    async with reached(store, app) as found:
        told = await listing(found.store, wanted, most=most, look_at=look_at)
    rows(sorted(told.items, key=SORTS[sort]), COLUMNS, as_json=as_json)
    if not told.is_whole:
        note(f"not all of it: {len(told.items)} of the first {told.looked_at:,} keys looked at")
    if fail_empty and not told.items:
        raise SystemExit(3)


def _tags(one: Stored) -> str:
    named = [*one.tags, *([f"namespace {one.namespace}"] if one.namespace else [])]
    return ", ".join(named)


def _name(one: Stored) -> str:
    return one.name or one.key


COLUMNS: Sequence[Column[Stored]] = (
    Column("STATE", lambda one: one.state),
    Column("FRESH FOR", lambda one: span(one.fresh), right=True),
    Column("GONE IN", lambda one: span(one.left), right=True),
    Column("AGE", lambda one: span(one.age), right=True),
    Column("SIZE", lambda one: size_words(one.size), right=True),
    Column("NAME", _name, wide=True),
    Column("TAGS", _tags, wide=True),
)
