"""What a person typed in for a scheme: checked value by value before anything is done with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.assertions import KeyInvalid, check_key
from cordboard.auth.certificates import CERTIFICATE, LONGEST_PEM, PRIVATE_KEY, check_certificate
from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.secrets import Secret
from cordboard.core.variables import misfit

if TYPE_CHECKING:
    from cordboard.auth.schemes import Field, Part, Scheme

LONGEST_VALUE: Final = 4096
_LINES: Final = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]*")


def typed(scheme: Scheme, values: Mapping[str, Any]) -> dict[str, Secret[str]]:
    """Returns the values of a scheme's form as secrets; raises InvalidFields with each that is missing or wrong."""
    form = scheme.fields
    wrong = [Violation(f"values.{name[:64]}", "is no value of this scheme") for name in values if name not in form]
    for name, field in form.items():
        problem = _problem(values.get(name), field)
        if problem:
            wrong.append(Violation(f"values.{name}", problem, "REQUIRED" if name not in values else "INVALID"))
    if wrong:
        raise InvalidFields(wrong)
    found = {name: Secret(str(values[name])) for name in form if values.get(name) is not None}
    for part in scheme.parts:
        _check_part(part, found)
    return found


def ends(scheme: Scheme, values: Mapping[str, Secret[str]]) -> float | None:
    """Returns in how many seconds what was typed in ends by itself, as a certificate does; None: it does not."""
    for part in scheme.parts:
        certificate = values.get(part.key(CERTIFICATE))
        if certificate is not None:
            end = check_certificate(certificate.reveal(), values[part.key(PRIVATE_KEY)])
            return (end - datetime.now(UTC)).total_seconds()
    return None


def _check_part(part: Part, values: Mapping[str, Secret[str]]) -> None:
    certificate = values.get(part.key(CERTIFICATE))
    if certificate is not None:
        prefix = f"values.{part.key('')}"
        check_certificate(certificate.reveal(), values.get(part.key(PRIVATE_KEY), Secret("")), prefix=prefix)
    if part.assertion is not None:
        name = part.key(part.assertion.key)
        try:
            check_key(values.get(name, Secret("")), part.assertion.algorithm)
        except KeyInvalid:
            text = f"must be a private key as PEM, without a password, for {part.assertion.algorithm}"
            raise InvalidFields([Violation(f"values.{name}", text)]) from None


def _problem(value: object, field: Field) -> str:
    if value is None or value == "":
        said = field.empty and value == ""
        return "" if field.optional or said else "is required"
    longest = LONGEST_PEM if field.lines else LONGEST_VALUE
    if not isinstance(value, str) or len(value) > longest:
        return f"must be a text of at most {longest} characters"
    if field.lines:
        return misfit(value, field.schema) if _LINES.fullmatch(value) else "must be text, without control characters"
    # It goes into a header field: a line break there would begin another one.
    if not value.isprintable() or value != value.strip():
        return "must be printable, with spaces inside only"
    if not field.colon and ":" in value:
        return "must not have a colon (RFC 7617)"
    return misfit(value, field.schema)
