"""`cachemw get`: all of one thing that is kept."""

import json
import sys
from collections.abc import Iterable

import click

from cachemw.cli.explain import stored_line
from cachemw.cli.reach import awaited, json_option, on_a_store, reached
from cachemw.cli.tell import facts, note, simple
from cachemw.inspection import Content, Kind, content, named

SHOWN = 2000  # characters of a body


@click.command()
@click.argument("name")
@click.option("--body", is_flag=True, help="Nothing but the body, or the value's bytes, as it is.")
@click.option("--fail-empty", is_flag=True, help="End with 3 when there is nothing, instead of 1.")
@on_a_store
@json_option
@awaited
async def get(
    name: str, body: bool, fail_empty: bool, store: str | None, app: str | None, as_json: bool
) -> None:
    """Show all that is kept under a name.

    NAME is the URL of a response (all its variants are shown), the key of a value, or a key of the
    store as `ls --json` and `explain` name it.
    """
    async with reached(store, app) as found:
        about = await named(found.store, name, policies=found.policies)
        keys = [one.key for one in about if one.kind is not Kind.SIGNPOST]
        whole = [one for key in keys if (one := await content(found.store, key)) is not None]
    if not whole:
        note(f"nothing is kept under {name!r}")
        raise SystemExit(3 if fail_empty else 1)
    if body:
        if len(whole) > 1:
            note(f"{len(whole)} variants; name one by its key: {', '.join(keys)}")
            raise SystemExit(2)
        sys.stdout.buffer.write(whole[0].body)
        return
    for one in whole:
        facts(_as_json(one), _said(one), as_json=as_json)


def _as_json(one: Content) -> dict[str, object]:
    told: dict[str, object] = simple(one.stored)
    told["headers"] = [[simple(name), simple(value)] for name, value in one.headers]
    if one.value is None:
        told["body"] = simple(one.body)
    else:
        told["value"] = simple(one.value)
    return told


def _said(one: Content) -> dict[str, str | Iterable[str]]:
    text = one.body.decode("utf-8", "backslashreplace")
    if one.value is not None:
        text = json.dumps(simple(one.value), ensure_ascii=False)
    more = f" ... {len(text) - SHOWN:,} more characters" if len(text) > SHOWN else ""
    stored = one.stored
    return {
        "name": stored.name,
        "stored": stored_line(stored),
        "route": stored.route,
        "namespace": stored.namespace,
        "tags": ", ".join(stored.tags),
        "field": [f"{n.decode('latin-1')}: {v.decode('latin-1')}" for n, v in one.headers],
        "value" if one.value is not None else "body": text[:SHOWN] + more,
    }
