"""A dict that notices how it is used: whether anybody looked, what was handed out, what assigned.

It is a real `dict`, as Starlette's session is, so that whatever takes a dict takes it. What its
contents mean, and what becomes of them, is not known here.
"""

import warnings
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from cachemw.sessions.errors import UnstorableValue

_getitem = dict[str, Any].__getitem__
_get = dict[str, Any].get
_contains = dict[str, Any].__contains__


class TrackedDict(dict[str, Any]):
    """`accessed` and `modified` are Starlette's; the rest is for those who build on this."""

    accessed = False
    modified = False
    was_cleared = False
    response_began = False
    """From then on a change comes too late for the response, and says so."""

    def __init__(self, contents: Mapping[str, Any]) -> None:
        super().__init__(contents)
        self.lent: set[str] = set()  # keys of lists and dicts that somebody may be changing
        self.assigned: set[str] = set()

    def contents(self) -> dict[str, Any]:
        """A plain copy, without counting as access."""
        return dict(super().items())

    def put(self, key: str, value: Any) -> None:
        """Assign, without counting as access."""
        self.modified = True
        self.assigned.add(key)
        super().__setitem__(key, value)

    def retain(self, keys: Iterable[str]) -> None:
        """Forget everything else, without a trace."""
        for key in self.contents().keys() - set(keys):
            super().__delitem__(key)
            self.lent.discard(key)

    # --- Starlette's own two

    def mark_accessed(self) -> None:
        """Somebody looked: the response depends on who asked."""
        self.accessed = True

    def mark_modified(self) -> None:
        """Something is different now. A `RuntimeWarning` when the response has begun."""
        self.mark_accessed()
        self.modified = True
        if self.response_began:
            warnings.warn(
                "the session was changed after the response had begun: no cookie can be sent any "
                "more, and the client may be back before the change is saved",
                RuntimeWarning,
                stacklevel=3,
            )

    # --- reading

    # What most requests do, and nothing else: written out, without a call of our own.

    def __getitem__(self, key: str) -> Any:
        self.accessed = True
        value = _getitem(self, key)
        if isinstance(value, (dict, list)):
            self.lent.add(key)
        return value  # pyright: ignore[reportUnknownVariableType]

    def get(self, key: str, default: Any = None) -> Any:
        self.accessed = True
        value = _get(self, key, default)
        if isinstance(value, (dict, list)):
            self.lent.add(key)
        return value  # pyright: ignore[reportUnknownVariableType]

    def __contains__(self, key: object) -> bool:
        self.accessed = True
        return _contains(self, key)

    def __iter__(self) -> Iterator[str]:
        self.mark_accessed()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self.mark_accessed()
        return super().__reversed__()

    def __len__(self) -> int:
        self.mark_accessed()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self.mark_accessed()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        self.mark_accessed()
        return super().__ne__(other)

    def __repr__(self) -> str:
        # Neither an access nor a leak: sessions end up in logs.
        return f"<{type(self).__name__} with {super().__len__()} keys>"

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        self.mark_accessed()
        return super().keys()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        self._lend_all()
        return super().values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        self._lend_all()
        return super().items()

    def copy(self) -> dict[str, Any]:
        """A plain dict. Its lists and dicts are the session's own."""
        self._lend_all()
        return dict(super().items())

    def __or__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return self.copy() | dict(other)

    def __ror__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return dict(other) | self.copy()

    # --- changing

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UnstorableValue(f"a session's keys are strings, {key!r} is not")
        self.mark_modified()
        self.assigned.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.mark_accessed()
        super().__delitem__(key)
        self._deleted(key)

    def pop(self, key: str, *default: Any) -> Any:
        self.mark_accessed()
        if super().__contains__(key):
            self._deleted(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        self.mark_accessed()
        item = super().popitem()
        self._deleted(item[0])
        return item

    def setdefault(self, key: str, default: Any = None) -> Any:
        if not super().__contains__(key):
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __ior__(self, other: Any) -> "TrackedDict":  # type: ignore[override]
        self.update(other)
        return self

    def clear(self) -> None:
        """Empty it. A session that stays empty after this ends with the response."""
        self.mark_modified()
        self.lent.clear()
        self.assigned.clear()
        self.was_cleared = True
        super().clear()

    # --- within

    def _deleted(self, key: str) -> None:
        self.mark_modified()
        self.assigned.add(key)  # by now it is only looked for among what is there

    def _lend_all(self) -> None:
        self.mark_accessed()
        for key, value in super().items():
            if isinstance(value, (dict, list)):
                self.lent.add(key)
