"""Every way to authenticate, from the form to a call that the vendor accepts, over the real server."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1 import credential_service_pb2 as credential_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.catalog.v1 import definition_pb2 as definition
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core.structs import to_struct
from tests.fixtures.auth import (
    API_KEY,
    NOT_FOUND,
    OAUTH_FAILED,
    REDIRECT_URI,
    STATE_CONFLICT,
    Auth,
    a_definition,
    an_oauth_scheme,
    consented,
    refused,
    until,
)
from tests.fixtures.sites import listening

ISSUER = "robot@acme.example"


def a_key() -> tuple[str, str]:
    """Returns an RSA key as PEM: the private one, and the public one."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def a_certificate(*, days: int = 30, begins: int = -1) -> tuple[str, str]:
    """Returns a certificate of its own with its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "robot")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=min(begins, days - 1)))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


PRIVATE, PUBLIC = a_key()


def a_grant(url: str, **fields: Any) -> definition.TokenGrant:
    """Returns how a vendor gives tokens where no person is needed."""
    told = {"token_url": f"{url}/oauth/token", "revocation_url": f"{url}/oauth/revoke"} | fields
    return definition.TokenGrant(**told)


def every_scheme(url: str) -> list[definition.AuthScheme]:
    """Returns a scheme of every kind, for the sandbox vendor at `url`."""
    scheme = definition.AuthScheme
    assertion = definition.JwtAssertion(issuer="{email}", subject="{email}", audience=url)
    email = definition.AuthField(name="email", title="Service account", plain=True)
    login = definition.SessionLogin(
        method="POST", url=f"{url}/auth/login", body={"user": "{username}", "password": "{password}"},
        token_pointer="/session/token", expires_in_pointer="/session/expires_in",
        placement=definition.ApiKey(placement=definition.PLACEMENT_HEADER, name="X-Session-Token"),
    )  # fmt: skip
    return [
        an_oauth_scheme(url),
        API_KEY,
        scheme(id="basic", basic=definition.Basic()),
        scheme(id="bearer", bearer=definition.Bearer()),
        scheme(id="open", none=definition.NoAuth()),
        scheme(id="robot", client_credentials=definition.ClientCredentials(grant=a_grant(url))),
        scheme(
            id="device",
            device=definition.DeviceAuthorization(
                device_authorization_url=f"{url}/oauth/device_authorization", grant=a_grant(url)
            ),
        ),
        scheme(
            id="account", fields=[email], jwt_bearer=definition.JwtBearer(assertion=assertion, grant=a_grant(url))
        ),
        scheme(id="own", fields=[email], signed_jwt=definition.SignedJwt(assertion=assertion)),
        scheme(id="fixed", fields=[email], basic=definition.Basic(username="{email}/token")),
        scheme(id="digest", digest=definition.Digest()),
        scheme(
            id="older",
            oauth1=definition.OAuth1(
                request_token_url=f"{url}/oauth1/request_token",
                authorization_url=f"{url}/oauth1/authorize",
                access_token_url=f"{url}/oauth1/access_token",
            ),
        ),
        scheme(id="aws", aws_sigv4=definition.AwsSigV4(service="desk", region="eu-west-1")),
        scheme(
            id="session", session=login,
            fields=[definition.AuthField(name="username", plain=True), definition.AuthField(name="password")],
        ),
        scheme(id="tls", mtls=definition.ClientCertificate()),
        scheme(id="app", api_key=definition.ApiKey(placement=definition.PLACEMENT_HEADER, name="X-App-Key")),
        scheme(id="both", all_of=definition.AllOf(auth_schemes=["basic", "app"])),
        scheme(id="person-and-app", all_of=definition.AllOf(auth_schemes=["oauth", "app"])),
    ]  # fmt: skip


@pytest.fixture
async def vendor(auth: Auth) -> AsyncIterator[sandbox.Vendor]:
    """A sandbox vendor as the integration `desk`, with a scheme of every kind."""
    async with sandbox.serving(sandbox.Settings(redirect_uris=(REDIRECT_URI,))) as running:
        auth.catalog.definitions["desk"] = a_definition("desk", *every_scheme(running.url))
        await auth.set_client(running)
        running.access.trust(ISSUER, PUBLIC)
        yield running


@dataclass
class Called:
    """What the vendor answered to a call."""

    status: int
    means: str


async def me(vendor: sandbox.Vendor, headers: Mapping[str, str]) -> Called:
    """Asks the vendor who is calling."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{vendor.url}/v1/me", headers=dict(headers)) as answer,
    ):
        body = await answer.json()
        return Called(answer.status, body.get("authenticated_by", ""))


