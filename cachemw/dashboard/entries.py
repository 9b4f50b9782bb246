"""What is kept: finding it, and one entry with how long it lives yet.

Bodies and values are not shown: who may see figures need not be one who may see pages.
"""

from enum import StrEnum
from http import HTTPStatus

from cachemw.dashboard import figures
from cachemw.dashboard.desk import Content, Desk
from cachemw.dashboard.frame import (
    Visit,
    badge,
    code,
    countdown,
    facts,
    field,
    inquiry,
    line,
    notice,
    panel,
    table,
)
from cachemw.dashboard.markup import Child, Html, tag
from cachemw.dashboard.purging import button
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.inspection import Content as Held
from cachemw.inspection import Filter, Kind, Listing, State, Stored, content, listing, named

MOST = 100
LOOK_AT = 20_000  # keys

_STATES = {
    State.FRESH: "good",
    State.STALE: "stale",
    State.SOFT_PURGED: "stale",
    State.PURGED: "bad",
    State.NONE: "bypass",
}


async def show(desk: Desk) -> Content:
    """What matches a filter, or the beginning of what there is."""
    asked, store = desk.asked, desk.subject.store
    form = panel("Find", _form(desk.visit, asked))
    try:
        wanted = _wanted(asked)
        exact = wanted.name if not set("*?[") & set(wanted.name) else ""
        if exact:  # one question instead of a walk
            found = await named(store, exact, policies=desk.subject.policy_of)
            listed = Listing(tuple(one for one in found if _fits(one, wanted)), len(found), True)
        else:
            listed = await listing(store, wanted, most=MOST, look_at=LOOK_AT)
    except ConfigurationError as error:
        return Content([notice("bad", str(error)), form], status=HTTPStatus.BAD_REQUEST)
    except StoreUnavailable as error:
        return Content([notice("bad", f"The store does not answer: {error}"), form])
    return Content([form, panel("Entries", _table(desk.visit, listed), note=_said(listed))])


async def show_one(desk: Desk) -> Content:
    """One entry: what it is, how long it lives, what it depends on."""
    key = desk.asked.get("key", "")
    back = tag("p", tag("a", "← All entries", href=desk.visit.link("entries")))
    if not key.startswith(("e:{", "d:{")):
        said = notice("bad", "That is not the key of an entry.")
        return Content([back, said], status=HTTPStatus.BAD_REQUEST)
    try:
        held = await content(desk.subject.store, key)
    except StoreUnavailable as error:
        return Content([back, notice("bad", f"The store does not answer: {error}")])
    if held is None:
        said = notice("warn", "There is nothing under this key (any more).")
        return Content([back, said], status=HTTPStatus.NOT_FOUND)
    return Content([back, *_one(desk.visit, held)])


def _fits(one: Stored, wanted: Filter) -> bool:
    return (
        (wanted.kind is None or one.kind is wanted.kind)
        and wanted.state in (None, one.state)
        and (not wanted.tag or wanted.tag in one.tags)
    )


def _wanted(asked: dict[str, str]) -> Filter:
    try:
        return Filter(
            name=asked.get("name", "").strip()[:4096] or "*",
            kind=Kind(asked["kind"]) if asked.get("kind") else None,
            state=State(asked["state"]) if asked.get("state") else None,
            tag=asked.get("tag", "").strip(),
        )
    except ValueError as error:
        raise ConfigurationError(f"{error}: choose one of the list") from None


def _form(visit: Visit, asked: dict[str, str]) -> Html:
    def choice(name: str, kinds: type[StrEnum]) -> Html:
        chosen = asked.get(name, "")
        options = [tag("option", "any", value="", selected=not chosen)]
        options += [
            tag("option", one.value, value=one.value, selected=one.value == chosen)
            for one in kinds
            if one.value != State.NONE.value
        ]
        return tag("select", options, id=name, name=name)

    by_name, by_tag = line("name", asked.get("name", "")), line("tag", asked.get("tag", ""))
    return inquiry(
        visit,
        "entries",
        "Find",
        field("Name", by_name, "A URL or a key; * and ? are wild: /products/*"),
        field("Tag", by_tag, "Just as it is written: product:3"),
        field("Kind", choice("kind", Kind)),
        field("State", choice("state", State)),
        role="search",
    )


