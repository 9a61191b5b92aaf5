"""No secret of Auth's is in a log line, a span, an error, the journal or a message to anybody but the Proxy."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as connect_pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1 import credential_service_pb2 as credential_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core.logs import JsonFormatter
from cordboard.core.structs import to_struct
from tests.fixtures.auth import Auth, consented, until

NAME = "workspaces/acme/connections/desk-one"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Every line that is logged at whichever level, as the service's own formatter writes it."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonFormatter("auth"))
    root, ours = logging.getLogger(), logging.getLogger("cordboard")
    levels = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def spellings(secret: str) -> set[str]:
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        raw.hex(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }


async def told(call: Any) -> str:
    """Returns all that a caller is told of a call that fails: code, text, metadata."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return f"{error.code()} {error.details()} {error.trailing_metadata()} {error.initial_metadata()}"
    return ""


class Tour:
    """Goes everywhere that a secret passes, well and badly, and keeps the secrets and what was answered."""

    def __init__(self, auth: Auth, vendor: sandbox.Vendor) -> None:
        self._auth = auth
        self._vendor = vendor
        self.secrets: set[str] = {vendor.settings.client_secret}
        self.answers: list[str] = []

    async def connecting(self, **fault: Any) -> None:
        """Connects by OAuth, with a fault of the token endpoint where one is given."""
        session = await self._auth.begin(auth_scheme="oauth", connection_id="desk-one")
        query = await consented(session.authorization_url)
        self.secrets.update((query["state"], query["code"]))
        self._break_tokens(fault)
        self.answers.append(await self._auth.call_back(**query))
        self.answers.append(await told(self._auth.call_back(**query)))
        self.answers.append(str(await self._auth.session(session.name)))

    async def refreshing(self, **fault: Any) -> None:
        """Leases an old token, with a fault of the token endpoint where one is given."""
        await self._auth.sql("UPDATE connection SET retry_time = NULL")
        await self._auth.age(-1)
        self._break_tokens(fault)
        with contextlib.suppress(grpc.aio.AioRpcError):
            self.secrets.add((await self._auth.lease()).access_token)
        self.answers.append(await told(self._auth.lease()))

    async def typing(self, values: dict[str, str]) -> None:
        """Types values in, right or wrong."""
        self.secrets.update(values.values())
        session = await self._auth.begin(auth_scheme="basic", connection_id="typed")
        stub = await self._auth.as_member(ConnectServiceStub)
        request = connect_pb.SubmitConnectSessionRequest(name=session.name, values=to_struct(values))
        self.answers.append(await told(stub.SubmitConnectSession(request)))

    async def breaking(self) -> None:
        """Sets a wrong client, breaks a sealed record, and has the database refuse a row."""
        self.secrets.add("secret-3")
        wrong = connect_pb.SetOAuthClientRequest(
            name="integrations/desk/oauthClient", client_id="c", client_secret="canary\nsecret-3"
        )
        self.answers.append(await told(self._auth.operator(ConnectServiceStub).SetOAuthClient(wrong)))
        await self._auth.sql("UPDATE credential SET sealed = substr(sealed, 1, 60) WHERE connection_id = 'typed'")
        self.answers.append(await told(self._auth.lease("typed")))
        await self._auth.sql("ALTER TABLE connect_session ADD CONSTRAINT b CHECK (state_hash IS NULL) NOT VALID")
        self.answers.append(await told(self._auth.begin(auth_scheme="oauth")))

    async def deleting(self) -> None:
        """Deletes the connection, and waits until it is revoked."""
        stub = await self._auth.as_member(ConnectionServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
        await stub.DeleteConnection(connection_pb.DeleteConnectionRequest(name=NAME))

        async def revoked() -> bool:
            return not await self._auth.sql("SELECT * FROM revocation")

        await until(revoked)

    def _break_tokens(self, fault: dict[str, Any]) -> None:
        self._vendor.faults.put(sandbox.Fault(path="/oauth/token", times=1, **fault) if fault else None)


async def test_no_secret_leaves_by_a_side_door(
    auth: Auth, vendor: sandbox.Vendor, spans: InMemorySpanExporter, written: io.StringIO
) -> None:
    tour = Tour(auth, vendor)
    for fault in ({}, {"status": 500}, {"cut_connections": True}, {"after_work": True, "status": 503}, {}):
        await tour.connecting(**fault)
    for fault in ({}, {"status": 500}, {"cut_connections": True}):
        await tour.refreshing(**fault)
    await tour.typing({"username": "canary-user-1", "password": "canary pass 1"})
    await tour.typing({"username": "canary:user-2"})
    await tour.breaking()
    await tour.deleting()
    grants = vendor.grants
    issued = {auth._operator_token, await auth.token()}
    secrets = tour.secrets | issued | {*grants._refresh, *grants._access, *grants._codes}

    seen = "".join(span.to_json() for span in spans.get_finished_spans())
    journal = "".join(row["body"] for row in await auth.sql("SELECT body FROM audit_entry"))
    everything = written.getvalue() + seen + journal + "".join(tour.answers)
    assert len(secrets) > 20
    for secret in secrets:
        assert not [spelling for spelling in spellings(secret) if spelling in everything]
    # The control: there was something to find, and finding works.
    assert all(word in seen for word in ("oauth exchange", "oauth refresh", "oauth revoke", "SELECT"))
    assert "desk-one" in journal
    assert "a token was not refreshed" in written.getvalue()
    assert "call failed unforeseen" in written.getvalue()


async def test_a_refresh_token_never_leaves_auth(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    leased = await auth.lease()
    (refresh_token,) = vendor.grants._refresh
    assert refresh_token.encode() not in leased.SerializeToString()
    report = await auth.proxy().ReportCredential(credential_pb.ReportCredentialRequest(connection=NAME, generation=1))
    assert not any(token.encode() in report.SerializeToString() for token in vendor.grants._refresh)
