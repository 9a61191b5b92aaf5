"""Logs: one JSON object a line, with the trace id, and without secrets.

Lines say an event in fixed words; values go into declared fields (`extra=`), never into the text.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.core.telemetry import trace_id

# What every LogRecord has; anything else came by `extra=`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# The last net under types and habits: JWTs, bearer and basic credentials, URL queries and passwords in URLs.
_SECRETS: Final = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*|(?i:\b(?:bearer|basic)\s+)[\w~+/.=-]{8,}|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)|\?[^\s\"']{4,}"
)
MAX_LINE: Final = 8192


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON."""

    def __init__(self, service: str) -> None:
        """Takes the service's name, which goes into every line."""
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        # ensure_ascii escapes control characters and line separators: nothing in a value can forge a line.
        return json.dumps(fitted(fields(record, self._service)))


def fields(record: logging.LogRecord, service: str) -> dict[str, Any]:
    """Returns what is told of a record, scrubbed; an exception is its type, its reason and where it was raised, never
    its text.
    """
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "service": service,
        "event": scrubbed(record.getMessage()),
    }
    if found := trace_id():
        line["trace_id"] = found
    for key, value in vars(record).items():
        if key not in _STANDARD:
            line[key] = _plain(value)
    if record.exc_info and record.exc_info[1] is not None:
        line["error"] = _described(record.exc_info[1])
    if record.name != "root":
        line["logger"] = record.name
    return line


def fitted(line: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields with values so short that all of them fit a line."""
    found, width = line, 1024
    # After scrubbing, for a cut can hide half a secret; and by value, for half a line is no JSON.
    while len(json.dumps(found)) > MAX_LINE and width:
        found = {key: _cut(value, width) for key, value in line.items()}
        width //= 2
    return found


def scrubbed(text: str) -> str:
    """Returns the text without anything that looks like a credential."""
    return _SECRETS.sub("***", text)


def _plain(value: Any, levels: int = 4) -> Any:
    """Returns a value as JSON, scrubbed at every depth; what is no JSON is named by its type."""
    if isinstance(value, str):
        return scrubbed(value)
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, dict) and levels:
        return {scrubbed(str(key)): _plain(member, levels - 1) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and levels:
        return [_plain(member, levels - 1) for member in value]
    return type(value).__name__


def _cut(value: Any, width: int) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    return value if len(text) <= width else text[:width]


def _described(error: BaseException) -> dict[str, Any]:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    described: dict[str, Any] = {"type": type(error).__name__, "at": frames[-12:]}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        described["cause"] = type(cause).__name__
    # PostgreSQL's code says which rule was broken, without the values that broke it.
    sqlstate = getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None)
    if sqlstate:
        described["sqlstate"] = sqlstate
    return described


def set_up(service: str, level: str) -> None:
    """Sends every log line of the process to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These quote statements, URLs or peers at levels below warning.
    for chatty in ("sqlalchemy", "asyncio", "aiohttp", "grpc", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
