"""A vendor that serves in this process, on a clock that stands still, and a client that calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from cordboard import sandbox
from tests.unit.sandbox.client import REDIRECT_URI, Client, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def vendor(clock: Clock) -> AsyncIterator[sandbox.Vendor]:
    async with sandbox.serving(sandbox.Settings(redirect_uris=(REDIRECT_URI,)), clock=clock) as served:
        yield served


@pytest.fixture
async def client(vendor: sandbox.Vendor) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, vendor)
