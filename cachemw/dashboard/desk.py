"""What a page is given, and what it gives back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias

from starlette.requests import Request

from cachemw.dashboard.frame import Parts, Visit
from cachemw.dashboard.markup import Child, Html
from cachemw.dashboard.source import Subject
from cachemw.dashboard.watch import Watch


@dataclass(frozen=True, slots=True)
class Desk:
    """One request for a page, and what it may look at."""

    request: Request
    visit: Visit
    watch: Watch
    who: str
    parts_only: bool = False
    """Whether an open page asks for what has changed: then nobody sees the body."""

    @property
    def subject(self) -> Subject:
        return self.watch.subject

    @property
    def asked(self) -> dict[str, str]:
        """The query, one value a name."""
        return dict(self.request.query_params)


@dataclass(frozen=True, slots=True)
class Content:
    """What a page shows. With `parts` it is live: they are what changes."""

    body: Child
    parts: Parts = field(default_factory=dict[str, Html])
    status: int = HTTPStatus.OK
    at: str = ""


Show: TypeAlias = Callable[[Desk], Awaitable[Content]]
