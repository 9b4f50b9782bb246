"""The frame of every page: head, navigation, landmarks; and the pieces that pages are made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cachemw.dashboard.assets import icon, script, style
from cachemw.dashboard.markup import Child, Html, Value, address, page_of, tag

PAGES = (
    ("", "Overview"),
    ("routes", "Routes"),
    ("entries", "Entries"),
    ("explain", "Explain"),
    ("purge", "Purge"),
    ("limits", "Limits"),
    ("sessions", "Sessions"),
    ("health", "Health"),
)


@dataclass(frozen=True, slots=True)
class Visit:
    """What a page knows of the request that asks for it."""

    base: str
    """The path that the dashboard is mounted at, without a slash at its end."""
    secret: str
    """What the cookie holds."""
    token: str
    """What forms repeat."""
    may_purge: bool
    title: str

    def link(self, page: str = "", /, **query: str | int | None) -> str:
        return address(f"{self.base}/{page}", **query)


Parts = dict[str, Html]
"""Live regions by their id: what the feed sends, and what stands in the page at first."""


def whole(visit: Visit, page: str, body: Child, *, feed: str | None = None) -> Html:
    """A page with its frame. With a `feed`, the script keeps its live regions current."""
    title = {**dict(PAGES), "entry": "Entry"}[page]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"{title} · {visit.title}"),
        tag("link", rel="icon", href=visit.link(f"assets/{icon().name}"), type="image/svg+xml"),
        tag("link", rel="stylesheet", href=visit.link(f"assets/{style().name}")),
        tag("script", src=visit.link(f"assets/{script().name}"), defer=True),
    )
    content = tag(
        "body",
        tag("a", "Skip to content", href="#content", class_="skip"),
        tag("header", _brand(visit), _pulse(feed), _navigation(visit, page), class_="top"),
        tag("main", tag("h1", title), body, id="content", tabindex=-1),
        data_feed=feed,
    )
    return page_of(tag("html", head, content, lang="en"))


def live(parts: Parts, id: str) -> Html:
    """A region that the feed keeps current."""
    return tag("div", parts[id], id=id, data_live=True)


def panel(title: str, *children: Child, note: Child = None, class_: str = "") -> Html:
    """A titled box."""
    said = tag("p", note, class_="note") if note is not None else None
    classes = f"panel {class_}".strip()
    return tag("section", tag("h2", title), said, children, class_=classes, aria_label=title)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Child]], empty: str) -> Html:
    """A table that scrolls by itself where it is too wide; `empty` is what it says without rows.

    A head that begins with '#' is of a column of numbers.
    """
    kinds = ["num" if head.startswith("#") else None for head in heads]
    names = [head.removeprefix("#") for head in heads]
    body = [
        tag("tr", [_cell(i, cell, kinds[i], names[i]) for i, cell in enumerate(row)])
        for row in rows
    ]
    if not body:
        return tag("p", empty, class_="empty")
    head = tag(
        "tr", [tag("th", n, scope="col", class_=k) for n, k in zip(names, kinds, strict=True)]
    )
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body))
    # Whoever has no mouse must be able to scroll it.
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def tile(name: str, value: Child, *more: Child, kind: str | None = None) -> Html:
    """A number that is seen from afar, and what it means."""
    classes = f"tile tile-{kind}" if kind else "tile"
    return tag(
        "div", tag("dt", name), tag("dd", value), [tag("dd", m) for m in more], class_=classes
    )


def tiles(*given: Html) -> Html:
    return tag("dl", given, class_="tiles")


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Names and their values, below each other."""
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs]
    return tag("dl", rows, class_="facts")


def badge(text: str, kind: str) -> Html:
    """A word that is coloured by what it means, and readable without the colour."""
    return tag("span", text, class_=f"badge badge-{kind}")


def code(text: str) -> Html:
    """Something that came from requests or the store, set apart lest it pass for ours."""
    return tag("code", text)


def notice(kind: str, *children: Child) -> Html:
    """One sentence that must not be overlooked."""
    return tag("p", children, class_=f"notice notice-{kind}", role="status")


def field(label: str, control: Html, hint: str | None = None) -> Html:
    """A control with its label; `control` has the id `label` in lower case."""
    id = label.lower().replace(" ", "-")
    said = tag("span", hint, class_="hint", id=f"{id}-hint") if hint else None
    return tag("div", tag("label", label, for_=id), control, said, class_="field")


def line(name: str, value: str, *, id: str = "", type: str = "search", **more: Value) -> Html:
    """A control for one line of text that no browser is to mend; its field has a hint."""
    return tag(
        "input",
        type=type,
        id=id or name,
        name=name,
        value=value,
        autocomplete="off",
        spellcheck="false",
        maxlength=4096,
        aria_describedby=f"{id or name}-hint",
        **more,
    )


def inquiry(visit: Visit, page: str, button: str, *fields: Html, role: str | None = None) -> Html:
    """A form that asks a page for something, and changes nothing."""
    return tag(
        "form",
        tag("div", fields, class_="fields"),
        tag("div", tag("button", button, class_="primary"), class_="buttons"),
        method="get",
        action=visit.link(page),
        role=role,
    )


def legend(kinds: Iterable[tuple[str, str]]) -> Html:
    items = [
        tag("li", tag("span", class_=f"swatch fill-{kind}", aria_hidden="true"), name)
        for kind, name in kinds
    ]
    return tag("ul", items, class_="legend")


def countdown(left: float, after: str = "over") -> Html:
    """Seconds that are left, which the script counts down."""
    whole_seconds = max(0, round(left))
    hours, rest = divmod(whole_seconds, 3600)
    text = f"{rest // 60:02}:{rest % 60:02}"
    if hours:
        text = f"{hours:02}:{text}"
    return tag("span", text if left > 0 else after, data_left=f"{left:.1f}", data_after=after)


def _cell(index: int, content: Child, kind: str | None, name: str) -> Html:
    if index == 0:
        return tag("th", content, scope="row", class_=kind)
    return tag("td", content, class_=kind, data_head=name)


def _is_current(path: str, page: str) -> str | None:
    """What is below a page belongs to it, without being it."""
    return "page" if path == page else "true" if (path, page) == ("entries", "entry") else None


def _brand(visit: Visit) -> Html:
    picture = tag("img", src=visit.link(f"assets/{icon().name}"), alt="", width=22, height=22)
    return tag("a", picture, tag("strong", visit.title), href=visit.link(), class_="brand")


def _pulse(feed: str | None) -> Html | None:
    """Where the script says how current the page is."""
    if feed is None:
        return None
    return tag("div", tag("span", "Reload for newer numbers"), id="pulse", data_state="still")


def _navigation(visit: Visit, page: str) -> Html:
    links = [
        tag("a", name, href=visit.link(path), aria_current=_is_current(path, page))
        for path, name in PAGES
    ]
    return tag("nav", tag("ul", [tag("li", link) for link in links]), aria_label="Dashboard")
