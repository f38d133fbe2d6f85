"""Where the time of a request goes, for OpenTelemetry: request, operation, statement, one within the other.

Off unless the extra `otel` is installed and an address is set. Like a log line a span carries an allow-list and never
a value: no texts of documents or statements, no variables, no words of exceptions. Who sends a `traceparent` is not
followed: what is kept is decided here.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from backend.errors import BadSetting

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
    from opentelemetry.trace import Status, StatusCode, Tracer

    INSTALLED = True
except ImportError:  # the extra `otel` is not installed
    INSTALLED = False

SERVICE = "selvedge"
Tell = Callable[[str, str | int], None]
"""Adds a word to the span: (its key, what it says)."""


def _tell_nobody(_key: str, _value: str | int) -> None:
    pass


_NOTHING: AbstractContextManager[Tell] = nullcontext(_tell_nobody)


class Traces:
    """Where the spans of this process go; made once, by whoever starts it."""

    def __init__(self) -> None:
        self._tracer: Tracer | None = None

    @property
    def on(self) -> bool:
        return self._tracer is not None

    def start(self, url: str | None, share: float, exporter: "SpanExporter | None" = None) -> Callable[[], None]:
        """Send a share (0 to 1) of all requests' spans to an OTLP/HTTP address; returns what ends that.

        Without an address nothing begins. Raises `BadSetting` when the extra is not installed.
        """
        if url is None:
            return lambda: None
        if not INSTALLED:
            raise BadSetting("SELVEDGE_TRACES_URL: wanted: `pip install selvedge[otel]`, or no address")
        provider = TracerProvider(
            sampler=TraceIdRatioBased(share), resource=Resource({SERVICE_NAME: SERVICE}), shutdown_on_exit=False
        )
        processor = BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=url))
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer(SERVICE)

        def end() -> None:
            self._tracer = None
            provider.shutdown()

        return end

    def span(self, name: str, /, **words: str | int) -> AbstractContextManager[Tell]:
        """The time a block takes, within that of the block around it."""
        return _NOTHING if self._tracer is None else _span(self._tracer, name, words)


@contextmanager
def _span(tracer: "Tracer", name: str, words: dict[str, str | int]) -> Iterator[Tell]:
    named = {f"selvedge.{key}": value for key, value in words.items()}
    with tracer.start_as_current_span(
        name, attributes=named, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield lambda key, value: span.set_attribute(f"selvedge.{key}", value)
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(error).__name__)
            raise


TRACES = Traces()
"""Of this process, as its metrics are."""
