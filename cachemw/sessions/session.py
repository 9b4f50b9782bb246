"""`request.session`: a dict, and what can be asked of a session besides.

It knows nothing of cookies, stores or ids: it was given what was stored, and can say what differs
from that now. A change is noticed in two ways. Assigning and deleting are seen as they happen. A
list or dict that was handed out may be changed behind our back; such values, and only those, are
compared with what was stored when the response begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cachemw.sessions.record import Record, dump, parse, scan
from cachemw.sessions.tracked import TrackedDict

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Changes:
    """How a session differs from its record. `own` is all that this request itself assigned."""

    sets: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    dels: frozenset[str] = frozenset()
    own: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def __bool__(self) -> bool:
        return bool(self.sets or self.dels)

    @property
    def keys(self) -> frozenset[str]:
        """What differs."""
        return self.dels | self.sets.keys()

    def applied_to(self, values: Mapping[str, bytes]) -> dict[str, bytes]:
        """`values` with this difference."""
        kept = {key: value for key, value in values.items() if key not in self.dels}
        return {**kept, **self.sets}


class Session(TrackedDict):
    """What one visitor carries from request to request. Holds what JSON can.

    Besides being a dict: `rotate()`, `reauthenticated()`, `destroy()`, `guard()`, `typed()`. All
    of them are plain calls that take effect when the response begins.
    """

    wants_rotation = False
    wants_new_login = False
    was_destroyed = False
    misfit: str | None = None

    def __init__(
        self, record: Record | None = None, contents: Mapping[str, Any] | None = None
    ) -> None:
        """`contents` is what the record holds, where that is known. `ValueError` when a stored
        value is not JSON."""
        if contents is None:
            contents = {} if record is None else contents_of(record)
        dict[str, Any].__init__(self, contents)
        self.lent, self.assigned = set(), set()
        self._record = record
        self._guarded: set[str] = set()
        self.views: list[tuple[BaseModel, dict[str, Any]]] = []

    # --- what may be asked of it

    def rotate(self) -> None:
        """Give this session a new id; the old one is dead at once. For a change of privilege."""
        self.mark_modified()
        self.wants_rotation = True

    def reauthenticated(self) -> None:
        """The user has just proved again who they are: new id, and the login is fresh again."""
        self.mark_modified()
        self.wants_rotation = self.wants_new_login = True

    def destroy(self) -> None:
        """End this session. What is written after this call begins another one."""
        self.clear()
        self.was_destroyed = True

    def clear(self) -> None:
        """Empty it. A session that stays empty after this ends with the response."""
        super().clear()
        self.views.clear()

    def guard(self, *keys: str) -> None:
        """Whoever else changes these keys meanwhile, do not overwrite it: `ConflictError`."""
        self._guarded.update(keys)

    def typed(self, model: type[M]) -> M:
        """This session as a pydantic model. What is changed in the model is saved.

        Every field of the model needs a default. A session that does not fit ends, and the model
        starts from its defaults.
        """
        self.mark_accessed()
        stored = {name: self[name] for name in model.model_fields if name in self}
        try:
            view = model.model_validate(stored)
        except ValidationError as error:
            self.misfit = f"{model.__name__}: {error.error_count()} errors"
            self.destroy()
            view = model()
        self.views.append((view, view.model_dump(mode="json")))
        return view

    # --- what is known about it

    @property
    def is_new(self) -> bool:
        """Whether nothing of it is stored yet."""
        return self._record is None

    @property
    def handle(self) -> str | None:
        """A name for this session that opens nothing, as `Sessions.list` gives it."""
        return self._record.handle.decode() if self._record else None

    @property
    def created(self) -> datetime | None:
        """When it began."""
        return _moment(self._record.created) if self._record else None

    @property
    def expires(self) -> datetime | None:
        """When it ends at the latest, however busy it is."""
        return _moment(self._record.deadline) if self._record else None

    @property
    def logged_in_at(self) -> datetime | None:
        """When somebody last proved who they are."""
        return _moment(self._record.login) if self._record and self._record.login else None

    def seconds_since_login(self) -> float | None:
        """The age of the login as this request arrived, None when nobody is logged in."""
        if self._record is None or not self._record.login:
            return None
        return max(0.0, (self._record.now - self._record.login) / 1000)

    # --- what the middleware asks

    def contents(self) -> dict[str, Any]:
        self._write_views_back()
        return super().contents()

    def changes(self) -> Changes:
        """What differs from the record now. `UnstorableValue` names the key that cannot be kept."""
        before: Mapping[str, bytes] = self._record.plain if self._record else {}
        contents = self.contents()
        now = {
            key: dump(key, value)
            for key, value in contents.items()
            if key in self.assigned or key in self.lent
        }
        sets = {
            key: value
            for key, value in now.items()
            if key not in before or not _same(before[key], value)
        }
        own = {key: value for key, value in now.items() if key in self.assigned}
        return Changes(sets, frozenset(before.keys() - contents.keys()), own)

    def encoded(self) -> dict[str, bytes]:
        """All of it as it would be stored."""
        return {key: dump(key, value) for key, value in self.contents().items()}

    def guards(self) -> dict[str, bytes | None]:
        """Guarded keys with what was stored under each."""
        raw: Mapping[str, bytes] = self._record.raw if self._record else {}
        return {key: raw.get(key) for key in sorted(self._guarded)}

    def settled(self, record: Record | None) -> None:
        """What was asked so far is done, and `record` stands behind the session now.

        What was handed out or assigned goes on being compared: a WebSocket may hold a list from
        its beginning to its end, or assign while a save is under way.
        """
        self._record = record
        self.wants_rotation = self.wants_new_login = False
        self.was_destroyed = self.was_cleared = False

    def _write_views_back(self) -> None:
        for view, before in self.views:
            now = view.model_dump(mode="json", warnings="error")
            for name, value in now.items():
                if before[name] != value:
                    self.put(name, value)
            before.update(now)


class AbsentSession(Session):
    """Stands in while there is no session to look at: whoever touches it gets the error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        # C code may look at a dict's size before it calls a method. This one is never empty.
        dict[str, Any].__setitem__(self, "", None)

    def mark_accessed(self) -> None:
        self.accessed = True
        raise self.error

    def __getitem__(self, key: str) -> Any:
        self.mark_accessed()

    def get(self, key: str, default: Any = None) -> Any:
        self.mark_accessed()

    def __contains__(self, key: object) -> bool:
        self.mark_accessed()
        return False


def contents_of(record: Record) -> dict[str, Any]:
    """What a record holds. `ValueError` when a stored value is not JSON."""
    contents: dict[str, Any] = {}
    for key, plain in record.plain.items():
        text = plain.decode("utf-8", "surrogatepass")
        try:  # as it was written, without looking for white space around it
            value, end = scan(text, 0)
        except (StopIteration, RecursionError):
            value, end = None, -1
        contents[key] = value if end == len(text) else parse(plain)
    return contents


def _same(before: bytes, now: bytes) -> bool:
    # Bytes first. When they differ, it may be the spelling of another release that differs.
    return before == now or dump("", parse(before)) == now


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
