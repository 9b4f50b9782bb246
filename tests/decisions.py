"""What decides is tested to its last branch: a whole run of the suite with coverage fails if not.

These modules are pure, so that every branch of them can be reached from a test. A run of some tests
only, or without coverage, is not judged.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import coverage
import pytest

CACHING = Path(__file__).parents[1] / "cachemw" / "caching"

DECIDING = (
    *("cache_control", "compression", "credentials", "dates", "entry", "etags", "fields"),
    *("freshness", "groups", "invalidation", "judging", "keys", "options", "placement", "policy"),
    *("ranges", "reasons", "rules", "stamps", "status", "storing", "tags", "validation", "vary"),
)


def is_whole(config: pytest.Config) -> bool:
    """Whether this process sees all tests and what they covered."""
    chosen = config.option.keyword or config.option.markexpr or config.option.collectonly
    is_worker = hasattr(config, "workerinput")
    has_coverage = getattr(config.option, "cov_source", None) and not config.option.no_cov
    from_testpaths = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return bool(has_coverage) and from_testpaths and not chosen and not is_worker


def uncovered(data: coverage.Coverage, modules: Iterable[str] = DECIDING) -> list[str]:
    """The lines of a report on those of these modules of which a line or a branch is left out."""
    report = io.StringIO()
    include = [str(CACHING / f"{name}.py") for name in modules]
    total = data.report(include=include, show_missing=True, skip_covered=True, file=report)
    return [] if total == 100 else report.getvalue().splitlines()
