"""A real API's life by the `cordboard` command: imported, imported again when it has changed, and compared."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tests.e2e.test_command import as_json, command
from tests.fixtures.desk import Desk
from tests.unit.catalog.definitions import DOCUMENT

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
    code, output, errors = await command(
        desk, "import", str(files[1]), "--slug", "shop", "--owner", "team@example.com", "--dry-run"
    )
    assert code == 0, errors
    assert "1 of 1 operations became actions" in output
    assert "would be published integrations/shop/versions/1.1.0" in output
    assert "actions: 1 removed, 1 changed" in output
    assert "actions[list_carts]" in output
    assert "not BACKWARD" in output
    assert len(await as_json(desk, "integrations", "versions", "shop")) == 1
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
    assert "there is no new version" in output
    code, output, _ = await command(desk, "import", str(files[0]), "--slug", "shop", "--owner", "team@example.com")
    assert code == 0
    assert "`cordboard catalog activate shop 1.0.0` goes back to it" in " ".join(output.split())


async def test_a_description_of_several_files_is_imported_from_its_folder(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    (folder / "paths").mkdir(parents=True)
    (tmp_path / "secret.yaml").write_text("{get: {responses: {}}}")
    (folder / "atlas.yaml").write_text(
        "openapi: 3.1.0\ninfo: {title: Atlas}\nservers: [{url: 'https://api.atlas.example'}]\n"
        "paths: {/maps: {$ref: paths/maps.yaml}, /secrets: {$ref: ../secret.yaml}}"
    )
    (folder / "paths" / "maps.yaml").write_text(
        "get: {operationId: list_maps, parameters: [{$ref: '../limit.yaml'}], responses: {'200': {description: ok}}}"
    )
    (folder / "limit.yaml").write_text("{name: limit, in: query, schema: {type: integer}}")

    code, output, errors = await command(desk, "import", str(folder / "atlas.yaml"))

    assert code == 0, errors
    assert "2 more files belong to it" in errors
    assert "not read: ../secret.yaml: it leads out of the folder" in " ".join(errors.split())
    assert "1 of 1 operations became actions" in output
    assert "/paths/~1secrets" in output
    [action] = await as_json(desk, "catalog", "actions", "atlas")
    assert action["id"] == "list_maps"


async def test_publishing_can_be_tried_with_what_would_change_and_be_refused(desk: Desk, tmp_path: Path) -> None:
    file, closer = tmp_path / "shelf.yaml", tmp_path / "closer.yaml"
    text = DOCUMENT.replace("slug: acme-desk", "slug: shelf") + "compatibility: backward\n"
    file.write_text(text)
    closer.write_text(text.replace("required: [account]", "required: [account, cursor]"))
    code, output, errors = await command(desk, "publish", str(file), "--dry-run")
    assert code == 0, errors
    assert "no version is active that it could differ from" in output
    code, _, errors = await command(desk, "publish", str(file))
    assert code == 0, errors

    for words in (("publish", str(closer), "--dry-run"), ("catalog", "validate", str(closer))):
        code, output, _ = await command(desk, *words)
        assert code == 2
        assert "would be refused integrations/shelf/versions/1.1.0" in output
        assert "actions: 1 changed" in output
        assert "refused actions[list_tickets].input_schema.properties.cursor" in output

    code, output, errors = await command(desk, "publish", str(closer), "--dry-run", "--stage", "draft")
    assert (code, "a draft may break its promise" in output) == (0, True), errors
    code, output, errors = await command(desk, "publish", str(closer), "--dry-run", "-o", "json")
    tried = json.loads(output)
    assert (code, tried["compatibility"], len(tried["refusals"])) == (2, "BACKWARD", 1)
