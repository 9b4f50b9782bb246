"""Undocumented is unfinished: names, options and words that the docs do not have fail here."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import cachemw
from cachemw.caching.endpoint import PurgeEndpoint
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.dashboard import dashboard
from cachemw.ratelimit import verdicts
from cachemw.sessions.events import EventKind
from cachemw.sessions.options import SessionOptions
from cachemw.telemetry.bulletin import Bulletin
from cachemw.telemetry.counters import Counts
from cachemw.telemetry.events import Difference, Outcome, Refreshed, Subject
from cachemw.telemetry.metrics import METRICS, metrics
from cachemw.words import Word

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(DOCS).as_posix(): path.read_text("utf-8") for path in DOCS.glob("**/*.md")
}
PAGES["README.md"] = README = (ROOT / "README.md").read_text("utf-8")
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


@pytest.mark.parametrize("verdict", get_args(verdicts.Outcome))
def test_verdicts_are_documented(verdict: str) -> None:
    assert f"| `{verdict}` |" in PAGES["observability.md"]


@pytest.mark.parametrize("kind", get_args(EventKind))
def test_events_of_sessions_are_documented(kind: str) -> None:
    assert re.search(rf"^\| (`[\w-]+`, )?`{kind}`", PAGES["sessions.md"], re.MULTILINE)


def test_events_of_the_data_cache_are_documented() -> None:
    told = next(metric for metric in METRICS if metric.name == "data_events")
    nothing = Bulletin("w", "here", 1, "here:1", 1, 2, Counts())
    words = [word for (word,), _ in told.read(nothing)]
    assert len(words) > 5
    assert [word for word in words if f"| `{word}` |" not in PAGES["observability.md"]] == []


def test_reasons_of_a_store_that_fails_are_documented() -> None:
    """They are written where they arise."""
    code = "".join(path.read_text("utf-8") for path in (ROOT / "cachemw").rglob("*.py"))
    reasons = set(re.findall(r'StoreUnavailable\(\s*"([a-z-]+)"', code))
    assert len(reasons) > 5
    assert [one for one in reasons if f"`{one}`" not in PAGES["stores.md"]] == []


@pytest.mark.parametrize(
    "told",
    [
        *(cachemw.install, cachemw.CacheMiddleware, cachemw.RateLimitMiddleware),
        *(cachemw.SessionMiddleware, cachemw.Purges, cachemw.Tokens, cachemw.MemoryStore),
        *(cachemw.Cache, cachemw.Cache.purge, cachemw.Cache.get_or_set, cachemw.Cache.set),
        *(cachemw.Cache.memoize, cachemw.Cache.write_through, cachemw.Cache.writing),
        *(dashboard, metrics, PurgeEndpoint),
    ],
    ids=lambda told: told.__qualname__,
)
def test_options_of_what_people_call_are_documented(told: Callable[..., Any]) -> None:
    parameters = inspect.signature(told).parameters.values()
    options = [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [name for name in options if not re.search(rf"`{name}\b|\b{name}=", ALL)] == []


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


@pytest.mark.parametrize(
    ("path", "name"), re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGES["comparison.md"])
)
def test_what_a_comparison_is_shown_by_is_there(path: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / path).read_text("utf-8")


@pytest.mark.parametrize(("where", "code"), list(blocks("python")))
def test_python_blocks_can_be_read_and_import_what_exists(where: str, code: str) -> None:
    for node in ast.walk(ast.parse(code, where)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "cachemw":
            module = __import__(node.module or "", fromlist=["*"])
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{where} imports {missing} from {node.module}"


LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(text: str) -> set[str]:
    """What a page's headings are called in addresses."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", one).strip()) for one in plain}


@pytest.mark.parametrize("name", PAGES)
def test_links_between_pages_lead_somewhere(name: str) -> None:
    here = ROOT / "README.md" if name == "README.md" else DOCS / name
    for target, anchor in LINK.findall(PAGES[name]):
        there = (here.parent / target).resolve() if target else here
        assert there.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(there.read_text("utf-8")), f"{name}: {target}#{anchor}"


