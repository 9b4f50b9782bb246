"""HTML that cannot be broken out of: text becomes markup only through `tag`, which escapes it.

    tag("p", "Purged ", tag("code", key), class_="note")

A `str` is text, whoever wrote it. `Html` is markup, and nothing outside this file makes any from a
string. Links lead to the dashboard itself: an address with a scheme or a host of its own is
refused, so that no stored text becomes a `javascript:` link.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias
from urllib.parse import urlencode

Child: TypeAlias = "Html | str | int | None | Iterable[Child]"
Value: TypeAlias = str | int | float | bool | None

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
_ADDRESSES = frozenset({"href", "src", "action", "formaction"})


@dataclass(frozen=True, slots=True)
class Html:
    """Markup: what `tag` made."""

    text: str

    def __str__(self) -> str:
        return self.text

    def encode(self) -> bytes:
        """As UTF-8. A lone surrogate, which nothing can show, becomes a question mark."""
        return self.text.encode("utf-8", "replace")


NOTHING = Html("")


def tag(name: str, /, *children: Child, **attributes: Value) -> Html:
    """One element. `class_` is `class`, `aria_label` is `aria-label`; None and False are left out,
    True stands alone."""
    opened = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    if name in _VOID:
        return Html(opened)
    return Html(f"{opened}{join(children)}</{name}>")


def join(children: Child) -> Html:
    """Several pieces of text and markup as one piece of markup."""
    match children:
        case None:
            return NOTHING
        case Html():
            return children
        case str():
            return Html(_text(children))
        case int():
            return Html(str(children))
        case _:
            return Html("".join(join(child).text for child in children))


def page_of(body: Html) -> Html:
    """A whole document."""
    return Html("<!doctype html>\n" + body.text)


def address(path: str, /, **query: str | int | None) -> str:
    """A path with a query; None is left out."""
    pairs = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(pairs, errors='replace')}" if pairs else path


def _attribute(key: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if name in _ADDRESSES:
        _demand_own(str(value))
    return f' {name}="{_text(str(value))}"'


def _demand_own(target: str) -> None:
    leads_away = target.startswith("//") or not target.startswith(("/", "?", "#"))
    if leads_away or "\\" in target:
        raise ValueError(f"{target!r} leads out of the dashboard")


def _text(value: str) -> str:
    return escape(value.replace("\0", "�"))
