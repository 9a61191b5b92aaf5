"""How the answers to one action are read: what they mean, and what they say about limits. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.answers import Answer
from cordboard.planning.dialect import Dialect
from cordboard.planning.verdicts import Judgement, Verdict, vendors_words


class Interpretation:
    """Reads the answers to one action."""

    def __init__(self, definition: pb.Definition, action: pb.Action) -> None:
        """Takes the action, and the definition it stands in."""
        retry = retry_of(definition, action)
        self.dialect = Dialect(
            (definition.rate_limit_headers, *definition.more_rate_limit_headers),
            retry.wait_headers if retry is not None else (),
        )
        self._judgement = Judgement((*action.error_rules, *definition.error_rules), action.response.success_statuses)
        self._words = (*action.response.error_message_pointers, *definition.error_message_pointers)

    def verdict(self, answer: Answer) -> Verdict:
        """Returns what an answer means."""
        return self._judgement.verdict(answer, lambda: _readable(answer))

    def words(self, answer: Answer) -> str:
        """Returns what an error answer tells, where the definition says that it does; empty: nothing."""
        return vendors_words(_readable(answer), self._words) if self._words else ""


def retry_of(definition: pb.Definition, action: pb.Action) -> pb.RetryPolicy | None:
    """Returns when a failed attempt is made again, the action's own words before the definition's; None: no word."""
    for holder in (action, definition):
        if holder.HasField("retry"):
            return holder.retry
    return None


def _readable(answer: Answer) -> Any:
    # Errors come as JSON under every media type, whatever the answer would have been without them.
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
