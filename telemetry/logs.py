"""One form for the log lines of a process, whichever library writes them.

Lines go to standard error. The loggers of Python, and so those of uvicorn, celery and sqlalchemy,
pass through one formatter of structlog's; what is given as `extra` becomes a field of the line.
`facts` are on every line; secrets are not.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import structlog
from structlog.processors import format_exc_info
from structlog.stdlib import ProcessorFormatter

from telemetry import facts, tracing
from telemetry.redact import Redactor
from telemetry.settings import Settings

# at level info these say what every request or message is; the service's own lines say it better
_TALKATIVE = (
    "alembic", "amqp", "botocore", "celery.app.trace", "celery.worker.strategy", "fsspec",
    "httpcore", "httpx", "httpx2", "kombu", "s3fs", "urllib3",
)  # fmt: skip
_DOUBLES = ("color_message", "message")
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "celery", "celery.task", "celery.redirected")


def configure(
    service: str,
    settings: Settings | None = None,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Makes this process log as the settings say; `secrets` never show in a line."""
    chosen = settings or Settings()
    handler = _Handler(stream)
    handler.setFormatter(formatter(service, chosen.log_format, Redactor(secrets), handler.stream))
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, _Handler)] + [handler]
    root.setLevel(chosen.log_level.upper())
    _let_through(chosen.log_level)
    logging.captureWarnings(capture=True)


def formatter(
    service: str, log_format: str, redactor: Redactor, stream: TextIO
) -> ProcessorFormatter:
    """Turns any record into a line."""
    json = structlog.processors.JSONRenderer(default=str)
    console = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return ProcessorFormatter(
        foreign_pre_chain=[*_common(service), structlog.stdlib.ExtraAdder()],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            _drop_doubles,
            # a traceback is text from here on, so that the redactor sees what is in it
            format_exc_info,
            redactor,
            json if log_format == "json" else console,
        ],
    )


class _Handler(logging.StreamHandler[TextIO]):
    """Ours: found again, and replaced, when logging is configured once more."""

    def __init__(self, stream: TextIO | None) -> None:
        logging.Handler.__init__(self)
        self._given = stream

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where lines go: standard error as it is at that moment, unless told otherwise."""
        return self._given or sys.stderr


def _common(service: str) -> list[Any]:
    def add_facts(_logger: Any, _method: str, event: Any) -> Any:
        known = {"service": service, "trace_id": tracing.current_trace()} | facts.current()
        return {name: value for name, value in known.items() if value is not None} | event

    return [
        add_facts,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _drop_doubles(_logger: Any, _method: str, event: Any) -> Any:
    """The same text again, which uvicorn and other handlers leave on a record."""
    return {name: value for name, value in event.items() if name not in _DOUBLES}


def _let_through(level: str) -> None:
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    # our request lines replace it: it would write queries, and knows no request id
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(level.upper() if level == "debug" else logging.WARNING)
