"""Revocation of tokens, of all tokens of a workspace and of signing keys; refreshing; binding to a certificate."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from google.protobuf.duration_pb2 import Duration

from cordboard.auth.v1 import revocation_service_pb2 as pb
from cordboard.auth.v1 import token_service_pb2 as token_pb
from cordboard.auth.v1 import verification_service_pb2 as verification_pb
from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.auth.v1.revocation_service_pb2_grpc import RevocationServiceStub
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.auth.v1.verification_service_pb2_grpc import VerificationServiceStub
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import (
    CatalogServiceServicer,
    CatalogServiceStub,
    add_CatalogServiceServicer_to_server,
)
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core.server import Process
from cordboard.core.settings import Settings
from tests.fixtures.auth import DENIED, NOT_FOUND, Auth, Refusal, refused, until
from tests.fixtures.serving import Served, Serving

REVOKED: Refusal = ("UNAUTHENTICATED", "TOKEN_INVALID", [])
WITHIN = 5.0


class Catalog(CatalogServiceServicer):
    """Another service of the mesh, which has nothing but the layers in front of it."""

    async def ListIntegrations(
        self, request: catalog_pb.ListIntegrationsRequest, context: Any
    ) -> catalog_pb.ListIntegrationsResponse:
        return catalog_pb.ListIntegrationsResponse()


async def start(process: Process[Settings]) -> None:
    add_CatalogServiceServicer_to_server(Catalog(), process.server)  # type: ignore[abstract] # answers a part


@contextlib.asynccontextmanager
async def another_service(serving: Serving, address: str) -> AsyncIterator[Served]:
    """Runs a service that knows nothing but where Auth is."""
    nowhere = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing"
    async with serving("catalog", Settings, start, database_url=nowhere, own_keys=True, auth_address=address) as served:
        yield served


@pytest.fixture
async def other(auth: Auth, serving: Serving) -> AsyncIterator[Served]:
    async with another_service(serving, auth.served.address) as served:
        yield served


def ask(served: Served, token: str, identity: Any = "envoy", *more: tuple[str, str]) -> Any:
    """Calls another service with a token."""
    metadata = (("authorization", f"Bearer {token}"), *more)
    call = CatalogServiceStub(served.channel(identity)).ListIntegrations
    return call(catalog_pb.ListIntegrationsRequest(), metadata=metadata, timeout=20)


def workspace_of(auth: Auth, token: str, workspace: str = "acme") -> Any:
    """Calls Auth itself with a token."""
    stub = WorkspaceServiceStub(auth.served.channel("envoy", token))
    return stub.GetWorkspace(workspace_pb.GetWorkspaceRequest(name=f"workspaces/{workspace}"))


async def refused_within(call: Callable[[], Any]) -> float:
    """Waits until a call is refused for its token, and returns how long that took."""
    began = time.monotonic()

    async def gone() -> bool:
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED, error
            return True
        return False

    await until(gone)
    return time.monotonic() - began


def claims(token: str) -> dict[str, Any]:
    """Returns what a token says, unverified."""
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def revoke(auth: Auth, name: str, **fields: Any) -> Any:
    return auth.operator(RevocationServiceStub).RevokeToken(pb.RevokeTokenRequest(name=f"tokens/{name}", **fields))


async def refresh(auth: Auth, token: str, **fields: Any) -> str:
    stub = TokenServiceStub(auth.served.channel("envoy", token))
    return str((await stub.RefreshToken(token_pb.RefreshTokenRequest(**fields))).access_token)


async def test_a_revoked_token_is_refused_everywhere_and_another_is_not(auth: Auth, other: Served) -> None:
    token, good = await auth.token(), await auth.token()
    await ask(other, token)
    await workspace_of(auth, token)
    done = await revoke(auth, claims(token)["jti"], reason="lost")
    assert (done.kind, done.subject, done.reason) == (pb.Revocation.KIND_TOKEN, claims(token)["jti"], "lost")
    assert await refused_within(lambda: ask(other, token)) < WITHIN
    assert await refused_within(lambda: workspace_of(auth, token)) < WITHIN
    assert await refused(ask(other, token)) == REVOKED
    await ask(other, good)
    await workspace_of(auth, good)


async def test_a_service_that_starts_later_knows_what_was_revoked_before(auth: Auth, serving: Serving) -> None:
    token = await auth.token()
    await revoke(auth, claims(token)["jti"])
    async with another_service(serving, auth.served.address) as served:
        # Never let in, not even by the first call.
        assert await refused(ask(served, token)) == REVOKED


async def test_a_service_without_a_list_lets_nobody_in(auth: Auth, serving: Serving) -> None:
    token = await auth.token()
    async with another_service(serving, "127.0.0.1:1") as served:
        assert (await refused(ask(served, token)))[0] == "UNAVAILABLE"


async def test_what_is_known_holds_while_auth_is_away(auth: Auth, serving: Serving) -> None:
    async with auth.replica() as replica, another_service(serving, replica.address) as served:
        token, good = await auth.token(), await auth.token()
        await ask(served, good)
        await revoke(auth, claims(token)["jti"])
        await refused_within(lambda: ask(served, token))
        await replica.process.close()
        assert await refused(ask(served, token)) == REVOKED
        await ask(served, good)

        async def old() -> bool:
            return served.process.revocations.age > 1.5

        await until(old)
        await ask(served, good)


async def test_all_tokens_of_a_workspace_end_and_new_ones_are_good(auth: Auth, other: Served) -> None:
    await auth.workspace("other")
    tokens = [await auth.token() for _ in range(3)]
    others = await auth.token("other")
    for token in (*tokens, others):
        await ask(other, token)
    request = pb.RevokeAllTokensRequest(workspace="workspaces/acme", reason="a laptop is lost")
    done = await auth.operator(RevocationServiceStub).RevokeAllTokens(request)
    assert (done.generation, done.workspace) == (1, "workspaces/acme")
    # Issued in the same second, and good: it is the generation that counts and not the clock.
    new = await auth.token()
    assert claims(new)["generation"] == 1
    for token in tokens:
        assert await refused_within(partial(ask, other, token)) < WITHIN
    await ask(other, new)
    await ask(other, others)
    assert (await auth.operator(RevocationServiceStub).RevokeAllTokens(request)).generation == 2


async def test_all_operators_tokens_end(auth: Auth, other: Served) -> None:
    token, members = auth._operator_token, await auth.token()
    await ask(other, token)
    await auth.operator(RevocationServiceStub).RevokeAllTokens(
        pb.RevokeAllTokensRequest(operators=True, reason="start over")
    )
    assert await refused_within(lambda: ask(other, token)) < WITHIN
    await ask(other, members)
    await auth.sign_in()
    await ask(other, auth._operator_token)


async def test_who_holds_a_token_may_revoke_it_and_no_other(auth: Auth) -> None:
    token, second = await auth.token(), await auth.token()
    stub = RevocationServiceStub(auth.served.channel("envoy", token))
    assert await refused(stub.RevokeToken(pb.RevokeTokenRequest(name=f"tokens/{claims(second)['jti']}"))) == DENIED
    assert (await refused(stub.RevokeAllTokens(pb.RevokeAllTokensRequest(workspace="workspaces/acme")))) == DENIED
    await stub.RevokeToken(pb.RevokeTokenRequest(name=f"tokens/{claims(token)['jti']}"))
    await refused_within(lambda: workspace_of(auth, token))
    await workspace_of(auth, second)


async def test_a_workspace_admin_revokes_within_its_workspace_only(auth: Auth) -> None:
    await auth.workspace("other")
    theirs, mine = await auth.token("other"), await auth.token()
    stub = await auth.as_member(RevocationServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    named = {"name": f"tokens/{claims(theirs)['jti']}"}
    assert await refused(stub.RevokeToken(pb.RevokeTokenRequest(workspace="workspaces/other", **named))) == NOT_FOUND
    assert await refused(stub.RevokeAllTokens(pb.RevokeAllTokensRequest(workspace="workspaces/other"))) == NOT_FOUND
    assert await refused(stub.RevokeAllTokens(pb.RevokeAllTokensRequest(operators=True))) == DENIED
    for request in (
        pb.RevokeAllTokensRequest(),
        pb.RevokeAllTokensRequest(operators=True, workspace="workspaces/acme"),
    ):
        assert await refused(stub.RevokeAllTokens(request)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["workspace"])
    # The id is another workspace's: what is revoked is a token of that id of one's own, and there is none.
    await stub.RevokeToken(pb.RevokeTokenRequest(**named))
    await stub.RevokeToken(pb.RevokeTokenRequest(name=f"tokens/{claims(mine)['jti']}"))
    await refused_within(lambda: workspace_of(auth, mine))
    await workspace_of(auth, theirs, "other")


@pytest.mark.parametrize("name", ["", "tokens/", "tokens/a b", "tokens/a.b.c", "tokens/" + "x" * 200, "keys/a"])
async def test_a_wrong_token_name_is_said(auth: Auth, name: str) -> None:
    call = auth.operator(RevocationServiceStub).RevokeToken(pb.RevokeTokenRequest(name=name))
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["name"])


async def test_revocations_are_listed_and_stand_in_the_journal(auth: Auth) -> None:
    for number in range(3):
        await revoke(auth, f"token-{number}", reason=f"reason {number}")
    stub = auth.operator(RevocationServiceStub)
    first = await stub.ListRevocations(pb.ListRevocationsRequest(page_size=2))
    rest = await stub.ListRevocations(pb.ListRevocationsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.subject for each in (*first.revocations, *rest.revocations)] == ["token-2", "token-1", "token-0"]
    rows = await auth.sql("SELECT body FROM audit_entry ORDER BY sequence DESC LIMIT 1")
    body = json.loads(rows[0]["body"])
    assert (body["action"], body["details"]) == ("auth.token.revoke", {"token_id": "token-2", "reason": "reason 2"})


async def test_only_services_watch(auth: Auth) -> None:
    for channel in (auth.served.channel("envoy", auth._operator_token), auth.served.channel("operator")):
        stream = VerificationServiceStub(channel).WatchRevocations(verification_pb.WatchRevocationsRequest())
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.read()
    stream = VerificationServiceStub(auth.served.channel("proxy")).WatchRevocations(
        verification_pb.WatchRevocationsRequest()
    )
    message: Any = await stream.read()
    assert not message.HasField("revocation")
    stream.cancel()


async def test_many_revocations_at_once_all_arrive_in_order(auth: Auth) -> None:
    async with auth.replica() as replica:
        stub = VerificationServiceStub(replica.channel("proxy"))
        stream = stub.WatchRevocations(verification_pb.WatchRevocationsRequest())
        await asyncio.gather(*(revoke(auth, f"many-{number}") for number in range(40)))
        seen: list[tuple[int, str]] = []
        async with asyncio.timeout(50):
            while len(seen) < 40:
                message: Any = await stream.read()
                if message.HasField("revocation"):
                    seen.append((message.sequence, message.revocation.subject))
        assert [sequence for sequence, _ in seen] == sorted({sequence for sequence, _ in seen})
        assert {subject for _, subject in seen} == {f"many-{number}" for number in range(40)}
        stream.cancel()


# --- signing keys ------------------------------------------------------------------------------------------------


async def test_a_revoked_signing_key_is_gone_at_once_and_another_signs(auth: Auth, other: Served) -> None:
    token = await auth.token()
    await ask(other, token)
    kid = jwt.get_unverified_header(token)["kid"]
    stub = TokenServiceStub(auth.served.channel("operator"))
    answer = await stub.RevokeSigningKey(
        token_pb.RevokeSigningKeyRequest(name=f"signingKeys/{kid}", reason="it was seen in a log")
    )
    assert answer.signing_key.name != f"signingKeys/{kid}"
    assert answer.signing_key.state == token_pb.SigningKey.STATE_SIGNING
    new = await auth.token()
    assert f"signingKeys/{jwt.get_unverified_header(new)['kid']}" == answer.signing_key.name
    assert await refused_within(lambda: ask(other, token)) < WITHIN

    async def accepted() -> bool:
        try:
            await ask(other, new)
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(accepted)
    jwks = await TokenServiceStub(auth.served.channel("envoy")).GetJwks(token_pb.GetJwksRequest())
    assert [f"signingKeys/{key['kid']}" for key in json.loads(jwks.data)["keys"]] == [answer.signing_key.name]
    assert (
        await refused(stub.RevokeSigningKey(token_pb.RevokeSigningKeyRequest(name=f"signingKeys/{kid}"))) == NOT_FOUND
    )
    await auth.sign_in()


async def test_where_a_key_waits_for_its_turn_it_takes_the_place_of_the_revoked_one(auth: Auth) -> None:
    stub = TokenServiceStub(auth.served.channel("operator"))
    waiting = await stub.RotateSigningKey(token_pb.RotateSigningKeyRequest())
    kid = jwt.get_unverified_header(await auth.token())["kid"]
    answer = await stub.RevokeSigningKey(token_pb.RevokeSigningKeyRequest(name=f"signingKeys/{kid}"))
    assert answer.signing_key.name == waiting.name
    assert f"signingKeys/{jwt.get_unverified_header(await auth.token())['kid']}" == waiting.name


async def test_a_key_that_waits_is_revoked_and_the_one_that_signs_goes_on(auth: Auth) -> None:
    stub = TokenServiceStub(auth.served.channel("operator"))
    waiting = await stub.RotateSigningKey(token_pb.RotateSigningKeyRequest())
    kid = jwt.get_unverified_header(await auth.token())["kid"]
    answer = await stub.RevokeSigningKey(token_pb.RevokeSigningKeyRequest(name=waiting.name))
    assert answer.signing_key.name == f"signingKeys/{kid}"
    rows = await auth.sql("SELECT kid, expire_time FROM signing_key")
    assert [(row["kid"], row["expire_time"]) for row in rows] == [(kid, None)]


async def test_an_old_key_is_replaced_once_by_however_many_processes(auth: Auth) -> None:
    await auth.sql("UPDATE signing_key SET create_time = create_time - interval '31 d'")
    async with contextlib.AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(auth.replica()) for _ in range(3)]

        async def rotated() -> bool:
            return len(await auth.sql("SELECT 1 FROM signing_key")) > 1

        await until(rotated)
        for replica in replicas:
            await TokenServiceStub(replica.channel("operator")).IssueToken(
                token_pb.IssueTokenRequest(roles=[roles.ROLE_OPERATOR])
            )
    assert len(await auth.sql("SELECT 1 FROM signing_key")) == 2


# --- refresh -----------------------------------------------------------------------------------------------------


async def test_a_refreshed_token_says_the_same_and_ends_with_its_relatives(auth: Auth) -> None:
    first = await auth.token("acme", roles.ROLE_READER)
    second = await refresh(auth, first, ttl=Duration(seconds=600))
    third = await refresh(auth, second)
    one, two, three = claims(first), claims(second), claims(third)
    same = ("iss", "aud", "sub", "workspace", "environment", "customer", "tier", "region", "roles", "auth_time")
    assert {name: one[name] for name in same} == {name: three[name] for name in same}
    assert two["exp"] - two["iat"] == 600
    assert len({one["jti"], two["jti"], three["jti"]}) == 3
    await workspace_of(auth, third)
    await revoke(auth, two["jti"])
    for token in (first, second, third):
        await refused_within(partial(workspace_of, auth, token))


async def test_refreshing_ends_a_fixed_time_after_the_first_token(auth: Auth) -> None:
    token = await auth.token()
    async with auth.replica(token_refresh_seconds=100) as replica:
        stub = TokenServiceStub(replica.channel("envoy", token))
        found = claims((await stub.RefreshToken(token_pb.RefreshTokenRequest())).access_token)
        assert found["exp"] <= found["auth_time"] + 100 + 1
    async with auth.replica(token_refresh_seconds=0) as replica:
        stub = TokenServiceStub(replica.channel("envoy", token))
        assert await refused(stub.RefreshToken(token_pb.RefreshTokenRequest())) == REVOKED


async def test_nothing_is_refreshed_without_a_token(auth: Auth) -> None:
    for identity in ("envoy", "operator"):
        call = TokenServiceStub(auth.served.channel(identity)).RefreshToken(token_pb.RefreshTokenRequest())
        assert (await refused(call))[0] == "UNAUTHENTICATED"
    for seconds in (0, -1, 43_201):
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await refresh(auth, await auth.token(), ttl=Duration(seconds=seconds))


# --- bound tokens ------------------------------------------------------------------------------------------------


def thumbprint(directory: Path) -> str:
    pem = (directory / "tls.crt").read_text()
    leaf = pem[: pem.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def through_envoy(directory: Path) -> tuple[str, str]:
    """Returns what Envoy says of a client that showed this certificate."""
    digest = base64.urlsafe_b64decode(thumbprint(directory) + "=")
    return "x-forwarded-client-cert", f"By=spiffe://cordboard/envoy;Hash={digest.hex()}"


async def test_a_bound_token_is_worth_nothing_without_its_certificate(
    auth: Auth, other: Served, client_identity: Callable[[str], Path]
) -> None:
    own, foreign = client_identity("edge-one"), client_identity("edge-two")
    stub = TokenServiceStub(auth.served.channel("operator"))
    request = token_pb.IssueTokenRequest(
        workspace="workspaces/acme",
        environment="production",
        roles=[roles.ROLE_MEMBER],
        certificate_thumbprint=thumbprint(own),
    )
    token = (await stub.IssueToken(request)).access_token
    assert claims(token)["cnf"] == {"x5t#S256": thumbprint(own)}
    await ask(other, token, own)
    await ask(other, token, "envoy", through_envoy(own))
    hash_only = through_envoy(own)[1].partition(";")[2]
    stranger, mine = through_envoy(foreign), through_envoy(own)
    bad: list[tuple[Any, list[tuple[str, str]]]] = [
        ("envoy", []),
        ("envoy", [stranger]),
        ("envoy", [stranger, mine]),
        ("envoy", [mine, stranger]),
        ("envoy", [(mine[0], f"{stranger[1]},{mine[1]}")]),
        ("envoy", [(mine[0], f'Subject="{hash_only}"')]),
        ("envoy", [(mine[0], mine[1].upper())]),
        ("envoy", [(mine[0], "")]),
        (foreign, []),
        # Only Envoy says what certificate it was shown: a client's own header counts for nothing.
        (foreign, [mine]),
        ("operator", [mine]),
    ]
    for identity, headers in bad:
        assert await refused(ask(other, token, identity, *headers)) == REVOKED, (identity, headers)


async def test_a_token_is_bound_as_it_is_refreshed_and_stays_so(
    auth: Auth, client_identity: Callable[[str], Path]
) -> None:
    own = client_identity("edge-one")
    token = await auth.token()
    stub = TokenServiceStub(auth.served.channel(own, token))
    bound = (await stub.RefreshToken(token_pb.RefreshTokenRequest(bind_certificate=True))).access_token
    assert claims(bound)["cnf"] == {"x5t#S256": thumbprint(own)}
    again = await TokenServiceStub(auth.served.channel(own, bound)).RefreshToken(token_pb.RefreshTokenRequest())
    assert claims(again.access_token)["cnf"] == claims(bound)["cnf"]
    stolen = TokenServiceStub(auth.served.channel("envoy", bound))
    assert await refused(stolen.RefreshToken(token_pb.RefreshTokenRequest())) == REVOKED
    call = TokenServiceStub(auth.served.channel("envoy", token)).RefreshToken(
        token_pb.RefreshTokenRequest(bind_certificate=True)
    )
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["bind_certificate"])


@pytest.mark.parametrize("wrong", ["x", "A" * 42, "A" * 44, "!" * 43, "A" * 42 + "B"])
async def test_a_thumbprint_that_is_none_is_said(auth: Auth, wrong: str) -> None:
    request = token_pb.IssueTokenRequest(roles=[roles.ROLE_OPERATOR], certificate_thumbprint=wrong)
    call = TokenServiceStub(auth.served.channel("operator")).IssueToken(request)
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["certificate_thumbprint"])
