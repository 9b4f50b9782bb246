"""Requests that overlap in every way, against a model of what they may do to each other.

A request is split in two, as it is in life: it loads its session, other requests come and go, and
it saves. The model knows which cookie leads to which session and what that holds. Every load is
checked against it, so an update that was lost, or a session that came back from the dead, is a
difference. Everything runs on a real server.
"""

import asyncio
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from cachemw.sessions import ids
from cachemw.sessions.session import Changes
from cachemw.sessions.sessions import Sessions
from cachemw.sessions.vault import Found
from cachemw.sessions.visit import Visit
from cachemw.stores import open_store

KEYS = st.sampled_from(["a", "b"])
VALUES = st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2))
ONE_IN_EIGHT = st.integers(0, 7).map(lambda number: number == 7)
SUBJECTS = st.sampled_from([7, 8])


@dataclass(eq=False)
class Kept:
    """A session as it should be."""

    data: dict[str, Any]
    alive: bool = True
    renewals: int = 0
    rotations: int = 0


@dataclass(eq=False)
class Running:
    """A request between its load and its save."""

    visit: Visit
    kept: Kept | None
    seen: dict[str, Any]
    assigned: set[str] = field(default_factory=set)
    destroyed: bool = False
    cleared: bool = False
    rotated: bool = False
    rotations: int = 0  # of its session, when it came
    late: bool = False  # its session had been replaced when it came

    @property
    def outrun(self) -> bool:
        """Whether its session got another id for a change of privilege since."""
        return self.kept is not None and self.kept.rotations > self.rotations

    @property
    def session(self) -> Any:
        return self.visit.session


