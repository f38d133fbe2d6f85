"""JSON logs with ids and never with variables: what a log line may carry is an allow-list."""

import logging
import sys
from typing import cast

import structlog
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
        "operation",
        "code",
        "error_id",
        "error_type",
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


def configure_logs(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_allowed,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def logger(name: str) -> FilteringBoundLogger:
    return cast(FilteringBoundLogger, structlog.get_logger(component=name))
