"""The generated pages say what the code says now, and leave nothing out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from cordboard.common.v1 import error_reason_pb2
from cordboard.core import access
from cordboard.core.settings import Settings
from docs import generate
from tests.fixtures.stubs import import_stubs


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    assert (generate.DOCS / name).read_text(encoding="utf-8") == generate.PAGES[name](), "run `make docs`"


def test_a_page_that_is_missing_or_changed_is_noticed(tmp_path: Path) -> None:
    for name in generate.PAGES:
        (tmp_path / name).write_text((generate.DOCS / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "errors.md").write_text("changed", encoding="utf-8")
    (tmp_path / "access.md").unlink()

    assert generate.stale(tmp_path) == ["errors.md", "access.md"]


def test_every_reason_has_a_row_with_its_code() -> None:
    rows = {cells[1]: cells for cells in _rows(generate.errors_page()) if len(cells) == 8}

    for name in error_reason_pb2.ErrorReason.keys()[1:]:
        cells = rows[f"`{name.removeprefix('ERROR_REASON_')}`"]
        assert cells[2], f"{name} has no code"
        assert not cells[4].startswith(cells[2]), f"the code of {name} stands in its text too"


def test_every_rpc_has_a_row_with_its_rule() -> None:
    page = generate.access_page()
    for service in ("auth.v1.CredentialService", "proxy.v1.ProxyService", "flags.v1.FlagService"):
        section = page.partition(f"## cordboard.{service}\n")[2].partition("\n## ")[0]
        rows = {cells[1].split(" ")[0]: cells for cells in _rows(section)}
        for method in access.methods(f"cordboard.{service}").values():
            cells = rows[f"`{method.path.rpartition('/')[2]}`"]
            allowed = {role for role, cell in zip(generate.ROLES, cells[3:8], strict=True) if cell == "yes"}
            assert allowed == method.rule.roles
            relays = {f"{peer} with its caller's token" for peer in method.rule.relays}
            assert {peer for peer in cells[8].split(", ") if peer} == method.rule.peers | relays


def test_the_access_page_has_every_service_of_the_protos() -> None:
    declared = {rpc.service for rpc in generate.rpcs(generate.protos())}
    import_stubs()

    for service in declared:
        assert f"## {service}\n" in generate.access_page()
        assert descriptor_pool.Default().FindServiceByName(service).full_name == service


def test_every_service_has_its_settings_described() -> None:
    described = json.loads(generate.settings_schema())
    page = generate.settings_page()

    assert list(generate.settings_kinds()) == list(access.SERVICES)
    for service, kind in generate.settings_kinds().items():
        section = page.partition(f"## {service}\n")[2].partition("\n## ")[0]
        for field in set(kind.model_fields) - set(Settings.model_fields):
            assert f"`CORDBOARD_{field.upper()}`" in section
            assert described[kind.__name__]["properties"][f"CORDBOARD_{field.upper()}"]["description"]


def test_a_required_setting_is_called_required() -> None:
    auth = generate.settings_page().partition("## auth\n")[2].partition("\n## ")[0]

    assert [cells[3] for cells in _rows(auth) if cells[1] == "`CORDBOARD_KEK`"] == ["**required**"]


def _rows(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
