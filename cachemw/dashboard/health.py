"""How the store and the workers do: what the doctor says, who is there, how long trips take."""

import asyncio
from collections.abc import Sequence

from cachemw.dashboard import charts, figures
from cachemw.dashboard.charts import Series
from cachemw.dashboard.desk import Content, Desk
from cachemw.dashboard.frame import Parts, badge, code, facts, live, panel, table
from cachemw.dashboard.markup import Child, Html, join, tag
from cachemw.dashboard.overview import ago, clock_time
from cachemw.dashboard.watch import View
from cachemw.doctor import Finding, Severity
from cachemw.stores.base import Store
from cachemw.telemetry.bulletin import Bulletin
from cachemw.telemetry.counters import BOUNDS, Spans

_KINDS = {
    Severity.CRITICAL: "bad",
    Severity.WARNING: "warn",
    Severity.NOTICE: "bypass",
    Severity.OK: "good",
}


async def show(desk: Desk) -> Content:
    view, findings = await asyncio.gather(desk.watch.view(), desk.watch.findings())
    counts = view.fleet.total.store
    parts: Parts = {
        "doctor": panel("Doctor", _findings(findings), note="Looked at twice a minute at most."),
        "store": panel("Store", _store(desk.subject.store, view)),
        "trips": panel("Trips to the store", _trips(counts.trips), note="Since the workers began."),
        "workers": panel("Workers", _workers(view)),
    }
    body = [
        live(parts, "doctor"),
        tag("div", live(parts, "store"), live(parts, "trips"), class_="columns"),
        live(parts, "workers"),
    ]
    return Content(body, parts, at=clock_time(view.at))


def _findings(findings: Sequence[Finding]) -> Html:
    shown = [
        tag(
            "li",
            tag(
                "div",
                badge(one.severity.value, _KINDS[one.severity]),
                " ",
                tag("b", one.subject),
                " ",
                tag("span", one.server, class_="dim") if one.server else None,
            ),
            tag("div", one.what),
            tag("div", "→ ", one.fix, class_="dim") if one.fix else None,
            class_=f"is-{_KINDS[one.severity]}",
        )
        for one in findings
    ]
    return tag("ul", shown, class_="findings") if shown else tag("p", "Nothing to say.")


def _store(store: Store, view: View) -> Html:
    fleet, counts = view.fleet, view.fleet.total.store
    failures = ", ".join(f"{figures.count(n)} {word}" for word, n in counts.failures.items())
    answers = badge("away", "bad") if view.trip is None else figures.duration(view.trip)
    told: list[tuple[str, Child]] = [
        ("Store", code(repr(store).strip("<>"))),
        ("Answers in", answers),
        ("Mean trip", figures.duration(counts.trips.mean) if counts.trips.count else "–"),
        ("Failed calls", failures or "none"),
    ]
    for server, is_open in fleet.breakers.items():
        state = badge(f"open in {is_open}", "bad") if is_open else badge("closed", "good")
        told.append(("Breaker", [code(server), " ", state]))
    if fleet.near is not None:
        near = fleet.near
        rate = figures.share(near.hits, near.hits + near.misses)
        said = f"{figures.count(near.keys)} keys, {figures.size(near.size)}, {rate} found"
        said += f", {figures.count(near.reports)} reports of changes"
        said += f", {figures.duration(near.lags.mean)} behind" if near.lags.count else ""
        told.append(("Near caches", said))
    return facts(told)


def _trips(spans: Spans) -> Html:
    ends = [figures.duration(bound) for bound in BOUNDS]
    label = f"How long {figures.count(spans.count)} trips took, {figures.duration(spans.mean)} each"
    marks = (f"≤ {ends[0]}", f"> {ends[-1]}")
    rows = [
        (f"≤ {end}", figures.exact(number))
        for end, number in zip(ends, spans.buckets, strict=False)
        if number
    ]
    if spans.buckets[-1]:
        rows.append((f"> {ends[-1]}", figures.exact(spans.buckets[-1])))
    in_numbers = tag(
        "details",
        tag("summary", "In numbers"),
        table("Trips by how long they took", ("Took", "#Trips"), rows, "None yet."),
        id="trips-table",
    )
    chart = charts.stacked([Series("accent", "Trips", spans.buckets)], marks, label)
    return join([chart, in_numbers])


def _workers(view: View) -> Html:
    rows = [_worker(view.at, worker) for worker in sorted(view.fleet.workers, key=_name)]
    heads = ("Worker", "Host", "Running for", "Heard of", "#Requests", "#Cached")
    return table("Workers", heads, rows, "Nobody has been heard of.")


def _name(worker: Bulletin) -> tuple[str, int]:
    return worker.host, worker.pid


def _worker(now: int, worker: Bulletin) -> tuple[Child, ...]:
    counts = worker.counts.of_all_routes
    return (
        f"{worker.kind} {worker.pid}",
        worker.host,
        figures.duration(max(0, int((now - worker.began) / 1e6))),
        ago(now, worker.at),
        figures.count(counts.requests + worker.counts.unruled),
        figures.share(counts.served, counts.served + counts.misses),
    )
