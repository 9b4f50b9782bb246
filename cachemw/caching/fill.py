"""One run of the app for one key, and everybody who waits for it.

A fill runs in a task of its own, so that no client's coming or going changes what the others get.
All who wait learn its outcome (`outcomes.py`) as soon as it is known, or the error that the app
raised before its response began. How the response is taken in is `intake.py`, the right to store it
`tenure.py`.

A fill that nobody waits for, be it that all have left or that it is a refresh, has the policy's
`timeout` to come to its end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope

from cachemw.asgi import departure
from cachemw.caching.entry import Entry
from cachemw.caching.flow import Broken, Flow, Reader
from cachemw.caching.intake import ClientSend, Complain, Intake
from cachemw.caching.keeper import Keeper, Lease
from cachemw.caching.outcomes import Instead
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.shelf import Shelf
from cachemw.caching.tenure import Tenure
from cachemw.caching.validation import CONDITIONAL
from cachemw.messages import without
from cachemw.stores.base import Store

Acquire: TypeAlias = Callable[[], Awaitable[Lease | Instead | Reason]]
"""Gets the lease; or what is to be served instead; or says why there is neither."""


class Fill:
    """The making of one entry. `run` is awaited in a task; `outcome` by any number of readers."""

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        resource: Resource,
        *,
        store: Store,
        shelf: Shelf,
        keeper: Keeper,
        send: ClientSend | None,
        receive: Receive,
        request_body: bytes,
        validating: Entry | None,
        stand_in: Callable[[], bool],
        complain: Complain,
    ) -> None:
        self.resource = resource
        self.scope = scope
        self.task: asyncio.Task[None] | None = None
        self.tenure = Tenure(resource, store, shelf, keeper)
        self._flow = Flow(self._deserted)
        self._intake = Intake(
            scope,
            self.tenure,
            self._flow,
            store.now,
            send=send,
            validating=validating,
            stand_in=stand_in,
            complain=complain,
        )
        self.outcome = self._intake.outcome
        self._app = app
        self._receive = receive
        self._body = request_body
        self._unread: bytes | None = request_body
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False

    def __repr__(self) -> str:
        return f"<Fill {self.resource.primary!r} {self.outcome!r} {self._flow.size} bytes>"

    # --- those who wait

    def is_for(self, resource: Resource) -> bool:
        """Whether another request would get this very response, as far as is known."""
        fields = self.tenure.fields
        same = resource.primary == self.resource.primary
        return same and resource.variant(fields) == self.resource.variant(fields)

    @property
    def can_be_joined(self) -> bool:
        """Whether somebody who comes now still gets all of it."""
        intake, flow = self._intake, self._flow
        is_shared = not intake.is_direct and flow.is_gathering
        is_over = intake.is_discarding or flow.ended or self.task is None or self.task.done()
        is_ours = self.outcome.get_loop() is asyncio.get_running_loop()
        return is_ours and is_shared and not is_over and not self._has_failed

    @property
    def _has_failed(self) -> bool:
        outcome = self.outcome
        return outcome.done() and (outcome.cancelled() or outcome.exception() is not None)

    def forget_client(self) -> None:
        """The one who asked first has been served otherwise."""
        self._intake.send_first = None

    def join(self) -> Reader:
        """A place among those who wait; to be left."""
        return self._flow.join()

    @property
    def _is_with_client(self) -> bool:
        """Whether it is in the hands of the one who asked first, who ends it by leaving."""
        return self._intake.is_direct and self._intake.send_first is not None

    def _deserted(self) -> None:
        task = self.task
        if task is None or task.done() or self._flow.ended or self._timer is not None:
            return
        if self._is_with_client:
            return
        patience = self.resource.policy.timeout
        self._timer = asyncio.get_running_loop().call_later(patience, self._expire)

    def _expire(self) -> None:
        """Time is up. Who has come since does not keep alive what has not even begun."""
        self._timer = None
        is_read = bool(self._flow.readers) and self.outcome.done()
        if self.task is not None and not (is_read or self._is_with_client or self._flow.ended):
            self._is_late = True
            self.task.cancel()

    # --- the run

    async def run(self, acquire: Acquire) -> None:
        """Make the response, under a lease that `acquire` gets."""
        if not self._flow.readers:
            self._deserted()
        try:
            acquired = await acquire()
            if isinstance(acquired, Instead):
                self.tenure.select_as_known()
                self._intake.decide(acquired)
            else:
                await self._make(acquired)
        except asyncio.CancelledError as error:
            await self._intake.take_back()
            if not self._is_late:
                self._intake.fail(error)
                raise
            late = TimeoutError(f"the app did not answer in {self.resource.policy.timeout} s")
            self._intake.fail(late)
            raise late from None
        except BaseException as error:
            await self._intake.take_back()
            self._intake.fail(error)
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._flow.deserted = None  # which would keep this alive until a collection
            await self.tenure.end()

    async def _make(self, acquired: Lease | Reason) -> None:
        self.tenure.begin(acquired)
        made = dict(self.scope)
        await self._app(self.scope, self._receive_for_app, self._intake.take)
        if self._intake.must_ask_again:
            await self._ask_again(made)
        if not self._intake.is_complete:
            raise Broken("the app returned before its response was complete")

    async def _ask_again(self, made: Scope) -> None:
        """§4.3.4: a 304 that confirms something else confirms nothing.

        The scope is what it was at first: mounts move their path into it, and would not find it
        again.
        """
        self._unread = self._body
        self.scope.clear()
        self.scope.update(made, headers=list(without(made["headers"], CONDITIONAL)))
        self._intake.start_over()
        await self._app(self.scope, self._receive_for_app, self._intake.take)

    async def _receive_for_app(self) -> Message:
        """The request's body, and then nothing until all is said: whether a client leaves concerns
        only a response that is its own."""
        body, self._unread = self._unread, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._intake.may_hear.wait()
        if self._intake.has_ended:
            return {"type": "http.disconnect"}
        await departure(self._receive)  # of the request itself, nothing is left to say
        return {"type": "http.disconnect"}
