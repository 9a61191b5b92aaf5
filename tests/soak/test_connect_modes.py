"""Every way to authenticate that a definition can declare: from the connect page, in Chromium, to a call."""

from __future__ import annotations

import json

import pytest

from tests.e2e import test_auth_modes
from tests.e2e.test_auth_modes import KINDS, Vendors, publish, role
from tests.e2e.test_connect_page_modes import connect_and_call, connect_at_page
from tests.fixtures.chromium import INSTALLED, MISSING, Browser
from tests.fixtures.desk import Desk, Tenant

pytestmark = [pytest.mark.node, pytest.mark.skipif(not INSTALLED, reason=MISSING)]

vendors = test_auth_modes.vendors


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_connects_at_the_page_and_calls(
    person: Browser, desk: Desk, northwind: Tenant, vendors: Vendors, kind: str
) -> None:
    await connect_and_call(desk, northwind, vendors, person, kind)


async def test_a_role_of_aws_connects_at_the_page_and_calls(
    person: Browser, desk: Desk, northwind: Tenant, vendors: Vendors
) -> None:
    way, action = role(vendors)
    await publish(desk, "page-role", vendors.aws.url.rstrip("/"), way, action)
    answer = await connect_at_page(desk, northwind, person, "page-role", way, "aws_sigv4")
    assert ":assumed-role/desk/cordboard" in json.dumps(answer)
