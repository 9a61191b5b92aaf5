"""The errors that callers get where a vendor did not do what was asked."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import (
    CordboardError,
    DeadlineExceeded,
    LimitExceeded,
    ReconnectRequired,
    VendorError,
    VendorUnreachable,
)
from cordboard.planning.answers import Answer
from cordboard.planning.plan import Outbound
from cordboard.planning.verdicts import Verdict
from cordboard.proxy.sender import TIMEOUT, TOO_LARGE, Unanswered
from cordboard.proxy.target import Target

_UNKNOWN_WAIT: Final = 1.0
_HIDDEN: Final = "***"
_WORD: Final = re.compile(r"[^\W_]{4,}")
_FAILURES: Final[Mapping[int, str]] = {
    pb.FAILURE_TYPE_SYSTEM: "system",
    pb.FAILURE_TYPE_CONFIG: "config",
    pb.FAILURE_TYPE_TRANSIENT: "transient",
}


class PagesMoved(VendorError):
    """The vendor wants its pages to be read from the first one again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a vendor was asked."""

    planned: Outbound
    sent: Outbound | None
    """With the credential, as it went."""


def refusal(target: Target, answer: Answer, verdict: Verdict, asked: Asked) -> CordboardError:
    """Returns the error of an answer that is no success."""
    slug, status = target.definition.slug, answer.status
    if verdict.action == pb.ERROR_ACTION_REFRESH_TOKEN_THEN_RETRY and target.shows_credential:
        return ReconnectRequired(target.lease.connection, "rejected")
    if verdict.action == pb.ERROR_ACTION_RATE_LIMITED:
        wait = answer.wait(limited=True)
        text = verdict.message or f"{slug} allows no more calls now"
        return LimitExceeded("vendor", f"integrations/{slug}", _UNKNOWN_WAIT if wait is None else wait, text)
    failure = _FAILURES.get(verdict.failure, "")
    if not failure and verdict.action == pb.ERROR_ACTION_RETRY:
        failure = _FAILURES[pb.FAILURE_TYPE_TRANSIENT]
    kind = PagesMoved if verdict.action == pb.ERROR_ACTION_RESET_PAGINATION else VendorError
    return kind(
        slug,
        target.action.id,
        status,
        f"{slug} answered {target.action.id}: {verdict.message}" if verdict.message else "",
        retry_after=answer.wait(limited=False) if status >= 400 or verdict.ruled else None,
        failure=failure,
        words=without_credential(target.action.interpretation.words(answer), asked.planned, asked.sent),
    )


def unreachable(target: Target, lost: Unanswered, *, late: bool) -> CordboardError:
    """Returns the error of a request that got no answer; `late` tells that the caller's deadline has passed."""
    slug, action = target.definition.slug, target.action.id
    if lost.problem == TOO_LARGE:
        return VendorError(slug, action, 200, f"{slug} answered {action} with more bytes than are taken")
    if lost.problem == TIMEOUT and late:
        return DeadlineExceeded("the vendor's answer")
    return VendorUnreachable(slug, action, lost.problem)


def mismatch(target: Target, answer: Answer, problem: str) -> VendorError:
    """Returns the error of an answer that is otherwise than the definition says."""
    slug, action = target.definition.slug, target.action.id
    return VendorError(slug, action, answer.status, f"the answer of {slug} to {action} {problem}")


def without_credential(words: str, planned: Outbound, sent: Outbound | None) -> str:
    """Returns a vendor's words without what only the credential brought: some vendors repeat the key they refuse."""
    if not words or sent is None:
        return words
    known, shown = _texts(planned), _texts(sent)
    return _WORD.sub(lambda word: _HIDDEN if word[0] in shown and word[0] not in known else word[0], words)


def _texts(request: Outbound) -> str:
    texts = [request.url, *request.headers.values(), (request.body or b"").decode("utf-8", "replace")]
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            texts.append(base64.b64decode(value).decode("utf-8", "replace"))
    return "\n".join((*texts, *map(unquote_plus, texts)))