def bearer(token: str) -> dict[str, str]:
    """Returns the header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


def token_of(lease: credential_pb.LeaseCredentialResponse) -> str:
    """Returns the only part of a lease, which is a token."""
    (part,) = lease.parts
    assert part.WhichOneof("value") == "token"
    return part.token


async def submitted(auth: Auth, scheme: str, values: dict[str, Any], **fields: Any) -> connection_pb.Connection:
    """Connects by values."""
    return await auth.type_in(values, auth_scheme=scheme, **({"connection_id": "desk-one"} | fields))


# --- values alone -------------------------------------------------------------------------------------------------


async def test_what_was_typed_in_is_leased_as_it_is(auth: Auth, vendor: sandbox.Vendor) -> None:
    certificate, key = a_certificate()
    aws = {"access_key_id": "AKIA1", "secret_access_key": "s3cret"}
    leased: dict[str, credential_pb.CredentialPart] = {}
    for scheme, values in (
        ("key", {"api_key": "k-1"}),
        ("basic", {"username": "ada", "password": "pw"}),
        ("bearer", {"token": "t-1"}),
        ("digest", {"username": "ada", "password": "pw"}),
        ("aws", aws),
        ("tls", {"client_certificate": certificate, "private_key": key}),
        ("open", {}),
    ):
        await submitted(auth, scheme, values, connection_id=f"by-{scheme}")
        (leased[scheme],) = (await auth.lease(f"by-{scheme}")).parts
        assert leased[scheme].auth_scheme == scheme
    assert (leased["key"].token, leased["bearer"].token) == ("k-1", "t-1")
    assert (leased["basic"].basic.username, leased["basic"].basic.password) == ("ada", "pw")
    assert (leased["digest"].basic.username, leased["digest"].basic.password) == ("ada", "pw")
    assert (leased["aws"].aws.access_key_id, leased["aws"].aws.secret_access_key) == ("AKIA1", "s3cret")
    assert leased["aws"].aws.session_token == ""
    assert leased["tls"].certificate.certificate_chain == certificate
    assert leased["tls"].certificate.private_key == key
    assert leased["open"].WhichOneof("value") == "none"


async def test_what_a_definition_says_itself_nobody_types_in(auth: Auth, vendor: sandbox.Vendor) -> None:
    await submitted(auth, "fixed", {"email": "ada@a.example", "password": "pw"})
    (part,) = (await auth.lease()).parts
    assert (part.basic.username, part.basic.password) == ("", "pw")
    assert part.fields == {"email": "ada@a.example"}


@pytest.mark.parametrize("case", ["other key", "ended", "not begun", "no certificate", "no key", "swapped"])
async def test_a_certificate_that_cannot_work_is_refused_before_it_is_kept(
    auth: Auth, vendor: sandbox.Vendor, case: str
) -> None:
    certificate, key = a_certificate()
    values = {
        "other key": (certificate, a_certificate()[1]),
        "ended": a_certificate(days=-1),
        "not begun": a_certificate(days=30, begins=5),
        "no certificate": ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", key),
        "no key": (certificate, "not a key"),
        "swapped": (key, certificate),
    }[case]
    session = await auth.begin(auth_scheme="tls")
    stub = await auth.as_member(ConnectServiceStub)
    given = to_struct({"client_certificate": values[0], "private_key": values[1]})
    code, reason, fields = await refused(
        stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=session.name, values=given))
    )
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert fields in (["values.private_key"], ["values.client_certificate"])
    assert await auth.sql("SELECT 1 FROM connection") == []


async def test_a_certificate_ends_the_connection_with_itself(auth: Auth, vendor: sandbox.Vendor) -> None:
    certificate, key = a_certificate(days=2)
    made = await submitted(auth, "tls", {"client_certificate": certificate, "private_key": key})
    ends = made.credential_expire_time.ToDatetime(tzinfo=datetime.UTC)
    assert abs(ends - datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)) < datetime.timedelta(hours=1)


# --- a token for what was typed in --------------------------------------------------------------------------------


async def test_a_client_gets_a_token_in_its_own_name_and_a_new_one_when_it_ends(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    settings = vendor.settings
    made = await submitted(auth, "robot", {"client_id": settings.client_id, "client_secret": settings.client_secret})
    first = await auth.lease()
    assert (await me(vendor, bearer(token_of(first)))).means == "oauth2"
    assert not first.parts[0].fields
    await auth.age(0)
    second = await auth.lease()
    assert second.generation == made.credential_generation + 1
    assert token_of(second) != token_of(first)
    assert (await me(vendor, bearer(token_of(second)))).status == 200
    # A vendor that refuses the token before its time is asked for another.
    vendor.grants.expire_access()
    await auth.proxy().ReportCredential(
        credential_pb.ReportCredentialRequest(connection=made.name, generation=second.generation)
    )
    assert (await me(vendor, bearer(token_of(await auth.lease())))).status == 200


async def test_wrong_values_can_be_given_again(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin(auth_scheme="robot", connection_id="desk-one")
    stub = await auth.as_member(ConnectServiceStub)
    settings = vendor.settings
    for secret, ends in (("wrong", OAUTH_FAILED), (settings.client_secret, None)):
        given = to_struct({"client_id": settings.client_id, "client_secret": secret})
        call = stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=session.name, values=given))
        if ends is not None:
            assert await refused(call) == ends
        else:
            assert (await call).name == "workspaces/acme/connections/desk-one"


async def test_a_token_of_a_clients_own_is_revoked_with_its_connection(auth: Auth, vendor: sandbox.Vendor) -> None:
    settings = vendor.settings
    await submitted(auth, "robot", {"client_id": settings.client_id, "client_secret": settings.client_secret})
    stub = await auth.as_member(ConnectionServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    await stub.DeleteConnection(connection_pb.DeleteConnectionRequest(name="workspaces/acme/connections/desk-one"))

    async def revoked() -> bool:
        return vendor.grants.tally.revocations == 1

    await until(revoked)


async def test_a_key_signs_for_a_token(auth: Auth, vendor: sandbox.Vendor) -> None:
    await submitted(auth, "account", {"email": ISSUER, "private_key": PRIVATE})
    first = await auth.lease()
    assert (await me(vendor, bearer(token_of(first)))).means == "oauth2"
    assert PRIVATE not in str(first)
    await auth.age(0)
    assert token_of(await auth.lease()) != token_of(first)


async def test_a_key_signs_the_token_itself(auth: Auth, vendor: sandbox.Vendor) -> None:
    await submitted(auth, "own", {"email": ISSUER, "private_key": PRIVATE})
    first = await auth.lease()
    assert (await me(vendor, bearer(token_of(first)))).means == "jwt"
    claims = json.loads(base64.urlsafe_b64decode(token_of(first).split(".")[1] + "=="))
    assert (claims["iss"], claims["sub"], claims["aud"]) == (ISSUER, ISSUER, vendor.url)
    await auth.age(0)
    assert token_of(await auth.lease()) != token_of(first)


@pytest.mark.parametrize("key", ["no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "short"])
async def test_a_key_that_cannot_sign_is_refused(auth: Auth, vendor: sandbox.Vendor, key: str) -> None:
    if key == "short":
        short = rsa.generate_private_key(65537, 1024)
        key = short.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
    session = await auth.begin(auth_scheme="own")
    stub = await auth.as_member(ConnectServiceStub)
    given = to_struct({"email": ISSUER, "private_key": key})
    call = stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=session.name, values=given))
    assert (await refused(call))[1:] == ("INVALID_FIELDS", ["values.private_key"])


async def test_a_login_gives_a_session_and_another_when_it_ends(auth: Auth, vendor: sandbox.Vendor) -> None:
    settings = vendor.settings
    made = await submitted(auth, "session", {"username": settings.basic_user, "password": settings.basic_password})
    first = await auth.lease()
    assert (await me(vendor, {"X-Session-Token": token_of(first)})).means == "session"
    # The password stays in the vault.
    assert settings.basic_password not in str(first)
    vendor.access.end_sessions()
    assert (await me(vendor, {"X-Session-Token": token_of(first)})).status == 401
    report = await auth.proxy().ReportCredential(
        credential_pb.ReportCredentialRequest(connection=made.name, generation=first.generation)
    )
    assert report.generation == first.generation + 1
    assert (await me(vendor, {"X-Session-Token": token_of(await auth.lease())})).status == 200


async def test_a_login_that_the_vendor_refuses_later_asks_for_a_person(auth: Auth, vendor: sandbox.Vendor) -> None:
    settings = vendor.settings
    await submitted(auth, "session", {"username": settings.basic_user, "password": settings.basic_password})
    vendor.access._password = "changed"
    await auth.age(0)
    code, reason, _ = await refused(auth.lease())
    assert (code, reason) == ("FAILED_PRECONDITION", "RECONNECT_REQUIRED")
    asked = vendor.stats(last=0)["requests"]
    for _ in range(20):
        await refused(auth.lease())
    # A dead connection asks nobody anything.
    assert vendor.stats(last=0)["requests"] == asked


# --- a person consents --------------------------------------------------------------------------------------------


async def test_a_person_consents_by_oauth_1(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.operator(ConnectServiceStub).SetOAuthClient(
        pb.SetOAuthClientRequest(
            name="integrations/desk/oauthClient",
            client_id=vendor.settings.oauth1_key,
            client_secret=vendor.settings.oauth1_secret,
        )
    )
    session = await auth.begin(auth_scheme="older", connection_id="desk-one")
    back = await consented(session.authorization_url)
    assert set(back) == {"state", "oauth_token", "oauth_verifier"}
    for spoilt in ({"oauth_token": "another"}, {"oauth_verifier": ""}):
        other = await auth.begin(auth_scheme="older", connection_id="desk-two")
        wrong = await consented(other.authorization_url) | spoilt
        assert "was not connected" in await auth.call_back(**{k: v for k, v in wrong.items() if v})
    assert "is connected" in await auth.call_back(**back)
    (part,) = (await auth.lease()).parts
    assert part.oauth1.consumer_key == vendor.settings.oauth1_key
    assert part.oauth1.consumer_secret == vendor.settings.oauth1_secret
    assert vendor.register.access[part.oauth1.token] == part.oauth1.token_secret


async def test_a_person_who_refuses_oauth_1_connects_nothing(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.operator(ConnectServiceStub).SetOAuthClient(
        pb.SetOAuthClientRequest(
            name="integrations/desk/oauthClient",
            client_id=vendor.settings.oauth1_key,
            client_secret=vendor.settings.oauth1_secret,
        )
    )
    session = await auth.begin(auth_scheme="older")
    await auth.call_back(**await consented(session.authorization_url, decision="deny"))
    after = await auth.session(session.name)
    assert (after.state, after.error) == (pb.ConnectSession.STATE_FAILED, "access_denied")


async def test_a_person_allows_a_device(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin(auth_scheme="device", connection_id="desk-one")
    assert session.user_code
    assert session.verification_uri == f"{vendor.url}/oauth/device"
    assert session.user_code in session.verification_uri_complete
    assert session.authorization_url == ""
    # Another process than the one that began asks the vendor: what is to be asked is in the database.
    async with auth.replica():
        await answer_device(vendor, session.user_code, "approve")
        ended = await until(lambda: ended_session(auth, session.name))
    assert ended.state == pb.ConnectSession.STATE_CONNECTED
    lease = await auth.lease()
    assert (await me(vendor, bearer(token_of(lease)))).means == "oauth2"
    assert vendor.grants.tally.grants == 1
    await auth.age(0)
    assert (await auth.lease()).generation == lease.generation + 1


async def test_a_device_that_is_refused_ends_the_session(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin(auth_scheme="device")
    await answer_device(vendor, session.user_code, "deny")
    ended = await until(lambda: ended_session(auth, session.name))
    assert (ended.state, ended.error) == (pb.ConnectSession.STATE_FAILED, "access_denied")
    assert ended.user_code == ""


async def test_a_device_that_nobody_allows_expires(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin(auth_scheme="device")
    await auth.sql("UPDATE connect_session SET expire_time = now(), poll_time = now()")

    async def forgotten() -> bool:
        rows = await auth.sql("SELECT state, verifier, poll_time FROM connect_session")
        return [tuple(row) for row in rows] == [("failed", None, None)]

    await until(forgotten)
    assert (await auth.session(session.name)).state == pb.ConnectSession.STATE_EXPIRED


async def answer_device(vendor: sandbox.Vendor, code: str, decision: str) -> None:
    """Plays the person at the vendor's page."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{vendor.url}/oauth/device", data={"user_code": code, "decision": decision}) as answer,
    ):
        assert answer.status == 200


