"""`cachemw doctor`: what is amiss with the servers, and how to mend it."""

from collections.abc import Sequence

import click

from cachemw.cli.reach import awaited, json_option, on_a_store, reached
from cachemw.cli.tell import Column, counted, note, rows
from cachemw.doctor import Finding, Severity, examine


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what is as it should be.")
@click.option(
    "--fail-on",
    type=click.Choice(["critical", "warning", "notice", "never"]),
    default="critical",
    show_default=True,
    help="End with 1 when something this grave was found.",
)
@on_a_store
@json_option
@awaited
async def doctor(
    everything: bool, fail_on: str, store: str | None, app: str | None, as_json: bool
) -> None:
    """Look at the servers, say what is amiss, and the fix."""
    async with reached(store, app) as found:
        findings = await examine(found.store)
    told = [one for one in findings if everything or one.severity is not Severity.OK]
    rows(told, COLUMNS, as_json=as_json)
    well = sum(one.severity is Severity.OK for one in findings)
    note(
        f"{counted(len(findings) - well, 'finding')}; {counted(well, 'check')} found nothing amiss"
    )
    limit = -1 if fail_on == "never" else Severity(fail_on).rank
    if any(one.severity.rank <= limit for one in findings):
        raise SystemExit(1)


def _what(one: Finding) -> str:
    return f"{one.what}. Fix: {one.fix}" if one.fix else one.what


COLUMNS: Sequence[Column[Finding]] = (
    Column("SEVERITY", lambda one: one.severity),
    Column("SUBJECT", lambda one: one.subject),
    Column("SERVER", lambda one: one.server),
    Column("WHAT", _what, wide=True),
)
