"""Client certificates that a customer gives for mutual TLS: read, and checked before they are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.secrets import Secret

CERTIFICATE: Final = "client_certificate"
PRIVATE_KEY: Final = "private_key"
LONGEST_PEM: Final = 64 * 1024
MOST_CERTIFICATES: Final = 10


def check_certificate(
    certificate: str, key: Secret[str], *, now: datetime | None = None, prefix: str = "values."
) -> datetime:
    """Returns when the certificate ends.

    `certificate` is PEM: the leaf, then the rest of the chain. Raises InvalidFields with everything that is wrong: it
    cannot be read, the key does not match the leaf, it has ended or has not begun.
    """
    moment = now or datetime.now(UTC)
    wrong: list[Violation] = []
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
        leaf = chain[0]
        public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if len(chain) > MOST_CERTIFICATES:
            raise ValueError("too many")
    except (ValueError, IndexError, UnicodeEncodeError):
        raise InvalidFields([Violation(prefix + CERTIFICATE, "must be a certificate chain as PEM")]) from None
    try:
        own = load_pem_private_key(key.reveal().encode(), None).public_key()
        if own.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public:
            wrong.append(Violation(prefix + PRIVATE_KEY, "is not the key of the certificate"))
    except (ValueError, TypeError, UnicodeEncodeError):
        wrong.append(Violation(prefix + PRIVATE_KEY, "must be a private key as PEM, without a password"))
    if leaf.not_valid_after_utc <= moment:
        wrong.append(Violation(prefix + CERTIFICATE, f"has ended on {leaf.not_valid_after_utc:%Y-%m-%d}"))
    elif leaf.not_valid_before_utc > moment + timedelta(minutes=5):
        wrong.append(Violation(prefix + CERTIFICATE, f"begins on {leaf.not_valid_before_utc:%Y-%m-%d} only"))
    if wrong:
        raise InvalidFields(wrong)
    return leaf.not_valid_after_utc
