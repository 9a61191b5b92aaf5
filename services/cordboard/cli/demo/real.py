"""Real input: a real vendor's API description, imported, and three of its actions run against an independent mock.

The mock is prism, made from the same description by other people: it validates each request that arrives and refuses
what the description does not allow.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct, Value

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.cli.demo.mock import mock
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.demo.parts import until
from cordboard.cli.demo.samples import NoSample, sample
from cordboard.cli.demo.story import BUSINESS, Cast
from cordboard.cli.output import console
from cordboard.client import CordboardError, Result, VendorError
from cordboard.flags.v1 import flag_service_pb2 as flags

IMPORT_SECONDS: Final = 120.0
WANTED: Final = 3
# Many descriptions have examples that do not fit their own schemas; the mock then has no answer to give.
CANDIDATES: Final = 15
PLACES: Final = (Path("tests/node/node_modules/.bin/prism"),)


@dataclass(frozen=True)
class Candidate:
    """An action with an input made from its schema."""

    action: pb.Action
    input: dict[str, Any]


async def tell(cast: Cast, documents: list[Path], prism: Path | None, folder: Path) -> None:
    """Tells this part for each document; without Node.js or prism it says so and tells nothing."""
    if not documents:
        return
    program = prism or next((place for place in PLACES if place.exists()), None) or shutil.which("prism")
    if program is None or shutil.which("node") is None:
        told = "\nReal API descriptions: SKIPPED. They need Node.js and prism: `npm ci` in tests/node."
        console.print(told, style="yellow")
        return
    for document in documents:
        # As a shell would find it.
        await _one(cast, document, shutil.which(program) or str(program), folder)


async def _one(cast: Cast, document: Path, program: str, folder: Path) -> None:
    with cast.narrator.step(
        f"A real API description: {document.name}",
        "Imported as it is; its actions run against a mock of the same description, which judges each request.",
    ) as step:
        async with mock(program, document, folder) as judge:
            slug = "".join(each if each.isalnum() else "-" for each in document.stem.lower()).strip("-")[:40].strip("-")
            slug = "-".join(part for part in slug.split("-") if part)
            text = await asyncio.to_thread(document.read_text, encoding="utf-8")
            imported = await cast.operator.catalog.ImportOpenApi(
                catalog.ImportOpenApiRequest(document=text, slug=slug, server_url=judge.url, owner="demo@example.com"),
                timeout=IMPORT_SECONDS,
            )
            report = imported.report
            step.result(f"{report.action_count} of {report.operation_count} operations became actions")
            await _switch_on(cast, slug)
            await _connect(cast, slug, imported.definition_version.definition)
            candidates = _candidates(imported.definition_version.definition)
            done = await _run(cast, slug, candidates)
            if not judge.whole:
                step.result("prism cannot read the answers of this description, so it judges the requests alone")
            for name, result in done:
                step.result(f"{name}: HTTP {result.vendor_status}")


async def _run(cast: Cast, slug: str, kinds: list[list[Candidate]]) -> list[tuple[str, Result]]:
    """Runs one action of each kind, and more of what is left until it has enough; raises StepFailed."""
    done: list[tuple[str, Result]] = []
    problems: list[str] = []
    connection = f"workspaces/{BUSINESS}/connections/{slug}"
    rest: list[Candidate] = []
    for kind in kinds:
        waiting = kind[:CANDIDATES]
        while waiting and not await _execute(cast, connection, waiting.pop(0), done, problems):
            pass
        rest += waiting
    while len(done) < WANTED and rest:
        await _execute(cast, connection, rest.pop(0), done, problems)
    if len(done) < WANTED:
        raise StepFailed(f"only {len(done)} of {WANTED} actions ran: {'; '.join(problems[-3:])}")
    return done


async def _execute(
    cast: Cast, connection: str, candidate: Candidate, done: list[tuple[str, Result]], problems: list[str]
) -> bool:
    name = f"{candidate.action.request.method} {candidate.action.request.path}"

    async def once() -> Result:
        return await cast.business.execute(connection, candidate.action.id, candidate.input)

    try:
        # The first call may come before the definition has reached the Proxy.
        result = await (once() if done or problems else until(once, "the first call"))
    except VendorError as error:
        if error.vendor_status in (400, 401, 415, 422):
            raise StepFailed(f"the mock refused {name} with {error.vendor_status}") from None
        problems.append(f"{name}: the mock has no answer ({error.vendor_status})")
    except CordboardError as error:
        problems.append(f"{name}: {error}")
    else:
        done.append((name, result))
        return True
    return False


def _candidates(definition: pb.Definition) -> list[list[Candidate]]:
    """Returns actions with small inputs, by kind: plain reads, reads with a path parameter, writes."""
    definitions = json.loads(definition.schemas_json or "{}")
    read: list[Candidate] = []
    with_path: list[Candidate] = []
    write: list[Candidate] = []
    for action in definition.actions:
        if action.deprecated or action.request.server_url or action.request.body.encoding not in _BODIES:
            continue
        schema = json.loads(action.input_schema_json or "{}")
        try:
            made = sample(schema | {"type": "object"}, definitions | schema.get("$defs", {}))
        except (NoSample, StopIteration):
            continue
        # Secrets that the description wants as parameters beside the credential are as made up as the credential.
        made |= {name: "demo" for name, part in schema.get("properties", {}).items() if part.get("writeOnly")}
        if action.request.method == "POST" and action.request.HasField("body"):
            write.append(Candidate(action, made))
        elif action.request.method == "GET":
            (with_path if "{" in action.request.path else read).append(Candidate(action, made))
    return [read, with_path, write]


_BODIES: Final = (pb.BODY_ENCODING_UNSPECIFIED, pb.BODY_ENCODING_JSON, pb.BODY_ENCODING_FORM)


async def _switch_on(cast: Cast, slug: str) -> None:
    await cast.operator.flags.PutFlag(
        flags.PutFlagRequest(
            flag=flags.Flag(
                name=f"flags/integration.{slug}",
                variants={"on": Value(bool_value=True), "off": Value(bool_value=False)},
                default_variant="on",
                off_variant="off",
            ),
            reason="demo",
        )
    )


async def _connect(cast: Cast, slug: str, definition: pb.Definition) -> None:
    """Connects with made-up values: the mock checks that a credential is where it belongs, not whose it is."""
    by_kind = {"none": {}, "api_key": {"api_key": "demo"}, "bearer": {"token": "demo"},
               "basic": {"username": "demo", "password": "demo"}}  # fmt: skip
    for scheme in definition.auth_schemes:
        values = by_kind.get(scheme.WhichOneof("kind") or "")
        if values is None:
            continue
        session = await cast.business.connect.CreateConnectSession(
            connecting.CreateConnectSessionRequest(
                parent=f"workspaces/{BUSINESS}",
                integration=f"integrations/{slug}",
                auth_scheme=scheme.id,
                connection_id=slug,
            )
        )
        given = Struct()
        given.update(values)
        await cast.business.connect.SubmitConnectSession(
            connecting.SubmitConnectSessionRequest(name=session.name, values=given)
        )
        return
    raise StepFailed(f"{slug} has no way to sign in that needs no browser")
