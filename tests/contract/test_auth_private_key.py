"""Our client shows a signed JWT in place of a secret (RFC 7523), to a real server (npm oidc-provider)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.catalog.v1 import definition_pb2 as definition
from cordboard.common.v1 import options_pb2 as roles
from tests.fixtures.auth import OAUTH_FAILED, REDIRECT_URI, Auth, a_definition, an_oauth_scheme, refused, until
from tests.fixtures.oidc import CLIENT, INSTALLED, Provider, provider, signed_in

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not INSTALLED, reason="Node.js or its packages are missing (`make node`): NO real OAuth server is tried"
    ),
]
RSA: Final = rsa.generate_private_key(65537, 2048)
CURVE: Final = ec.generate_private_key(ec.SECP256R1())
EDWARDS: Final = ed25519.Ed25519PrivateKey.generate()
STRANGER: Final = rsa.generate_private_key(65537, 2048)
BY_KEY: Final = definition.CLIENT_AUTHENTICATION_PRIVATE_KEY_JWT
ALGORITHMS: Final[dict[str, Any]] = {
    "RS256": (RSA, jwt.algorithms.RSAAlgorithm),
    "ES256": (CURVE, jwt.algorithms.ECAlgorithm),
    "EdDSA": (EDWARDS, jwt.algorithms.OKPAlgorithm),
}


def jwk(algorithm: str, *, private: bool = False, **fields: Any) -> dict[str, Any]:
    """Returns a key as JWK."""
    key, kind = ALGORITHMS[algorithm]
    return {**json.loads(kind.to_jwk(key if private else key.public_key())), **fields}


def pem(key: Any) -> str:
    """Returns a private key as PEM."""
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def client(algorithm: str) -> dict[str, Any]:
    """Returns a client whose public key the server knows."""
    return {
        "client_id": f"{CLIENT}-{algorithm}",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": algorithm,
        "jwks": {"keys": [jwk(algorithm, kid=f"our-{algorithm}", use="sig")]},
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "scope": "offline_access desk:read",
    }


@pytest.fixture
async def server(auth: Auth) -> AsyncIterator[Provider]:
    async with provider(REDIRECT_URI, clients=[client(each) for each in ALGORITHMS]) as running:
        told = running.fields(default_scopes=["desk:read"], client_authentication=BY_KEY)
        auth.catalog.definitions["desk"] = a_definition("desk", an_oauth_scheme("", **told))
        grant = definition.TokenGrant(
            token_url=f"{running.issuer}/token", scopes=["desk:read"], client_authentication=BY_KEY
        )
        machine = definition.AuthScheme(id="machine", client_credentials=definition.ClientCredentials(grant=grant))
        auth.catalog.definitions["robot"] = a_definition("robot", machine)
        yield running


async def set_key(auth: Auth, key: str, algorithm: str = "RS256") -> None:
    """Sets our client with this key."""
    await auth.operator(ConnectServiceStub).SetOAuthClient(
        pb.SetOAuthClientRequest(
            name="integrations/desk/oauthClient", client_id=f"{CLIENT}-{algorithm}", client_secret=key
        )
    )


async def connect(auth: Auth, connection_id: str) -> str:
    """Connects with a person's consent; returns the page."""
    session = await auth.begin(connection_id=connection_id)
    query = await signed_in(session.authorization_url)
    return await auth.call_back(**{name: query[name] for name in ("code", "state", "iss")})


async def test_a_client_with_a_key_connects_refreshes_and_revokes(auth: Auth, server: Provider) -> None:
    await set_key(auth, pem(RSA))
    assert "is connected" in await connect(auth, "one")
    assert (await auth.lease("one")).generation == 1
    await auth.age(0, "one")
    second = await auth.lease("one")
    assert second.generation == 2
    stub = await auth.as_member(ConnectionServiceStub, "acme", roles.ROLE_WORKSPACE_ADMIN)
    await stub.DeleteConnection(connection_pb.DeleteConnectionRequest(name="workspaces/acme/connections/one"))

    async def revoked() -> bool:
        done = await auth.sql("SELECT 1 FROM revocation")
        return done == []

    await until(revoked)


async def test_every_kind_of_key_is_taken_and_a_jwk_says_which_it_is(auth: Auth, server: Provider) -> None:
    for algorithm, (key, _) in ALGORITHMS.items():
        for form in (pem(key), json.dumps(jwk(algorithm, private=True, kid=f"our-{algorithm}", alg=algorithm))):
            await set_key(auth, form, algorithm)
            assert "is connected" in await connect(auth, f"by-{algorithm.lower()}"), (algorithm, form[:20])


async def test_a_key_that_the_server_does_not_know_connects_nothing(auth: Auth, server: Provider) -> None:
    unknown = json.dumps(jwk("RS256", private=True, kid="another", alg="RS256"))
    for key in (pem(STRANGER), unknown):
        await set_key(auth, key)
        assert "was not connected" in await connect(auth, "none")
    stub = await auth.as_member(ConnectionServiceStub)
    assert not (await stub.ListConnections(connection_pb.ListConnectionsRequest(parent="workspaces/acme"))).connections


async def test_a_machine_brings_its_own_key(auth: Auth, server: Provider) -> None:
    values = {"client_id": f"{CLIENT}-ES256", "client_secret": pem(CURVE)}
    await auth.type_in(values, slug="robot", connection_id="machine")
    assert (await auth.lease("machine")).parts[0].token
    wrong = auth.type_in(values | {"client_secret": pem(STRANGER)}, slug="robot", connection_id="other")
    assert await refused(wrong) == OAUTH_FAILED


async def test_what_is_no_private_key_is_not_stored(auth: Auth, server: Provider) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    shared = json.dumps({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "alg": "HS256"})
    for wrong in (
        "a password", pem(weak), shared, json.dumps(jwk("RS256")), "{", "{}", "[1]",
        json.dumps(jwk("RS256", private=True, alg="ES256")), json.dumps(jwk("RS256", private=True, kid=7)),
        json.dumps(jwk("RS256", private=True, alg="none")),
    ):  # fmt: skip
        assert await refused(set_key(auth, wrong)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["client_secret"]), wrong
    await set_key(auth, pem(RSA))
