"""An Auth that asks its own clock whether a token has ended, in place of the database's: what the tests have to see."""

from __future__ import annotations

from datetime import UTC, datetime

from cordboard.auth import __main__ as auth
from cordboard.auth import leases
from cordboard.auth.leases import Plan
from cordboard.auth.store.connections import ConnectionRow

_plan = leases.plan


def plan(row: ConnectionRow, _now: datetime) -> Plan:
    """Returns what to do with a credential at a time of this process."""
    return _plan(row, datetime.now(UTC))


def main() -> None:
    """Serves as Auth does."""
    setattr(leases, "plan", plan)  # noqa: B010 - a function is replaced
    auth.main()


if __name__ == "__main__":
    main()
