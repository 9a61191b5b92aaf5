"""OAuth 1.0a (RFC 5849): the signature of a request, by oauthlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

from oauthlib.oauth1 import (
    SIGNATURE_HMAC_SHA1,
    SIGNATURE_HMAC_SHA256,
    SIGNATURE_PLAINTEXT,
    SIGNATURE_RSA_SHA1,
    Client,
)

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.secrets import Secret

FORM: Final = "application/x-www-form-urlencoded"
_METHODS: Final = {
    pb.O_AUTH1_SIGNATURE_METHOD_UNSPECIFIED: SIGNATURE_HMAC_SHA1,
    pb.O_AUTH1_SIGNATURE_METHOD_HMAC_SHA1: SIGNATURE_HMAC_SHA1,
    pb.O_AUTH1_SIGNATURE_METHOD_HMAC_SHA256: SIGNATURE_HMAC_SHA256,
    pb.O_AUTH1_SIGNATURE_METHOD_RSA_SHA1: SIGNATURE_RSA_SHA1,
    pb.O_AUTH1_SIGNATURE_METHOD_PLAINTEXT: SIGNATURE_PLAINTEXT,
}
# What oauthlib reads in a query, and what is encoded already. The signature is over the values that a query means, so
# that another spelling of the same values has the same signature.
_READ: Final = "=&%+~,*@!()/?:;-._$'"


@dataclass(frozen=True, slots=True)
class OAuth1Keys:
    """Who signs: the client and the token, each with its secret."""

    consumer_key: str
    consumer_secret: Secret[str]
    """A PEM private key for RSA."""
    token: str
    token_secret: Secret[str]


def authorization(
    keys: OAuth1Keys,
    scheme: pb.OAuth1,
    method: str,
    url: str,
    form: bytes | None,
    *,
    nonce: str | None = None,
    timestamp: int | None = None,
) -> str:
    """Returns the value of the `Authorization` header.

    `url` is the one that is sent, `form` the body where it is a single-part form (section 3.4.1.3.1). Nonce and
    timestamp are new where none are given. Raises ValueError for keys that cannot sign.
    """
    signature = _METHODS[scheme.signature_method]
    secret = keys.consumer_secret.reveal()
    rsa = signature == SIGNATURE_RSA_SHA1
    client = Client(
        keys.consumer_key,
        client_secret=None if rsa else secret,
        rsa_key=secret if rsa else None,
        resource_owner_key=keys.token or None,
        resource_owner_secret=keys.token_secret.reveal() or None,
        signature_method=signature,
        realm=scheme.realm or None,
        nonce=nonce,
        timestamp=None if timestamp is None else str(timestamp),
    )
    path, mark, query = url.partition("?")
    _, headers, _ = client.sign(
        f"{path}{mark}{quote(query, safe=_READ)}",
        http_method=cast("Any", method),
        body=None if form is None else quote(form.decode(), safe=_READ),
        headers=None if form is None else {"Content-Type": FORM},
        realm=scheme.realm or None,
    )
    return str(headers["Authorization"])
