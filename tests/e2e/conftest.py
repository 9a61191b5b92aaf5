"""What the tests of the composed system share: clients, which end with the test, and a thief of the signing key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cordboard.auth.kek import FileKeys
from cordboard.auth.store.keys import signing_keys
from cordboard.auth.vault import SYSTEM, Vault
from cordboard.client import Client
from cordboard.core.database import Database
from cordboard.core.times import SystemClock
from tests.e2e.forgery import Forger
from tests.fixtures.desk import Tenant
from tests.fixtures.mesh import RunningMesh


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets connections be left open here, and in no other tests.

    The vendors of these tests live in this process, and who calls them is killed: which connection is then found open,
    and in the middle of which other test, is chance.
    """
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest_asyncio.fixture
async def operator(running_mesh: RunningMesh) -> AsyncIterator[Client]:
    """The operator, through Envoy."""
    async with running_mesh.operator() as client:
        yield client


@pytest_asyncio.fixture
async def member(running_mesh: RunningMesh, northwind: Tenant) -> AsyncIterator[Client]:
    """A member of northwind, through Envoy."""
    async with running_mesh.client(northwind.token) as client:
        yield client


@pytest_asyncio.fixture
async def forger(running_mesh: RunningMesh) -> Forger:
    """Whoever has stolen the mesh's signing key: no signature keeps these tokens out, only what they say."""
    kid = str(jwt.get_unverified_header(await running_mesh.token("operator"))["kid"])
    database = Database(running_mesh.mesh.database_url("auth"))
    try:
        vault = Vault(database, FileKeys.load(running_mesh.state_dir / "keys"), SystemClock())
        drawer = await vault.drawer(SYSTEM)
        async with database.shared() as connection:
            _, known = await signing_keys(connection)
        [row] = [row for row in known if row.kid == kid]
        pem = drawer.open(f"signingKeys/{kid}", "private_key", 1, row.sealed).reveal()
    finally:
        await database.close()
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return Forger(key, kid)
