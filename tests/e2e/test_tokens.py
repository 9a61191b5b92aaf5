"""Tokens: a wrong, expired, foreign or tampered one is refused at Envoy, and again at each service."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import grpc
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from google.rpc import error_details_pb2, status_pb2

from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.client import Client, CordboardError, Unauthenticated
from cordboard.local.certificates import SERVICES
from tests.e2e.forgery import Forger
from tests.e2e.test_command import command
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import RunningMesh, until

# A method of each service that wants a token and, asked with nothing, changes nothing.
METHODS: Final = {
    "catalog": "/cordboard.catalog.v1.CatalogService/ListIntegrations",
    "auth": "/cordboard.auth.v1.TokenService/ListSigningKeys",
    "uqi": "/cordboard.uqi.v1.FormService/ListForms",
    "flags": "/cordboard.flags.v1.FlagService/ListFlags",
    "proxy": "/cordboard.proxy.v1.ProxyService/ListBreakers",
    "telemetry": "/cordboard.telemetry.v1.TraceService/ListTraces",
}
REFUSED: Final = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
# What Envoy's filter does not look at; that is why every service looks again.
BLIND: Final = (
    "typ ", "no typ", "crit ", "an empty crit", "an unencoded", "a nested", "compressed", "our key and a ",
    "kid ''", "no kid", "exp ", "a life of", "issued tomorrow", "no iat", "aud \"['cordboard'", "sub ", "jti ",
    "roles ", "workspace ", "environment ", "tier ", "generation ", "auth_time ", "api_key ", "cnf ",
    "a member of", "claims of 7 KB", "a dot ",
)  # fmt: skip


async def answer(channel: grpc.aio.Channel, method: str, token: str) -> tuple[grpc.StatusCode, str]:
    """Returns how a call with a token ended, and our reason: empty where Envoy itself refused."""
    raw: Any = channel
    try:
        await raw.unary_unary(method)(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=20)
    except grpc.aio.AioRpcError as error:
        info = error_details_pb2.ErrorInfo()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin" and isinstance(value, bytes):
                for detail in status_pb2.Status.FromString(value).details:
                    detail.Unpack(info)
        return error.code(), info.reason
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize("service", SERVICES)
async def test_each_service_refuses_every_bad_token_by_itself(
    running_mesh: RunningMesh, forger: Forger, service: str
) -> None:
    bad = list(forger.bad())
    async with running_mesh.channel(service, "envoy") as channel:
        good, _ = await answer(channel, METHODS[service], forger.good())
        assert good not in REFUSED, "the good token is refused too, so this shows nothing"
        found = await asyncio.gather(*(answer(channel, METHODS[service], token) for _, token in bad))
    wrong = [
        (name, each)
        for (name, _), each in zip(bad, found, strict=True)
        if each[0] is not grpc.StatusCode.UNAUTHENTICATED
    ]
    assert wrong == []
    assert {reason for _, reason in found} == {"TOKEN_INVALID"}
    assert len({name for name, _ in bad}) == len(bad) >= 100


async def test_envoy_lets_no_bad_token_through_to_an_answer(running_mesh: RunningMesh, forger: Forger) -> None:
    bad = list(forger.bad())
    async with running_mesh.edge() as channel:
        good, _ = await answer(channel, METHODS["catalog"], forger.good())
        assert good is grpc.StatusCode.OK
        found = await asyncio.gather(*(answer(channel, METHODS["catalog"], token) for _, token in bad))
    outcomes = dict(zip((name for name, _ in bad), found, strict=True))
    assert {name: each for name, each in outcomes.items() if each[0] not in REFUSED} == {}
    passed = [name for name, (_, reason) in outcomes.items() if reason]
    assert [name for name in passed if not name.startswith(BLIND)] == []
    by_envoy = len(bad) - len(passed)
    print(f"\n{len(bad)} bad tokens: Envoy refused {by_envoy} by itself, the service the other {len(passed)}")
    # Whatever needs our signature to be taken, and has none, gets no further than Envoy.
    for name in ("another key under our kid", "RS512", "HS256 with the modulus", "expired an hour ago", "four parts"):
        assert not outcomes[name][1], name


async def test_a_token_that_is_bound_to_a_certificate_is_worth_nothing_without_it(
    desk: Desk, northwind: Tenant, tmp_path: Path
) -> None:
    mesh = desk.mesh.mesh
    own, foreign = mesh.identity_dir("operator"), mesh.identity_dir("flags")
    code, bound, errors = await command(desk, "token", "-w", northwind.workspace, "--bind-to", str(own / "tls.crt"))
    assert code == 0, errors
    free = northwind.token
    outcomes = {}
    for name, token, shown in (
        ("bound, shown", bound.strip(), own), ("bound, not shown", bound.strip(), None),
        ("bound, another shown", bound.strip(), foreign), ("free, shown", free, own), ("free", free, None),
    ):  # fmt: skip
        async with Client(mesh.public_address, token=token, ca_file=mesh.ca_file, identity_dir=shown) as client:
            try:
                # Through Envoy, to a service that asks yet another one.
                await client.execute(northwind.connection, "get_me")
                outcomes[name] = "well"
            except Unauthenticated as error:
                outcomes[name] = error.metadata["problem"]
    assert outcomes == {
        "bound, shown": "well",
        "bound, not shown": "binding",
        "bound, another shown": "binding",
        "free, shown": "well",
        "free": "well",
    }
    # What a client says of certificates counts for nothing: Envoy takes it away.
    digest = x509.load_pem_x509_certificate((own / "tls.crt").read_bytes()).fingerprint(hashes.SHA256()).hex()
    headers = {"authorization": f"Bearer {bound.strip()}", "x-forwarded-client-cert": f"Hash={digest}"}
    assert (await desk.mesh.http("GET", "/v1/integrations", headers=headers)).status == 401
    headers["authorization"] = f"Bearer {free}"
    assert (await desk.mesh.http("GET", "/v1/integrations", headers=headers)).status == 200
    # A profile shows the certificate for every command.
    given = ["profile", "add", "bound", mesh.public_address, "--ca-file", str(mesh.ca_file)]
    remote = {"XDG_CONFIG_HOME": str(tmp_path), "CORDBOARD_TOKEN": bound.strip()}
    for more, exit_code in (["--identity-dir", str(own)], 0), ([], 4):
        assert (await command(desk, *given, *more, environment=remote))[0] == 0
        found = await command(desk, "--profile", "bound", "catalog", "list", environment=remote)
        assert found[0] == exit_code, found


async def test_a_token_of_another_workspace_finds_nothing(desk: Desk, northwind: Tenant) -> None:
    other = await desk.tenant()
    async with desk.mesh.client(other.token) as client:
        for connection in (northwind.connection, f"workspaces/{northwind.workspace}/connections/none"):
            with pytest.raises(CordboardError) as refused:
                await client.execute(connection, "get_me")
            assert refused.value.code is grpc.StatusCode.NOT_FOUND
            assert refused.value.reason == "RESOURCE_NOT_FOUND"
        own = await client.execute(other.connection, "get_me")
    assert own.vendor_status == 200


async def test_a_token_of_another_environment_cannot_use_the_connection(desk: Desk, northwind: Tenant) -> None:
    staging = await desk.mesh.token("member", workspace=northwind.workspace, environment="staging")
    async with desk.mesh.client(staging) as client:
        with pytest.raises(CordboardError) as refused:
            await client.execute(northwind.connection, "get_me")
    assert refused.value.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)


async def test_a_signing_key_is_rotated_under_traffic_and_no_call_fails(
    desk: Desk, operator: Client, running_mesh: RunningMesh
) -> None:
    tenant = await desk.tenant()
    failures: list[str] = []
    kids: list[str] = []
    going = True

    async def traffic() -> None:
        while going:
            # A fresh token each time: the first that a new key signs is used at once.
            token = await running_mesh.token("member", workspace=tenant.workspace)
            kids.append(str(jwt.get_unverified_header(token)["kid"]))
            async with running_mesh.client(token) as client:
                try:
                    await client.execute(tenant.connection, "get_me")
                except CordboardError as error:
                    failures.append(f"{error.code.name}: {error}")
            await asyncio.sleep(0.03)

    running = [asyncio.create_task(traffic()) for _ in range(2)]
    try:
        await until(lambda: _are(len(kids) > 5), "traffic")
        before = kids[-1]
        began = time.monotonic()
        made = await operator.tokens.RotateSigningKey(tokens.RotateSigningKeyRequest())
        kid = made.name.partition("/")[2]
        assert kid != before
        await until(lambda: _are(kids[-1] == kid), "the new key to sign", patience=60)
        signing = time.monotonic() - began
        count = len(kids)
        await until(lambda: _are(len(kids) > count + 20), "more traffic")
    finally:
        going = False
        await asyncio.gather(*running)
    print(f"\nkey rotation: {len(kids)} calls with a fresh token each, {len(failures)} failed; it took {signing:.1f} s")
    assert failures == []
    assert {before, kid} <= set(kids)
    answered = await running_mesh.http("GET", "/.well-known/jwks.json")
    published = {key["kid"] for key in answered.json()["keys"]}
    assert {before, kid} <= published, "the old key still verifies what it signed"


async def test_a_key_that_was_never_published_is_refused_however_often_it_comes(
    running_mesh: RunningMesh, forger: Forger
) -> None:
    # The control of the rotation: what it must not do is to take a key that the key set does not have.
    stranger = Forger(rsa.generate_private_key(65537, 2048), "not-published")
    async with running_mesh.channel("catalog", "envoy") as channel:
        found = [await answer(channel, METHODS["catalog"], stranger.good()) for _ in range(20)]
        assert await answer(channel, METHODS["catalog"], forger.good()) == (grpc.StatusCode.OK, "")
    assert set(found) == {(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")}


async def test_the_key_set_holds_public_keys_only(running_mesh: RunningMesh) -> None:
    answered = await running_mesh.http("GET", "/.well-known/jwks.json")
    assert (answered.status, answered.headers["content-type"]) == (200, "application/jwk-set+json")
    keys = answered.json()["keys"]
    assert keys
    assert all(set(key) == {"kty", "use", "alg", "kid", "n", "e"} for key in keys)


async def _are(condition: bool) -> bool:
    return condition
