"""JSON logs with ids and never with variables, and the metrics of this process.

What a log line may carry is an allow-list, and so is what a metric's label may say: a label holds one of a
closed set of words, or one of the first so many it is given; whatever comes beyond them is counted as `other`.
"""

import json
import logging
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from traceback import extract_tb
from types import TracebackType
from typing import Any, Literal, TextIO, cast

import orjson
import structlog
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client import Counter as _Counter
from prometheus_client import Gauge as _Gauge
from prometheus_client import Histogram as _Histogram
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

ALLOWED_KEYS = frozenset(
    [
        "event",
        "level",
        "timestamp",
        "component",
        "request_id",
        "user_id",
        "device_id",
        "service_id",
        "operation",
        "code",
        "error_id",
        "error_type",
        "stack",
        "where",
        "milliseconds",
        "rows",
        "collection",
        "address",
        "database",
        "run_id",
        "batch_id",
        "port",
        "attempt",
    ]
)


def _only_allowed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: value for key, value in event.items() if key in ALLOWED_KEYS}


def _json(event: EventDict, **how: Any) -> str:
    try:
        return orjson.dumps(event, how.get("default")).decode()
    except TypeError:  # a text that is not Unicode, or too great a number
        return json.dumps(event, **how)


class _StandardError:
    """Standard error as it is at the moment: whoever runs the product inside his own process may have put another."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logs(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_allowed,
            structlog.dev.ConsoleRenderer()
            if sys.stderr.isatty()
            else structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
        cache_logger_on_first_use=True,
    )
    # what libraries say goes the same way; at WARNING, for below it they tell of themselves
    logging.basicConfig(
        handlers=[_Libraries()], level=max(logging.WARNING, logging.getLevelNamesMapping()[level]), force=True
    )
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed


class _Libraries(logging.Handler):
    """What a library logs, as where it was said and by which failure: its words may hold anybody's values.

    Only a text that takes its values apart from itself is told, without them.
    """

    def emit(self, record: logging.LogRecord) -> None:
        failed = record.exc_info[1] if record.exc_info else None
        say = structlog.get_logger(component=record.name)
        say.log(
            record.levelno,
            str(record.msg) if record.args else "a library said something",
            where=f"{record.module}:{record.lineno}",
            **(error_told(failed) if failed is not None else {}),
        )


def _thread_failed(ended: threading.ExceptHookArgs) -> None:
    told = error_told(ended.exc_value) if ended.exc_value is not None else {"error_type": ended.exc_type.__name__}
    structlog.get_logger(component="threading").error("a thread failed", **told)


def error_told(error: BaseException) -> dict[str, str]:
    """What a log line may say of an exception: its type and the way to it, never its words."""
    return {"error_type": type(error).__name__, "stack": _stack(error.__traceback__)}


def _stack(traceback: TracebackType | None) -> str:
    """The innermost frames as `file:line function`, the innermost first."""
    frames = extract_tb(traceback)[-STACK_FRAMES_MAX:]
    return " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))


STACK_FRAMES_MAX = 12


def logger(name: str) -> FilteringBoundLogger:
    return cast(FilteringBoundLogger, structlog.get_logger(component=name))


def name_caller(**ids: str | None) -> None:
    """Every line of this request names who asks, by those of `user_id`, `device_id` and `service_id` there are."""
    structlog.contextvars.bind_contextvars(**{name: one for name, one in ids.items() if one is not None})


def current_request_id() -> str | None:
    """The id the logs know this request by, made here or brought in `X-Request-Id`; None outside of requests."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return found[:REQUEST_ID_CHARACTERS_MAX] if isinstance(found, str) else None


REQUEST_ID_CHARACTERS_MAX = 64
REGISTRY = CollectorRegistry(auto_describe=True)
"""The metrics of this process, one of each however many applications it holds, as with loggers."""
disable_created_metrics()  # type: ignore[no-untyped-call]
OTHER = "other"
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder where the processes of one port put their counts together."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of a duration."""
Words = Collection[str] | int
"""What a label may say: these words, or the first so many different ones."""


