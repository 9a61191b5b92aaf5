"""Puts a connection's credential into a request: last of all, so that nothing planned can reach or replace it."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from cordboard.auth.v1 import credential_service_pb2 as auth_pb
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import ReconnectRequired, StateConflict
from cordboard.core.secrets import Secret
from cordboard.proxy.plan import Outbound

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Credential:
    """The secret of a connection, with the place where its vendor wants it."""

    def __init__(self, connection: str, lease: auth_pb.LeaseCredentialResponse) -> None:
        """Takes the connection's name and what Auth leased."""
        self._connection = connection
        self._kind = lease.WhichOneof("credential") or "none"
        self._parts: Secret[tuple[str, ...]] = Secret(_parts(lease, self._kind))

    @property
    def empty(self) -> bool:
        """Tells whether there is nothing to show, and so nothing that the vendor could refuse."""
        return self._kind == "none"

    def place(self, request: Outbound, scheme: pb.AuthScheme) -> Outbound:
        """Returns the request with the credential in it.

        Raises ReconnectRequired where the credential cannot stand in a request, StateConflict where it is of another
        kind than the scheme.
        """
        asked = scheme.WhichOneof("kind")
        if asked == "none" or asked is None:
            return request
        parts = self._parts.reveal()
        if any(_CONTROL.search(part) for part in parts):
            raise ReconnectRequired(self._connection, "malformed")
        if asked in ("oauth2", "bearer") and self._kind in ("access_token", "api_key"):
            return _with_header(request, "Authorization", f"Bearer {parts[0]}")
        if asked == "basic" and self._kind == "basic":
            pair = base64.b64encode(":".join(parts).encode()).decode()
            return _with_header(request, "Authorization", f"Basic {pair}")
        if asked == "api_key" and self._kind in ("api_key", "access_token"):
            return _with_key(request, scheme.api_key, parts[0])
        raise StateConflict(self._connection, "auth_scheme", "the credential is of another kind than its auth scheme")


def _parts(lease: auth_pb.LeaseCredentialResponse, kind: str) -> tuple[str, ...]:
    if kind == "basic":
        return lease.basic.username, lease.basic.password
    if kind in ("api_key", "access_token"):
        return (getattr(lease, kind),)
    return ()


def _with_header(request: Outbound, name: str, value: str) -> Outbound:
    headers = {known: text for known, text in request.headers.items() if known.lower() != name.lower()}
    headers[name] = value
    return replace(request, headers=headers)


def _with_key(request: Outbound, key: pb.ApiKey, value: str) -> Outbound:
    if key.placement == pb.PLACEMENT_HEADER:
        return _with_header(request, key.name, key.prefix + value)
    if key.placement == pb.PLACEMENT_QUERY:
        separator = "&" if "?" in request.url else "?"
        pair = f"{quote(key.name, safe='')}={quote(key.prefix + value, safe='')}"
        return replace(request, url=f"{request.url}{separator}{pair}")
    cookie = f"{key.name}={quote(key.prefix + value, safe='')}"
    known = request.headers.get("Cookie")
    return _with_header(request, "Cookie", f"{known}; {cookie}" if known else cookie)
