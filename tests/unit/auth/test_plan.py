"""What is done with a credential that somebody asks for, by its times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cordboard.auth.leases import Plan, Step, plan
from cordboard.auth.store.connections import ConnectionRow

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def at(seconds: float | None) -> datetime | None:
    return None if seconds is None else NOW + timedelta(seconds=seconds)


def a_row(
    expire: float | None, refresh: float | None, retry: float | None = None, *, refreshable: bool = True
) -> ConnectionRow:
    return ConnectionRow(
        workspace="acme", id="desk", integration="desk", auth_scheme="oauth", kind="oauth2", environment="production",
        display_name="", scopes=(), configuration={}, state="ready", problem="", generation=1, refreshable=refreshable,
        expire_time=at(expire), refresh_time=at(refresh), lease_until=None, failures=0, retry_time=at(retry),
        parts=(), client_owner="platform", verification="none", ambiguous=False, create_time=NOW, update_time=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(a_row(None, None), Plan(Step.GIVE), id="nobody said when it ends"),
        pytest.param(a_row(3600, 2880), Plan(Step.GIVE, at(2880)), id="young: until it is time to refresh it"),
        pytest.param(a_row(700, -20), Plan(Step.RENEW, at(5)), id="four fifths over: given, and renewed meanwhile"),
        pytest.param(a_row(32, -688), Plan(Step.RENEW, at(2)), id="never given beyond the margin"),
        pytest.param(a_row(30, -690), Plan(Step.REFRESH), id="about to end: refreshed first"),
        pytest.param(a_row(-1, -721), Plan(Step.REFRESH), id="ended: refreshed first"),
        pytest.param(a_row(5, -1), Plan(Step.RENEW, at(2)), id="a short life has a short margin"),
        pytest.param(a_row(700, -20, 9), Plan(Step.GIVE, at(9)), id="after a failure it is given until the next try"),
        pytest.param(a_row(4, -716, 9), Plan(Step.GIVE, at(4)), id="but never beyond its end"),
        pytest.param(a_row(-1, -721, 9), Plan(Step.WAIT, at(9)), id="ended, and too early for the next try"),
        pytest.param(a_row(-1, -721, -1), Plan(Step.REFRESH), id="ended, and time for the next try"),
        pytest.param(a_row(60, 48, refreshable=False), Plan(Step.GIVE, at(60)), id="not refreshable: to the end"),
        pytest.param(a_row(1, -11, refreshable=False), Plan(Step.GIVE, at(1)), id="not refreshable: to the very end"),
        pytest.param(a_row(0, -12, refreshable=False), Plan(Step.END), id="not refreshable, and over"),
    ],
)
def test_a_credential_is_given_renewed_or_refreshed_by_its_times(row: ConnectionRow, expected: Plan) -> None:
    assert plan(row, NOW) == expected
