"""What the handling of answers must mean: output mappings, error rules, retries and rate limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.catalog.findings import shown
from cordboard.catalog.v1.definition_pb2 import ErrorAction, FailureType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import ErrorRule, RateLimitHeaders, Response, RetryPolicy

# How often the members of an output may take the same part of an answer: each time it is as large again.
MAX_OVERLAP: Final = 8

_GOOD: Final = frozenset({ErrorAction.ERROR_ACTION_SUCCESS, ErrorAction.ERROR_ACTION_IGNORE})


def check_response(response: Response, found: Findings) -> None:
    """Notes everything that is wrong with how an answer becomes the output."""
    known: set[str] = set()
    for index, member in enumerate(response.members):
        below = found.below("members", index)
        below.require(member.WhichOneof("source") is not None, "", "must come from a pointer, a header or a value")
        below.require(member.name not in known, "name", f"{shown(member.name)} stands there already")
        known.add(member.name)
    pointers = [f"{member.pointer}/" for member in response.members if member.WhichOneof("source") == "pointer"]
    overlap = max((sum(one.startswith(other) for other in pointers) for one in pointers), default=0)
    found.require(overlap <= MAX_OVERLAP, "members", f"take one part of the answer more than {MAX_OVERLAP} times")


def check_error_rules(rules: Sequence[ErrorRule], found: Findings, *, paged: bool) -> None:
    """Notes everything that is wrong with what answers mean; `paged` says whether there is paging to begin again."""
    for index, rule in enumerate(rules):
        below = found.below("error_rules", index)
        if not (rule.statuses or rule.pointer or rule.header):
            below.add("", "has no condition: statuses, a pointer or a header")
        for name in ("equals", "contains"):
            if getattr(rule, name) and not rule.pointer:
                below.add(name, "needs `pointer`, which says where to look")
        if rule.action in _GOOD and rule.failure != FailureType.FAILURE_TYPE_UNSPECIFIED:
            below.add("failure", "cannot be there for an answer that is a success")
        if rule.action == ErrorAction.ERROR_ACTION_RESET_PAGINATION and not paged:
            below.add("action", "begins paging again, and there is no paging")


def check_retry(retry: RetryPolicy, found: Findings) -> None:
    """Notes everything that is wrong with a retry policy."""
    if retry.HasField("base_delay") and retry.HasField("max_delay"):
        found.require(_seconds(retry.base_delay) <= _seconds(retry.max_delay), "max_delay", "is below `base_delay`")
    known: set[str] = set()
    for index, header in enumerate(retry.wait_headers):
        below = found.below("wait_headers", index)
        below.require(header.name.lower() not in known, "name", f"{shown(header.name)} stands there already")
        known.add(header.name.lower())
        if header.HasField("minimum") and header.HasField("maximum"):
            below.require(_seconds(header.minimum) <= _seconds(header.maximum), "maximum", "is below `minimum`")
    for index, status in enumerate(retry.retry_statuses):
        found.require(status >= 300, f"retry_statuses[{index}]", "means success")


def check_rate_limit_headers(headers: RateLimitHeaders, found: Findings) -> None:
    """Notes everything that is wrong with a set of headers about a rate limit."""
    found.require(not headers.reset_format or bool(headers.reset), "reset_format", "needs `reset`")


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)
