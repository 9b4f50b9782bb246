"""`cachemw explain`: what would become of a request, and why."""

from collections.abc import Iterable

import click

from cachemw.cli.reach import awaited, json_option, reached
from cachemw.cli.tell import facts, span
from cachemw.inspection import Explanation, Stored
from cachemw.inspection import explain as explained


@click.command()
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A field.")
@click.option("-d", "--data", default="", help="The body of a POST or QUERY.")
@click.option(
    "-a",
    "--app",
    metavar="MODULE:APP",
    envvar="CACHEMW_APP",
    required=True,
    help="The app that would be asked; its handlers are not run.",
)
@json_option
@awaited
async def explain(
    method: str, url: str, headers: tuple[str, ...], data: str, app: str, as_json: bool
) -> None:
    """What would become of a request, and why.

    \b
    cachemw explain GET /products/3 -H 'Accept-Language: de' --app shop.main:app
    """
    fields = [field_of(header) for header in headers]
    async with reached(None, app) as found:
        told = await explained(found.app, method, url, fields, body=data.encode())
    facts(told, _said(told), as_json=as_json)


def field_of(text: str) -> tuple[str, str]:
    """A header field as it was written for `-H`."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"-H {text!r} is no field: write it like 'Accept-Language: de'")
    return name.strip(), value.strip()


def _said(told: Explanation) -> dict[str, str | Iterable[str]]:
    policy = told.policy.describe() if told.policy else ""
    return {
        "request": told.request,
        "outcome": told.outcome,
        "why": told.why,
        "cache-status": told.status,
        "route": told.route,
        "policy": policy,
        "written": told.source,
        "key": told.key,
        "selected by": ", ".join(told.fields),
        "tags": ", ".join(told.tags),
        "purges": told.purges,
        "stored": [stored_line(one) for one in told.stored],
        "note": told.notes,
    }


def stored_line(one: Stored) -> str:
    """What is stored under one key, in a line."""
    if one.varies:
        return f"{one.key} varies by {', '.join(one.varies)}; gone in {span(one.left)}"
    because = f" ({', '.join(one.because)})" if one.because else ""
    said = [f"{one.key} {one.state}{because}"]
    said += [f"status {one.status}"] if one.status else []
    said += [f"age {span(one.age)}", f"fresh for {span(one.fresh)}", f"gone in {span(one.left)}"]
    return ", ".join([*said, f"{one.size} bytes"])
