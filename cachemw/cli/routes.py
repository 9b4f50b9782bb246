"""`cachemw routes`: every route of an app, its policy, and the why of it."""

import click

from cachemw.cli.reach import json_option, load_app
from cachemw.cli.tell import Column, note, rows
from cachemw.inspection import RoutePolicy, complaints, route_policies


@click.command()
@click.argument("app", metavar="[MODULE:APP]", envvar="CACHEMW_APP")
@click.option("--cached", is_flag=True, help="Only routes that are cached.")
@click.option("--strict", is_flag=True, help="End with 1 when a policy can match no route.")
@json_option
def routes(app: str, cached: bool, strict: bool, as_json: bool) -> None:
    """Every route of an app with its policy, and why.

    MODULE:APP is an import string such as shop.main:app.
    """
    loaded = load_app(app)
    told = [one for one in route_policies(loaded) if one.policy is not None or not cached]
    columns: list[Column[RoutePolicy]] = [
        Column("ROUTE", lambda one: one.route),
        Column("CACHED", _is_cached),
        Column("POLICY", lambda one: one.why, wide=True),
        Column("WRITTEN", lambda one: one.source, wide=True),
        Column("PURGES", lambda one: "; ".join(one.purges), wide=True),
    ]
    if not any(one.purges for one in told):
        columns.pop()
    rows(told, columns, as_json=as_json)
    found = complaints(loaded)
    for complaint in found:
        note(complaint)
    if strict and found:
        raise SystemExit(1)


def _is_cached(one: RoutePolicy) -> str:
    return "yes" if one.policy is not None else "no"
