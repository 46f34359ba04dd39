"""Spans of a request at every role, as OpenTelemetry has them.

They begin where somebody collects them and a trace leads: a session's messages carry the place of its spans
as W3C's `traceparent`, which is empty for a session that nobody traces. So where tracing is off, nothing is
done but to see that. Spans say names of modes and roles and counts, and nothing of a text.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

EVERY = 16  # rounds; of the first so many each is told, and then one of so many

_FIELD = "traceparent"
_w3c = TraceContextTextMapPropagator()
_tracer: Tracer | None = None
_caller: ContextVar[str] = ContextVar("caller", default="")
_current: ContextVar[Span | None] = ContextVar("span", default=None)

Word = str | int | float | bool


def collect(tracer: Tracer | None) -> None:
    """Spans of this process go there from now on; None: there are none. A process has one, as of loggers."""
    global _tracer
    _tracer = tracer


def below(span: Span | None, name: str) -> Span | None:
    """A part of a span; None where that is not recorded."""
    if span is None or _tracer is None or not span.is_recording():
        return None
    return _tracer.start_span(f"ringroad.{name}", set_span_in_context(span))


def tell(span: Span | None, event: str, **words: Word) -> None:
    """Something that happened; nothing where the span is not recorded, or has ended."""
    if span is not None and span.is_recording():
        span.add_event(event, _named(words))


def place_of(span: Span | None) -> str:
    """What other roles are to know of a span, to begin theirs below it; empty where it is not recorded."""
    if span is None or not span.is_recording():
        return ""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, set_span_in_context(span))
    return carrier.get(_FIELD, "")


def trace_id_of(span: Span | None) -> str:
    """As logs have it: 32 hexadecimal digits; empty where there is none."""
    return format_trace_id(span.get_span_context().trace_id) if span is not None else ""


def called(parent: str) -> None:
    """What is done from here on is a client's, who sent this `traceparent`, or none: every door says so."""
    _caller.set(parent)


@contextmanager
def call() -> Iterator[None]:
    """The span of a client's call, below the client's own where it names one; `current` within.

    What the call raises is told by its name only.
    """
    if (span := _start("request", _caller.get(), SpanKind.SERVER)) is None:
        yield
        return
    before = _current.set(span)
    try:
        yield
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        _current.reset(before)
        span.end()


def current() -> Span | None:
    """The span of the call that this is done for; None where it is not traced."""
    return _current.get()


def note(**words: Word) -> None:
    """Says something of the current call."""
    if (span := _current.get()) is not None:
        span.set_attributes(_named(words))


class Trail:
    """A session at a role: a span, and below it one up to the first answer and one from there on."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._part = below(span, "prefill")
        self._rounds = 0

    def round(self, event: str, **words: Word) -> None:
        """An answer; with the first one the prompt has been read."""
        self._rounds += 1
        if self._rounds == 1:
            self._end_part()
            self._part = below(self.span, "decode")
        if self._rounds <= EVERY or self._rounds % EVERY == 0:
            tell(self._part, event, round=self._rounds, **words)

    def end(self, **words: Word) -> None:
        """The session is over here."""
        self._end_part()
        self.span.set_attributes(_named({"rounds": self._rounds, **words}))
        self.span.end()

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.end()


class Trails(dict[str, Trail]):
    """Of a role's sessions those that are traced."""

    def begin(self, session: str, name: str, parent: str, **words: Word) -> str:
        """Begins one, where `parent` is not empty; what the roles below this one are to know."""
        span = _start(name, parent) if parent else None
        if span is None:
            return ""
        span.set_attributes(_named(words))
        self[session] = Trail(span)
        return place_of(span)

    def end(self, session: str, **words: Word) -> None:
        """Ends it, if there is one."""
        if trail := self.pop(session, None):
            trail.end(**words)


def _start(name: str, parent: str, kind: SpanKind = SpanKind.INTERNAL) -> Span | None:
    """Below `parent`, or, where that is empty, the first of its trace. None where nobody collects."""
    if _tracer is None:
        return None
    context = _w3c.extract({_FIELD: parent}) if parent else None
    return _tracer.start_span(f"ringroad.{name}", context, kind)


def _named(words: dict[str, Word]) -> dict[str, Word]:
    return {f"ringroad.{key}": word for key, word in words.items()}
