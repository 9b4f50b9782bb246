"""The style sheet, the script and the icon, served under names that change with their content."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: the name it is served under, and what it is."""

    name: str
    media_type: str
    content: bytes


@cache
def asset(stem: str, suffix: str) -> Asset:
    """A file of `static/`, read once."""
    content = files("cachemw.dashboard").joinpath("static", f"{stem}.{suffix}").read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Asset(f"{stem}.{digest}.{suffix}", _TYPES[suffix], content)


def style() -> Asset:
    return asset("look", "css")


def script() -> Asset:
    return asset("live", "js")


def icon() -> Asset:
    return asset("icon", "svg")
