"""`cachemw sessions`: how many there are, whose they are, and ending them."""

from collections.abc import Sequence

import click

from cachemw.cli.reach import Reached, awaited, json_option, on_a_store, reached
from cachemw.cli.tell import Column, confirmed, facts, rows
from cachemw.sessions import ids
from cachemw.sessions.sessions import SessionInfo, Sessions


@click.group()
def sessions() -> None:
    """Count sessions, list a user's, end them."""


@sessions.command()
@click.argument("subject", required=False)
@on_a_store
@json_option
@awaited
async def count(subject: str | None, store: str | None, app: str | None, as_json: bool) -> None:
    """How many sessions there are, or how many of a user.

    SUBJECT is what the session has under its subject key, such as a user's id. All of them
    together are counted by a walk over all keys, anonymous ones included.
    """
    async with reached(store, app) as found:
        if subject is not None:
            number = len(await _of(found).list(subject))
        else:
            number = 0
            async for batch in found.store.scan(ids.RECORDS + b"{*"):
                number += len(batch)
    facts({"sessions": number}, {"sessions": f"{number:,}"}, as_json=as_json)


@sessions.command("list")
@click.argument("subject")
@on_a_store
@json_option
@awaited
async def list_(subject: str, store: str | None, app: str | None, as_json: bool) -> None:
    """Where a user is logged in, the last used first."""
    async with reached(store, app) as found:
        told = await _of(found).list(subject)
    rows(told, COLUMNS, as_json=as_json)


@sessions.command()
@click.argument("subject", required=False)
@click.option("--handle", help="Only this one, as `sessions list` names it.")
@click.option("--everyone", is_flag=True, help="All in which anybody is logged in.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@on_a_store
@json_option
@awaited
async def revoke(
    subject: str | None,
    handle: str | None,
    everyone: bool,
    yes: bool,
    store: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """End a user's sessions, with their next request."""
    if (subject is None) is not everyone or (handle and everyone):
        raise click.UsageError("name a SUBJECT, perhaps with --handle, or say --everyone")
    whose = "everyone's sessions" if everyone else f"the sessions of {subject}"
    what = f"session {handle} of {subject}" if handle else whose
    async with reached(store, app) as found:
        if not confirmed(f"End {what} in {found.store}?", yes=yes):
            raise SystemExit(1)
        known = _of(found)
        if subject is None:
            number = await known.revoke_everyone()
        elif handle:
            number = int(await known.revoke(subject, handle))
        else:
            number = await known.revoke_all(subject)
    facts({"ended": number}, {"ended": f"{number:,}"}, as_json=as_json)
    if handle and not number:
        raise SystemExit(1)


def _of(found: Reached) -> Sessions:
    """The app's, whose idle time decides which of them still live; or with the usual options."""
    return (found.handle and found.handle.sessions) or Sessions(store=found.store)


COLUMNS: Sequence[Column[SessionInfo]] = (
    Column("HANDLE", lambda one: one.handle),
    Column("LAST SEEN", lambda one: f"{one.last_seen:%Y-%m-%d %H:%M:%S}Z"),
    Column("EXPIRES", lambda one: f"{one.expires:%Y-%m-%d %H:%M:%S}Z"),
    Column("DEVICE", lambda one: one.device, wide=True),
)
