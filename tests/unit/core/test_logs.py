"""Log lines: one JSON object each, whatever is in them, and no credentials."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from cordboard.core.caller import Caller
from cordboard.core.errors import DependencyUnavailable, NotFound
from cordboard.core.logs import MAX_LINE, JsonFormatter, scrubbed
from cordboard.core.secrets import Secret
from tests.fixtures.serving import TokenMint


def line(event: str, error: BaseException | None = None, **extra: Any) -> dict[str, Any]:
    """Returns what is written of a record; it has to be one line of one JSON object."""
    record = logging.makeLogRecord({"name": "cordboard.x", "levelname": "WARNING", "msg": event, **extra})
    record.exc_info = (type(error), error, error.__traceback__) if error is not None else None
    text = JsonFormatter("catalog").format(record)
    assert len(text.splitlines()) == 1
    assert text.isascii()
    assert len(text) <= MAX_LINE
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert isinstance(found, dict)
    return found


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_line_has_the_event_and_the_declared_fields() -> None:
    found = line("call ended", method="a.B/C", duration_ms=1.5, failing=["database"], serving=False)
    assert (found["event"], found["level"], found["service"]) == ("call ended", "warning", "catalog")
    assert (found["logger"], found["method"], found["duration_ms"]) == ("cordboard.x", "a.B/C", 1.5)
    assert (found["failing"], found["serving"]) == (["database"], False)
    assert found["time"].endswith("+00:00")


@given(
    st.text(),
    st.recursive(
        st.text() | st.floats() | st.binary() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
)
def test_no_value_breaks_or_forges_a_line(text: str, value: Any) -> None:
    found = line(text, value=value)
    assert found["level"] == "warning"


@pytest.mark.parametrize(
    "end", ["\n", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x1b[2J", "\0", '"}\n{"level":"error"']
)
def test_a_line_break_in_a_value_stays_in_the_value(end: str) -> None:
    assert line(f"a{end}b", value=f"c{end}d")["value"] == f"c{end}d"


@pytest.mark.parametrize("value", ["x" * 100_000, "\x01" * 100_000, ["x" * 50] * 5_000, {"a": "x" * 100_000}])
def test_a_long_line_is_cut_and_stays_json(value: Any) -> None:
    found = line("call ended", value=value, other="kept")
    assert (found["event"], found["other"], found["service"]) == ("call ended", "kept", "catalog")


def test_many_long_values_are_cut_too() -> None:
    values: dict[str, Any] = {f"v{n}": "\u1234" * 2_000 for n in range(20)}
    assert line("x", **values)["event"] == "x"


def test_a_number_that_is_none_and_a_foreign_object_are_named() -> None:
    found = line("x", number=math.nan, thing=Caller("envoy"), secret=Secret("hunter2"), raw=b"hunter2")
    assert (found["number"], found["thing"], found["secret"], found["raw"]) == ("float", "Caller", "Secret", "bytes")


CREDENTIALS = [
    "Bearer hunter2hunter2",
    "authorization: bearer hunter2hunter2==",
    "Basic aHVudGVyMjpodW50ZXIy",
    "postgresql+asyncpg://role:hunter2@host:5432/db",
    "https://user:hunter2@example.com/a",
    "GET https://example.com/a?api_key=hunter2&b=1",
    "/callback?code=hunter2hunter2",
]


@pytest.mark.parametrize("text", CREDENTIALS)
def test_a_credential_is_scrubbed_wherever_it_stands(text: str) -> None:
    found = line(f"failed: {text} then", value=text, deep={"a": [text, {text: (text,)}]})
    shown = json.dumps(found)
    assert "***" in shown
    assert "hunter2" not in shown
    assert "aHVudGVy" not in shown


def test_a_token_is_scrubbed(mint: TokenMint) -> None:
    token = mint.token("operator")
    for part in (token, token.rpartition(".")[0] + ".", f"x={token};"):
        assert token.split(".")[1] not in json.dumps(line(part, value=[part]))


@pytest.mark.parametrize("text", ["call ended", "integrations/desk", "workspaces/acme/connections/a", "a basic set"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert scrubbed(text) == text


def test_an_exception_is_its_type_and_place_and_never_its_text() -> None:
    try:
        try:
            raise ValueError("password=hunter2")
        except ValueError as cause:
            raise DependencyUnavailable("hunter2") from cause
    except DependencyUnavailable as error:
        found = line("failed", error)
    assert (found["error"]["type"], found["error"]["cause"]) == ("DependencyUnavailable", "ValueError")
    assert found["error"]["at"][-1].startswith("test_logs.py:")
    assert "hunter2" not in json.dumps(found)


def test_a_suppressed_cause_is_not_named() -> None:
    try:
        try:
            raise ValueError("a")
        except ValueError:
            raise NotFound("x") from None
    except NotFound as error:
        assert "cause" not in line("failed", error)["error"]


def test_the_databases_code_is_told() -> None:
    class Refused(Exception):
        sqlstate = "23505"

    assert line("failed", raised(Refused("Key (id)=(hunter2) already exists")))["error"]["sqlstate"] == "23505"


def test_the_trace_is_named_inside_one() -> None:
    context = trace.SpanContext(0x1234, 0x5678, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        assert line("x")["trace_id"] == f"{0x1234:032x}"
    assert "trace_id" not in line("x")


def test_a_process_writes_its_lines_to_standard_output(tmp_path: Path) -> None:
    program = (
        "import logging\nfrom cordboard.core.logs import set_up\nset_up('uqi', 'info')\n"
        "logging.getLogger('a').info('x', extra={'k': 'one\\ntwo'})\nlogging.getLogger('a').debug('hidden')\n"
        "logging.getLogger('sqlalchemy.engine').info('SELECT hunter2')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert [json.loads(each)["k"] for each in done.stdout.splitlines()] == ["one\ntwo"]
    assert done.stderr == ""
