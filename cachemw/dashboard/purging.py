"""The purge page: what is to go, what would go (dry run), and the log of what went.

A dry run is a GET: it changes nothing, and its result can be reloaded. A purge is a POST, answered
with a redirect, so that reloading does not purge again.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from cachemw.caching.cache import Cache
from cachemw.dashboard import figures
from cachemw.dashboard.desk import Content, Desk
from cachemw.dashboard.forecast import forecast
from cachemw.dashboard.frame import Visit, badge, code, field, line, notice, panel, table
from cachemw.dashboard.gate import FIELD
from cachemw.dashboard.markup import Child, Html, tag
from cachemw.dashboard.purgelog import LONGEST, Line, PurgeLog
from cachemw.dashboard.source import Subject
from cachemw.errors import ConfigurationError, StoreUnavailable

KINDS = {
    "tag": ("Tag", "whatever has the tag, as product:3"),
    "url": ("URL", "a path with its query, or absolute; all variants"),
    "route": ("Route", "a pattern as it is written: /products/{id}"),
    "namespace": ("Namespace", "everything in it"),
    "key": ("Key", "one value of the data cache"),
    "pattern": ("Pattern", "values whose key matches, as user:1001:*; walks over all keys"),
}
COUNTED = ("url", "key", "pattern")


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants purged, checked."""

    kind: str
    what: str
    soft: bool

    @classmethod
    def of(cls, form: Mapping[str, str]) -> "Order":
        """From a form; `ConfigurationError` says what is wrong with it."""
        kind, what = form.get("kind", ""), form.get("what", "").strip()
        if kind not in KINDS:
            raise ConfigurationError("choose what is to be purged: " + ", ".join(KINDS))
        if not what:
            raise ConfigurationError(f"name the {KINDS[kind][0]} that is to be purged")
        if len(what) > 4096:
            raise ConfigurationError("that is longer than any name may be")
        return cls(kind, what, bool(form.get("soft")))

    def __str__(self) -> str:
        return f"{self.kind} {self.what}"

    @property
    def selector(self) -> dict[str, Any]:
        """The argument of `Cache.purge`."""
        return {"tags": [self.what]} if self.kind == "tag" else {self.kind: self.what}

    async def purge(self, cache: Cache) -> int | None:
        """Carry it out. How many entries it met, None where nobody counts."""
        found = await cache.purge(**self.selector, soft=self.soft)
        return found if self.kind in COUNTED else None

    def line(self, at: int, who: str, found: int | None) -> Line:
        return Line(at, self.kind, self.what[:LONGEST], self.soft, who[:100], found)


async def show(desk: Desk) -> Content:
    """The page, with the result of a dry run or of a purge that has been carried out."""
    asked, said = desk.asked, None
    try:
        if "dry" in asked:
            order = Order.of(asked)
            said = _foreseen(desk.visit, order, await _forecast(order, desk.subject))
        elif "done" in asked:
            said = _told(Order.of(asked), asked["done"])
    except ConfigurationError as error:
        said = notice("bad", str(error))
        return await _page(desk, asked, said, HTTPStatus.BAD_REQUEST)
    except StoreUnavailable as error:
        said = notice("bad", f"The store does not answer: {error}")
    return await _page(desk, asked, said)


async def carry_out(desk: Desk, form: Mapping[str, str]) -> str | Content:
    """Purge what a form says. Where to go then, or a page that says what went wrong."""
    try:
        order = Order.of(form)
        found = await order.purge(desk.subject.cache)
    except ConfigurationError as error:
        return await _page(desk, form, notice("bad", str(error)), HTTPStatus.BAD_REQUEST)
    except StoreUnavailable as error:
        said = notice("bad", f"Nobody knows how much of it was done, so purge again: {error}")
        return await _page(desk, form, said, HTTPStatus.SERVICE_UNAVAILABLE)
    store = desk.subject.store
    with suppress(StoreUnavailable):  # it is done, whether or not that can be written down
        await PurgeLog(store).enter(order.line(store.now(), desk.who, found))
    done = "" if found is None else str(found)
    soft = 1 if order.soft else None
    return desk.visit.link("purge", done=done, kind=order.kind, what=order.what, soft=soft)


