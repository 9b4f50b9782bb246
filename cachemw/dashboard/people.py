"""The sessions: how many there are, what happened to them, and where one user is logged in.

Ending sessions is left to the app and to `cachemw sessions revoke`: this page only shows.
"""

import asyncio
from collections.abc import Mapping

from cachemw.dashboard import figures
from cachemw.dashboard.desk import Content, Desk
from cachemw.dashboard.frame import (
    Parts,
    Visit,
    badge,
    code,
    field,
    inquiry,
    line,
    live,
    notice,
    panel,
    table,
)
from cachemw.dashboard.markup import Child, Html, tag
from cachemw.dashboard.overview import clock_time
from cachemw.errors import StoreUnavailable
from cachemw.sessions import ids
from cachemw.sessions.sessions import Sessions
from cachemw.stores.base import Store

PATIENCE = 2.0  # seconds that counting may take
_SUSPICIOUS = frozenset(
    ("malformed-id", "duplicate-cookie", "unreadable", "refused-save", "conflict", "late-change")
)


async def show(desk: Desk) -> Content:
    view, asked, subject = await desk.watch.view(), desk.asked, desk.subject
    counted = view.fleet.total.sessions
    parts: Parts = {"events": panel("What happened", _events(counted), note=_NOTE)}
    at = clock_time(view.at)
    if desk.parts_only:
        return Content(None, parts, at=at)
    body: list[Html] = []
    try:
        body.append(panel("Sessions", tag("p", await _number(subject.store))))
        if subject.sessions is not None:
            body.append(panel("One user", _form(desk.visit, asked)))
            if whose := asked.get("subject", "").strip():
                body.append(panel("Logged in", await _where(subject.sessions, whose)))
    except StoreUnavailable as error:
        body = [notice("bad", f"The store does not answer: {error}")]
    return Content([body, live(parts, "events")], parts, at=at)


_NOTE = "Since the workers began."


async def _number(store: Store) -> str:
    """How many sessions there are, counted as far as patience goes."""
    number = 0
    try:
        async with asyncio.timeout(PATIENCE):
            async for batch in store.scan(ids.RECORDS + b"{*"):
                number += len(batch)
    except TimeoutError:
        return f"More than {figures.exact(number)}: there are too many keys to count them all here."
    return f"{figures.exact(number)} at the moment, those included in which nobody is logged in."


def _events(counted: Mapping[str, int]) -> Html:
    ranked = sorted(counted.items(), key=lambda item: -item[1])
    rows = [
        (badge(word, "warn") if word in _SUSPICIOUS else word, figures.exact(number))
        for word, number in ranked
    ]
    return table("Events of sessions", ("Event", "#Times"), rows, "Nothing happened yet.")


def _form(visit: Visit, asked: Mapping[str, str]) -> Html:
    text = line("subject", asked.get("subject", ""), required=True)
    subject = field("Subject", text, "As the session has it: a user’s id")
    return inquiry(visit, "sessions", "Find", subject, role="search")


async def _where(sessions: Sessions, subject: str) -> Html:
    """Where a user is logged in."""
    rows: list[tuple[Child, ...]] = [
        (
            code(figures.cut(one.device or "–", 100)),
            f"{one.created:%Y-%m-%d %H:%M} UTC",
            f"{one.last_seen:%Y-%m-%d %H:%M} UTC",
            f"{one.expires:%Y-%m-%d %H:%M} UTC",
        )
        for one in await sessions.list(subject)
    ]
    heads = ("Device", "Since", "Last seen", "Ends")
    return table("Where this user is logged in", heads, rows, "Nowhere.")
