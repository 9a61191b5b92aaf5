"""Twenty refreshes in a row, of every kind of credential that ends: each is kept where the next one reads it."""

from __future__ import annotations

from typing import Final

import pytest

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.core.structs import to_struct
from tests.contract import test_auth_modes as modes
from tests.contract.test_auth_modes import ISSUER, PRIVATE, answer_device, bearer, ended_session, me, submitted
from tests.fixtures.auth import REDIRECT_URI, Auth, a_definition, an_oauth_scheme, consented, until
from tests.fixtures.oidc import CLIENT, INSTALLED, SECRET, Provider, provider, signed_in

TIMES: Final = 20
# Those of the definition whose credential ends, the last of them beside a key that does not.
SCHEMES: Final = ("oauth", "device", "robot", "account", "own", "session", "person-and-app")

vendor = modes.vendor


async def at_a_server(auth: Auth, server: Provider) -> None:
    """Makes the integration `desk` one of a real authorization server's."""
    scheme = an_oauth_scheme("", **server.fields(default_scopes=["desk:read"]))
    auth.catalog.definitions["desk"] = a_definition("desk", scheme)
    client = pb.SetOAuthClientRequest(name="integrations/desk/oauthClient", client_id=CLIENT, client_secret=SECRET)
    await auth.operator(ConnectServiceStub).SetOAuthClient(client)


async def connected(auth: Auth, vendor: sandbox.Vendor, scheme: str) -> None:
    """Connects `desk-one` by a scheme, as whoever it takes would."""
    settings = vendor.settings
    typed = {
        "robot": {"client_id": settings.client_id, "client_secret": settings.client_secret},
        "account": {"email": ISSUER, "private_key": PRIVATE},
        "own": {"email": ISSUER, "private_key": PRIVATE},
        "session": {"username": settings.basic_user, "password": settings.basic_password},
    }
    if scheme in typed:
        await submitted(auth, scheme, typed[scheme])
        return
    values = to_struct({"app.api_key": settings.app_key} if scheme == "person-and-app" else {})
    session = await auth.begin(auth_scheme=scheme, connection_id="desk-one", values=values)
    if scheme == "device":
        await answer_device(vendor, session.user_code, "approve")
        assert (await until(lambda: ended_session(auth, session.name))).state == pb.ConnectSession.STATE_CONNECTED
    else:
        await auth.call_back(**await consented(session.authorization_url))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_twenty_refreshes_in_a_row_end_in_a_token_that_works(
    auth: Auth, vendor: sandbox.Vendor, scheme: str
) -> None:
    await connected(auth, vendor, scheme)
    tokens = set()
    for generation in range(2, TIMES + 2):
        await auth.age(0)
        leased = await auth.lease()
        assert leased.generation == generation
        token = leased.access_token or leased.parts[0].token
        header = {"X-Session-Token": token} if scheme == "session" else bearer(token)
        assert (await me(vendor, header)).status == 200
        tokens.add(token)
    print(f"\n{scheme}: {len(tokens)} of {TIMES} refreshes gave a token of its own that the vendor takes")
    assert len(tokens) == TIMES


@pytest.mark.node
@pytest.mark.skipif(not INSTALLED, reason="npm's oidc-provider is not installed")
async def test_twenty_refreshes_in_a_row_at_a_real_server_each_use_the_token_before(auth: Auth) -> None:
    async with provider(REDIRECT_URI) as server:
        await at_a_server(auth, server)
        query = await signed_in((await auth.begin(connection_id="desk-one")).authorization_url)
        await auth.call_back(**{name: value for name, value in query.items() if name in ("code", "state", "iss")})
        for generation in range(2, TIMES + 2):
            await auth.age(0)
            leased = await auth.lease()
            assert leased.generation == generation
            # It takes each refresh token once, and ends the grant with the second time.
            assert await server.active(leased.access_token)
    print(f"\noidc-provider: {TIMES} of {TIMES} refreshes gave a token that it honours")
