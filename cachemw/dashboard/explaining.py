"""What would become of a request, and why: a form, and the answer of `inspection.explain`."""

from http import HTTPStatus

from cachemw.dashboard import figures
from cachemw.dashboard.desk import Content, Desk
from cachemw.dashboard.frame import (
    Visit,
    badge,
    code,
    facts,
    field,
    inquiry,
    line,
    notice,
    panel,
    table,
)
from cachemw.dashboard.markup import Child, Html, tag
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.inspection import Explanation, explain

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "QUERY")
_KINDS = {"hit": "hit", "stale": "stale", "miss": "miss", "bypass": "bypass"}


async def show(desk: Desk) -> Content:
    """The form, and the explanation once something is asked."""
    asked, app = desk.asked, desk.subject.app
    form = panel("A request", _form(desk.visit, asked), note=_NOTE)
    if app is None:
        said = notice("warn", "Of the app nothing is known here, so nothing can be explained.")
        return Content(said)
    if not asked.get("url"):
        return Content(form)
    method = asked.get("method", "GET")
    try:
        if method not in METHODS:
            raise ConfigurationError(f"the method must be one of {', '.join(METHODS)}")
        told = await explain(app.app or app.cache, method, asked["url"], _fields(asked))
    except ConfigurationError as error:
        return Content([form, notice("bad", str(error))], status=HTTPStatus.BAD_REQUEST)
    except StoreUnavailable as error:
        return Content([form, notice("bad", f"The store does not answer: {error}")])
    return Content([form, *_told(desk.visit, told)])


_NOTE = (
    "The app is not asked: this is the way the cache itself would go. What layers outside of it "
    "add, such as a user, is not known here."
)


def _fields(asked: dict[str, str]) -> list[tuple[str, str]]:
    """The header fields of the form, one a line."""
    fields: list[tuple[str, str]] = []
    for said in asked.get("headers", "").splitlines()[:50]:
        name, colon, value = said.partition(":")
        if not said.strip():
            continue
        if not colon or not name.strip() or not said.isascii():
            raise ConfigurationError(f"{said!r} is no header field: write 'Accept-Language: de'")
        fields.append((name.strip(), value.strip()))
    return fields


def _form(visit: Visit, asked: dict[str, str]) -> Html:
    chosen = asked.get("method", "GET")
    options = [tag("option", one, value=one, selected=one == chosen) for one in METHODS]
    example = "/products/3?page=2"
    url = line("url", asked.get("url", ""), type="text", required=True, placeholder=example)
    fields = tag(
        "textarea",
        asked.get("headers", ""),
        id="headers",
        name="headers",
        rows=3,
        spellcheck="false",
        aria_describedby="headers-hint",
    )
    return inquiry(
        visit,
        "explain",
        "Explain",
        field("Method", tag("select", options, id="method", name="method")),
        field("URL", url, "A path with its query, or absolute"),
        field("Headers", fields, "One a line: Accept-Language: de"),
    )


def _told(visit: Visit, told: Explanation) -> list[Html]:
    why = tag("p", badge(told.outcome, _KINDS.get(told.outcome, "bypass")), " ", told.why)
    pairs: list[tuple[str, Child]] = [("Request", code(told.request))]
    pairs += [("Cache-Status", code(told.status))] if told.status else []
    pairs += [("Reason", f"{told.reason.value}: {told.reason.meaning}")] if told.reason else []
    pairs += [("Route", code(told.route))] if told.route else []
    pairs += [("Policy", told.policy.describe())] if told.policy else []
    pairs += [("Written", figures.where(told.source))] if told.source else []
    pairs += [("Selected by", ", ".join(told.fields))] if told.fields else []
    pairs += [("Tags", ", ".join(told.tags))] if told.tags else []
    pairs += [("Would purge", ", ".join(told.purges))] if told.purges else []
    pairs += [("Note", note) for note in told.notes]
    shown = [panel("What would become of it", why, facts(pairs))]
    if told.stored:
        rows = [
            (
                tag(
                    "a",
                    code(figures.cut(one.name or one.key)),
                    href=visit.link("entry", key=one.key),
                ),
                one.kind.value,
                one.state.value,
                figures.size(one.size),
            )
            for one in told.stored
        ]
        heads = ("Entry", "Kind", "State", "#Size")
        shown.append(panel("What is stored", table("Stored", heads, rows, "Nothing.")))
    return shown
