"""The trace context that comes with a call: read quickly, and as the library reads it."""

from __future__ import annotations

import pytest
from opentelemetry import trace

from cordboard.core.telemetry import propagator, remote_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("traceparent", "valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", True),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f" 00-{TRACE}-{SPAN}-01 ", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        (f"00-{TRACE}-{SPAN}-01\n", True),
        ("", False),
    ],
)
@pytest.mark.parametrize("state", [{}, {"tracestate": ""}, {"tracestate": "vendor=1,other=2"}])
def test_a_context_is_what_the_library_makes_of_it(traceparent: str, valid: bool, state: dict[str, str]) -> None:
    carrier = {"traceparent": traceparent, "user-agent": "x", **state}
    mine = trace.get_current_span(remote_context(carrier)).get_span_context()
    theirs = trace.get_current_span(propagator.extract(carrier)).get_span_context()
    assert mine == theirs
    assert (mine.is_valid, mine.is_remote) == (valid, valid)
    if valid and state.get("tracestate"):
        assert mine.trace_state.get("other") == "2"


def test_a_call_without_a_context_begins_a_trace() -> None:
    assert not trace.get_current_span(remote_context({})).get_span_context().is_valid
