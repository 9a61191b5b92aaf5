"""The messages of breakers, from and to what the domain works with."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.names import parse
from cordboard.core.times import to_timestamp
from cordboard.proxy.breakers.standing import Cause, Key, Override
from cordboard.proxy.messages import check_action
from cordboard.proxy.v1 import breaker_service_pb2 as breaker_pb
from cordboard.proxy.v1 import proxy_service_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime

    from cordboard.core.paging import Paging
    from cordboard.proxy.breakers.breakers import Order
    from cordboard.proxy.breakers.standing import Reading

_HOST: Final = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
_SEPARATOR: Final = "\n"


def to_breaker(reading: Reading, now: datetime) -> pb.Breaker:
    """Returns a breaker as it stands."""
    key = reading.key
    wait = reading.retry_after
    return pb.Breaker(
        integration=f"integrations/{key.integration}",
        host=key.host,
        state=pb.Breaker.State.Value(f"STATE_{reading.state.name}"),
        retry_time=to_timestamp(now + timedelta(seconds=wait)) if wait else None,
        calls=reading.calls,
        failures=reading.failures,
        cause=pb.Breaker.Cause.Value(f"CAUSE_{key.cause.name}"),
        action=key.action,
        connection=key.connection,
        override=pb.Breaker.Override.Value(f"OVERRIDE_{reading.override.name}"),
    )


def to_breakers(readings: list[Reading], paging: Paging, now: datetime) -> pb.ListBreakersResponse:
    """Returns a page of breakers; a reading more than the page holds tells that there is another page."""
    shown = readings[: paging.size]
    more = len(readings) > len(shown)
    return pb.ListBreakersResponse(
        breakers=[to_breaker(one, now) for one in shown],
        next_page_token=paging.token(_SEPARATOR.join(shown[-1].key.order)) if more else "",
    )


def to_order(after: str) -> Order:
    """Returns where a page begins; raises InvalidFields."""
    parts = after.split(_SEPARATOR) if after else [""] * 5
    if len(parts) != 5:
        raise InvalidFields.one("page_token", "is not a token of this list")
    integration, host, cause, action, connection = parts
    return integration, host, cause, action, connection


def to_slug(integration: str) -> str:
    """Returns the slug of an integration's resource name, empty for none; raises InvalidFields."""
    return parse(integration, "integrations/*", field="integration")[0] if integration else ""


def to_key(request: breaker_pb.OverrideBreakerRequest) -> tuple[Key, Override]:
    """Returns which breaker is meant and what is wanted of it; raises InvalidFields."""
    slug = to_slug(request.integration)
    wrong = []
    if not _HOST.fullmatch(request.host):
        wrong.append(Violation("host", "must be a host in lower case, with its port unless that is 443"))
    if request.override not in pb.Breaker.Override.values() or not request.override:
        wrong.append(Violation("override", "must be AUTO, OPEN or CLOSED"))
    if len(request.reason) > 200 or any(ord(letter) < 32 for letter in request.reason):
        wrong.append(Violation("reason", "must be one line of at most 200 characters"))
    if wrong:
        raise InvalidFields(wrong)
    if request.action:
        check_action(request.action)
    cause = Cause.ENDPOINT if request.action else Cause.VENDOR
    name = pb.Breaker.Override.Name(request.override).removeprefix("OVERRIDE_")
    return Key(slug, request.host, cause, request.action), Override[name]
