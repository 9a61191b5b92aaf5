"""What the tests of the composed system share: clients, which end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from cordboard.client import Client
from tests.fixtures.desk import Tenant
from tests.fixtures.mesh import RunningMesh


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