def _said(listed: Listing) -> str:
    number = f"{figures.exact(len(listed.items))} found"
    if listed.is_whole:
        return f"{number}. Bodies and values are not shown."
    looked = figures.count(listed.looked_at)
    return f"{number} among {looked} keys; there may be more: a narrower name finds it."


def _table(visit: Visit, listed: Listing) -> Html:
    rows = [_row(visit, one) for one in listed.items]
    heads = ("Entry", "Kind", "State", "#Age", "#Fresh for", "#Size", "Tags")
    return table("Entries", heads, rows, "Nothing is kept that fits.")


def _row(visit: Visit, one: Stored) -> tuple[Child, ...]:
    name = figures.cut(one.name or one.key, 100)
    variant = one.key.partition("}:")[2][:8]
    told: list[Child] = [tag("a", code(name), href=visit.link("entry", key=one.key))]
    told += [tag("span", f" variant {variant}", class_="dim")] if variant else []
    return (
        told,
        one.kind.value,
        badge(one.state.value, _STATES[one.state]) if one.state is not State.NONE else "–",
        figures.duration(one.age) if one.age else "–",
        countdown(one.fresh, "over") if _is_timed(one) else "–",
        figures.size(one.size),
        _tags(visit, one.tags),
    )


def _is_timed(one: Stored) -> bool:
    return one.kind in (Kind.RESPONSE, Kind.VALUE) and one.state is not State.PURGED


def _tags(visit: Visit, tags: tuple[str, ...]) -> Html | str:
    links = [
        tag("li", tag("a", code(figures.cut(name, 60)), href=visit.link("entries", tag=name)))
        for name in tags[:12]
    ]
    more = tag("li", f"and {len(tags) - 12} more") if len(tags) > 12 else None
    return tag("ul", links, more, class_="words") if tags else "–"


def _one(visit: Visit, held: Held) -> list[Html]:
    one = held.stored
    state: list[Child] = [badge(one.state.value, _STATES[one.state])]
    if one.because:
        state.append(tag("span", " by ", ", ".join(one.because), class_="dim"))
    told: list[tuple[str, Child]] = [
        ("Name", code(one.name or "–")),
        ("Kind", one.kind.value),
        ("State", state),
        ("Fresh for", countdown(one.fresh) if _is_timed(one) else "–"),
        ("Gone in", countdown(one.left, "gone")),
        ("Age", figures.duration(one.age)),
        ("Size", figures.size(one.size)),
        ("Took", figures.duration(one.took) if one.took else "–"),
        ("Status", str(one.status) if one.status else "–"),
        ("Route", code(one.route) if one.route else "–"),
        ("Namespace", code(one.namespace) if one.namespace else "–"),
        ("Tags", _tags(visit, one.tags)),
        ("Varies by", ", ".join(one.varies) or "–"),
        ("Key", code(one.key)),
    ]
    rows = [
        (code(name.decode("latin-1")), code(figures.cut(value.decode("latin-1"), 400)))
        for name, value in held.headers
    ]
    shown = [panel("Entry", facts(told), _purges(visit, one))]
    if rows:
        shown.append(panel("Header fields", table("Fields", ("Field", "Value"), rows, "None.")))
    return shown


def _purges(visit: Visit, one: Stored) -> Html:
    """Ways to its end: by its own name, and by what it has in common with others."""
    kind = "key" if one.kind is Kind.VALUE else "url"
    links = [button(visit, kind, one.name, f"Purge this {kind} …")] if one.name else []
    links += [button(visit, "tag", name, f"Purge tag {name} …") for name in one.tags[:5]]
    return tag("div", links, class_="buttons")
