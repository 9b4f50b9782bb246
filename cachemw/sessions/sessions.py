"""`Sessions`: the options an app chose, and what it may ask about whoever is logged in.

    sessions = Sessions(idle="30m", absolute="12h", store=store)
    await sessions.list(user.id)                 where this user is logged in
    await sessions.revoke(user.id, handle)       end one of them
    await sessions.revoke_all(user.id)           end them all; one atomic step

An app is often put together before its store exists, so the store may come later: `bind`.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Unpack

from cachemw.errors import ConfigurationError
from cachemw.scripts import Reply
from cachemw.sessions import ids
from cachemw.sessions.encryption import AesGcm
from cachemw.sessions.events import EventKind, SessionEvent
from cachemw.sessions.look import ENTRY
from cachemw.sessions.options import SessionOptions, Settings
from cachemw.sessions.scripts import LIST, REVOKE
from cachemw.sessions.session import Session
from cachemw.sessions.vault import Vault
from cachemw.stores.base import Store, together

_HANDLE = re.compile(r"[0-9a-f]+")
_log = logging.getLogger("cachemw.sessions")


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session of a subject, for a page where users see and end their sessions."""

    handle: str
    created: datetime
    last_seen: datetime
    expires: datetime
    device: str  # the User-Agent that logged in, as it was sent


class Sessions:
    """Options, counters and administration of an app's sessions."""

    def __init__(self, *, store: Store | None = None, **options: Unpack[SessionOptions]) -> None:
        self.settings = Settings.checked(options)
        self.cookie = self.settings.cookie_rules()
        self.counters: Counter[EventKind] = Counter()
        self._cipher = (
            AesGcm(self.settings.encryption_keys) if self.settings.encryption_keys else None
        )
        self._store = store

    def bind(self, store: Store) -> "Sessions":
        """Keep the sessions in `store` from now on."""
        if self._store is not None and self._store is not store:
            raise ConfigurationError("these sessions have another store already; make a second one")
        self._store = store
        return self

    @cached_property
    def vault(self) -> Vault:
        """The sessions themselves."""
        return Vault(self._bound, self.settings, self._cipher)

    @property
    def _bound(self) -> Store:
        if self._store is None:
            raise ConfigurationError(
                "these sessions have no store yet: pass store= to Sessions, or use them after "
                "install(app, store=..., sessions=...)"
            )
        return self._store

    def note(
        self,
        kind: EventKind,
        *,
        handle: str | None = None,
        subject: str | None = None,
        detail: str = "",
    ) -> None:
        """Count an event and tell the audit hook. A hook that fails is logged, nothing else."""
        self.counters[kind] += 1
        if self._store is not None:
            self._store.tally.session(kind)
        if self.settings.audit is not None:
            try:
                self.settings.audit(SessionEvent(kind, handle, subject, detail))
            except Exception:
                _log.exception("the audit hook failed on %r", kind)

    async def revoke(self, subject: str | int, handle: str) -> bool:
        """End one session of `subject`. False when there was no such session."""
        if not _HANDLE.fullmatch(handle):  # to the script, a star would be all of them
            return False
        gone = await self._revoke(str(subject), handle.encode(), b"")
        return gone > 0

    async def revoke_all(self, subject: str | int, *, keep: "str | Session | None" = None) -> int:
        """End every session of `subject`, save the one to `keep`. How many there were.

        One atomic step; its work is bounded by `max_sessions`. Whoever logs in later is not
        concerned, whoever was logged in before is out with the next request.
        """
        spared = keep.handle if isinstance(keep, Session) else keep
        return await self._revoke(str(subject), b"*", (spared or "").encode())

    async def revoke_everyone(self) -> int:
        """End all sessions in which anybody is logged in. How many places they lived in.

        Walks over the store. Who logs in meanwhile may stay; who was logged in before does not.
        """
        ended = 0
        async for batch in self._bound.scan(ids.INDEXES + b"{*}"):
            ended += sum(await together(self._bound.delete((key,)) for key in batch))
        self.note("revoke", detail="everyone")
        return ended

    async def list(self, subject: str | int) -> Sequence[SessionInfo]:
        """The live sessions of `subject`, the one used last first."""
        digest = ids.digest_of_subject(str(subject))
        reply = await self._bound.run(LIST, (self._index_of(str(subject)),), (digest,))
        if not isinstance(reply, list) or not reply or not isinstance(reply[0], int):
            raise AssertionError(f"script session-list answered {reply!r}")
        now = reply[0]
        infos = [
            info
            for handle, entry in zip(reply[1::2], reply[2::2], strict=True)
            if (info := self._info(now, handle, entry)) is not None
        ]
        return sorted(infos, key=lambda info: info.last_seen, reverse=True)

    def _info(self, now: int, handle: Reply, entry: Reply) -> SessionInfo | None:
        if not isinstance(handle, bytes) or not isinstance(entry, bytes):
            return None
        match = ENTRY.fullmatch(entry)
        if match is None or not _HANDLE.fullmatch(handle.decode("latin-1")):
            return None  # not of our making
        seen, created, deadline, device = match.groups()
        if int(seen) + self.settings.idle * 1000 <= now or int(deadline) <= now:
            return None
        return SessionInfo(
            handle=handle.decode(),
            created=_moment(created),
            last_seen=_moment(seen),
            expires=_moment(deadline),
            device=device.decode("utf-8", "replace"),
        )

    async def _revoke(self, subject: str, wanted: bytes, keep: bytes) -> int:
        digest = ids.digest_of_subject(subject)
        gone = await self._bound.run(REVOKE, (self._index_of(subject),), (digest, wanted, keep))
        self.note("revoke", subject=subject, detail="all" if wanted == b"*" else wanted.decode())
        return gone if isinstance(gone, int) else 0

    @staticmethod
    def _index_of(subject: str) -> bytes:
        return ids.index_key(ids.place_of_subject(subject))


def _moment(milliseconds: bytes) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
