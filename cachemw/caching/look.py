"""One look into the store: what was asked for, and what came of it."""

from cachemw.errors import StoreUnavailable


class Look:
    """The values of some keys, or why there are none."""

    __slots__ = ("came", "is_near", "keys")

    def __init__(
        self,
        keys: tuple[bytes, ...],
        came: list[bytes | None] | StoreUnavailable,
        *,
        is_near: bool,
    ) -> None:
        self.keys = keys
        self.is_near = is_near
        """Whether values that are kept in the process were good enough."""
        self.came = came

    def taken(self) -> list[bytes | None]:
        """The values; raises `StoreUnavailable` if it came to that."""
        if isinstance(self.came, StoreUnavailable):
            raise self.came
        return self.came
