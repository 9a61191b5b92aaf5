"""API keys: made once, kept as an HMAC, exchanged by services, and revoked everywhere."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cordboard.auth.v1 import api_key_service_pb2 as pb
from cordboard.auth.v1 import revocation_service_pb2 as revocation_pb
from cordboard.auth.v1 import token_service_pb2 as token_pb
from cordboard.auth.v1 import verification_service_pb2 as verification_pb
from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from cordboard.auth.v1.revocation_service_pb2_grpc import RevocationServiceStub
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.auth.v1.verification_service_pb2_grpc import VerificationServiceStub
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core import api_keys
from tests.contract.test_auth_token_revocations import REVOKED, WITHIN, another_service, claims, refused_within
from tests.fixtures.auth import DENIED, NOT_FOUND, Auth, refused
from tests.fixtures.serving import Served, Serving

MEMBER, READER, ADMIN = roles.ROLE_MEMBER, roles.ROLE_READER, roles.ROLE_WORKSPACE_ADMIN


@pytest.fixture
async def other(auth: Auth, serving: Serving) -> AsyncIterator[Served]:
    async with another_service(serving, auth.served.address) as served:
        yield served


def wish(*given: Any, workspace: str = "acme", **fields: Any) -> pb.CreateApiKeyRequest:
    named = {"parent": f"workspaces/{workspace}", "environment": "production", "display_name": "nightly job"}
    return pb.CreateApiKeyRequest(roles=given or [MEMBER], **(named | fields))


async def create(auth: Auth, *given: Any, **fields: Any) -> pb.CreateApiKeyResponse:
    made: pb.CreateApiKeyResponse = await auth.operator(ApiKeyServiceStub).CreateApiKey(wish(*given, **fields))
    return made


def ask(served: Served, key: str, *, header: str = "authorization", **more: str) -> Any:
    value = f"Bearer {key}" if header == "authorization" else key
    metadata = ((header, value), *((name.replace("_", "-"), text) for name, text in more.items()))
    call = CatalogServiceStub(served.channel("envoy")).ListIntegrations
    return call(catalog_pb.ListIntegrationsRequest(), metadata=metadata, timeout=20)


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_a_key_does_what_its_roles_may_in_either_header(auth: Auth, other: Served, header: str) -> None:
    made = await create(auth, READER)
    await ask(other, made.secret, header=header)
    value = f"Bearer {made.secret}" if header == "authorization" else made.secret
    stub = WorkspaceServiceStub(auth.served.channel("envoy"))
    request, metadata = workspace_pb.GetWorkspaceRequest(name="workspaces/acme"), ((header, value),)
    assert (await stub.GetWorkspace(request, metadata=metadata)).name == "workspaces/acme"
    await auth.workspace("other")
    elsewhere = workspace_pb.GetWorkspaceRequest(name="workspaces/other")
    assert await refused(stub.GetWorkspace(elsewhere, metadata=metadata)) == NOT_FOUND
    assert await refused(stub.ListWorkspaces(workspace_pb.ListWorkspacesRequest(), metadata=metadata)) == DENIED


async def test_its_form_is_one_that_scanners_find(auth: Auth) -> None:
    made = await create(auth)
    found = re.fullmatch(r"cbk_production_([0-9A-Za-z]{16})_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", made.secret)
    assert found is not None
    assert made.api_key.name == f"workspaces/acme/apiKeys/{found[1]}"
    assert api_keys.check_of(made.secret[:-6]) == made.secret[-6:]
    assert len({(await create(auth)).secret for _ in range(3)}) == 3


async def test_what_is_kept_is_an_hmac_under_a_pepper_that_the_vault_keeps(auth: Auth) -> None:
    made = await create(auth)
    (row,) = await auth.sql("SELECT * FROM api_key")
    (pepper,) = await auth.sql("SELECT sealed FROM api_key_pepper")
    assert len(row["digest"]) == 32
    # Who has the database alone cannot try keys against it.
    assert row["digest"] != hashlib.sha256(made.secret.encode()).digest()
    assert bytes(pepper["sealed"]).startswith(b"GW1")
    for table in ("api_key", "audit_entry"):
        text = str([dict(each) for each in await auth.sql(f"SELECT * FROM {table}")])
        assert made.secret not in text
        assert made.secret.rpartition("_")[2] not in text


async def test_a_key_is_shown_once_and_listed_without_itself(auth: Auth, other: Served) -> None:
    made = await create(auth)
    await ask(other, made.secret)
    stub = auth.operator(ApiKeyServiceStub)
    listed = await stub.ListApiKeys(pb.ListApiKeysRequest(parent="workspaces/acme"))
    (found,) = listed.api_keys
    assert made.secret.rpartition("_")[2] not in str(listed)
    assert (found.name, found.display_name, list(found.roles)) == (made.api_key.name, "nightly job", [MEMBER])
    assert found.HasField("last_use_time")
    assert not made.api_key.HasField("last_use_time")
    assert not found.HasField("revoke_time")


async def test_a_revoked_key_ends_everywhere_with_the_tokens_that_it_got(auth: Auth, other: Served) -> None:
    made, good = await create(auth), await create(auth)
    for key in (made.secret, good.secret):
        await ask(other, key)
    stub = TokenServiceStub(auth.served.channel("envoy"))
    metadata = (("x-api-key", made.secret),)
    token = (await stub.RefreshToken(token_pb.RefreshTokenRequest(), metadata=metadata)).access_token
    await ask(other, token)
    done = await auth.operator(ApiKeyServiceStub).RevokeApiKey(pb.RevokeApiKeyRequest(name=made.api_key.name))
    assert done.HasField("revoke_time")
    assert await refused_within(lambda: ask(other, made.secret)) < WITHIN
    assert await refused_within(lambda: ask(other, token)) < WITHIN
    assert await refused(stub.RefreshToken(token_pb.RefreshTokenRequest(), metadata=metadata)) == REVOKED
    await ask(other, good.secret)


async def test_an_edge_goes_on_with_a_key_for_as_long_as_the_key_is_good(auth: Auth) -> None:
    made = await create(auth)
    async with auth.replica(token_refresh_seconds=0) as replica:
        stub = TokenServiceStub(replica.channel("envoy"))
        answer = await stub.RefreshToken(token_pb.RefreshTokenRequest(), metadata=(("x-api-key", made.secret),))
    found = claims(answer.access_token)
    assert (found["api_key"], found["sub"]) == (made.api_key.name.rpartition("/")[2], made.api_key.name)
    assert found["roles"] == ["member"]


async def test_all_tokens_of_a_workspace_end_and_its_keys_only_where_that_is_asked_for(
    auth: Auth, other: Served
) -> None:
    made = await create(auth)
    await ask(other, made.secret)
    stub = auth.operator(RevocationServiceStub)
    await stub.RevokeAllTokens(revocation_pb.RevokeAllTokensRequest(workspace="workspaces/acme", api_keys=True))
    assert await refused_within(lambda: ask(other, made.secret)) < WITHIN
    new = await create(auth)
    await ask(other, new.secret)


async def test_a_key_ends_in_time(auth: Auth) -> None:
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC) + timedelta(seconds=40))
    made = await create(auth, expire_time=end)
    exchange = VerificationServiceStub(auth.served.channel("proxy")).ExchangeApiKey
    token = (await exchange(verification_pb.ExchangeApiKeyRequest(api_key=made.secret))).access_token
    assert claims(token)["exp"] <= end.seconds + 1
    await auth.sql("UPDATE api_key SET expire_time = now()")
    assert await refused(exchange(verification_pb.ExchangeApiKeyRequest(api_key=made.secret))) == REVOKED


@pytest.mark.parametrize("given", [[READER], [MEMBER], [ADMIN]])
async def test_a_workspace_admin_makes_keys_up_to_its_own_role(auth: Auth, given: list[Any]) -> None:
    stub = await auth.as_member(ApiKeyServiceStub, "acme", ADMIN)
    assert list((await stub.CreateApiKey(wish(*given))).api_key.roles) == given


async def test_nobody_makes_a_key_that_may_more_than_its_maker(auth: Auth) -> None:
    await auth.workspace("other")
    stub = await auth.as_member(ApiKeyServiceStub, "acme", ADMIN)
    assert await refused(stub.CreateApiKey(wish(roles.ROLE_PUBLISHER))) == DENIED
    assert await refused(stub.CreateApiKey(wish(environment="staging"))) == DENIED
    assert await refused(stub.CreateApiKey(wish(workspace="other"))) == NOT_FOUND
    assert await refused(stub.ListApiKeys(pb.ListApiKeysRequest(parent="workspaces/other"))) == NOT_FOUND
    member = await auth.as_member(ApiKeyServiceStub, "acme", MEMBER)
    assert await refused(member.CreateApiKey(wish(READER))) == DENIED


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (wish(roles.ROLE_OPERATOR), ["roles[0]"]),
        (wish(77, MEMBER), ["roles[0]"]),
        (wish(environment="Prod"), ["environment"]),
        (wish(display_name="a\nb"), ["display_name"]),
        (wish(expire_time=Timestamp(seconds=1)), ["expire_time"]),
        (wish(expire_time=Timestamp(seconds=2**62)), ["expire_time"]),
        (wish(expire_time=Timestamp(seconds=-(2**62), nanos=-1)), ["expire_time"]),
        (wish(workspace="a/b"), ["parent"]),
    ],
)
async def test_every_wrong_wish_is_named(auth: Auth, request_: pb.CreateApiKeyRequest, fields: list[str]) -> None:
    call = auth.operator(ApiKeyServiceStub).CreateApiKey(request_)
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", fields)


def altered(key: str) -> dict[str, str]:
    """Returns keys that are almost this one, all with a right check but where that is what is wrong."""
    body = key[:-6]
    prefix, _, secret = body.rpartition("_")
    other_secret = ("B" if secret[0] == "A" else "A") + secret[1:]
    bodies = {
        "another secret": f"{prefix}_{other_secret}",
        "another id": body.replace("_production_", "_production_0", 1)[: len(prefix)] + f"_{secret}",
        "another environment": body.replace("production", "staging"),
    }
    found = {name: text + api_keys.check_of(text) for name, text in bodies.items()}
    found["a wrong check"] = body + ("0" if key[-6] != "0" else "1") + key[-5:]
    found["more behind it"] = key + "0"
    found["half"] = key[: len(key) // 2]
    found["the prefix alone"] = "cbk_"
    found["a token of ours in it"] = f"cbk_{'a.b.c'}"
    found["10 KB"] = "cbk_" + "a" * 10_000
    return found


async def test_a_key_that_is_almost_right_is_refused_with_the_same_words(auth: Auth, other: Served) -> None:
    made = await create(auth)
    for name, key in altered(made.secret).items():
        assert await refused(ask(other, key, x_envoy_external_address=f"address {name}")) == REVOKED, name
        stub = WorkspaceServiceStub(auth.served.channel("envoy"))
        call = stub.GetWorkspace(
            workspace_pb.GetWorkspaceRequest(name="workspaces/acme"), metadata=(("x-api-key", key),)
        )
        assert await refused(call) == REVOKED, name
    await ask(other, made.secret)


async def test_two_credentials_are_none(auth: Auth, other: Served) -> None:
    made, token = await create(auth), await auth.token()
    assert await refused(ask(other, made.secret, x_api_key=made.secret)) == REVOKED
    assert await refused(ask(other, token, x_api_key=made.secret)) == REVOKED
    assert await refused(ask(other, token, header="x-api-key")) == REVOKED
    call = CatalogServiceStub(other.channel("envoy")).ListIntegrations
    for pair in ((made.secret, token), (token, made.secret), (token, token)):
        metadata = tuple(("authorization", f"Bearer {each}") for each in pair)
        assert await refused(call(catalog_pb.ListIntegrationsRequest(), metadata=metadata)) == REVOKED


async def test_who_sends_bad_keys_is_slowed_down_and_nobody_else(auth: Auth, other: Served) -> None:
    made, later = await create(auth), await create(auth)
    await ask(other, made.secret, x_envoy_external_address="192.0.2.1")
    bad = altered(made.secret)["another secret"]
    outcomes = [(await refused(ask(other, bad, x_envoy_external_address="192.0.2.1")))[0] for _ in range(60)]
    first = outcomes.index("RESOURCE_EXHAUSTED")
    assert 20 <= first < 60
    assert set(outcomes[:first]) == {"UNAUTHENTICATED"}
    # Another address is free to come, and so is a key that is known to be good.
    await ask(other, later.secret, x_envoy_external_address="192.0.2.2")
    await ask(other, made.secret, x_envoy_external_address="192.0.2.1")


async def test_a_service_asks_once_a_minute_and_not_for_every_call(auth: Auth, other: Served) -> None:
    made = await create(auth)
    await ask(other, made.secret)
    await auth.sql("UPDATE api_key SET digest = ''")
    began = time.monotonic()
    for _ in range(20):
        await ask(other, made.secret)
    assert time.monotonic() - began < 50
    # The control: who has not asked yet is refused.
    exchange = VerificationServiceStub(auth.served.channel("proxy")).ExchangeApiKey
    assert await refused(exchange(verification_pb.ExchangeApiKeyRequest(api_key=made.secret))) == REVOKED


@pytest.mark.parametrize("identity", ["envoy", "operator"])
async def test_only_services_exchange_keys(auth: Auth, identity: str) -> None:
    made = await create(auth)
    for token in ("", auth._operator_token):
        stub = VerificationServiceStub(auth.served.channel(identity, token))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ExchangeApiKey(verification_pb.ExchangeApiKeyRequest(api_key=made.secret))
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_keys_stand_in_the_journal_without_themselves(auth: Auth) -> None:
    made = await create(auth)
    exchange = VerificationServiceStub(auth.served.channel("proxy")).ExchangeApiKey
    for _ in range(3):
        await exchange(verification_pb.ExchangeApiKeyRequest(api_key=made.secret))
    await auth.operator(ApiKeyServiceStub).RevokeApiKey(pb.RevokeApiKeyRequest(name=made.api_key.name, reason="old"))
    rows = await auth.sql("SELECT body FROM audit_entry WHERE workspace_id = 'acme' ORDER BY sequence DESC LIMIT 3")
    found = [json.loads(row["body"]) for row in rows]
    assert [(each["action"], each["resource"]) for each in found] == [
        ("auth.api-key.revoke", made.api_key.name),
        # A use is written down once a minute.
        ("auth.api-key.use", made.api_key.name),
        ("auth.api-key.create", made.api_key.name),
    ]
    missing = "workspaces/acme/apiKeys/0000000000000000"
    call = auth.operator(ApiKeyServiceStub).RevokeApiKey(pb.RevokeApiKeyRequest(name=missing))
    assert await refused(call) == NOT_FOUND