async def ended_session(auth: Auth, name: str) -> pb.ConnectSession | None:
    """Returns a session once it has ended."""
    session = await auth.session(name)
    return None if session.state == pb.ConnectSession.STATE_PENDING else session


# --- combinations -------------------------------------------------------------------------------------------------


async def test_two_schemes_together_are_two_parts(auth: Auth, vendor: sandbox.Vendor) -> None:
    settings = vendor.settings
    values = {
        "basic.username": settings.basic_user,
        "basic.password": settings.basic_password,
        "app.api_key": settings.app_key,
    }
    await submitted(auth, "both", values)
    vendor.change({"app_key_required": True})
    one, two = (await auth.lease()).parts
    assert (one.auth_scheme, two.auth_scheme) == ("basic", "app")
    pair = base64.b64encode(f"{one.basic.username}:{one.basic.password}".encode()).decode()
    called = await me(vendor, {"Authorization": f"Basic {pair}", "X-App-Key": two.token})
    assert (called.status, called.means) == (200, "basic")
    # The control: either alone is not enough.
    assert (await me(vendor, {"Authorization": f"Basic {pair}"})).status == 401


async def test_every_part_of_a_combination_has_to_be_filled_in(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin(auth_scheme="both")
    stub = await auth.as_member(ConnectServiceStub)
    given = to_struct({"basic.username": "ada", "api_key": "k"})
    call = stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=session.name, values=given))
    wrong = ["values.api_key", "values.basic.password", "values.app.api_key"]
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", wrong)