class Overlapping(RuleBasedStateMachine):
    cookies: Bundle[bytes] = Bundle("cookies")
    running: Bundle[Running] = Bundle("running")

    def __init__(self, sessions: Sessions, runner: asyncio.Runner) -> None:
        super().__init__()
        self.sessions = sessions
        self.runner = runner
        self.leads_to: dict[bytes, Kept] = {}
        self.given: dict[bytes, Kept] = {}  # every id there ever was, and whose it was
        self.replaced: set[bytes] = set()  # ids in whose place another one came
        runner.run(self._forget_everything())

    async def _forget_everything(self) -> None:
        store = self.sessions.vault.store
        async for batch in store.scan(b"*"):
            await self._forget(batch)

    async def _forget(self, keys: list[bytes]) -> None:
        for key in keys:
            await self.sessions.vault.store.delete([key])

    # --- what should be

    def living(self, cookie: bytes | None) -> Kept | None:
        kept = self.leads_to.get(cookie) if cookie else None
        return kept if kept is not None and kept.alive else None

    def begin(self, data: dict[str, Any], cookie: bytes | None) -> bytes:
        assert cookie is not None, "a new session needs a cookie"
        assert cookie not in self.given, "an id was given twice"
        self.given[cookie] = self.leads_to[cookie] = Kept(data)
        return cookie

    def replace(self, kept: Kept) -> None:
        """Another session, or another id, takes the place of this one."""
        self.replaced |= {cookie for cookie, its in self.leads_to.items() if its is kept}

    # --- requests

    def visit(self, cookie: bytes | None) -> Visit:
        headers = [(b"cookie", b"__Host-id=" + cookie)] if cookie else []
        visit = Visit(self.sessions, {"type": "http", "headers": headers})
        self.runner.run(visit.load())
        return visit

    @initialize(target=cookies)
    def two_are_there_already(self) -> Any:
        stranger, user = (Running(self.visit(None), None, {}) for _ in range(2))
        self.it_writes(stranger, "a", [0])
        self.it_writes(user, "b", [0])
        self.somebody_logs_in_or_out(user, 7)
        given: list[Any] = [self.it_ends(stranger, False), self.it_ends(user, False)]
        return multiple(*(cookie for each in given for cookie in each.values))

    @rule(target=running)
    def a_stranger_comes(self) -> Running:
        return Running(self.visit(None), None, {})

    @rule(target=running, cookie=cookies, first=KEYS, second=KEYS)
    def two_requests_come(self, cookie: bytes, first: str, second: str) -> Any:
        """Overlapping from the start, each with something to save."""
        requests = [self.request(cookie), self.request(cookie)]
        for request, key in zip(requests, (first, second), strict=True):
            self.it_writes(request, key, len(self.given) + len(key) + 10)
        return multiple(*requests)

    def request(self, cookie: bytes) -> Running:
        visit = self.visit(cookie)
        kept = self.living(cookie)
        seen = copy.deepcopy(kept.data) if kept else {}
        assert visit.session.contents() == seen, "a load that differs from the model"
        late = kept is None and cookie in self.replaced
        return Running(visit, kept, seen, rotations=kept.rotations if kept else 0, late=late)

    @rule(request=running, key=KEYS, value=VALUES)
    def it_writes(self, request: Running, key: str, value: Any) -> None:
        request.session[key] = value
        request.assigned.add(key)

    @rule(request=running, key=KEYS, value=st.integers(4, 9))
    def it_changes_a_list_or_forgets_it(self, request: Running, key: str, value: int) -> None:
        found = request.session.get(key)
        if isinstance(found, list):
            found.append(value)
        else:
            request.session.pop(key, None)

    @rule(request=running, subject=st.sampled_from([7, 8, None]))
    def somebody_logs_in_or_out(self, request: Running, subject: int | None) -> None:
        if subject is None:
            request.session.pop("user_id", None)
        else:
            request.session["user_id"] = subject
            request.assigned.add("user_id")

    @rule(request=running, act=st.sampled_from(["rotate", "destroy", "clear"]))
    def it_rotates_or_ends_its_session(self, request: Running, act: str) -> None:
        getattr(request.session, act)()
        if act == "rotate":
            request.rotated = True
        else:
            request.cleared = True
            request.destroyed = request.destroyed or act == "destroy"
            request.assigned.clear()

    @rule(target=cookies, request=consumes(running), failed=ONE_IN_EIGHT)
    def it_ends(self, request: Running, failed: bool) -> Any:
        now = copy.deepcopy(request.session.contents())
        line = self.runner.run(request.visit.settle(500 if failed else 200))
        text = line[1] if line else b""
        removed = b"Max-Age=0" in text
        cookie = text.partition(b";")[0].partition(b"=")[2] or None
        if cookie is not None and cookie in self.given:
            # Catches up with a renewal. The session may have ended since it was loaded.
            assert self.given[cookie] is request.kept, "somebody else's cookie"
            # What failed before it could save knows of a rotation as little as its client does.
            leads_on = cookie in self.leads_to
            assert not (request.outrun and leads_on), "the id that a rotation gave somebody else"
            cookie = None
        given = self.ended(request, now, failed, cookie, removed)
        assert (given is None) == (cookie is None), "a cookie without a session"
        return multiple(given) if given else multiple()

    def ended(
        self,
        request: Running,
        now: dict[str, Any],
        failed: bool,
        cookie: bytes | None,
        removed: bool,
    ) -> bytes | None:
        kept, seen = request.kept, request.seen
        if kept is None:
            may_begin = now and not failed and not (request.late and "user_id" not in now)
            return self.begin(now, cookie) if may_begin else None
        if request.destroyed or (request.cleared and not now):
            goes_on = bool(now) and not failed
            if goes_on and kept.alive:
                self.replace(kept)
            kept.alive = False
            assert removed != goes_on
            return self.begin(now, cookie) if goes_on else None
        if failed:
            return None
        sets = {key: value for key, value in now.items() if seen.get(key, kept) != value}
        dels = seen.keys() - now.keys()
        own = {key: now[key] for key in request.assigned & now.keys()}
        before, after = seen.get("user_id"), now.get("user_id")
        if before != after:
            held = seen if request.outrun else kept.data
            data = {**held, **sets} if kept.alive and not (before and after) else own
            data = {key: value for key, value in data.items() if key not in dels or key in own}
            if kept.alive:
                self.replace(kept)
            was_alive, kept.alive = kept.alive, False
            if after is None and not was_alive:
                return None
            return self.begin(data, cookie) if data else None
        if not kept.alive:
            return None
        kept.data = {k: v for k, v in {**kept.data, **sets}.items() if k not in dels}
        if not request.rotated or request.outrun:
            return None
        kept.rotations += 1
        assert cookie is not None
        self.replace(kept)
        self.leads_to = {c: other for c, other in self.leads_to.items() if other is not kept}
        self.given[cookie] = self.leads_to[cookie] = kept
        return cookie

    # --- what happens besides

    @rule(target=cookies, cookie=cookies)
    def its_id_is_renewed(self, cookie: bytes) -> Any:
        vault = self.sessions.vault
        found = self.runner.run(vault.load(cookie))
        kept = self.living(cookie)
        assert isinstance(found, Found) == (kept is not None)
        if not isinstance(found, Found) or kept is None or kept.renewals == 2:
            return multiple()  # `renew` is at least two graces: ways do not get longer than that
        kept.renewals += 1
        renewed = self.runner.run(vault.renew(found, Changes(), {}, grace=True, login=False))
        assert isinstance(renewed, Found)
        assert renewed.session_id not in self.given
        self.given[renewed.session_id] = self.leads_to[renewed.session_id] = kept
        return renewed.session_id

    @rule(subject=SUBJECTS)
    def all_of_a_subject_are_revoked(self, subject: int) -> None:
        alive = {id(k): k for k in self.leads_to.values() if k.alive}.values()
        mine = [kept for kept in alive if kept.data.get("user_id") == subject]
        assert self.runner.run(self.sessions.revoke_all(subject)) == len(mine)
        for kept in mine:
            kept.alive = False

    @rule(cookie=cookies)
    def it_expires(self, cookie: bytes) -> None:
        found = self.runner.run(self.sessions.vault.load(cookie))
        if isinstance(found, Found):
            self.runner.run(self._forget([ids.record_key(found.session_id)]))
            self.leads_to[cookie].alive = False
            if found.record.subject_digest is not None:  # its entry goes with its own time
                subject = str(self.leads_to[cookie].data["user_id"])
                self.runner.run(self.sessions.revoke(subject, found.record.handle.decode()))

    def teardown(self) -> None:
        for cookie in self.given:
            kept = self.living(cookie)
            contents = self.visit(cookie).session.contents()
            assert contents == (kept.data if kept else {}), "not what the model says"


Story: TypeAlias = Callable[[], Overlapping]


@pytest.fixture
def story(redis_url: str) -> Iterator[Story]:
    """Begins a story of requests, each on an empty store."""
    with asyncio.Runner() as runner:
        store = open_store(redis_url + "?deadline=5s")
        runner.run(store.open())
        sessions = Sessions(store=store, renew=None)
        yield lambda: Overlapping(sessions, runner)
        runner.run(store.aclose())


def test_overlapping_requests(story: Story) -> None:
    run_state_machine_as_test(
        story,  # type: ignore[arg-type]
        settings=settings(
            max_examples=200,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.generate],  # to shrink a story on a server takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_who_fails_after_a_rotation_is_not_told_of_it(story: Story) -> None:
    state: Any = story()
    cookie, _ = state.two_are_there_already().values
    renewed = state.its_id_is_renewed(cookie)
    rotating, failing = state.two_requests_come(cookie, "a", "b").values
    state.it_rotates_or_ends_its_session(rotating, "rotate")
    (given,) = state.it_ends(rotating, failed=False).values
    state.it_ends(failing, failed=True)
    assert [each for each in (cookie, renewed, given) if state.living(each)] == [given]
    state.teardown()
