"""A real API's life by the `cordboard` command: imported, imported again when it has changed, and compared."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tests.e2e.test_command import as_json, command
from tests.fixtures.desk import Desk

SHOP: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Shop", "version": "1"},
    "servers": [{"url": "https://api.shop.example"}],
    "paths": {
        "/orders": {
            "get": {
                "operationId": "list_orders",
                "parameters": [{"name": "state", "in": "query", "schema": {"type": "string"}}],
                "responses": {"200": {"description": "ok"}},
            }
        },
        "/carts": {"get": {"operationId": "list_carts", "responses": {"200": {"description": "ok"}}}},
    },
}


async def test_a_newer_description_is_a_new_version_with_a_readable_difference(desk: Desk, tmp_path: Path) -> None:
    newer = copy.deepcopy(SHOP)
    parameters = newer["paths"]["/orders"]["get"]["parameters"]
    parameters.append({"name": "since", "in": "query", "schema": {"type": "integer"}})
    del newer["paths"]["/carts"]
    files = [tmp_path / "old.json", tmp_path / "new.json"]
    for file, document in zip(files, (SHOP, newer), strict=True):
        file.write_text(json.dumps(document))
    code, output, errors = await command(desk, "import", str(files[0]), "--slug", "shop", "--owner", "team@example.com")
    assert code == 0, errors
    assert "2 of 2 operations became actions" in output
    assert "since version" not in output
    code, output, errors = await command(desk, "import", str(files[1]), "--slug", "shop", "--owner", "team@example.com")
    assert code == 0, errors
    assert "since version" in output
    assert "actions[list_orders].input_schema.properties.since" in output
    assert "actions[list_carts]" in output
    old, new = reversed(
        [one["name"].rpartition("/")[2] for one in await as_json(desk, "integrations", "versions", "shop")]
    )
    code, output, errors = await command(desk, "integrations", "diff", "shop", old, new)
    assert code == 0, errors
    assert "actions[list_orders].input_schema.properties.since" in output
    assert "not BACKWARD" in output
    code, output, _ = await command(desk, "import", str(files[1]), "--slug", "shop", "--owner", "team@example.com")
    assert (code, len(await as_json(desk, "integrations", "versions", "shop"))) == (0, 2)
