"""The page, made from the tour and from the app's own source. Reading it needs no JavaScript."""

import json
from dataclasses import asdict
from functools import cache
from html import escape
from pathlib import Path

from cachemw.caching.reasons import Reason
from demo_app.asides import MORE
from demo_app.excerpt import coloured, excerpt
from demo_app.tour import STEPS, Button, Step

TEMPLATE = Path(__file__).with_name("page.html")


def render(variant: str, source: Path) -> str:
    return (
        TEMPLATE.read_text("utf-8")
        .replace("{{variant}}", escape(variant))
        .replace("{{contents}}", "".join(map(_entry, range(1, len(STEPS) + 1), STEPS)))
        .replace("{{steps}}", _steps(variant, source))
        .replace("{{more}}", "".join(map(_behaviour, MORE)))
        .replace("{{reasons}}", escape(json.dumps({one.value: one.meaning for one in Reason})))
    )


@cache
def _steps(variant: str, source: Path) -> str:
    return "".join(_step(n, one, variant, source) for n, one in enumerate(STEPS, 1))


def _entry(number: int, step: Step) -> str:
    return f'<li><a href="#{step.name}"><b>{number}</b> {escape(step.title)}</a></li>'


def _step(number: int, step: Step, variant: str, source: Path) -> str:
    buttons = "".join(map(_button, step.buttons))
    special = f'<div class="special" data-special="{step.special}"></div>' if step.special else ""
    code = _code(excerpt(source, step.code), variant) if step.code else ""
    return f"""
<article class="step" id="{step.name}">
  <h2><span class="number">{number}</span>{escape(step.title)}</h2>
  <p>{step.words}</p>
  <div class="buttons">{buttons}</div>
  {special}
  <ol class="results" aria-live="polite"></ol>
  {code}
</article>"""


def _button(one: Button) -> str:
    asks = escape(json.dumps([asdict(ask) for ask in one.asks]))
    kind = ' class="primary"' if one.primary else ""
    note = f"<small>{escape(one.note)}</small>" if one.note else ""
    label = escape(one.label)
    return f'<span><button type="button"{kind} data-asks="{asks}">{label}</button>{note}</span>'


def _behaviour(one: Button) -> str:
    asks = escape(json.dumps([asdict(ask) for ask in one.asks]))
    asked = dict.fromkeys(f"{ask.method} {ask.url}" for ask in one.asks)
    routes = " ".join(f"<code>{escape(route)}</code>" for route in asked)
    return f"""
<article class="behaviour">
  <div class="row"><button type="button" data-asks="{asks}">Try</button>
    <div><b>{escape(one.label)}</b><div class="routes">{routes}</div></div></div>
  <ol class="results" aria-live="polite"></ol>
</article>"""


def _code(code: str, variant: str) -> str:
    return f"""<details class="code" open>
    <summary>The code, from {escape(variant)}'s version of this app</summary>
    <div class="listing"><button type="button" class="copy">Copy</button>
    <pre tabindex="0"><code>{coloured(code)}</code></pre></div>
  </details>"""
