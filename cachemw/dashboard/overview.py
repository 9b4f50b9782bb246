"""The first page: whether it works, what it saves, and what there is to worry about."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cachemw.caching.reasons import Reason
from cachemw.dashboard import charts, figures
from cachemw.dashboard.charts import Series
from cachemw.dashboard.desk import Content, Desk
from cachemw.dashboard.frame import (
    Parts,
    Visit,
    badge,
    code,
    legend,
    live,
    notice,
    panel,
    table,
    tile,
    tiles,
)
from cachemw.dashboard.history import KINDS, WIDTH
from cachemw.dashboard.markup import Child, Html, join, tag
from cachemw.dashboard.watch import View
from cachemw.doctor import Finding, Severity
from cachemw.telemetry.counters import Counts, RouteCounts
from cachemw.telemetry.events import Exchange, Purge, Refresh

NAMES = {"hit": "Hit", "stale": "Stale", "miss": "Miss", "bypass": "Bypass"}
BUSIEST = 8
SHOWN = 12


async def show(desk: Desk) -> Content:
    view, findings = await asyncio.gather(desk.watch.view(), desk.watch.findings())
    visit, total = desk.visit, view.fleet.total
    parts: Parts = {
        "state": join([_warnings(visit, view, findings), _tiles(view, total)]),
        "traffic": panel("Requests a second", _chart(view), class_="traffic"),
        "busiest": panel("Busiest routes", _busiest(visit, total.routes)),
        "reasons": panel("Why not from the cache", reasons_table(total.routes.values())),
        "requests": panel("Last requests", _requests(view)),
        "refreshes": panel("Refreshes", _refreshes(view, total)),
        "purges": panel("Purges", _purges(view)),
    }
    body = [
        live(parts, "state"),
        live(parts, "traffic"),
        tag("div", live(parts, "busiest"), live(parts, "reasons"), class_="columns"),
        live(parts, "requests"),
        tag("div", live(parts, "refreshes"), live(parts, "purges"), class_="columns"),
    ]
    return Content(body, parts, at=clock_time(view.at))


def clock_time(at: int) -> str:
    """An instant as people say it, in UTC: a fleet has no other time in common."""
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%H:%M:%S UTC")


def ago(now: int, at: int) -> str:
    """How long ago an instant was."""
    seconds = (now - at) / 1e6
    return "just now" if seconds < 1 else figures.duration(int(seconds)) + " ago"


def mix(counts: RouteCounts, label: str) -> Html:
    """What became of the requests, as a bar."""
    amounts = (counts.hits, counts.stale, counts.misses, counts.bypasses)
    pairs = zip(KINDS, amounts, strict=True)
    return charts.bar([(kind, NAMES[kind].lower(), amount) for kind, amount in pairs], label)


def meaning_of(word: str) -> str:
    """What a reason means; nothing for one of another version."""
    return Reason(word).meaning if word in set(Reason) else ""


def reasons_table(routes: Iterable[RouteCounts]) -> Html:
    """Why requests went to the app, or were answered otherwise than by a plain hit."""
    counted: dict[tuple[str, str], int] = {}
    for counts in routes:
        for pair, number in counts.reasons.items():
            counted[pair] = counted.get(pair, 0) + number
    ranked = sorted(counted.items(), key=lambda item: -item[1])[:SHOWN]
    rows = [
        (
            [tag("b", word), tag("br"), tag("span", meaning_of(word), class_="dim")],
            badge(outcome, outcome),
            figures.count(number),
        )
        for (outcome, word), number in ranked
    ]
    return table("Reasons", ("Reason", "Outcome", "#Requests"), rows, "Nothing to explain so far.")


def _warnings(visit: Visit, view: View, findings: Sequence[Finding]) -> Child:
    if view.trip is None:
        return notice(
            "bad",
            "The store does not answer. The app goes on without it; here is what is known.",
        )
    grave = [f for f in findings if f.severity in (Severity.CRITICAL, Severity.WARNING)]
    if not grave:
        return None
    kind = "bad" if grave[0].severity is Severity.CRITICAL else "warn"
    more = f", and {len(grave) - 1} more" if len(grave) > 1 else ""
    return notice(kind, tag("a", "Doctor", href=visit.link("health")), f": {grave[0].what}{more}.")


def _tiles(view: View, total: Counts) -> Html:
    routes, fleet = total.of_all_routes, view.fleet
    line = charts.line([sum(column) for column in view.columns], "Requests a second, of late")
    could = routes.served + routes.misses
    failed = sum(total.store.failures.values())
    said = "answers" if failed == 0 else f"{figures.count(failed)} calls have failed"
    is_open = sum(1 for count in fleet.breakers.values() if count)
    if is_open:
        said = f"{is_open} of {len(fleet.breakers)} breakers open"
    store = (
        tile("Store", "Away", said, kind="bad")
        if view.trip is None
        else tile(
            "Store", figures.duration(view.trip), said, kind="warn" if failed or is_open else None
        )
    )
    return tiles(
        tile("Requests", figures.per_second(view.per_second), line),
        tile(
            "From the cache",
            figures.share(routes.served, could),
            f"{figures.count(routes.served)} of {figures.count(could)}",
            kind="good" if could and routes.hit_ratio >= 0.5 else None,
        ),
        tile("Time saved", figures.duration(routes.saved), "of the app’s handlers"),
        tile(
            "Served stale",
            figures.count(routes.stale),
            f"{figures.count(routes.collapsed)} waited for another",
        ),
        tile(
            "Bypassed",
            figures.count(routes.bypasses),
            f"{figures.count(total.unruled)} more have no policy",
        ),
        store,
        tile("Workers", figures.count(len(fleet.workers)), _hosts(view)),
    )


def _hosts(view: View) -> str:
    hosts = len({worker.host for worker in view.fleet.workers})
    return "nobody heard of" if not hosts else "1 host" if hosts == 1 else f"{hosts} hosts"


def _chart(view: View) -> list[Html]:
    series = [
        Series(kind, NAMES[kind], [column[index] for column in view.columns])
        for index, kind in enumerate(KINDS)
    ]
    span = figures.duration(len(view.columns) * WIDTH // 1_000_000)
    totals = view.fleet.total.of_all_routes
    amounts = (totals.hits, totals.stale, totals.misses, totals.bypasses)
    rate = figures.per_second(view.per_second)
    label = f"Requests a second in the last {span}, now {rate}"
    named = [
        (kind, f"{NAMES[kind]} {figures.count(amount)}")
        for kind, amount in zip(KINDS, amounts, strict=True)
    ]
    return [charts.stacked(series, (f"{span} ago", "now"), label), legend(named)]


def _busiest(visit: Visit, routes: dict[str, RouteCounts]) -> Html:
    ranked = sorted(routes.items(), key=lambda item: -item[1].requests)[:BUSIEST]
    rows = [
        (
            code(figures.cut(route, 60)),
            mix(counts, route),
            figures.share(counts.served, counts.served + counts.misses),
            figures.count(counts.requests),
        )
        for route, counts in ranked
    ]
    heads = ("Route", "Mix", "#Cached", "#Requests")
    shown = table("Busiest routes", heads, rows, "No request has come under a policy yet.")
    return join([shown, tag("p", tag("a", "All routes", href=visit.link("routes")))])


def _requests(view: View) -> Html:
    rows = [_request(view.at, one) for one in view.fleet.recent[:SHOWN]]
    heads = ("When", "Request", "Outcome", "Reason", "#Status", "#Took")
    return table("Last requests", heads, rows, "None yet.")


def _request(now: int, one: Exchange) -> tuple[Child, ...]:
    reason = tag("span", one.reason, title=meaning_of(one.reason) or None) if one.reason else None
    stored = badge("stored", "good") if one.stored else None
    return (
        ago(now, one.at),
        code(f"{one.method} {figures.cut(one.path, 80)}"),
        badge(one.outcome, one.outcome),
        [reason, " " if reason and stored else None, stored],
        str(one.status),
        figures.duration(one.seconds),
    )


def _refreshes(view: View, total: Counts) -> Html:
    counted = total.refreshes
    ended = ", ".join(f"{figures.count(n)} {word}" for word, n in sorted(counted.items()) if n)
    said = f"{figures.count(max(0, total.running))} running." + (f" {ended}." if ended else "")
    rows = [_refresh(view.at, one) for one in view.fleet.refreshes[:SHOWN]]
    return join(
        [
            tag("p", said),
            table("Last refreshes", ("When", "Path", "Ended", "#Took"), rows, "None yet."),
        ]
    )


def _refresh(now: int, one: Refresh) -> tuple[Child, ...]:
    kinds = {"kept": "good", "failed": "bad", "refused": "warn"}
    return (
        ago(now, one.at),
        code(figures.cut(one.path, 60)),
        badge(one.ended, kinds.get(one.ended, "bypass")),
        figures.duration(one.seconds),
    )


def _purges(view: View) -> Html:
    rows = [_purge(view.at, one) for one in view.fleet.purges[:SHOWN]]
    return table("Last purges", ("When", "What", "Cause", "#Took"), rows, "None yet.")


def _purge(now: int, one: Purge) -> tuple[Child, ...]:
    words = [badge("soft", "stale")] if one.soft else []
    words += [badge("failed", "bad")] if one.failed else []
    cause = figures.cut(one.cause or (f"region {one.region}" if one.region else "a call"), 60)
    names = figures.cut(", ".join(one.names), 80)
    return (
        ago(now, one.at),
        [one.subject, " ", code(names), " ", words],
        cause,
        figures.duration(one.seconds),
    )
