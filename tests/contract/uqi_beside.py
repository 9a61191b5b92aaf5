"""UQI beside a Catalog that has one version, and a Proxy that a test makes up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from cordboard.catalog.v1 import definition_pb2
from cordboard.core.settings import Settings
from cordboard.uqi.__main__ import start
from cordboard.uqi.settings import UqiSettings
from tests.contract.test_uqi_service import NOWHERE
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.unit.uqi.announcer import an_announcer


@asynccontextmanager
async def beside_a_proxy(
    serving: Serving, database: Databases, version: definition_pb2.Definition, proxy: Callable[[Any], Awaitable[None]]
) -> AsyncIterator[Served]:
    """Serves UQI inside the block; `proxy` puts what is served as the Proxy there."""
    announcer = an_announcer()
    await announcer.publish(version, "1.0.0")
    async with (
        serving("catalog", Settings, announcer.start, database_url=NOWHERE) as catalog,
        serving("proxy", Settings, proxy, database_url=NOWHERE) as proxied,
        serving(
            "uqi",
            UqiSettings,
            start,
            database_url=database("uqi").url,
            catalog_address=catalog.address,
            proxy_address=proxied.address,
        ) as running,
    ):
        yield running
