"""One request's way through the cache: look up, decide, and carry the decision out."""

import asyncio
import contextlib
import inspect
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any, assert_never

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.asgi import (
    body_message,
    plain_extensions,
    read_body,
    replaying,
    respond,
    start_message,
)
from cachemw.caching import status
from cachemw.caching.cache_control import NOTHING, CacheControl, requested
from cachemw.caching.credentials import cookies_named, for_everybody
from cachemw.caching.entry import Entry
from cachemw.caching.fill import Broadcast, Broken, ClientSend, Direct, Fill, Instead
from cachemw.caching.flights import Flights
from cachemw.caching.keeper import Keeper, Lease
from cachemw.caching.keys import canonical_query, primary_key
from cachemw.caching.marks import CONTEXT, Notes
from cachemw.caching.policy import CachePolicy, IdentityValue, credentials_of
from cachemw.caching.ranges import Partial, Unsatisfiable, Whole, partial, plan, unsatisfiable
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.rules import (
    Found,
    Hit,
    Miss,
    OnlyIfCached,
    StaleHit,
    Validate,
    can_be_asked_about,
    decide,
    may_stand_in,
)
from cachemw.caching.shelf import Shelf
from cachemw.caching.stamps import namespace_tag, route_tag
from cachemw.caching.status import Forward
from cachemw.caching.tags import TagInputs
from cachemw.caching.validation import (
    Condition,
    conditional_headers,
    evaluate,
    not_modified_headers,
)
from cachemw.errors import StoreUnavailable
from cachemw.messages import Header, RequestHead, first_of
from cachemw.routes import Matched
from cachemw.stores.base import Store

logger = logging.getLogger("cachemw.cache")

POLL = 0.01  # seconds between two looks for another worker's entry at first,
POLL_MOST = 0.05  # and in the end
LEASE_MARGIN = 5.0  # seconds that a lease outlives the time its fill should take

# What an outer layer learnt about who asks. A fill for everybody must not know it.
_WHO = ("user", "auth", "session")
# What the app leaves in its scope for outer layers: instrumentation reads it afterwards.
_TRACES = ("route", "endpoint", "path_params", "path_format", "router")