async def test_a_person_consents_and_types_in(auth: Auth, vendor: sandbox.Vendor) -> None:
    code, reason, fields = await refused(auth.begin(auth_scheme="person-and-app"))
    assert (code, reason, fields) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["values.app.api_key"])
    values = to_struct({"app.api_key": vendor.settings.app_key})
    session = await auth.begin(auth_scheme="person-and-app", connection_id="desk-one", values=values)
    await auth.call_back(**await consented(session.authorization_url))
    vendor.change({"app_key_required": True})
    for _ in range(2):
        one, two = (await auth.lease()).parts
        assert (await me(vendor, {**bearer(one.token), "X-App-Key": two.token})).means == "oauth2"
        # The second time round with a refreshed token: what was typed in goes along.
        await auth.age(0)


async def test_values_that_no_form_asks_for_are_refused(auth: Auth, vendor: sandbox.Vendor) -> None:
    for scheme in ("oauth", "key"):
        values = to_struct({"api_key": "k"})
        assert (await refused(auth.begin(auth_scheme=scheme, values=values)))[1] == "INVALID_FIELDS"


# --- clients and variables ----------------------------------------------------------------------------------------


async def test_a_workspace_connects_with_its_own_client(auth: Auth, vendor: sandbox.Vendor) -> None:
    name = "workspaces/acme/integrations/desk/oauthClient"
    admin = await auth.as_member(ConnectServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    assert await refused(admin.GetWorkspaceOAuthClient(pb.GetWorkspaceOAuthClientRequest(name=name))) == NOT_FOUND
    await auth.connect(connection_id="before")
    vendor.grants.register(sandbox.grants.Client("acme-own", "own-secret", (REDIRECT_URI,), "Acme"))
    put = pb.SetWorkspaceOAuthClientRequest(name=name, client_id="acme-own", client_secret="own-secret")
    assert (await admin.SetWorkspaceOAuthClient(put)).redirect_uri == REDIRECT_URI
    made = await auth.connect()
    granted = vendor.grants.access(token_of(await auth.lease()))
    assert granted is not None
    assert granted.grant.client_id == "acme-own"
    for connection in ("before", "desk-one"):
        # Each is refreshed with the client that it was granted to.
        await auth.age(0, connection)
        assert (await auth.lease(connection)).generation == 2
    other = await auth.as_member(ConnectServiceStub, "acme", roles.ROLE_MEMBER)
    assert (await refused(other.SetWorkspaceOAuthClient(put)))[0] == "PERMISSION_DENIED"
    await admin.DeleteWorkspaceOAuthClient(pb.DeleteWorkspaceOAuthClientRequest(name=name))
    assert (
        await refused(admin.DeleteWorkspaceOAuthClient(pb.DeleteWorkspaceOAuthClientRequest(name=name)))
    ) == NOT_FOUND
    assert made.credential_generation == 1


async def test_one_workspace_has_several_accounts_side_by_side(auth: Auth, vendor: sandbox.Vendor) -> None:
    for each in ("one", "two", "three"):
        await auth.connect(connection_id=each)
    tokens = {token_of(await auth.lease(each)) for each in ("one", "two", "three")}
    assert len(tokens) == 3


async def test_variables_of_the_workspace_and_of_the_connection_go_with_the_credential(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    variable = definition.ConfigVariable
    variables = [
        variable(name="team"),
        variable(name="site"),
        variable(name="pin", secret=True),
        variable(name="salt", secret=True),
    ]
    auth.catalog.definitions["shop"] = a_definition("shop", API_KEY, config_variables=variables)
    name = "workspaces/acme/integrations/shop/configuration"
    stub = await auth.as_member(ConnectionServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    put = connection_pb.SetWorkspaceConfigurationRequest(
        name=name, values={"team": "blue", "site": "north"}, secret_values={"pin": "1111", "salt": "shared"}
    )
    set_to = await stub.SetWorkspaceConfiguration(put)
    assert (dict(set_to.values), list(set_to.secret_names)) == ({"team": "blue", "site": "north"}, ["pin", "salt"])
    assert "1111" not in str(
        await stub.GetWorkspaceConfiguration(connection_pb.GetWorkspaceConfigurationRequest(name=name))
    )
    made = await submitted(
        auth,
        "key",
        {"api_key": "k"},
        slug="shop",
        configuration={"site": "south"},
        secret_configuration={"pin": "2222"},
    )
    assert dict(made.configuration) == {"site": "south"}
    lease = await auth.lease()
    assert dict(lease.connection.configuration) == {"team": "blue", "site": "south"}
    assert dict(lease.secret_variables) == {"pin": "2222", "salt": "shared"}
    stored = await auth.sql("SELECT sealed FROM workspace_configuration UNION ALL SELECT sealed FROM credential")
    assert not any(secret in bytes(row["sealed"]) for row in stored for secret in (b"1111", b"2222", b"shared"))
    for wrong, field in (
        ({"values": {"pin": "3"}}, "values.pin"),
        ({"values": {"nothing": "3"}}, "values.nothing"),
        ({"secret_values": {"nothing": "3"}}, "secret_values.nothing"),
    ):
        request = connection_pb.SetWorkspaceConfigurationRequest(name=name, **wrong)
        assert (await refused(stub.SetWorkspaceConfiguration(request)))[2] == [field]
    kept = await stub.SetWorkspaceConfiguration(
        connection_pb.SetWorkspaceConfigurationRequest(name=name, secret_values={"salt": ""})
    )
    assert list(kept.secret_names) == ["salt"]
    assert dict((await auth.lease()).secret_variables) == {"pin": "2222", "salt": "shared"}


async def test_a_client_of_the_platform_is_not_sent_to_a_host_that_a_workspace_chooses(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    port = urlsplit(vendor.url).port
    chosen = an_oauth_scheme(f"http://{{host}}:{port}")
    auth.catalog.definitions["shop"] = a_definition(
        "shop", chosen, config_variables=[definition.ConfigVariable(name="host")]
    )
    await auth.set_client(vendor, "shop")
    given: dict[str, Any] = {"slug": "shop", "connection_id": "desk-one", "configuration": {"host": "127.0.0.1"}}
    assert await refused(auth.begin(**given)) == STATE_CONFLICT
    # With a client of its own it is the workspace's own secret that it sends there.
    admin = await auth.as_member(ConnectServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    await admin.SetWorkspaceOAuthClient(
        pb.SetWorkspaceOAuthClientRequest(
            name="workspaces/acme/integrations/shop/oauthClient",
            client_id=vendor.settings.client_id,
            client_secret=vendor.settings.client_secret,
        )
    )
    session = await auth.begin(**given)
    assert session.authorization_url.startswith(f"{vendor.url}/oauth/authorize?")
    await auth.call_back(**await consented(session.authorization_url))
    await auth.age(0)
    assert (await auth.lease()).generation == 2


# --- vendors that do not follow RFC 6749 --------------------------------------------------------------------------


@pytest.fixture
async def strange() -> AsyncIterator[tuple[str, dict[str, Any], list[dict[str, str]]]]:
    """A token endpoint that answers what a test says; its URL, the answer, and what it was asked."""
    answer: dict[str, Any] = {}
    asked: list[dict[str, str]] = []

    async def token(request: web.Request) -> web.Response:
        asked.append({name: str(value) for name, value in (await request.post()).items()})
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/token", token)
    async with listening(app) as url:
        yield url, answer, asked


async def test_a_definition_says_how_a_vendor_differs(
    auth: Auth, strange: tuple[str, dict[str, Any], list[dict[str, str]]]
) -> None:
    url, answer, asked = strange
    answer |= {
        "ok": True, "token_type": "bot", "scope": "chat:write,channels:read",
        "authed": {"token": "xoxb-1", "renewal": "xoxr-1", "lives": "7200"}, "instance": "https://acme.example",
    }  # fmt: skip
    scheme = an_oauth_scheme(
        "", authorization_url=f"{url}/auth", token_url=f"{url}/token", revocation_url="", issuer="",
        authorization_parameters={"access_type": "offline"}, token_parameters={"audience": "{team}"},
        scope_separator=",", without_pkce=True,
        token_response=definition.TokenResponse(
            access_token_pointer="/authed/token", refresh_token_pointer="/authed/renewal",
            expires_in_pointer="/authed/lives", token_types=["Bot"], config_variables={"instance": "/instance"},
        ),
    )  # fmt: skip
    variables = [definition.ConfigVariable(name="team"), definition.ConfigVariable(name="instance")]
    auth.catalog.definitions["desk"] = a_definition("desk", scheme, config_variables=variables)
    await auth.operator(ConnectServiceStub).SetOAuthClient(
        pb.SetOAuthClientRequest(name="integrations/desk/oauthClient", client_id="c", client_secret="s")
    )
    session = await auth.begin(
        connection_id="desk-one", scopes=["chat:write", "channels:read"], configuration={"team": "t-1"}
    )
    sent = dict(parse_qsl(urlsplit(session.authorization_url).query))
    assert sent["access_type"] == "offline"
    assert sent["scope"] == "chat:write,channels:read"
    assert "code_challenge" not in sent
    assert "is connected" in await auth.call_back(state=sent["state"], code="c-1")
    assert asked[0]["audience"] == "t-1"
    assert "code_verifier" not in asked[0]
    lease = await auth.lease()
    assert token_of(lease) == "xoxb-1"
    assert dict(lease.connection.configuration) == {"team": "t-1", "instance": "https://acme.example"}
    assert list(lease.connection.scopes) == ["chat:write", "channels:read"]
    answer["authed"] = {"token": "xoxb-2", "renewal": "xoxr-2", "lives": 7200}
    await auth.age(0)
    assert token_of(await auth.lease()) == "xoxb-2"
    assert asked[1]["refresh_token"] == "xoxr-1"


async def test_a_token_of_a_type_that_the_definition_does_not_know_is_refused(
    auth: Auth, strange: tuple[str, dict[str, Any], list[dict[str, str]]]
) -> None:
    url, answer, _ = strange
    answer |= {"access_token": "x", "token_type": "bot"}
    scheme = an_oauth_scheme("", authorization_url=f"{url}/auth", token_url=f"{url}/token", issuer="")
    auth.catalog.definitions["desk"] = a_definition("desk", scheme)
    await auth.operator(ConnectServiceStub).SetOAuthClient(
        pb.SetOAuthClientRequest(name="integrations/desk/oauthClient", client_id="c", client_secret="s")
    )
    session = await auth.begin()
    state = dict(parse_qsl(urlsplit(session.authorization_url).query))["state"]
    assert "token_type" in await auth.call_back(state=state, code="c-1")


# --- tokens that nobody uses --------------------------------------------------------------------------------------


async def test_a_token_that_nobody_uses_is_kept_alive(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    (row,) = await auth.sql("SELECT extract(epoch FROM idle_time - now())::float8 AS seconds FROM connection")
    assert 6 * 86_400 < row["seconds"] < 10 * 86_400
    await auth.sql("UPDATE connection SET idle_time = now()")
    async with auth.replica():

        async def renewed() -> bool:
            rows = await auth.sql("SELECT generation FROM connection WHERE idle_time > now() + interval '5 days'")
            return [row["generation"] for row in rows] == [2]

        await until(renewed)
    assert vendor.grants.tally.refreshes == 1


async def test_a_refusal_after_a_lost_answer_says_what_may_have_happened(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.connect()
    # The vendor rotates the token and its answer is lost on the way.
    vendor.faults.put(sandbox.Fault(cut_connections=True, after_work=True, path="/oauth/token", times=1))
    await auth.age(0)
    await refused(auth.lease())
    await auth.sql("UPDATE connection SET retry_time = NULL")
    assert (await refused(auth.lease()))[1] == "RECONNECT_REQUIRED"
    stub = await auth.as_member(ConnectionServiceStub)
    shown = await stub.GetConnection(connection_pb.GetConnectionRequest(name="workspaces/acme/connections/desk-one"))
    assert shown.problem == "ambiguous_rotation"


# --- the way back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"return_url": "http://evil.example/"}, "return_url"),
        ({"return_url": "javascript:alert(1)"}, "return_url"),
        ({"return_url": "https://user@evil.example/"}, "return_url"),
        ({"return_url": "//evil.example"}, "return_url"),
        ({"return_url": "https://app.example/#x"}, "return_url"),
        ({"origin": "https://app.example/"}, "origin"),
        ({"origin": "*"}, "origin"),
        ({"origin": "null"}, "origin"),
        ({"origin": "https://app.example?x"}, "origin"),
        ({"browser_binding": "short"}, "browser_binding"),
    ],
)
async def test_a_way_back_that_leads_astray_is_refused(
    auth: Auth, vendor: sandbox.Vendor, fields: dict[str, str], wrong: str
) -> None:
    assert await refused(auth.begin(**fields)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", [wrong])


async def test_the_window_that_asked_is_told_and_the_person_can_go_back(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin(return_url="https://app.example/done", origin="https://app.example")
    page = await auth.call_back(**await consented(session.authorization_url))
    assert 'postMessage({"type": "cordboard.connect"' in page
    assert '"https://app.example")' in page
    assert "https://app.example/done?session=" in page


# --- verification -------------------------------------------------------------------------------------------------


async def test_a_connection_is_not_verified_before_the_check_call_has_succeeded(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    auth.catalog.definitions["shop"] = a_definition("shop", API_KEY, check_action="get_me")
    made = await submitted(auth, "key", {"api_key": vendor.settings.api_key}, slug="shop")
    assert made.state == connection_pb.Connection.STATE_UNVERIFIED
    stub, name = await auth.as_member(ConnectionServiceStub), made.name
    report = credential_pb.ReportCredentialRequest(connection=name, generation=0, accepted=True)
    await auth.proxy().ReportCredential(report)
    get = connection_pb.GetConnectionRequest(name=name)
    assert (await stub.GetConnection(get)).state == connection_pb.Connection.STATE_UNVERIFIED
    report.generation = made.credential_generation
    await auth.proxy().ReportCredential(report)

    async def verified() -> bool:
        return bool((await stub.GetConnection(get)).state == connection_pb.Connection.STATE_READY)

    await until(verified)
