"""Which share of a split a subject falls into: flagd's three algorithms of `fractional`, which all are in use.

They put the same subject into different buckets, so that a flag names the one it was rolled out with, in its metadata
under `bucketing`; no upgrade ever moves anybody. v3 is flagd's own since its decision record "fractional non-string
rand units", v2 that of most clients in other languages, v1 the first one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import cbor2
import mmh3

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BUCKETING: Final = "bucketing"
MAX_WEIGHT_SUM: Final = 2**31 - 1
# The whole numbers that CBOR has as integers.
_MIN_INTEGER: Final = -(2**63)
_MAX_INTEGER: Final = 2**64 - 1

Share = tuple[Any, int]


def _of_32_bits(hashed: int, shares: Sequence[Share]) -> Any:
    total = sum(weight for _, weight in shares)
    if not 0 < total <= MAX_WEIGHT_SUM:
        return None
    bucket = (hashed * total) >> 32
    for variant, weight in shares:
        bucket -= weight
        if bucket < 0:
            return variant
    return None


def v1(subject: Any, shares: Sequence[Share]) -> Any:
    """Returns the variant of a text's share, by the percentage that its signed MurmurHash3 is of 2^31 - 1."""
    total = sum(weight for _, weight in shares)
    if not isinstance(subject, str) or not subject or not 0 < total <= MAX_WEIGHT_SUM:
        return None
    bucket = abs(mmh3.hash(subject)) / (2**31 - 1) * 100
    end = 0.0
    for variant, weight in shares:
        end += weight * 100 / total
        if bucket < end:
            return variant
    return None


def v2(subject: Any, shares: Sequence[Share]) -> Any:
    """Returns the variant of a text's share, by its unsigned MurmurHash3 times the sum of the weights."""
    if not isinstance(subject, str) or not subject:
        return None
    return _of_32_bits(mmh3.hash(subject, signed=False), shares)


def v3(subject: Any, shares: Sequence[Share]) -> Any:
    """Returns the variant of any value's share, by the MurmurHash3 of its canonical CBOR (RFC 8949 section 4.2)."""
    if subject is None:
        return None
    if not isinstance(subject, str):
        subject = _whole(subject)
    return _of_32_bits(mmh3.hash(cbor2.dumps(subject, canonical=True), signed=False), shares)


ALGORITHMS: Final[Mapping[str, Callable[[Any, Sequence[Share]], Any]]] = {"v1": v1, "v2": v2, "v3": v3}
NEWEST: Final = "v3"
# What our own flags are rolled out with, and those of before they said so. It is not to follow the newest.
OWN: Final = "v3"


def subject_of(algorithm: str, data: Any) -> Any:
    """Returns whom the short form of `fractional` is about: the flag's key together with `targetingKey`, or None."""
    if not isinstance(data, dict):
        return None
    flagd = data.get("$flagd")
    flag_key = flagd.get("flagKey", "") if isinstance(flagd, dict) else ""
    subject = data.get("targetingKey")
    if not isinstance(subject, str) or not subject:
        return None
    return [flag_key, subject] if algorithm == "v3" else flag_key + subject


def shares_of(values: Sequence[Any]) -> list[Share] | None:
    """Returns variants and weights from the arguments of `fractional`, or None where they are none."""
    shares: list[Share] = []
    for value in values:
        if not isinstance(value, list) or not 1 <= len(value) <= 2:
            return None
        weight = value[1] if len(value) == 2 else 1
        if type(weight) is not int:
            return None
        # A computed weight may fall below zero: nobody gets that share.
        shares.append((value[0], max(0, weight)))
    return shares


def _whole(value: Any) -> Any:
    # JSON has one kind of number, CBOR two: what is whole counts as an integer wherever it came from.
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(each) for each in value]
    if isinstance(value, float) and value.is_integer() and _MIN_INTEGER <= value <= _MAX_INTEGER:
        return int(value)
    if isinstance(value, int) and not _MIN_INTEGER <= value <= _MAX_INTEGER:
        # What came as a number of JSON is an int of Python however large it is, and no integer to any other evaluator.
        with contextlib.suppress(OverflowError):
            return float(value)
    return value