async def _page(
    desk: Desk, given: Mapping[str, str], said: Html | None, status: int = HTTPStatus.OK
) -> Content:
    store, visit = desk.subject.store, desk.visit
    try:
        log = _log(await PurgeLog(store).lines(), store.now())
    except StoreUnavailable:
        log = notice("bad", "The store does not answer, so the log cannot be read.")
    note = None if visit.may_purge else _READ_ONLY
    body = [
        said,
        panel("What is to go", _form(visit, given), note=note),
        panel(
            "Log", log, note="The last purges from this page, whichever worker carried them out."
        ),
    ]
    return Content(body, status=status)


async def _forecast(order: Order, subject: Subject) -> str:
    """What a purge would come to, in words."""
    found, is_more = await forecast(subject, order.kind, order.what)
    verb = "be marked as stale" if order.soft else "go"
    more = "; there may be more, not all keys were looked at" if is_more else ""
    return f"{_entries(found)} would {verb}{more}."


_READ_ONLY: Child = [
    "Reading only. Dry runs work; for purging, mount it with ",
    tag("code", "allow_purge=True"),
    ".",
]


def _told(order: Order, found: str) -> Html:
    """What a purge has come to."""
    deed = "Marked as stale" if order.soft else "Purged"
    number = f": {_entries(int(found))}" if found.isascii() and found.isdigit() else ""
    return notice("good", f"{deed} ", tag("b", order.kind), " ", code(order.what), number, ".")


def _foreseen(visit: Visit, order: Order, sentence: str) -> Html:
    """What a purge would come to, with the button that does it."""
    button = None
    if visit.may_purge:
        button = tag(
            "form",
            _hidden(visit, order),
            tag("button", "Mark as stale" if order.soft else "Purge it", class_="danger"),
            method="post",
            action=visit.link("purge"),
            class_="buttons",
        )
    said = tag("p", "Dry run of ", tag("b", order.kind), " ", code(order.what), ": ", sentence)
    return tag("section", said, button, class_="notice", aria_label="Dry run", role="status")


def button(visit: Visit, kind: str, what: str, text: str) -> Html | None:
    """A button elsewhere that leads to a purge, by way of its dry run."""
    return tag("a", text, href=visit.link("purge", kind=kind, what=what, dry=1), class_="button")


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{figures.exact(number)} entries"


def _hidden(visit: Visit, order: Order) -> list[Html]:
    values = {FIELD: visit.token, "kind": order.kind, "what": order.what}
    if order.soft:
        values["soft"] = "1"
    return [tag("input", type="hidden", name=n, value=v) for n, v in values.items()]


def _form(visit: Visit, given: Mapping[str, str]) -> Html:
    chosen = given.get("kind", "tag")
    options = [
        tag("option", f"{name}: {hint}", value=kind, selected=kind == chosen)
        for kind, (name, hint) in KINDS.items()
    ]
    what = line("what", given.get("what", ""), id="name", type="text", required=True)
    soft = tag(
        "input", type="checkbox", id="soft", name="soft", value="1", checked=bool(given.get("soft"))
    )
    label = tag("label", "Soft: mark as stale, serve while it is made anew", for_="soft")
    # The button carries the token, so that it is sent by this one only, and stands in no address.
    send = tag(
        "button",
        "Purge",
        name=FIELD,
        value=visit.token,
        class_="danger",
        formmethod="post",
        formaction=visit.link("purge"),
    )
    return tag(
        "form",
        tag(
            "div",
            field("What", tag("select", options, id="what", name="kind")),
            field("Name", what, "Text is taken as it is; in patterns * ? and [ ] are wild."),
            class_="fields",
        ),
        tag("div", soft, label, class_="check"),
        tag(
            "div",
            tag("button", "Dry run", name="dry", value="1", class_="primary"),
            send if visit.may_purge else None,
            class_="buttons",
        ),
        method="get",
        action=visit.link("purge"),
    )


def _log(log: Sequence[Line], now: int) -> Html:
    rows = [
        (
            figures.duration(max(0, now - one.at) // 1_000_000) + " ago",
            [one.kind, " ", badge("soft", "stale") if one.soft else None],
            code(figures.cut(one.what)),
            one.who or "–",
            "–" if one.found is None else figures.exact(one.found),
        )
        for one in log
    ]
    return table("Log of purges", ("When", "What", "Name", "By", "#Entries"), rows, "Nothing yet.")
