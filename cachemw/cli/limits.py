"""`cachemw limits`: who is counted most, and whose count begins anew."""

from collections.abc import Sequence

import click

from cachemw.cli.reach import awaited, json_option, on_a_store, reached
from cachemw.cli.tell import Column, facts, rows, span
from cachemw.inspection.counters import Counter, busiest, digest_of, forget

by_option = click.option(
    "--by",
    default="ip",
    show_default=True,
    help="What CLIENT is: ip, header:x-api-key, subject:user_id.",
)


@click.group()
def limits() -> None:
    """Who is counted most by rate limits; begin anew."""


@limits.command()
@click.option("-n", "--most", default=20, show_default=True, help="How many to list at most.")
@click.option("--look-at", default=50_000, show_default=True, help="Keys to look at, at most.")
@on_a_store
@json_option
@awaited
async def top(most: int, look_at: int, store: str | None, app: str | None, as_json: bool) -> None:
    """The blocks, then the largest counts.

    Clients are digests: the store does not know addresses or keys.
    """
    async with reached(store, app) as found:
        told = await busiest(found.store, most=most, look_at=look_at)
    rows(told, COLUMNS, as_json=as_json)


@limits.command()
@click.argument("client")
@by_option
@click.option("--rule", default="", help="Only under the rule of this name.")
@click.option("--fail-empty", is_flag=True, help="End with 3 when nothing was counted.")
@on_a_store
@json_option
@awaited
async def reset(
    client: str,
    by: str,
    rule: str,
    fail_empty: bool,
    store: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Let the counts of a client begin anew, end its blocks.

    CLIENT is an address, another identity with --by, or a digest from `limits top`. Workers
    remember a refusal for up to ten seconds.
    """
    async with reached(store, app) as found:
        count = await forget(found.store, digest_of(client, by), rule)
    facts({"client": client, "forgotten": count}, {"forgotten": f"{count}"}, as_json=as_json)
    if fail_empty and not count:
        raise SystemExit(3)


COLUMNS: Sequence[Column[Counter]] = (
    Column("COUNT", lambda one: "blocked" if one.is_block else f"{one.count:,}", right=True),
    Column("WINDOW", lambda one: span(one.window) if one.window else "", right=True),
    Column("ANEW IN", lambda one: span(one.left), right=True),
    Column("RULE", lambda one: one.rule, wide=True),
    Column("CLIENT", lambda one: one.client),
)
