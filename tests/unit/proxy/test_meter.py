"""Calls are counted with the flag's variant that chose their version."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cordboard.core.measures import Measures
from cordboard.proxy.calls import CallRecord, Led
from cordboard.proxy.meter import Meter
from cordboard.proxy.v1 import proxy_service_pb2 as pb

RECORD = CallRecord(
    workspace_id="acme",
    id="1",
    connection="workspaces/acme/connections/desk",
    integration="desk",
    action="list",
    version="1.0.0",
    outcome=pb.Call.OUTCOME_OK,
    reason="",
    vendor_status=200,
    attempts=1,
    duration_us=1000,
    caller="",
    peer="",
    token_id="",
    trace_id="",
    generation=1,
    create_time=datetime.now(UTC),
)


@pytest.mark.parametrize(
    ("led", "wanted"),
    [
        (Led("version.desk", 3, "new"), {"feature_flag.key": "version.desk", "feature_flag.result.variant": "new"}),
        (None, {}),
    ],
)
def test_a_call_is_counted_with_the_variant_that_led_it(led: Led | None, wanted: dict[str, str]) -> None:
    measures = Measures("proxy")
    Meter(measures).ended(RECORD, 512, led)
    request = measures.collect()
    assert request is not None
    metrics = request.resource_metrics[0].scope_metrics[0].metrics
    assert {metric.name for metric in metrics} == {"cordboard.call.duration", "cordboard.call.response.size"}
    for metric in metrics:
        [point] = metric.histogram.data_points
        labels = {each.key: each.value.string_value for each in point.attributes}
        assert labels["cordboard.action"] == "list"
        assert {key: value for key, value in labels.items() if key.startswith("feature_flag.")} == wanted