class Exchange:
    """One request. Lives as long as it does; what outlives it is in `Flights`."""

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        shelf: Shelf,
        keeper: Keeper,
        flights: Flights,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: RequestHead,
        matched: Matched[CachePolicy],
    ) -> None:
        self.app, self.store = app, store
        self.shelf, self.keeper, self.flights = shelf, keeper, flights
        self.scope, self.receive, self.send = scope, receive, send
        self.request = request
        self.policy = matched.policy
        self.matched = matched
        self.asked = _wishes(request, matched.policy)
        self.body = b""
        self.resource: Resource

    # --- the main road

    async def run(self) -> None:
        resource = await self._identify()
        if resource is None:
            return
        self.resource = resource
        try:
            found = await self.shelf.find(resource)
        except StoreUnavailable:
            await self._fill(Miss(Forward.MISS, Reason.STORE_UNAVAILABLE), None)
            return
        now = self.store.now()
        decision = decide(found, self.asked, self.policy, now=now, luck=1 - random.random())
        if isinstance(decision, Hit | StaleHit) and not await self._is_let_in():
            await self.bypass(Reason.GUARD)
            return
        match decision:
            case Hit(entry, refresh, detail):
                if refresh:
                    self._refresh(entry)
                await self._replay(entry, now, detail)
            case StaleHit(entry, detail):
                self._refresh(entry)
                await self._replay(entry, now, detail)
            case Validate(entry, _, _):
                await self._fill(decision, entry)
            case Miss():
                await self._fill(decision, None)
            case OnlyIfCached():
                told = status.generated(Reason.ONLY_IF_CACHED)
                await respond(self.send, 504, [told, (b"content-length", b"0")], b"")
            case _:
                assert_never(decision)

    async def bypass(
        self,
        reason: Reason,
        forward: Forward = Forward.BYPASS,
        receive: Receive | None = None,
    ) -> None:
        """Hand the request on as it came, and say why."""
        await self.app(self.scope, receive or self.receive, self._telling(forward, reason))

    def _telling(self, forward: Forward, reason: Reason | None) -> Send:
        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = status.forwarded(forward, status=message["status"], detail=reason)
                message = {**message, "headers": _with_status(message.get("headers", ()), told)}
                self.scope["cachemw.result"] = "bypass"
            await self.send(message)

        return send

    # --- what is asked for

    async def _identify(self) -> Resource | None:
        """The resource, None when the request went to the app because it cannot have one."""
        policy, digest = self.policy, b""
        if self.request.method not in ("GET", "HEAD"):
            most = int(policy.max_body)
            self.body, messages, is_all = await read_body(self.receive, most)
            if not is_all:
                rest = replaying(messages, self.receive)
                await self.bypass(Reason.KEY_TOO_LARGE, receive=rest)
                return None
            kind = first_of(self.request.headers, b"content-type") or b""
            coding = first_of(self.request.headers, b"content-encoding") or b""
            digest = blake2b(b"%b\0%b\0%b" % (kind, coding, self.body), digest_size=16).digest()
        chosen, identity = await self._chosen()
        inputs = TagInputs(self.matched.params, self.request.query, self.request.headers, identity)
        tags = [route_tag(self.matched.pattern.text), *policy.tag_templates.render(inputs)]
        if policy.namespace:
            tags.append(namespace_tag(policy.namespace))
        primary = primary_key(self.request, policy, digest)
        return Resource(self.request, policy, primary, chosen, tuple(tags))

    async def _chosen(self) -> tuple[tuple[bytes, ...], str]:
        """What the policy adds to the key of a variant, and who is asking, for tags."""
        policy, headers = self.policy, self.request.headers
        chosen: list[bytes] = []
        identity = ""
        if policy.cookie_names:
            chosen.append(b";".join(sorted(cookies_named(headers, policy))))
        for function in policy.identities:
            identity, material = await _identity(function, self.scope)
            chosen.append(material)
        if policy.credentials == "identity":
            if policy.identity is None:
                material = credentials_of(headers)
                identity = material.hex()
            else:
                identity, material = await _identity(policy.identity, self.scope)
            chosen.append(material)
        return tuple(chosen), identity

    async def _is_let_in(self) -> bool:
        guard = self.policy.guard
        return guard is None or await guard(HTTPConnection(self.scope))

    # --- answering from an entry

    async def _replay(
        self, entry: Entry, now: int, detail: Reason | None = None, told: Header | None = None
    ) -> None:
        """Send an entry, or the part of it that this client wants."""
        request, age = self.request, entry.age(now)
        if told is None:
            told = status.hit(entry.lifetime.fresh - age, detail=detail)
            self.scope["cachemw.result"] = "hit" if detail is None else "stale"
        received = entry.header.received / 1e6
        extra: list[Header] = [(b"age", b"%d" % age), told]
        match evaluate(request, entry.head, received=received):
            case Condition.NOT_MODIFIED:
                headers = [*not_modified_headers(entry.header.headers), *extra]
                await respond(self.send, 304, headers, b"")
                return
            case Condition.FORWARD | Condition.SERVE:
                pass
        head, body = entry.head, entry.body
        match plan(request, head, len(body), received=received):
            case Whole():
                pass
            case Partial(spans):
                head, body = partial(head, body, spans, secrets.token_hex(16).encode())
            case Unsatisfiable():
                head, body = unsatisfiable(len(body)), b""
        headers = [*head.headers, *extra]
        if first_of(head.headers, b"content-length") is None and head.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        await respond(self.send, head.status, headers, b"" if request.method == "HEAD" else body)

    # --- asking the app

    async def _fill(self, why: Miss | Validate, stale: Entry | None) -> None:
        """Get an answer from the app, together with everybody who wants the same."""
        if first_of(self.request.headers, b"range") is not None and stale is None:
            # A part is not worth making the client wait for the whole.
            await self.bypass(Reason.PARTIAL, why.forward)
            return
        alone = not self.policy.coalesce or why.detail is Reason.UNCACHEABLE
        for _ in range(2):
            variant = self.resource.variant(self.shelf.plan(self.resource).fields)
            fill = None if alone else self.flights.of(self.resource.primary, variant)
            if fill is None or not fill.can_be_joined:
                await self._lead(why, stale, variant, alone)
                return
            if await self._follow(fill, why):
                return
        await self.bypass(Reason.UNCACHEABLE, why.forward)

    async def _lead(
        self, why: Miss | Validate, stale: Entry | None, variant: bytes, alone: bool
    ) -> None:
        fill = self._new_fill(stale, self._telling_fill(why), self.receive)
        wait = 0.0 if alone else self.policy.lease_wait
        acquire = self._acquiring(variant, wait, why)
        task = self.flights.start(fill, variant, acquire, is_shared=not alone)
        try:
            outcome = await self._outcome(fill, stale)
            if isinstance(outcome, Direct):
                await task  # it has the client's `send`
                return
            self._leave_traces(fill)
            try:
                await self._serve(outcome, fill, why, is_first=True)
            except Broken:
                await task  # raises what broke it
                raise
            if not isinstance(outcome, Instead):
                await asyncio.shield(task)  # background work of the app may still fail
        except asyncio.CancelledError:
            if not fill.outcome.done() or fill.is_direct:
                task.cancel()  # nobody else is, or can be, waiting for it
            raise

    async def _follow(self, fill: Fill, why: Miss | Validate) -> bool:
        """Wait for another request's answer. False when it is not for this one."""
        try:
            outcome = await asyncio.shield(fill.outcome)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return False  # it was the fill that was cancelled
        except Exception:
            return False
        if isinstance(outcome, Direct):
            await self._lead(replace_detail(why, Reason.UNCACHEABLE), None, b"", alone=True)
            return True
        if isinstance(outcome, Broadcast):
            fields = self.resource.fields(outcome.keep.fields)
            is_same = self.resource.variant(fields) == fill.resource.variant(fields)
            if not is_same or not fill.can_be_joined:
                return False
        if not await self._is_let_in():
            await self.bypass(Reason.GUARD)
            return True
        await self._serve(outcome, fill, why, is_first=False)
        return True

    async def _outcome(self, fill: Fill, stale: Entry | None) -> Broadcast | Direct | Instead:
        patience = self.policy.soft_timeout
        if stale is None or patience is None or not self._may_stand_in(stale):
            return await asyncio.shield(fill.outcome)
        done, _ = await asyncio.wait([fill.outcome], timeout=patience)
        if done:
            return fill.outcome.result()
        fill.forget_client()
        return Instead(stale, Reason.STALE_IF_ERROR, is_stale=True)

    async def _serve(
        self,
        outcome: Broadcast | Direct | Instead,
        fill: Fill,
        why: Miss | Validate,
        *,
        is_first: bool,
    ) -> None:
        if isinstance(outcome, Instead):
            await self._serve_instead(outcome, why, collapsed=not is_first)
            return
        assert isinstance(outcome, Broadcast)
        told = status.forwarded(
            why.forward,
            status=outcome.status,
            stored=outcome.reason is None,
            collapsed=not is_first,
            ttl=None if outcome.reason else outcome.keep.lifetime.fresh - outcome.keep.initial_age,
            detail=outcome.reason or why.detail,
        )
        self.scope["cachemw.result"] = "miss"
        if evaluate(self.request, outcome.head, received=0) is Condition.NOT_MODIFIED:
            headers = [*not_modified_headers(outcome.keep.headers), told]
            await respond(self.send, 304, headers, b"")
            return
        sent = outcome.for_first() if is_first else outcome.keep.headers
        await self.send(start_message(outcome.status, [*sent, told]))
        if self.request.method == "HEAD":
            await self.send(body_message(b""))
            return
        async with contextlib.aclosing(fill.body()) as chunks:
            async for chunk, more in chunks:
                await self.send(body_message(chunk, more=more))

    async def _serve_instead(
        self, outcome: Instead, why: Miss | Validate, *, collapsed: bool
    ) -> None:
        now = self.store.now()
        if outcome.is_stale:
            await self._replay(outcome.entry, now, outcome.detail)
            return
        fresh = outcome.entry.lifetime.fresh - outcome.entry.age(now)
        told = status.forwarded(
            why.forward,
            ttl=fresh,
            collapsed=collapsed or outcome.detail is None,
            detail=outcome.detail,
        )
        self.scope["cachemw.result"] = "miss"
        await self._replay(outcome.entry, now, told=told)

    # --- making fills

    def _refresh(self, entry: Entry) -> None:
        """Have an entry made anew in the background, unless that is under way."""
        variant = self.resource.variant(self.shelf.plan(self.resource).fields)
        if not self.flights.may_refresh(self.resource.primary, variant):
            return
        validating = entry if can_be_asked_about(entry) else None
        fill = self._new_fill(validating, None, _gone)
        acquire = self._acquiring(variant, 0.0, Miss(Forward.STALE))
        self.flights.start_refresh(fill, variant, acquire, self.policy.timeout)

    def _new_fill(self, stale: Entry | None, send: ClientSend | None, receive: Receive) -> Fill:
        can_ask = stale is not None and can_be_asked_about(stale)
        scope = self._fill_scope(stale if can_ask else None, is_refresh=send is None)
        return Fill(
            self.app,
            scope,
            self.resource,
            store=self.store,
            shelf=self.shelf,
            keeper=self.keeper,
            send=send,
            receive=receive,
            request_body=self.body,
            validating=stale,
            stand_in=lambda: stale is not None and self._may_stand_in(stale),
        )

    def _may_stand_in(self, stale: Entry) -> bool:
        return may_stand_in(stale, self.asked, self.store.now())

    def _fill_scope(self, asking_about: Entry | None, *, is_refresh: bool) -> Scope:
        """The request as a fill may see it: nothing of it but what the key covers."""
        policy, scope = self.policy, self.scope
        headers = for_everybody(self.request.headers, policy, keeps_body=bool(self.body))
        if asking_about is not None:
            headers += conditional_headers(asking_about.header.headers)
        fill_scope: dict[str, Any] = {
            **scope,
            "method": "GET" if scope["method"] == "HEAD" else scope["method"],
            "headers": list(headers),
            "query_string": canonical_query(self.request.query, policy),
            "extensions": plain_extensions(scope),
            CONTEXT: Notes(),
        }
        if "state" in scope:
            fill_scope["state"] = scope["state"].copy()
        if policy.credentials in ("bypass", "strip"):
            for name in _WHO:
                fill_scope.pop(name, None)
        if is_refresh:
            fill_scope["client"] = None
        return fill_scope

    def _leave_traces(self, fill: Fill) -> None:
        for name in _TRACES:
            if name in fill.scope:
                self.scope[name] = fill.scope[name]

    def _telling_fill(self, why: Miss | Validate) -> ClientSend:
        """The client's `send` for a response that turns out to be its own."""

        async def send(message: Message, reason: Reason) -> None:
            if message["type"] == "http.response.start":
                told = status.forwarded(why.forward, status=message["status"], detail=reason)
                message = {**message, "headers": _with_status(message.get("headers", ()), told)}
                self.scope["cachemw.result"] = "miss"
            elif self.request.method == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await self.send(message)

        return send

    def _acquiring(
        self, variant: bytes, wait: float, why: Miss | Validate
    ) -> Callable[[], Awaitable[Lease | Instead | Reason]]:
        resource, policy = self.resource, self.policy
        shelf, keeper, store, asked = self.shelf, self.keeper, self.store, self.asked

        async def acquire() -> Lease | Instead | Reason:
            """The lease; or what another worker has made meanwhile; or why there is neither."""
            if why.detail is Reason.STORE_UNAVAILABLE:
                return Reason.STORE_UNAVAILABLE
            pause, waited = POLL, 0.0
            try:
                await keeper.get_ready()
                while True:
                    # One trip: the lease, then, behind it, a second look, since somebody may have
                    # stored the entry since our first one.
                    leasing = keeper.lease(resource, variant, policy.timeout + LEASE_MARGIN)
                    entry = _good(await shelf.find(resource), asked, policy, store.now())
                    lease = await leasing
                    if entry is not None:
                        if lease is not None:
                            await keeper.give_back(resource, lease, variant)
                        return Instead(entry, None)
                    if lease is not None:
                        return lease
                    if waited >= wait:
                        return Reason.LEASE_TIMEOUT
                    await asyncio.sleep(pause)
                    waited, pause = waited + pause, min(pause * 1.5, POLL_MOST)
            except StoreUnavailable:
                return Reason.STORE_UNAVAILABLE

        return acquire


