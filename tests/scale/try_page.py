"""Tries actions of real API descriptions by hand: in Chromium, through Envoy, against a mock that judges each request.

`python -m tests.scale.try_page [FILE...]`; without arguments five files of the folder CORDBOARD_OPENAPI_SAMPLES.
Each is imported as it is; then a person opens the page, finds an action, fills in what it requires, and calls it. The
mock is prism, made of the same description by other people. It needs Node.js, `make node` and Chromium.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from google.protobuf.struct_pb2 import Struct, Value

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.auth.v1.token_service_pb2 import IssueTokenRequest
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import definition_pb2
from cordboard.cli.demo.mock import mock
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.demo.samples import NoSample, sample
from cordboard.cli.session import operator_token
from cordboard.client import Client, CordboardError
from cordboard.common.v1 import options_pb2
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local.mesh import Mesh
from cordboard.local.options import MeshOptions
from cordboard.uqi import json_schema
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import Boolean, Choice, Field, Integer, Number, Secret, Text
from tests.fixtures.chromium import INSTALLED, MISSING, NODE, Browser
from tests.fixtures.mesh import until

FILES: Final = (
    "circleci.com__v1.json",
    "github.com__ghes.json",
    "slack.com__web.json",
    "stripe.com__api.yaml",
    "trello.com__main.json",
)
WORKSPACE: Final = "person"
PRISM: Final = NODE / "node_modules" / ".bin" / "prism"
# A description's own examples often do not fit its schemas; prism then has no answer to give.
CANDIDATES: Final = 20
_VALUES: Final[dict[str, dict[str, str]]] = {
    "none": {},
    "api_key": {"api_key": "made-up"},
    "bearer": {"token": "made-up"},
    "basic": {"username": "made", "password": "up"},
}


def candidates(definition: definition_pb2.Definition) -> Iterator[tuple[str, str, list[list[str]]]]:
    """Yields actions that a person can fill in line by line: id, title, and what the person does."""
    draftsman = Draftsman(definition)
    shared = json.loads(definition.schemas_json or "{}")
    actions = [each for each in definition.actions if not each.deprecated]
    # Some that write, and some that read.
    actions.sort(key=lambda each: (each.request.method != "POST", each.id))
    writes = [each for each in actions if each.request.method == "POST"]
    reads = [each for each in actions if each.request.method == "GET"]
    for pair in zip(writes, reads, strict=False):
        for action in pair:
            (draft,) = draftsman.drafts([f"action.{action.id}"])
            schema = json.loads(action.input_schema_json or "{}")
            try:
                values = sample(schema | {"type": "object"}, shared | schema.get("$defs", {}))
            except (NoSample, StopIteration):
                continue
            if isinstance(draft, Draft):
                acts = _acts(json_schema.read(json.loads(draft.json_schema)).fields, values)
                if acts:
                    yield action.id, draft.title, acts


def _acts(fields: tuple[Field, ...], values: dict[str, Any]) -> list[list[str]] | None:
    acts = []
    for field in fields:
        if isinstance(field.kind, Secret):
            # A description that asks for the connection's credential among the inputs too: its mock insists on it.
            acts.append(["fill", field.title, "made-up"])
            continue
        if not field.required or field.default is not None or isinstance(field.kind, Boolean):
            continue
        value = values.get(field.name)
        if isinstance(field.kind, Choice):
            titles = [option.title for option in field.kind.options if option.value == value]
            acts.append(["select", field.title, *titles[:1]])
        elif isinstance(field.kind, Text | Integer | Number) and isinstance(value, str | int | float):
            acts.append(["fill", field.title, str(value) or "x"])
        else:
            return None
    return acts if all(len(act) == 3 for act in acts) else None


async def tried(mesh: Mesh, operator: Client, browser: Browser, path: Path, folder: Path) -> str:
    """Returns what came of a description: the action that a person has called, or why there was none."""
    async with mock(str(PRISM), path, folder) as judge:
        slug = path.stem.split(".")[0]
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        request = catalog.ImportOpenApiRequest(document=text, slug=slug, server_url=judge.url, owner="a@example.com")
        imported = await operator.catalog.ImportOpenApi(request, timeout=120)
        definition = imported.definition_version.definition
        on = {"on": Value(bool_value=True), "off": Value(bool_value=False)}
        flag = flags.Flag(name=f"flags/integration.{slug}", variants=on, default_variant="on", off_variant="off")
        await operator.flags.PutFlag(flags.PutFlagRequest(flag=flag, reason="tried"))
        member = IssueTokenRequest(
            workspace=f"workspaces/{WORKSPACE}", environment="production", roles=[options_pb2.ROLE_MEMBER]
        )
        token = (await operator.tokens.IssueToken(member)).access_token
        async with Client(mesh.public_address, token=token, ca_file=mesh.ca_file) as client:
            await _connect(client, slug, definition)
            await _reached(client, slug, definition)
        said = "no action that can be filled in line by line"
        for number, (action, title, acts) in enumerate(candidates(definition)):
            if number == CANDIDATES:
                break
            token = (await operator.tokens.IssueToken(member)).access_token
            url = f"{mesh.public_url}/try#{urlencode({'integration': slug, 'token': token})}"
            find = [["fill", "Find an action", f"{action} {title}"], ["click", action]]
            asked = {
                "url": url,
                "mode": "window",
                "origin": "https://app.test",
                "acts": [*find, *acts, ["click", "Call"]],
            }
            (found,) = await asyncio.to_thread(browser, {**asked, "ends": title, "after": "trace "})
            answer = next((line for line in found["said"].splitlines() if "The vendor answered 2" in line), "")
            if answer and not found["wrong"]:
                return f"{action}: {answer}, after {number + 1} tried, {len(acts)} fields filled in"
            said = f"{action}: {[*found['wrong'], found['said'][-300:]]}"
        return f"WRONG {said}"


async def _connect(client: Client, slug: str, definition: definition_pb2.Definition) -> None:
    schemes = {each.id: each for each in definition.auth_schemes}
    for scheme in schemes.values():
        values = _signed_in(scheme, schemes)
        if values is not None:
            session = await client.connect.CreateConnectSession(
                connecting.CreateConnectSessionRequest(
                    parent=f"workspaces/{WORKSPACE}",
                    integration=f"integrations/{slug}",
                    auth_scheme=scheme.id,
                    connection_id=slug,
                )
            )
            given = Struct()
            given.update(values)
            submit = connecting.SubmitConnectSessionRequest(name=session.name, values=given)
            await client.connect.SubmitConnectSession(submit)
            return


def _signed_in(
    scheme: definition_pb2.AuthScheme, schemes: dict[str, definition_pb2.AuthScheme]
) -> dict[str, str] | None:
    """Returns what a person types in for a scheme; None where that takes more than a form."""
    if scheme.WhichOneof("kind") != "all_of":
        return _VALUES.get(scheme.WhichOneof("kind") or "")
    found: dict[str, str] = {}
    for part in scheme.all_of.auth_schemes:
        values = _signed_in(schemes[part], schemes)
        if values is None:
            return None
        found |= {f"{part}.{name}": value for name, value in values.items()}
    return found


async def _reached(client: Client, slug: str, definition: definition_pb2.Definition) -> None:
    """Returns once the Proxy knows the integration: a call is refused for what it is, and not for where it goes."""
    action = definition.actions[0].id

    async def known() -> bool:
        try:
            await client.execute(f"workspaces/{WORKSPACE}/connections/{slug}", action, {"no such field": 1})
        except CordboardError as error:
            return error.reason == "INVALID_FIELDS"
        return True

    await until(known, f"{slug} to be reached", patience=120)


async def measure(paths: list[Path]) -> int:
    """Tries every description, prints what came of it, and returns how many were called."""
    called = 0
    with tempfile.TemporaryDirectory(prefix="cordboard-try-") as place:
        # PostgreSQL runs as somebody else when we are root, and its data lies below.
        os.chmod(place, 0o711)  # noqa: PTH101 - nobody waits for this
        folder = Path(place)
        options = MeshOptions(state_dir=folder / "state", egress_allowed_networks=("127.0.0.0/8",), retain_data=False)
        async with Mesh(options) as mesh:
            token = await operator_token(mesh.address("auth"), mesh.identity_dir("operator"))
            browser = await asyncio.to_thread(Browser, "connect.mjs")
            async with Client(mesh.public_address, token=token, ca_file=mesh.ca_file) as operator:
                workspace = workspaces.Workspace(customer=WORKSPACE, tier="business", region="eu")
                await operator.workspaces.CreateWorkspace(
                    workspaces.CreateWorkspaceRequest(workspace_id=WORKSPACE, workspace=workspace)
                )
                for path in paths:
                    try:
                        said = await tried(mesh, operator, browser, path, folder)
                    except (StepFailed, CordboardError) as problem:
                        said = f"WRONG {problem}"
                    called += not said.startswith("WRONG")
                    print(f"{path.name}: {said}", flush=True)
            await asyncio.to_thread(browser.close)
    print(f"{called} of {len(paths)} descriptions: an action found, filled in and accepted")
    return called


def main() -> None:
    """Tries the descriptions that the arguments name."""
    samples = Path(os.environ.get("CORDBOARD_OPENAPI_SAMPLES", ""))
    own = [Path(each) for each in sys.argv[1:]] if Path(sys.argv[0]).stem == "try_page" else []
    paths = own or [samples / name for name in FILES if (samples / name).is_file()]
    if not INSTALLED or not PRISM.exists() or not paths:
        print(f"{MISSING}, or there are no API descriptions (CORDBOARD_OPENAPI_SAMPLES)")
        return
    if asyncio.run(measure(paths)) < len(paths):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