class _Labels:
    """Keeps what a label says within its bounds."""

    def __init__(self, labels: Mapping[str, Words]) -> None:
        self.names = tuple(labels)
        self._free = {name: words for name, words in labels.items() if isinstance(words, int)}
        self._taken = {name: set() if isinstance(words, int) else set(words) for name, words in labels.items()}

    def bounded(self, given: Mapping[str, str]) -> tuple[str, ...]:
        if len(given) != len(self.names):
            raise TypeError(f"labels are {self.names}, not {tuple(given)}")
        return tuple([self._word(name, given[name]) for name in self.names])

    def _word(self, name: str, word: str) -> str:
        taken = self._taken[name]
        if word in taken:
            return word
        if len(taken) < self._free.get(name, 0):
            taken.add(word)
            return word
        return OTHER


class Counter:
    """What only grows."""

    def __init__(self, name: str, says: str, labels: Mapping[str, Words]) -> None:
        self._labels = _Labels(labels)
        self._metric = _Counter(name, says, self._labels.names, registry=REGISTRY)
        self._made: dict[tuple[str, ...], _Counter] = {}

    def add(self, amount: float = 1, /, **labels: str) -> None:
        # what was said before is a word that may be said, and is looked at no more
        made = self._made.get(tuple(labels.values())) if tuple(labels) == self._labels.names else None
        if made is None:
            words = self._labels.bounded(labels)
            made = self._made.get(words)
            if made is None:
                made = self._made[words] = self._metric.labels(*words) if words else self._metric
        made.inc(amount)


class Gauge:
    """What is so many at the moment."""

    def __init__(self, name: str, says: str, labels: Mapping[str, Words], over: "Over") -> None:
        self._labels = _Labels(labels)
        self._metric = _Gauge(name, says, self._labels.names, registry=REGISTRY, multiprocess_mode=over)

    def set(self, value: float, /, **labels: str) -> None:
        self._of(labels).set(value)

    def add(self, amount: float = 1, /, **labels: str) -> None:
        (self._of(labels) if self._labels.names else self._metric).inc(amount)

    def _of(self, labels: Mapping[str, str]) -> _Gauge:
        words = self._labels.bounded(labels)
        return self._metric.labels(*words) if words else self._metric


class Histogram:
    """How often a value fell below which bound."""

    def __init__(self, name: str, says: str, labels: Mapping[str, Words], buckets: Sequence[float]) -> None:
        self._labels = _Labels(labels)
        self._metric = _Histogram(name, says, self._labels.names, registry=REGISTRY, buckets=tuple(buckets))
        self._made: dict[tuple[str, ...], _Histogram] = {}

    def observe(self, value: float, /, **labels: str) -> None:
        made = self._made.get(tuple(labels.values())) if tuple(labels) == self._labels.names else None
        if made is None:
            words = self._labels.bounded(labels)
            made = self._made.get(words)
            if made is None:
                made = self._made[words] = self._metric.labels(*words) if words else self._metric
        made.observe(value)


Over = Literal["livesum", "livemax", "liveall"]
"""What several processes say together: the sum, the highest, or each its own value under its process id."""


def counter(name: str, says: str, /, **labels: Words) -> Counter:
    """A counter, shown as `selvedge_<name>_total`; made once, at the head of the module that counts."""
    return Counter(f"selvedge_{name}", says, labels)


def gauge(name: str, says: str, /, *, over: Over = "livesum", **labels: Words) -> Gauge:
    """A gauge, shown as `selvedge_<name>`."""
    return Gauge(f"selvedge_{name}", says, labels, over)


def histogram(name: str, says: str, /, *, buckets: Sequence[float] = SECONDS, **labels: Words) -> Histogram:
    """A histogram, shown as `selvedge_<name>`; of seconds, unless other `buckets` are given."""
    return Histogram(f"selvedge_{name}", says, labels, buckets)


def metric_value(name: str, /, **labels: str) -> float:
    """What this process has counted under a name as it is shown (`selvedge_refusals_total`); 0 where nothing was."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
