"""Tokens and the keys that sign them, over the real server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from typing import Any, Final

import jwt
import pytest
from google.protobuf.duration_pb2 import Duration

from cordboard.auth.kek import open_ring
from cordboard.auth.signing_keys import SigningKeys
from cordboard.auth.v1 import token_service_pb2 as pb
from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.auth.vault import Vault
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core.errors import TokenInvalid
from cordboard.core.times import SystemClock
from cordboard.core.tokens import TokenVerifier
from tests.fixtures.auth import DENIED, NOT_FOUND, Auth, auth_serving, refused, until
from tests.fixtures.serving import Served

ISSUER, AUDIENCE = "https://auth.cordboard.internal", "cordboard"
READER, MEMBER, ADMIN = roles.ROLE_READER, roles.ROLE_MEMBER, roles.ROLE_WORKSPACE_ADMIN
PUBLISHER, OPERATOR = roles.ROLE_PUBLISHER, roles.ROLE_OPERATOR


def a_request(*given: Any, workspace: str = "acme", **fields: Any) -> pb.IssueTokenRequest:
    named = {"workspace": f"workspaces/{workspace}", "environment": "production"} if workspace else {}
    return pb.IssueTokenRequest(roles=given or [MEMBER], **(named | fields))


async def issue(auth: Auth, *given: Any, **fields: Any) -> pb.IssueTokenResponse:
    answer: pb.IssueTokenResponse = await TokenServiceStub(auth.served.channel("operator")).IssueToken(
        a_request(*given, **fields)
    )
    return answer


async def jwks(auth: Auth, served: Served | None = None) -> str:
    stub = TokenServiceStub((served or auth.served).channel("envoy"))
    return (await stub.GetJwks(pb.GetJwksRequest())).data.decode()


async def claims_of(auth: Auth, token: str) -> dict[str, Any]:
    key = next(
        entry
        for entry in json.loads(await jwks(auth))["keys"]
        if entry["kid"] == jwt.get_unverified_header(token)["kid"]
    )
    claims: dict[str, Any] = jwt.decode(
        token, jwt.PyJWK(key).key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER, leeway=60
    )
    return claims


async def test_a_token_is_one_of_rfc_9068_and_says_whose_it_is(auth: Auth) -> None:
    issued = await issue(auth, READER, MEMBER)
    header = jwt.get_unverified_header(issued.access_token)
    assert header == {"alg": "RS256", "typ": "at+jwt", "kid": header["kid"]}
    claims = await claims_of(auth, issued.access_token)
    began = claims.pop("iat")
    assert abs(began - time.time()) < 5
    assert (claims.pop("nbf"), claims.pop("exp"), issued.expire_time.seconds) == (began, began + 900, began + 900)
    assert (claims.pop("auth_time"), claims.pop("generation")) == (began, 0)
    assert claims == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "workspaces/acme",
        "client_id": "peer:client/operator",
        "jti": issued.token_id,
        "workspace": "acme",
        "environment": "production",
        "customer": "acme-corp",
        "tier": "business",
        "region": "eu",
        "roles": ["member", "reader"],
    }


async def test_every_service_accepts_it(auth: Auth) -> None:
    verifier = TokenVerifier(lambda: jwks(auth), ISSUER, AUDIENCE)
    caller = await verifier.verify((await issue(auth, subject="ci bot", environment="staging")).access_token, "envoy")
    assert (caller.subject, caller.workspace, caller.environment) == ("ci bot", "acme", "staging")
    assert caller.roles == {"member"}


async def test_a_changed_workspace_shows_in_the_next_token(auth: Auth) -> None:
    change = workspace_pb.Workspace(name="workspaces/acme", tier="enterprise", region="us")
    await auth.operator(WorkspaceServiceStub).UpdateWorkspace(workspace_pb.UpdateWorkspaceRequest(workspace=change))
    claims = await claims_of(auth, (await issue(auth)).access_token)
    assert (claims["tier"], claims["region"]) == ("enterprise", "us")


async def test_an_operators_and_a_publishers_token_belong_to_no_workspace(auth: Auth) -> None:
    for given in ([OPERATOR], [PUBLISHER], [OPERATOR, PUBLISHER]):
        claims = await claims_of(auth, (await issue(auth, *given, workspace="")).access_token)
        assert (claims["workspace"], claims["sub"]) == ("", "peer:client/operator")


@pytest.mark.parametrize("seconds", [1, 60, 900, 43_200])
async def test_a_token_lives_as_long_as_is_asked_for(auth: Auth, seconds: int) -> None:
    claims = await claims_of(auth, (await issue(auth, ttl=Duration(seconds=seconds))).access_token)
    assert claims["exp"] - claims["iat"] == seconds


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (a_request(ttl=Duration(seconds=43_201)), ["ttl"]),
        (a_request(ttl=Duration(seconds=0)), ["ttl"]),
        (a_request(ttl=Duration(seconds=-5)), ["ttl"]),
        (a_request(ttl=Duration(nanos=500)), ["ttl"]),
        (a_request(ttl=Duration(seconds=2**62)), ["ttl"]),
        (a_request(environment=""), ["environment"]),
        (a_request(environment="Prod uction"), ["environment"]),
        (a_request(subject="a\r\nb"), ["subject"]),
        (a_request(subject="é"), ["subject"]),
        (a_request(subject=" a"), ["subject"]),
        (a_request(subject="x" * 256), ["subject"]),
        (a_request(MEMBER, roles.ROLE_UNSPECIFIED), ["roles[1]"]),
        (a_request(77, MEMBER, 99), ["roles[0]", "roles[2]"]),
        (a_request(MEMBER, workspace=""), ["workspace"]),
        (a_request(OPERATOR, READER, workspace=""), ["workspace"]),
        (pb.IssueTokenRequest(workspace="workspaces/acme"), ["roles"]),
        (pb.IssueTokenRequest(workspace="acme", roles=[MEMBER]), ["workspace"]),
        (pb.IssueTokenRequest(workspace="workspaces/a/b", roles=[MEMBER]), ["workspace"]),
        (a_request(77, environment="?", subject="\n", ttl=Duration(seconds=-1)),
         ["roles[0]", "environment", "subject", "ttl"]),
    ],
)  # fmt: skip
async def test_every_wrong_wish_is_named(auth: Auth, request_: pb.IssueTokenRequest, fields: list[str]) -> None:
    stub = TokenServiceStub(auth.served.channel("operator"))
    assert await refused(stub.IssueToken(request_)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", fields)


async def test_a_workspace_that_is_not_there_gets_no_token(auth: Auth) -> None:
    assert await refused(issue(auth, workspace="nobody")) == NOT_FOUND


@pytest.mark.parametrize("given", [[READER], [MEMBER], [ADMIN], [READER, MEMBER, ADMIN]])
async def test_a_workspace_admin_issues_up_to_its_own_role(auth: Auth, given: list[Any]) -> None:
    stub = await auth.as_member(TokenServiceStub, "acme", ADMIN)
    issued = await stub.IssueToken(a_request(*given, subject="bot"))
    claims = await claims_of(auth, issued.access_token)
    assert len(claims["roles"]) == len(given)
    assert claims["client_id"] == "workspaces/acme"


@pytest.mark.parametrize("given", [[OPERATOR], [PUBLISHER], [READER, OPERATOR], [ADMIN, PUBLISHER]])
async def test_a_workspace_admin_issues_no_role_above_its_own(auth: Auth, given: list[Any]) -> None:
    stub = await auth.as_member(TokenServiceStub, "acme", ADMIN)
    assert await refused(stub.IssueToken(a_request(*given))) == DENIED
    if set(given) <= {OPERATOR, PUBLISHER}:
        assert await refused(stub.IssueToken(a_request(*given, workspace=""))) == DENIED


async def test_a_workspace_admin_issues_for_its_own_workspace_and_environment(auth: Auth) -> None:
    await auth.workspace("other")
    stub = await auth.as_member(TokenServiceStub, "acme", ADMIN)
    assert await refused(stub.IssueToken(a_request(workspace="other"))) == NOT_FOUND
    assert await refused(stub.IssueToken(a_request(workspace="nobody"))) == NOT_FOUND
    assert await refused(stub.IssueToken(a_request(environment="staging"))) == DENIED


@pytest.mark.parametrize("given", [[READER], [MEMBER], [PUBLISHER]])
async def test_nobody_below_a_workspace_admin_issues_tokens(auth: Auth, given: list[Any]) -> None:
    stub = await auth.as_member(TokenServiceStub, "acme", *given)
    assert await refused(stub.IssueToken(a_request(READER))) == DENIED


@pytest.mark.parametrize("peer", ["envoy", "proxy", "catalog", "flags"])
async def test_without_a_token_only_the_operators_certificate_issues(auth: Auth, peer: str) -> None:
    code, _, _ = await refused(TokenServiceStub(auth.served.channel(peer)).IssueToken(a_request()))
    assert code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}


async def test_each_token_stands_in_the_journal_without_itself(auth: Auth) -> None:
    issued = await issue(auth, READER, subject="bot")
    rows = await auth.sql("SELECT body FROM audit_entry WHERE workspace_id = 'acme' ORDER BY sequence DESC LIMIT 1")
    body = json.loads(rows[0]["body"])
    assert (body["action"], body["actor"]) == ("auth.token.issue", "peer:client/operator")
    assert body["details"]["token_id"] == issued.token_id
    assert body["details"]["roles"] == ["reader"]
    assert issued.access_token not in rows[0]["body"]


# --- keys --------------------------------------------------------------------------------------------------------


async def states(auth: Auth) -> list[str]:
    answer = await auth.operator(TokenServiceStub).ListSigningKeys(pb.ListSigningKeysRequest())
    return [pb.SigningKey.State.Name(key.state).removeprefix("STATE_") for key in answer.signing_keys]


async def kid_of(auth: Auth, served: Served | None = None) -> str:
    stub = TokenServiceStub((served or auth.served).channel("operator"))
    return str(jwt.get_unverified_header((await stub.IssueToken(a_request())).access_token)["kid"])


async def test_the_key_set_is_public_cacheable_and_holds_no_private_part(auth: Auth) -> None:
    call = TokenServiceStub(auth.served.channel("envoy")).GetJwks(pb.GetJwksRequest())
    body = await call
    assert body.content_type == "application/jwk-set+json"
    assert dict(await call.initial_metadata())["cache-control"] == "public, max-age=5"
    (key,) = json.loads(body.data)["keys"]
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
    assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")
    assert jwt.PyJWK(key).key.key_size == 2048


async def test_the_first_start_makes_one_key_however_many_start(
    auth: Auth, serving: Any, database: Any, catalog: Any, kek_dir: Any
) -> None:
    copy = database("auth")
    async with contextlib.AsyncExitStack() as stack:
        served = await asyncio.gather(
            *(stack.enter_async_context(auth_serving(serving, copy, catalog[1], kek_dir)) for _ in range(4))
        )
        sets = {await jwks(auth, each) for each in served}
        assert len(sets) == 1
        assert len(json.loads(sets.pop())["keys"]) == 1


# In seconds: how long a new key is known before it signs. Long enough for a slow machine to look in between.
OVERLAP: Final = 5.0


async def test_a_new_key_is_published_at_once_signs_after_the_overlap_and_the_old_one_goes_on_verifying(
    auth: Auth,
) -> None:
    async with (
        auth.replica(jwks_max_age_seconds=1, signing_key_overlap_seconds=OVERLAP) as one,
        auth.replica(jwks_max_age_seconds=1, signing_key_overlap_seconds=OVERLAP) as two,
    ):
        first = await kid_of(auth, one)
        old = (await TokenServiceStub(one.channel("operator")).IssueToken(a_request())).access_token
        made = await TokenServiceStub(one.channel("operator")).RotateSigningKey(pb.RotateSigningKeyRequest())
        rotated = time.monotonic()
        new = made.name.removeprefix("signingKeys/")
        assert made.state == pb.SigningKey.STATE_PUBLISHED
        assert await states(auth) == ["PUBLISHED", "SIGNING"]

        # Published by every replica before it signs.
        async def published() -> bool:
            return all([new in await jwks(auth, each) for each in (one, two)])

        await until(published)
        assert time.monotonic() - rotated < OVERLAP
        # Both sign with the first until both sign with the second.
        seen: list[set[str]] = []
        while not seen or seen[-1] != {new}:
            seen.append({await kid_of(auth, one), await kid_of(auth, two)})
            assert time.monotonic() - rotated < 40
            await asyncio.sleep(0.02)
        assert time.monotonic() - rotated >= OVERLAP - 0.1
        assert seen[0] == {first}
        assert await states(auth) == ["SIGNING", "VERIFYING"]
        verifier = TokenVerifier(lambda: jwks(auth, two), ISSUER, AUDIENCE)
        assert (await verifier.verify(old, "envoy")).workspace == "acme"


async def test_a_verifier_that_keeps_its_keys_for_as_long_as_it_may_never_meets_an_unknown_one(auth: Auth) -> None:
    # With an overlap: a verifier's whole set is at most max-age old when a key begins to sign. The control has none.
    for overlap, failures_expected in ((OVERLAP, False), (0.001, True)):
        async with auth.replica(jwks_max_age_seconds=1, signing_key_overlap_seconds=OVERLAP) as served:
            keys = await auth_keys(served, overlap)
            kept, failures = json.loads(await jwks(auth, served)), 0
            await keys.rotate()
            # As if it had been read this moment, before the new key was there.
            kept_at = time.monotonic()
            ends = kept_at + OVERLAP + 1.5
            while time.monotonic() < ends and not (failures and failures_expected):
                signed_by = await kid_of(auth, served)
                is_old = time.monotonic() - kept_at >= 1.0
                # What is shown after the set may be kept no longer is for the next set to know.
                if not is_old or failures_expected:
                    failures += signed_by not in {key["kid"] for key in kept["keys"]}
                if is_old:
                    kept_at = time.monotonic()
                    kept = json.loads(await jwks(auth, served))
                await asyncio.sleep(0.02)
            assert (failures > 0) is failures_expected, (overlap, failures)


async def auth_keys(served: Served, overlap: float) -> Any:
    """Returns signing keys on the same database with another overlap, past the settings that would refuse it."""
    process = served.process
    vault = Vault(process.database(), open_ring(process.settings.kek, networks=()), SystemClock())
    return SigningKeys(process.database(), vault, process.journal(), SystemClock(), overlap=overlap)


async def test_keys_rotate_in_turn_however_fast_and_by_whomever(auth: Auth) -> None:
    stub = auth.operator(TokenServiceStub)
    async with auth.replica() as other:
        second = TokenServiceStub(other.channel("operator"))
        await asyncio.gather(*(each.RotateSigningKey(pb.RotateSigningKeyRequest()) for each in (stub, second) * 3))
    assert await states(auth) == ["PUBLISHED"] * 6 + ["SIGNING"]
    rows = await auth.sql("SELECT sign_time, expire_time FROM signing_key ORDER BY sign_time")
    # Each one stays until the last token that it can have signed has expired.
    for row, following in itertools.pairwise(rows):
        assert (row["expire_time"] - following["sign_time"]).total_seconds() >= 12 * 3600
    assert rows[-1]["expire_time"] is None


async def test_a_key_whose_tokens_have_all_expired_is_gone(auth: Auth) -> None:
    first = await kid_of(auth)
    await auth.operator(TokenServiceStub).RotateSigningKey(pb.RotateSigningKeyRequest())
    await auth.sql(
        "UPDATE signing_key SET sign_time = sign_time - interval '13 h', expire_time = expire_time - interval '13 h'"
    )

    async def gone() -> bool:
        return first not in await jwks(auth)

    await until(gone)
    assert await states(auth) == ["SIGNING"]
    await auth.operator(TokenServiceStub).RotateSigningKey(pb.RotateSigningKeyRequest())
    assert len(await auth.sql("SELECT 1 FROM signing_key")) == 2
    # What it signed is refused, also by who kept nothing else.
    verifier = TokenVerifier(lambda: jwks(auth), ISSUER, AUDIENCE)
    with pytest.raises(TokenInvalid):
        await verifier.verify(auth._operator_token, "envoy")


async def test_a_private_key_swapped_in_the_database_does_not_sign(auth: Auth) -> None:
    await auth.operator(TokenServiceStub).RotateSigningKey(pb.RotateSigningKeyRequest())
    sealed = await auth.sql("SELECT sealed FROM signing_key ORDER BY sign_time DESC LIMIT 1")
    await auth.sql("UPDATE signing_key SET sealed = $1", sealed[0]["sealed"])
    with pytest.raises(Exception, match="a sealed record cannot be opened"):
        async with auth.replica():
            pytest.fail("it started")