def _good(found: Found, asked: CacheControl, policy: CachePolicy, now: int) -> Entry | None:
    """The entry found, if it may be served as it is and needs no refresh."""
    decision = decide(found, asked, policy, now=now, luck=1.0)
    return decision.entry if isinstance(decision, Hit) and not decision.refresh else None


def replace_detail(why: Miss | Validate, detail: Reason) -> Miss | Validate:
    return replace(why, detail=detail)


def _wishes(request: RequestHead, policy: CachePolicy) -> CacheControl:
    asked = requested(request.headers)
    if asked is NOTHING or policy.obey_client:
        return asked
    return CacheControl(only_if_cached=True) if asked.only_if_cached else NOTHING


async def _identity(
    function: Callable[[HTTPConnection], IdentityValue | Awaitable[IdentityValue]], scope: Scope
) -> tuple[str, bytes]:
    """Who a policy's function says is asking: as text for tags, and as bytes for the key."""
    value = function(HTTPConnection(scope))
    if inspect.isawaitable(value):
        value = await value
    if value is None:
        return "", b"n"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace"), b"b" + value
    kind = b"i" if isinstance(value, int) else b"s"
    return str(value), kind + str(value).encode("utf-8", "surrogatepass")


def _with_status(headers: Any, told: Header) -> list[Header]:
    return [*headers, told]


async def _gone() -> Message:
    return {"type": "http.disconnect"}
