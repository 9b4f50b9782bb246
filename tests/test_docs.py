"""Undocumented is unfinished: names, options and words that the docs do not have fail here."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cachemw
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.sessions.options import SessionOptions
from cachemw.telemetry.events import Difference, Outcome, Refreshed, Subject
from cachemw.words import Word

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text("utf-8") for path in ROOT.glob("docs/**/*.md")}
PAGES["README.md"] = (ROOT / "README.md").read_text("utf-8")
ALL = "\n".join(PAGES.values())


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for name, text in PAGES.items():
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{name}:{line}", found[1]


@pytest.mark.parametrize("name", cachemw.__all__)
def test_public_names_are_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", ALL)


@pytest.mark.parametrize("option", sorted(CachePolicy.model_fields))
def test_policy_options_are_documented(option: str) -> None:
    assert f"| `{option}` |" in PAGES["caching.md"]


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_reasons_are_documented(reason: Reason) -> None:
    assert f"| `{reason.value}` | {reason.meaning} |" in PAGES["caching.md"]


@pytest.mark.parametrize("word", [*Outcome, *Refreshed, *Subject, *Difference], ids=str)
def test_words_of_what_happens_are_documented(word: Word) -> None:
    assert f"| `{word.value}` | {word.meaning} |" in PAGES["observability.md"]


@pytest.mark.parametrize(
    "option", list(inspect.signature(cachemw.RateLimit.__init__).parameters)[2:]
)
def test_limit_options_are_documented(option: str) -> None:
    assert f"`{option}" in PAGES["rate-limits.md"]


@pytest.mark.parametrize("option", sorted(SessionOptions.__annotations__))
def test_session_options_are_documented(option: str) -> None:
    assert f"`{option}" in PAGES["sessions.md"]


def rows_of_http() -> Iterator[tuple[str, list[str], list[str]]]:
    """Of each section: the modules and the scenarios that are named for it."""
    for line in PAGES["http.md"].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and cells[2].startswith("`"):
            yield cells[0], re.findall(r"`(\w+)`", cells[2]), re.findall(r"`(\w+)`", cells[3])


@pytest.mark.parametrize(("section", "modules", "scenarios"), list(rows_of_http()))
def test_sections_of_the_rfcs_name_what_there_is(
    section: str, modules: list[str], scenarios: list[str]
) -> None:
    assert modules and all((ROOT / f"cachemw/caching/{name}.py").exists() for name in modules)
    assert all((ROOT / f"tests/conformance/{name}.py").exists() for name in scenarios)


@pytest.mark.parametrize(("where", "code"), list(blocks("python")))
def test_python_blocks_can_be_read_and_import_what_exists(where: str, code: str) -> None:
    for node in ast.walk(ast.parse(code, where)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "cachemw":
            module = __import__(node.module or "", fromlist=["*"])
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{where} imports {missing} from {node.module}"


def test_links_between_pages_lead_somewhere() -> None:
    for name, text in PAGES.items():
        here = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text):
            assert (here / target).exists(), f"{name} links to {target}"
