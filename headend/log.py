"""Structured logs: a constant message and fields, one JSON object a line on stderr (or readable text on a terminal).

Every line has the same keys in front, whoever wrote it: `timestamp` (UTC), `level`, `event`, `logger`, `role` (null
outside of one) and `pid`. A warning or error that repeats itself word for word is told once a minute, with how often
it was.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, MutableMapping
from types import TracebackType
from typing import Any, Final

import structlog

_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Without local variables: among them are settings, with passwords and keys."""
REPEATS_S: Final = 60.0
"""The same words again within so long are counted instead of written."""
_MOST_WORDS: Final = 1000
"""Different ones that are remembered at the most."""
_FRONT: Final = ("timestamp", "level", "event", "logger", "role", "pid")


def configure_logging(level: str = "info", style: str = "json") -> None:
    """Set up structlog and route the standard library's loggers, warnings and uncaught exceptions through it."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[Any] = (
        [
            _in_order,
            structlog.processors.ExceptionRenderer(_TRACEBACKS),
            structlog.processors.JSONRenderer(),
        ]
        if style == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a logger made before follows; few lines are written where speed counts
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Repeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[_repeated, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "pymodbus", "procrastinate", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if style == "json":
        sys.excepthook = _crashed
        threading.excepthook = _thread_crashed


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


def bind_role(name: str) -> None:
    """What this task logs from now on, and the threads that it has work done in, bears the role's name."""
    structlog.contextvars.bind_contextvars(role=name)


class Repeats(logging.Filter):
    """Lets warnings and errors through unless the same words were there within `REPEATS_S`; numbers are no words."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock_s = clock_s
        self._told: dict[Hashable, tuple[float, int]] = {}
        """Words → when they were written last, and how often they were not since."""
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it; if so it is told how often it was left out."""
        if record.levelno < logging.WARNING:
            return True
        words, now_s = _words(record), self._clock_s()
        with self._lock:
            told_s, left_out = self._told.get(words, (-REPEATS_S, 0))
            if now_s - told_s < REPEATS_S:
                self._told[words] = (told_s, left_out + 1)
                return False
            self._told.pop(words, None)
            self._told[words] = (now_s, 0)
            if len(self._told) > _MOST_WORDS:
                del self._told[next(iter(self._told))]
        record.repeated = left_out
        return True


def _words(record: logging.LogRecord) -> Hashable:
    """What makes a line the same one: its texts, and what was raised; how many and how long may differ."""
    said: Any = record.msg
    raised: Any = record.exc_info
    if isinstance(said, dict):
        raised = said.get("exc_info")
        texts: Hashable = tuple(
            (key, value) for key, value in sorted(said.items()) if isinstance(value, str) and key != "timestamp"
        )
    else:
        texts = record.getMessage()
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    return record.name, record.levelno, texts, (type(error).__name__, str(error)) if error else None


Event = MutableMapping[str, Any]


def _repeated(_logger: Any, _name: str, event: Event) -> Event:
    """How often the line was left out since it was written last, where it was; and who says it."""
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    if times := getattr(record, "repeated", 0):
        event["repeated"] = times
    return event


def _in_order(_logger: Any, _name: str, event: Event) -> Event:
    """The keys that every line has, in front."""
    event.setdefault("role", None)
    event["pid"] = os.getpid()
    return {key: event[key] for key in _FRONT} | {key: value for key, value in event.items() if key not in _FRONT}


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last words of a process that nobody caught anything for."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    get_logger(__name__).critical("crashed", exc_info=(kind, error, trace))


def _thread_crashed(args: threading.ExceptHookArgs) -> None:
    """The same of a thread."""
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        thread = None if args.thread is None else args.thread.name
        get_logger(__name__).critical(
            "thread crashed", thread=thread, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )
