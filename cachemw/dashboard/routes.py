"""The routes: what is cached of each, by which policy, how well that goes, and why it does not."""

from collections.abc import Iterator
from dataclasses import dataclass

from cachemw.caching.marks import mark_on
from cachemw.caching.policy import CachePolicy
from cachemw.dashboard import figures
from cachemw.dashboard.desk import Content, Desk
from cachemw.dashboard.frame import Parts, badge, code, live, panel, table
from cachemw.dashboard.markup import Child, Html, tag
from cachemw.dashboard.overview import clock_time, meaning_of, mix, reasons_table
from cachemw.inspection import CachedApp, route_policies
from cachemw.telemetry.counters import RouteCounts


@dataclass(frozen=True, slots=True)
class Ruled:
    """A pattern that has a policy."""

    pattern: str
    methods: str
    policy: CachePolicy
    source: str


async def show(desk: Desk) -> Content:
    view = await desk.watch.view()
    counted, app = view.fleet.total.routes, desk.subject.app
    ruled = list(_ruled(app)) if app else []
    parts: Parts = {
        "policies": panel("Policies", _policies(ruled, counted), note=_note(app)),
        "why": panel("Why not from the cache", reasons_table(counted.values())),
    }
    body = [live(parts, "policies"), live(parts, "why")]
    if app is not None and app.app is not None:
        body.append(panel("All routes of the app", _routes(app), note=_IN_ORDER))
    return Content(body, parts, at=clock_time(view.at))


_IN_ORDER = "In the order in which the app tries them; of each, what becomes of its responses."


def _note(app: CachedApp | None) -> str | None:
    return None if app else "Of the app nothing is known here, so only what was counted is shown."


def _ruled(app: CachedApp) -> Iterator[Ruled]:
    """Every pattern with a policy, those marked on a route first: theirs is the nearer word."""
    app.cache.policies.resolve(app.app)
    for route, policy in app.cache.policies.marked:
        if not policy.methods:  # switched off
            continue
        mark = mark_on(route)
        methods = ", ".join(sorted(route.pattern.methods or ()))
        yield Ruled(route.pattern.text, methods, policy, mark.where if mark else "a mark")
    for pattern, policy in app.cache.policies.routes.entries:
        methods = ", ".join(sorted(pattern.methods or ()))
        yield Ruled(pattern.text, methods, policy, "a pattern")


def _policies(ruled: list[Ruled], counted: dict[str, RouteCounts]) -> Html:
    known = {one.pattern for one in ruled}
    rows = [_row(one.pattern, one, counted.get(one.pattern)) for one in ruled]
    rows += [_row(route, None, counts) for route, counts in counted.items() if route not in known]
    heads = ("Route", "Mix", "#Cached", "#Requests", "#Saved", "Why not")
    return table("Policies and how they do", heads, rows, "No route has a policy yet.")


def _row(pattern: str, ruled: Ruled | None, counts: RouteCounts | None) -> tuple[Child, ...]:
    seen = counts or RouteCounts()
    told: list[Child] = [code(figures.cut(pattern, 100))]
    if ruled is not None:
        told.append(tag("span", " ", ruled.methods, class_="dim") if ruled.methods else None)
        told += [tag("br"), tag("span", ruled.policy.describe(), class_="dim")]
        told += [tag("br"), tag("span", f"by {figures.where(ruled.source)}", class_="dim")]
    return (
        told,
        mix(seen, pattern),
        figures.share(seen.served, seen.served + seen.misses),
        figures.count(seen.requests),
        figures.duration(seen.saved) if seen.saved else "–",
        _why_not(seen),
    )


def _why_not(counts: RouteCounts) -> Html | str:
    ranked = sorted(counts.reasons.items(), key=lambda item: -item[1])[:6]
    words = [
        tag("li", badge(f"{word} {figures.count(number)}", outcome), title=meaning_of(word) or None)
        for (outcome, word), number in ranked
    ]
    if counts.verified:
        said = f"verified {figures.count(counts.verified)}, "
        said += f"{figures.share(counts.mismatched, counts.verified)} differ"
        words.append(tag("li", badge(said, "bad" if counts.mismatched else "good")))
    return tag("ul", words, class_="words") if words else "–"


def _routes(app: CachedApp) -> Html:
    rows: list[tuple[Child, ...]] = []
    for one in route_policies(app.app):
        kind = ("cached", "good") if one.policy else ("not cached", "bypass")
        why: list[Child] = [one.why]
        if one.source:
            why += [tag("br"), tag("span", figures.where(one.source), class_="dim")]
        if one.purges:
            why += [tag("br"), tag("span", "purges ", ", ".join(one.purges), class_="dim")]
        rows.append((code(one.route), badge(*kind), why))
    return table("All routes", ("Route", "Cached", "Why"), rows, "The app has no routes.")
