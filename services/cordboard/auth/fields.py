"""What may stand in a field: each check returns what is wrong, so that a caller hears of all of it at once."""

from __future__ import annotations

import re
from typing import Final

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.names import check_id

_LABEL: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VISIBLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_HTTPS: Final = re.compile(
    r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?(?:[/?][!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*)?"
)
_LOCAL: Final = re.compile(
    r"http://(?:localhost|127\.0\.0\.1)(?::[0-9]{1,5})?(?:[/?][!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*)?"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def an_id(value: str, field: str) -> list[Violation]:
    """Checks an id: 2 to 63 of a-z, 0-9 and hyphens."""
    try:
        check_id(value, field)
    except InvalidFields as error:
        return list(error.violations)
    return []


def a_label(value: str, field: str) -> list[Violation]:
    """Checks a word that rules compare, such as a tier: up to 63 of a-z, 0-9 and hyphens."""
    if _LABEL.fullmatch(value):
        return []
    return [Violation(field, "must be 1 to 63 of a-z, 0-9 and hyphens, and begin with a letter")]


def visible_ascii(value: str, field: str, *, limit: int = 255) -> list[Violation]:
    """Checks a text that travels in tokens and headers: visible ASCII, with spaces inside only."""
    if len(value) <= limit and _VISIBLE.fullmatch(value):
        return []
    return [Violation(field, f"must be 1 to {limit} visible ASCII characters, with spaces inside only")]


def a_title(value: str, field: str, *, limit: int = 200) -> list[Violation]:
    """Checks a text for people, which may be empty: no control characters."""
    if len(value) <= limit and not _CONTROL.search(value):
        return []
    return [Violation(field, f"must be at most {limit} characters, none of them a control character")]


def a_web_page(value: str, field: str) -> list[Violation]:
    """Checks a URL that a browser is sent to, which may be empty: https, or http on this machine."""
    if not value or (len(value) <= 2048 and (_HTTPS.fullmatch(value) or _LOCAL.fullmatch(value))):
        return []
    return [Violation(field, "must be an https URL without a fragment, or an http URL of localhost")]


def an_origin(value: str, field: str) -> list[Violation]:
    """Checks a web origin (RFC 6454), which may be empty: a scheme, a host and a port, and nothing after them."""
    if not value or (not a_web_page(value, field) and "/" not in value.partition("://")[2] and "?" not in value):
        return []
    return [Violation(field, "must be an https origin such as `https://app.example`, or an http one of localhost")]
