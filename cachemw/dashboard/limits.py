"""The limits: what each rule said to how many, and who is counted most.

Verdicts are counted by the workers and are live. Who is counted is asked of the store, by a walk
over its keys: when the page is opened, not every two seconds.
"""

import asyncio
from collections.abc import Mapping

from cachemw.dashboard import charts, figures
from cachemw.dashboard.desk import Content, Desk
from cachemw.dashboard.frame import (
    Parts,
    Visit,
    badge,
    code,
    countdown,
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
from cachemw.inspection.counters import Counter, busiest, digest_of

SHOWN = 50
PATIENCE = 3.0  # seconds that a walk may take
_KINDS = {"allowed": "hit", "limited": "bad", "blocked": "bad"}
_SHADOW = "shadow "


async def show(desk: Desk) -> Content:
    view, asked = await desk.watch.view(), desk.asked
    parts: Parts = {"rules": panel("Rules", _rules(view.fleet.total.limits), note=_NOTE)}
    at = clock_time(view.at)
    if desk.parts_only:
        return Content(None, parts, at=at)
    form = panel("Who is counted most", _form(desk.visit, asked), note=_DIGESTS)
    return Content([live(parts, "rules"), form, await _clients(desk, asked)], parts, at=at)


_NOTE = "Since the workers began. What rules in the shadow would have refused is counted as such."
_DIGESTS = "The store knows clients by a digest only. Name one to find its counts."


def _rules(counted: Mapping[tuple[str, str], int]) -> Html:
    rules: dict[str, dict[str, int]] = {}
    for (rule, verdict), number in counted.items():
        rules.setdefault(rule, {})[verdict] = number
    ranked = sorted(rules.items(), key=lambda item: -sum(item[1].values()))
    rows = [_rule(name, verdicts) for name, verdicts in ranked]
    heads = ("Rule", "Mix", "#Requests", "#Refused", "Verdicts")
    return table("Rules and what they said", heads, rows, "No limit has been asked yet.")


def _rule(name: str, verdicts: Mapping[str, int]) -> tuple[Child, ...]:
    ranked = sorted(verdicts.items(), key=lambda item: -item[1])
    parts = [(_kind(verdict), verdict, number) for verdict, number in ranked]
    refused = sum(n for verdict, n in ranked if _kind(verdict) == "bad")
    words = [tag("li", badge(f"{word} {figures.count(n)}", kind)) for kind, word, n in parts]
    return (
        code(figures.cut(name, 80)),
        charts.bar(parts, name),
        figures.count(sum(verdicts.values())),
        figures.count(refused),
        tag("ul", words, class_="words"),
    )


def _kind(verdict: str) -> str:
    return "stale" if verdict.startswith(_SHADOW) else _KINDS.get(verdict, "bypass")


def _form(visit: Visit, asked: Mapping[str, str]) -> Html:
    client, by = line("client", asked.get("client", "")), line("by", asked.get("by", "ip"))
    return inquiry(
        visit,
        "limits",
        "Find",
        field("Client", client, "An address, a key, a user"),
        field("By", by, "ip, header:x-api-key, subject:user_id"),
        role="search",
    )


async def _clients(desk: Desk, asked: Mapping[str, str]) -> Html:
    client = asked.get("client", "").strip()
    whose = digest_of(client, asked.get("by", "").strip() or "ip") if client else "*"
    try:
        async with asyncio.timeout(PATIENCE):
            counters = await busiest(desk.subject.store, whose, most=SHOWN)
    except StoreUnavailable as error:
        return notice("bad", f"The store does not answer: {error}")
    except TimeoutError:
        return notice("warn", "There are too many keys to look through: `cachemw limits top` does.")
    rows = [_counter(one) for one in counters]
    heads = ("Client", "Rule", "#Count", "#Within", "#Anew in")
    empty = "Nothing is counted of this client." if client else "Nobody is counted just now."
    return panel("Counts", table("Counts of clients", heads, rows, empty))


def _counter(one: Counter) -> tuple[Child, ...]:
    counted = badge("blocked", "bad") if one.is_block else figures.exact(one.count)
    within = figures.duration(one.window) if one.window else "–"
    return code(one.client[:12]), code(one.rule), counted, within, countdown(one.left, "anew")
