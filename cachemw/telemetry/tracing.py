"""OpenTelemetry: what the cache did, on the span of the request, and spans for what it does itself.

    trace(handle.store)

A request's own span, which your instrumentation makes, gets attributes. A refresh, and a comparison
for `verify`, is nobody's request: it has a trace of its own, linked to the span of the request that
set it off, and what the handler does is within it. A purge is a span below whatever asked for it.

Only the API is used: without an SDK nothing is recorded. Needs the extra `[otel]`.
"""

import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    get_current_span,
    get_tracer,
    use_span,
)

from cachemw.stores.base import Store
from cachemw.telemetry.events import Exchange, Purge, Refresh, Refreshed, Verification
from cachemw.telemetry.tally import Event

ATTRIBUTES = {
    "cachemw.result": "what became of the request: `hit`, `stale`, `miss`, `bypass`",
    "cachemw.route": "the pattern under which the policy was found",
    "cachemw.reason": "why, in the words of `Cache-Status`",
    "cachemw.age": "seconds since the answer was made",
    "cachemw.stored": "whether the answer was kept",
    "cachemw.collapsed": "whether the request waited for the answer to another one",
    "cachemw.refresh.result": "what became of a refresh",
    "cachemw.purge.subject": "what a purge was told to purge",
    "cachemw.purge.names": "the first of what it named",
    "cachemw.purge.soft": "whether that is only marked as stale",
    "cachemw.purge.region": "the region where it began, unless that is this one",
    "cachemw.verify.differences": "in what the app answers otherwise than the cache",
}


def trace(store: Store, provider: TracerProvider | None = None) -> None:
    """Trace what happens to everything that uses `store`. Call it once, before the app starts."""
    tracing = _Tracing(get_tracer("cachemw", tracer_provider=provider))
    store.tally.watchers = (*store.tally.watchers, tracing.watch)
    store.tally.spans = tracing.begun


class _Tracing:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begun(self, name: str) -> AbstractContextManager[object]:
        """A trace of its own, linked to what is going on now; entered where it takes place."""
        return self._apart(name, get_current_span())

    @contextmanager
    def _apart(self, name: str, cause: Span) -> Generator[Span]:
        links = [Link(cause.get_span_context())] if cause.get_span_context().is_valid else []
        span = self._tracer.start_span(f"cachemw {name}", Context(), links=links)
        with use_span(span, end_on_exit=True):
            yield span

    def watch(self, event: Event) -> None:
        match event:
            case Exchange():
                _describe_exchange(get_current_span(), event)
            case Refresh(route=route, ended=ended):
                span = get_current_span()
                span.set_attribute("cachemw.route", route)
                span.set_attribute("cachemw.refresh.result", ended)
                if ended == Refreshed.FAILED.value:
                    span.set_status(Status(StatusCode.ERROR))
            case Purge():
                self._tell_purge(event)
            case Verification(route=route, differences=differences):
                span = get_current_span()
                span.set_attribute("cachemw.route", route)
                span.set_attribute("cachemw.verify.differences", differences)

    def _tell_purge(self, event: Purge) -> None:
        """It is over by now, and nothing that it did has a span."""
        ended = time.time_ns()
        attributes: dict[str, str | bool | tuple[str, ...]] = {
            "cachemw.purge.subject": event.subject,
            "cachemw.purge.names": event.names,
            "cachemw.purge.soft": event.soft,
        }
        if event.region:
            attributes["cachemw.purge.region"] = event.region
        began = ended - int(event.seconds * 1e9)
        span = self._tracer.start_span("cachemw purge", attributes=attributes, start_time=began)
        if event.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)


def _describe_exchange(span: Span, event: Exchange) -> None:
    if not span.is_recording():
        return
    span.set_attribute("cachemw.result", event.outcome)
    span.set_attribute("cachemw.route", event.route)
    if event.reason:
        span.set_attribute("cachemw.reason", str(event.reason))
    if event.age:
        span.set_attribute("cachemw.age", event.age)
    if event.stored:
        span.set_attribute("cachemw.stored", True)
    if event.collapsed:
        span.set_attribute("cachemw.collapsed", True)
