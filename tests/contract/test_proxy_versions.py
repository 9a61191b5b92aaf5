"""Which version a call uses: the Proxy's copy of a real Catalog, with pins, private definitions and retirement."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1 import governance_service_pb2 as pb
from cordboard.catalog.v1.lifecycle_pb2 import (
    VERSION_STATE_DEPRECATED,
    VERSION_STATE_RETIRED,
    VERSION_STATE_STAGED,
)
from cordboard.core.channel import Channels
from cordboard.core.errors import DependencyUnavailable, NotFound, StateConflict
from cordboard.proxy.snapshot import Definitions
from cordboard.proxy.usage import Usage
from tests.contract.test_catalog_governance import Both, a_document, a_pin, an_admin, move, publish
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.fixtures.ways import ways
from tests.unit.proxy.running import until

SLUG = "acme-desk"


@dataclass(frozen=True)
class Pair:
    """A Catalog, and a Proxy's copy of it."""

    served: Served
    operator: Both
    definitions: Definitions

    def version(self, named: str = "", *, workspace: str = "acme", environment: str = "production") -> str:
        """Returns which version is used."""
        return self.definitions.resolve(SLUG, named, workspace=workspace, environment=environment).version

    async def uses(self, version: str, **fields: Any) -> None:
        """Returns once a version is the one that is used; fails after a bound."""

        def used() -> bool:
            try:
                return self.version(**fields) == version
            except (NotFound, StateConflict):
                return False

        await until(used)


@pytest.fixture
async def pair(serving: Serving, database: Databases) -> AsyncIterator[Pair]:
    """A Catalog and a copy of it, which is followed."""
    async with serving("catalog", CatalogSettings, start, database_url=database("catalog").url) as served:
        definitions = Definitions(ways(served.channel("proxy")))
        with pytest.raises(DependencyUnavailable):
            definitions.resolve(SLUG)
        following = asyncio.create_task(definitions.run())
        yield Pair(served, Both(served.as_role("operator", "publisher")), definitions)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def test_a_pin_comes_before_a_rollout_and_a_rollout_before_the_default(pair: Pair) -> None:
    first = await publish(pair.operator, a_document("a"))
    second = await publish(pair.operator, a_document("b"))
    staged = await publish(pair.operator, a_document("c"), VERSION_STATE_STAGED)
    await pair.uses(second)
    await pair.uses(staged, named=staged)
    await pair.operator.SetPin(a_pin(first))
    await pair.uses(first)
    assert pair.version(staged) == first
    # The pin is of one environment of one workspace.
    assert pair.version(environment="staging") == second
    assert pair.version(workspace="zeta") == second
    await pair.operator.SetPin(a_pin(staged))
    await pair.uses(staged)
    name = f"workspaces/acme/environments/production/pins/{SLUG}"
    await pair.operator.DeletePin(pb.DeletePinRequest(name=name))
    await pair.uses(second)


async def test_a_retired_version_is_refused_with_its_successor(pair: Pair) -> None:
    first = await publish(pair.operator, a_document("a"))
    second = await publish(pair.operator, a_document("b"))
    await pair.operator.SetPin(a_pin(first))
    await pair.uses(first)
    await move(pair.operator, first, VERSION_STATE_DEPRECATED, successor=second)
    await pair.uses(first)
    await move(pair.operator, first, VERSION_STATE_RETIRED, force=True, reason="the vendor has switched it off")

    def refused() -> StateConflict | None:
        try:
            pair.version()
        except StateConflict as conflict:
            return conflict
        return None

    conflict = await until(refused)
    assert conflict.metadata == {"name": f"integrations/{SLUG}/versions/{first}", "state": "retired"}
    assert f"use {second}" in conflict.text
    assert pair.version(workspace="zeta") == second


async def test_an_integration_that_ended_says_so(pair: Pair) -> None:
    only = await publish(pair.operator, a_document("a"))
    await publish(pair.operator, a_document("b", slug="other"))
    await pair.uses(only)
    await move(pair.operator, only, VERSION_STATE_DEPRECATED, successor="integrations/other")
    await move(pair.operator, only, VERSION_STATE_RETIRED)

    def ended() -> bool:
        try:
            pair.version()
        except StateConflict as conflict:
            return conflict.metadata["state"] == "retired" and "integrations/other" in conflict.text
        return False

    await until(ended)


async def test_the_default_goes_back_when_it_is_retired(pair: Pair) -> None:
    first = await publish(pair.operator, a_document("a"))
    second = await publish(pair.operator, a_document("b"))
    await pair.uses(second)
    await move(pair.operator, second, VERSION_STATE_RETIRED, force=True, reason="it is broken")
    await pair.uses(first)


async def test_a_private_definition_is_used_by_its_workspace_alone(pair: Pair) -> None:
    request = pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=a_document("a", slug="crm"))
    await an_admin(pair.served, "acme").PublishPrivateDefinition(request)

    def known() -> bool:
        try:
            return bool(pair.definitions.resolve("acme--crm", workspace="acme"))
        except NotFound:
            return False

    await until(known)
    for workspace in ("zeta", ""):
        with pytest.raises(NotFound):
            pair.definitions.resolve("acme--crm", workspace=workspace)


async def test_what_was_called_shows_in_the_inventory(pair: Pair) -> None:
    first = await publish(pair.operator, a_document("a"))
    usage = Usage(ways(pair.served.channel("proxy")))
    for workspace in ("acme", "acme", "zeta"):
        usage.count(workspace, "production", SLUG, first)
    await usage.report()
    await usage.report()
    (entry,) = (await pair.operator.ListInventory(pb.ListInventoryRequest())).entries
    (version,) = entry.versions
    assert (version.calling_workspaces, version.HasField("last_call_time")) == (2, True)


async def test_what_could_not_be_told_is_told_later(pair: Pair) -> None:
    first = await publish(pair.operator, a_document("a"))
    # No other service may report.
    way = {"now": ways(pair.served.channel("flags"))}

    class Changing:
        def to(self, service: str) -> Any:
            return way["now"].to(service)

    usage = Usage(cast("Channels", Changing()))
    usage.count("acme", "production", SLUG, first)
    await usage.report()
    way["now"] = ways(pair.served.channel("proxy"))
    await usage.report()
    (entry,) = (await pair.operator.ListInventory(pb.ListInventoryRequest())).entries
    assert entry.versions[0].calling_workspaces == 1