def test_every_page_is_in_the_navigation_and_there() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))
    listed = [
        page
        for section in settings["project"]["nav"]
        for pages in section.values()
        for page in pages
    ]
    assert sorted(listed) == sorted(set(PAGES) - {"README.md"})


@pytest.mark.parametrize("name", cachemw.__all__)
def test_public_names_are_in_the_reference(name: str) -> None:
    assert f"\n::: cachemw.{name}\n" in PAGES["reference.md"]


def test_what_pages_include_is_there() -> None:
    """Also what looks like it and is not: formatters take such a line for a comparison."""
    included = set[str]()
    for name, text in PAGES.items():
        for line, target in re.findall(r'^(-+ *8 *<.*"([^"]+)")$', text, re.MULTILINE):
            assert line == f'--8<-- "{target}"', name
            assert (ROOT / target).exists(), f"{name} includes {target}"
            included.add(target)
    assert included >= {f"docs/examples/{one.name}" for one in DOCS.glob("examples/starter_*.py")}


@pytest.mark.parametrize(("where", "code"), list(blocks("python")))
def test_what_a_reader_copies_runs(where: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block on its own: it imports what it uses, and an app that it makes can be asked."""
    if code.startswith("--8<--"):
        pytest.skip("includes a program that has tests of its own")
    theirs = ModuleType("myshop")
    theirs.__dict__.update(app=None, MyStore=None, MY_SCRIPT=None)
    monkeypatch.setitem(sys.modules, "myshop", theirs)
    monkeypatch.setenv("CMS_PURGE_SECRET", "of the reader's own" * 2)
    made: dict[str, Any] = {"__name__": "main"}
    exec(compile(code, where, "exec"), made)
    app = made.get("app")
    if isinstance(app, Starlette):
        if not any("cachemw" in one.cls.__module__ for one in app.user_middleware):
            cachemw.install(app, store="memory://")
        with TestClient(app) as client:
            assert client.get("/nowhere").status_code == 404


def test_the_first_route_of_the_readme_is_cached() -> None:
    code = next(code for where, code in blocks("python") if where.startswith("README.md"))
    app: dict[str, Any] = {"__name__": "main"}
    exec(compile(code, "README.md", "exec"), app)
    with TestClient(app["app"], base_url="http://127.0.0.1:8000") as client:
        stored = client.get("/products/3").headers["cache-status"]
        assert "; stored" in stored
        assert "; hit" in client.get("/products/3").headers["cache-status"]
    seen, told = (int(re.findall(r"ttl=(\d+); stored", text)[0]) for text in (stored, README))
    assert 0 <= told - seen <= 10, "jitter is a matter of the URL, so README can say what there is"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("zensical")
    for name in ("docs", "cachemw"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("zensical.toml", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    said = built.stdout + built.stderr
    assert built.returncode == 0 and "warning" not in said.lower(), said
    site = tmp_path / "site"
    pages = {file: file.read_text("utf-8") for file in site.rglob("*.html")}
    assert len(pages) >= len(PAGES)
    for file, text in pages.items():
        if file.name == "404.html":
            continue
        assert "--8&lt;--" not in text
        for attribute, target in re.findall(r'\s(href|src)="([^"]*)"', text):
            if attribute == "src":
                assert "//" not in target, f"{file} loads {target}"
            if target.startswith(("http", "mailto:")):
                continue
            path, _, anchor = target.partition("#")
            there = (file.parent / path).resolve() if path else file
            there = there / "index.html" if there.is_dir() else there
            assert there.exists(), f"{file} links to {target}"
            if anchor and there in pages:
                assert f'id="{anchor}"' in pages[there], f"{file} links to {target}"

    shown = unescape(re.sub("<[^>]*>", "", pages[site / "howto/other-frameworks/index.html"]))
    for starter in DOCS.glob("examples/starter_*.py"):
        assert starter.read_text("utf-8").strip() in shown, starter.name


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_tests_that_a_page_names_are_there(page: str) -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", PAGES[page])
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
